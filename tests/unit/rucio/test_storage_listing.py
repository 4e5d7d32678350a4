"""What storages show without being read, through Rucio's real posix protocol and another one."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.unit.rucio.test_storage import StubSession, settings_of

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import StorageRefused, StorageUnavailable
from rucio_inject.domain.names import name_pattern
from rucio_inject.domain.usage import Usage
from rucio_inject.ports import StoredFile
from rucio_inject.rucio.session import Session

if TYPE_CHECKING:
    from rucio_inject.rucio.storage import RucioStorage

FILE = DID("scope", "folder/file.root")
URL = "davs://localhost:0/pool/file"


def storage_of(settings: dict[str, Any], **named: Any) -> RucioStorage:
    """The adapter for an RSE with these settings."""
    from rucio_inject.rucio.storage import RucioStorage

    return RucioStorage(cast("Session", StubSession(settings)), **named)


def stored(storage: RucioStorage, tmp_path: Path) -> str:
    """A file under its DID's name; its PFN."""
    (tmp_path / "source").write_bytes(b"12345")
    return storage.put("RSE", tmp_path / "source", FILE).pfn


def listed(storage: RucioStorage, scope: str = "scope") -> list[StoredFile]:
    """What the listing of a scope shows."""
    listing = storage.listing("RSE", scope)
    assert listing is not None
    return list(listing)


@pytest.mark.parametrize("algorithm", ["hash", "identity"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_listing_knows_dids_by_their_places(
    pool: Path, tmp_path: Path, algorithm: str, slash: str
) -> None:
    settings = settings_of(pool, lfn2pfn_algorithm=algorithm)
    settings["protocols"][0]["prefix"] += slash
    storage = storage_of(settings)
    pfn = stored(storage, tmp_path)
    assert listed(storage) == [StoredFile(pfn, 5, did=FILE)]
    assert listed(storage, "other") == []


@pytest.mark.parametrize("algorithm", ["hash", "identity"])
def test_a_listing_knows_the_names_that_a_site_takes(
    pool: Path, tmp_path: Path, algorithm: str
) -> None:
    did = DID("scope", "Data/4C+41.11/a+b.root")
    settings = settings_of(pool, lfn2pfn_algorithm=algorithm)
    (tmp_path / "source").write_bytes(b"12345")
    generic, ours = storage_of(settings), storage_of(settings, names=name_pattern("+"))
    pfn = ours.put("RSE", tmp_path / "source", did).pfn
    assert listed(ours) == [StoredFile(pfn, 5, did=did)]
    assert listed(generic) == [StoredFile(pfn, 5)]


def test_a_partial_file_is_told_with_its_did(pool: Path, tmp_path: Path) -> None:
    storage = storage_of(settings_of(pool))
    pfn = stored(storage, tmp_path)
    place = next(path for path in pool.rglob("*") if path.is_file())
    partial = place.rename(f"{place}.0123456789ab.rucio.upload")
    assert listed(storage) == [
        StoredFile(f"{pfn}.0123456789ab.rucio.upload", 5, did=FILE, partial=True)
    ]
    # As the official client writes it.
    partial.rename(f"{place}.rucio.upload")
    assert listed(storage) == [StoredFile(f"{pfn}.rucio.upload", 5)]


def test_what_lies_where_no_did_would_is_nobodys(pool: Path) -> None:
    storage = storage_of(settings_of(pool))
    for name in ("notes.txt", "00/00/file", "deep/er/and/deeper"):
        (pool / "scope" / name).parent.mkdir(parents=True, exist_ok=True)
        (pool / "scope" / name).write_bytes(b"x")
    assert {(file.size, file.did, file.partial) for file in listed(storage)} == {(1, None, False)}
    assert len(listed(storage)) == 3


@pytest.mark.parametrize(
    "changes", [{"deterministic": False}, {"lfn2pfn_algorithm": "site's own"}, {"protocols": []}]
)
def test_where_scopes_have_no_place_nothing_is_listed(pool: Path, changes: dict[str, Any]) -> None:
    assert storage_of(settings_of(pool, **changes)).listing("RSE", "scope") is None


def test_a_storage_that_is_not_mounted_is_not_empty(pool: Path) -> None:
    storage = storage_of(settings_of(pool))
    pool.rmdir()
    with pytest.raises(StorageUnavailable, match="is not there"):
        storage.listing("RSE", "scope")
    with pytest.raises(StorageUnavailable):
        storage.stat("RSE", f"file://localhost:0{pool}/scope/file")


@dataclass(frozen=True)
class Unreadable:
    """What a folder that may be read and not entered tells of what is in it."""

    path: str

    def is_dir(self, *, follow_symlinks: bool) -> bool:
        return False

    def is_symlink(self) -> bool:
        return False

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        raise PermissionError(13, "Permission denied")


def test_a_part_that_cannot_be_looked_into_is_told(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = storage_of(settings_of(pool))
    stored(storage, tmp_path)

    def forbidden(folder: str) -> AbstractContextManager[list[Unreadable]]:
        return nullcontext([Unreadable(f"{folder}/file")])

    monkeypatch.setattr("os.scandir", forbidden)
    with pytest.raises(StorageRefused, match="cannot list scope at RSE: Permission denied"):
        listed(storage)


def test_links_to_folders_are_not_followed(pool: Path, tmp_path: Path) -> None:
    storage = storage_of(settings_of(pool))
    stored(storage, tmp_path)
    (pool / "elsewhere").symlink_to(tmp_path)
    (pool / "around").symlink_to(pool / "around")
    assert storage.count("RSE") == Usage(2, 5 + len(str(pool / "around")))


def test_a_folder_is_no_file(pool: Path) -> None:
    (pool / "scope").mkdir()
    pfn = f"file://localhost:0{pool}/scope"
    assert storage_of(settings_of(pool)).stat("RSE", pfn) is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"filesize": "5", "adler32": "2c3c"}, StoredFile(URL, 5, "00002c3c")),
        ({"filesize": 5}, StoredFile(URL, 5)),
        ({}, StoredFile(URL)),
        (NotImplementedError(), StoredFile(URL)),
        (None, None),
    ],
)
def test_another_protocol_tells_what_it_knows(
    pool: Path, monkeypatch: pytest.MonkeyPatch, answer: object, expected: StoredFile | None
) -> None:
    assert davs_storage(pool, monkeypatch, answer).stat("RSE", URL) == expected


@pytest.mark.parametrize("answer", [{"filesize": "many"}, {"adler32": "none"}, ["5"]])
def test_nonsense_of_a_protocol_is_told(
    pool: Path, monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    with pytest.raises(StorageRefused, match="makes no sense"):
        davs_storage(pool, monkeypatch, answer).stat("RSE", URL)


def test_one_that_went_between_two_questions_is_not_there(
    pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rucio.common.exception import SourceNotFound

    assert davs_storage(pool, monkeypatch, SourceNotFound("gone")).stat("RSE", URL) is None


def davs_storage(pool: Path, monkeypatch: pytest.MonkeyPatch, answer: object) -> RucioStorage:
    """An RSE whose protocol gives, or raises, this answer; None: it does not show the file."""
    from rucio.rse.protocols.protocol import RSEProtocol

    class Default(RSEProtocol):  # type: ignore[misc]
        # Never called, and without them none could be made.
        get = put = delete = rename = path2pfn = RSEProtocol.exists

        def connect(self) -> None:
            """Need no connection."""

        close = connect

        def exists(self, path: str) -> bool:
            return answer is not None

        def stat(self, path: str) -> object:
            if isinstance(answer, Exception):
                raise answer
            return answer

    module = ModuleType("davs_protocol")
    module.Default = Default  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "davs_protocol", module)
    settings = settings_of(pool, "davs_protocol.Default")
    settings["protocols"][0]["scheme"] = "davs"
    return storage_of(settings)
