"""Storages of other schemes, with Rucio's posix protocol in the place of theirs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.rucio.test_storage import FILE, settings_of
from tests.unit.rucio.test_storage_listing import storage_of

from rucio_inject.domain.errors import DiskFull, ReplicaMissing, StorageRefused
from rucio_inject.ports import StoredFile
from rucio_inject.testing.contracts.world import measured

if TYPE_CHECKING:
    from rucio_inject.rucio.storage import RucioStorage

CONTENT = b"a replica"
MEASURE = measured(CONTENT)


@pytest.fixture
def pool(tmp_path: Path, rucio_cfg: Path) -> Path:
    """The folder behind the RSE."""
    folder = tmp_path / "pool"
    folder.mkdir()
    return folder


@pytest.fixture
def protocol(rucio_cfg: Path) -> type[Any]:
    """The class, to be broken."""
    from rucio.rse.protocols.posix import Default

    found: type[Any] = Default
    return found


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Takes what is read and not kept; it is not there yet."""
    return tmp_path / "out" / "temporary"


@pytest.fixture
def storage(pool: Path, temporary: Path) -> RucioStorage:
    """The adapter."""
    settings = settings_of(pool)
    settings["protocols"][0]["scheme"] = "davs"
    return storage_of(settings, folder=temporary)


@pytest.fixture
def pfn(storage: RucioStorage, tmp_path: Path) -> str:
    """A replica."""
    (tmp_path / "source").write_bytes(CONTENT)
    stored = storage.put("RSE", tmp_path / "source", FILE)
    assert stored.measure == MEASURE
    return stored.pfn


def test_a_source_is_not_read_for_a_place_that_is_taken(
    storage: RucioStorage, pfn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("rucio_inject.rucio.remote.measure_file", refuse)
    with pytest.raises(StorageRefused, match="already"):
        storage.put("RSE", tmp_path / "source", FILE)


def test_a_replica_is_measured_in_a_folder_of_its_own(
    storage: RucioStorage,
    pfn: str,
    temporary: Path,
    protocol: type[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    places, get = [], protocol.get

    def got(self: Any, pfn: str, path: str) -> None:
        places.append(Path(path))
        get(self, pfn, path)

    monkeypatch.setattr(protocol, "get", got)
    assert storage.measure("RSE", pfn) == MEASURE
    (place,) = places
    assert place.parent.parent == temporary
    assert list(temporary.iterdir()) == []


def test_a_folder_that_cannot_be_made(storage: RucioStorage, pfn: str, temporary: Path) -> None:
    temporary.parent.write_bytes(b"a file where a folder should be")
    with pytest.raises(StorageRefused, match="cannot make a folder"):
        storage.measure("RSE", pfn)


@pytest.mark.parametrize(
    ("told", "reads"),
    [
        ({"filesize": 9, "adler32": "12a2037b"}, False),
        ({"filesize": 9}, True),
        ({"adler32": "12a2037b"}, True),
        (NotImplementedError(), True),
    ],
)
def test_a_checksum_is_told_or_read(
    storage: RucioStorage,
    pfn: str,
    protocol: type[Any],
    monkeypatch: pytest.MonkeyPatch,
    told: object,
    reads: bool,
) -> None:
    read, get = [], protocol.get

    def stat(self: Any, pfn: str) -> object:
        if isinstance(told, Exception):
            raise told
        return told

    def got(self: Any, pfn: str, path: str) -> None:
        read.append(pfn)
        get(self, pfn, path)

    monkeypatch.setattr(protocol, "stat", stat)
    monkeypatch.setattr(protocol, "get", got)
    adler32 = MEASURE.adler32 if reads else "12a2037b"
    assert storage.checksum("RSE", pfn) == StoredFile(pfn, 9, adler32)
    assert bool(read) is reads


def test_nonsense_is_no_checksum(
    storage: RucioStorage, pfn: str, protocol: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "stat", lambda *_: {"filesize": 9, "adler32": "none"})
    with pytest.raises(StorageRefused, match="makes no sense"):
        storage.checksum("RSE", pfn)


def test_one_that_is_not_there(storage: RucioStorage, pfn: str, tmp_path: Path) -> None:
    storage.remove("RSE", pfn)
    reads: list[Callable[[], object]] = [
        lambda: storage.get("RSE", pfn, tmp_path / "copy"),
        lambda: storage.measure("RSE", pfn),
        lambda: storage.checksum("RSE", pfn),
    ]
    for read in reads:
        with pytest.raises(ReplicaMissing):
            read()


def test_a_full_disk_is_not_the_storages_fault(
    storage: RucioStorage,
    pfn: str,
    tmp_path: Path,
    protocol: type[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from rucio.common.exception import ServiceUnavailable

    def fail(*_: Any) -> None:
        raise ServiceUnavailable("No space left on device")

    class Usage:
        free = 0

    monkeypatch.setattr(protocol, "get", fail)
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    with pytest.raises(DiskFull, match="is full"):
        storage.get("RSE", pfn, tmp_path / "copy")


def test_a_protocol_that_says_it_brought_a_file_and_did_not(
    storage: RucioStorage,
    pfn: str,
    tmp_path: Path,
    protocol: type[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "get", lambda *_: None)
    with pytest.raises(StorageRefused, match="what came cannot be used"):
        storage.get("RSE", pfn, tmp_path / "copy")
