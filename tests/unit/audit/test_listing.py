"""Odd names on a disk: told, and never taken for DIDs."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rucio_inject.domain.did import DID
from rucio_inject.ports import StoredFile
from rucio_inject.rucio.listing import listed, posix_entries


class Hashing:
    """Names files as Rucio's deterministic RSEs do."""

    def __init__(self, pool: Path) -> None:
        self._pool = pool

    def lfns2pfns(self, lfn: dict[str, str]) -> dict[str, str]:
        """See Rucio's protocols."""
        did = f"{lfn['scope']}:{lfn['name']}"
        digest = hashlib.md5(did.encode(), usedforsecurity=False).hexdigest()
        place = f"{lfn['scope']}/{digest[:2]}/{digest[2:4]}/{lfn['name']}"
        return {did: f"file://localhost:0{self._pool}/{place}"}


def stored(pool: Path, name: str) -> Path:
    """A file at the place that is a DID's."""
    digest = hashlib.md5(os.fsencode(f"scope:{name}"), usedforsecurity=False).hexdigest()
    path = pool / "scope" / digest[:2] / digest[2:4] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"12345")
    return path


def found(pool: Path) -> list[StoredFile]:
    """What a listing shows."""
    folder = f"file://localhost:0{pool}/scope"
    entries = posix_entries(folder)
    return list(listed("cannot list", Hashing(pool), "scope", (folder, 2), entries))


@pytest.mark.parametrize(
    "name",
    [
        "*",
        "semi;colon",
        "with space é",
        "li\nne",
        "line\n",
        "back\\slash",
        "what?",
        "a#b",
        os.fsdecode(b"latin\xff"),
        os.fsdecode(b"latin\xff.0123456789ab.rucio.upload"),
    ],
)
def test_a_name_that_can_be_no_did(tmp_path: Path, name: str) -> None:
    stored(tmp_path, name)
    (file,) = found(tmp_path)
    assert (file.did, file.partial, file.size) == (None, False, 5)
    assert file.pfn.endswith(name)


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    stored(tmp_path, "x" * 251)
    stored(tmp_path, "x" * 250)
    assert {file.did for file in found(tmp_path)} == {None, DID("scope", "x" * 250)}


def test_when_a_file_was_written_to(tmp_path: Path) -> None:
    os.utime(stored(tmp_path, "file"), (0, 1_000_000_000))
    (file,) = found(tmp_path)
    assert file.modified == datetime.fromtimestamp(1_000_000_000, UTC)
