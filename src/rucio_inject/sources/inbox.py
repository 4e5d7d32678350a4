"""A folder into which files are still being written: each is offered when it is complete."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path

from rucio_inject.domain.checksum import Announced
from rucio_inject.domain.errors import UsageError
from rucio_inject.ports import Clock, LeftOut, SourceFile
from rucio_inject.sources.checksum_files import LISTS, SUFFIX, NoListError, read_list
from rucio_inject.sources.directory import NEIGHBOURS, is_inside, not_there, refuse_unless_file


@dataclass(frozen=True, slots=True)
class Completeness:
    """When a file counts as complete: any one of these is enough.

    `stable`: seconds since it was written to last, None: time alone proves nothing. `checksums`:
    a list of md5 names it. `trigger`: a file called after it, with this suffix, is there.
    """

    stable: float | None = 60.0
    checksums: bool = True
    trigger: str | None = None


@dataclass(slots=True)
class _Folder:
    """What lies in one folder, by name, and what its lists say."""

    files: dict[str, os.stat_result] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    odd: list[tuple[str, str]] = field(default_factory=list)
    unseen: list[tuple[str, str]] = field(default_factory=list)
    announced: dict[str, Announced] = field(default_factory=dict)


def came_with(path: Path, trigger: str | None) -> tuple[Path, ...]:
    """What may lie beside a file of an origin folder and tells of it alone: its checksum, and its
    trigger. Lists of a whole folder are none."""
    suffixes = (SUFFIX,) if trigger is None else (SUFFIX, trigger)
    return tuple(path.with_name(path.name + suffix) for suffix in suffixes)


class InboxSource:
    """Implements `ports.Source` for an origin folder that fills up while it is looked at.

    What disappears between two looks is left out without a word. Symbolic links are followed
    nowhere: they might lead out of the folder.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        complete: Completeness,
        *,
        pattern: str = "*",
        recursive: bool = True,
    ) -> None:
        self._folder = folder.absolute()
        self._clock = clock
        self._complete = complete
        self._pattern = pattern
        self._recursive = recursive

    def files(self) -> Iterator[SourceFile | LeftOut]:
        """See the port. In the order of their paths. An empty folder has nothing to offer yet."""
        try:
            os.listdir(self._folder)  # noqa: PTH208 -- only whether it can be
        except OSError as error:
            raise UsageError(
                f"cannot look into {self._folder}: {error.strerror}",
                hint="check source.path of the campaign, and that you may list it",
            ) from error
        yield from self._below(self._folder)

    def provide(self, path: Path) -> None:
        """See the port: a real file of the folder, and no link that leads anywhere else."""
        if not is_inside(path, self._folder):
            raise not_there(path)
        refuse_unless_file(path)

    def _below(self, place: Path) -> Iterator[SourceFile | LeftOut]:
        try:
            found = self._look(place)
        except FileNotFoundError:
            return
        except OSError as error:
            # The others are taken all the same; that this one is not must not go unnoticed.
            yield LeftOut(str(place), f"cannot look into {place}: {error.strerror}", later=False)
            return
        for name, why in found.odd:
            if self._is_wanted(name):
                path = place / name
                yield LeftOut(str(path), f"{path} is {why}: it is not followed", later=False)
        for name, why in found.unseen:
            # Perhaps a folder, whose name no pattern chooses.
            if not name.startswith("."):
                path = place / name
                yield LeftOut(str(path), f"cannot look at {path}: {why}", later=False)
        yield from self._in_folder(place, found)
        for name in sorted(found.folders) if self._recursive else ():
            yield from self._below(place / name)

    def _look(self, place: Path) -> _Folder:
        found = _Folder()
        with os.scandir(place) as entries:
            for entry in entries:
                try:
                    known = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    found.unseen.append((entry.name, str(error.strerror)))
                    continue
                if stat.S_ISDIR(known.st_mode):
                    if not entry.name.startswith("."):
                        found.folders.append(entry.name)
                elif stat.S_ISREG(known.st_mode):
                    found.files[entry.name] = known
                else:
                    link = stat.S_ISLNK(known.st_mode)
                    found.odd.append((entry.name, "a symbolic link" if link else "no file"))
        found.odd.sort()
        found.unseen.sort()
        return found

    def _in_folder(self, place: Path, found: _Folder) -> Iterator[SourceFile | LeftOut]:
        if self._complete.checksums:
            yield from self._read_lists(place, found)
        for name in sorted(found.files):
            if self._is_wanted(name) and not self._is_beside(name):
                yield from self._judge(place / name, found)

    def _read_lists(self, place: Path, found: _Folder) -> Iterator[LeftOut]:
        """Read the lists of a folder; those of one file come last, and count most."""
        lists = [name for name in LISTS if name in found.files]
        # One whose file is not there, or not any more, tells nothing that is asked for.
        own = [
            name
            for name in sorted(found.files)
            if name.endswith(SUFFIX) and name.removesuffix(SUFFIX) in found.files
        ]
        for name in (*lists, *own):
            path = place / name
            try:
                told = read_list(path)
            except FileNotFoundError:
                continue
            except (OSError, NoListError) as error:
                why = error.strerror if isinstance(error, OSError) else str(error)
                yield LeftOut(str(path), f"cannot read the checksums in {path}: {why}", later=False)
                continue
            about = name.removesuffix(SUFFIX)
            if name in own and (alone := told.get(None) or told.get(about)):
                found.announced[about] = alone
            elif name not in own:
                found.announced.update({n: a for n, a in told.items() if n is not None})

    def _judge(self, path: Path, found: _Folder) -> Iterator[SourceFile | LeftOut]:
        """Offer a file, or say what it waits for."""
        known, wanted = found.files[path.name], self._complete
        announced = found.announced.get(path.name)
        triggered = wanted.trigger is not None and path.name + wanted.trigger in found.files
        modified = datetime.fromtimestamp(known.st_mtime, UTC)
        age = (self._clock.now() - modified).total_seconds()
        quiet = wanted.stable is not None and age >= wanted.stable
        if not (announced or triggered or quiet):
            yield LeftOut(str(path), f"{path} is not complete yet: {self._waits(age)}", later=True)
            return
        name = str(path)
        yield SourceFile(path, name, announced=announced, modified=modified, size=known.st_size)

    def _waits(self, age: float) -> str:
        wanted = self._complete
        for_what = []
        if wanted.stable is not None:
            told = f"was written to {age:.0f} s ago"
            if age < 0:
                told = f"its time is {-age:.0f} s ahead of this machine's clock"
            for_what.append(f"{told}, and {wanted.stable:.0f} s are to pass")
        if wanted.checksums:
            for_what.append(f"no {LISTS[0]} and no {SUFFIX} file names it")
        if wanted.trigger is not None:
            for_what.append(f"there is no file with {wanted.trigger} at its end")
        return "; ".join(for_what)

    def _is_wanted(self, name: str) -> bool:
        hidden = name.startswith(".") or name.upper() in NEIGHBOURS or name in LISTS
        return not hidden and fnmatch(name, self._pattern)

    def _is_beside(self, name: str) -> bool:
        """Whether a file only tells of another one; it may be there before that one."""
        trigger = self._complete.trigger
        if trigger is not None and name.endswith(trigger):
            return True
        return name.endswith(SUFFIX)
