"""Folders of this machine, which the adapter reads and writes itself."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.rucio.test_storage import FILE, files, settings_of
from tests.unit.rucio.test_storage_listing import storage_of

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import (
    DiskFull,
    ReplicaMissing,
    StorageError,
    StorageRefused,
    StorageUnavailable,
)
from rucio_inject.ports import StoredFile
from rucio_inject.testing.contracts.world import measured

if TYPE_CHECKING:
    from rucio_inject.rucio.storage import RucioStorage


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file to store."""
    path = tmp_path / "source"
    path.write_bytes(b"ours")
    return path


@pytest.fixture
def storage(pool: Path) -> RucioStorage:
    """The adapter, with a posix RSE."""
    return storage_of(settings_of(pool))


@pytest.fixture
def unused(rucio_cfg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rucio's posix protocol, which does nothing but name files."""
    from rucio.rse.protocols.posix import Default

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("Rucio's protocol was used")

    for name in ("put", "get", "stat", "exists", "rename", "delete"):
        monkeypatch.setattr(Default, name, refuse)


def site(scope: str, name: str, *_: Any) -> str:
    """An algorithm that a policy package brings."""
    return f"site/{name[0]}/{scope}.{name}"


@pytest.mark.parametrize("algorithm", ["hash", "identity", "test_storage_posix"])
@pytest.mark.parametrize("slashes", ["{}", "{}/", "/{}//x"])
@pytest.mark.parametrize("impl", ["Default", "Symlink"])
def test_files_have_the_names_that_rucio_gives(
    pool: Path, source: Path, algorithm: str, slashes: str, impl: str
) -> None:
    from rucio.rse import rsemanager
    from rucio.rse.translation import RSEDeterministicTranslation

    (pool / "x").mkdir()
    RSEDeterministicTranslation.register(site, "test_storage_posix")
    settings = settings_of(Path(), f"rucio.rse.protocols.posix.{impl}", lfn2pfn_algorithm=algorithm)
    settings["protocols"][0]["prefix"] = slashes.format(pool)
    storage = storage_of(settings)
    for did in (FILE, DID("user.jdoe", "a/b.root"), DID("group.magic", "2020 %20.root")):
        lfn = {"scope": did.scope, "name": did.name}
        # Rucio writes into the settings.
        (wanted,) = rsemanager.lfns2pfns(deepcopy(settings), lfn).values()
        assert storage.put("RSE", source, did).pfn == wanted
        assert storage.exists("RSE", wanted)


def test_nothing_but_names_is_asked_of_rucios_protocol(
    storage: RucioStorage, source: Path, tmp_path: Path, unused: None
) -> None:
    assert storage.taken("RSE", FILE) is None
    stored = storage.put("RSE", source, FILE)
    assert stored.measure == measured(b"ours")
    assert storage.get("RSE", stored.pfn, tmp_path / "copy") == stored.measure
    assert storage.measure("RSE", stored.pfn) == stored.measure
    told = storage.checksum("RSE", stored.pfn)
    assert told == StoredFile(stored.pfn, 4, stored.measure.adler32)


def test_a_protocol_is_made_once(
    storage: RucioStorage, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rucio_inject.rucio import protocols

    made, make = [], protocols.make

    def counted(*args: Any) -> Any:
        made.append(args[1])
        return make(*args)

    monkeypatch.setattr(protocols, "make", counted)
    for number in range(3):
        stored = storage.put("RSE", source, DID("scope", str(number)))
        storage.measure("RSE", stored.pfn)
    assert made == ["write", "read"]


def test_other_protocols_for_folders_are_left_to_rucio(
    pool: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site's class may store files in a way of its own."""
    from rucio.rse.protocols.posix import Default

    class Sites(Default):  # type: ignore[misc]
        def put(self, path: str, target: str) -> None:
            super().put(path, target)
            (pool / "told").touch()

    Sites.__module__ = "sites_protocol"
    module = ModuleType("sites_protocol")
    module.Default = Sites  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sites_protocol", module)
    storage = storage_of(settings_of(pool, "sites_protocol.Default"))
    stored = storage.put("RSE", source, FILE)
    assert (pool / "told").exists()
    assert storage.measure("RSE", stored.pfn) == stored.measure


def test_the_bytes_of_a_source_are_read_once(
    storage: RucioStorage, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, real = [], Path.open

    def counted(self: Path, *args: Any, **named: Any) -> Any:
        opened.append(self)
        return real(self, *args, **named)

    monkeypatch.setattr(Path, "open", counted)
    storage.put("RSE", source, FILE)
    assert opened == [source]


def test_who_may_read_the_source_may_read_the_replica(
    storage: RucioStorage, pool: Path, source: Path, tmp_path: Path
) -> None:
    source.chmod(0o440)
    stored = storage.put("RSE", source, FILE)
    (replica,) = (path for path in pool.rglob("*") if path.is_file())
    assert replica.stat().st_mode & 0o777 == 0o440
    storage.get("RSE", stored.pfn, tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o440


class TestFolders:
    """Which ones are made."""

    def test_one_is_made_once(
        self, pool: Path, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        storage = storage_of(settings_of(pool, lfn2pfn_algorithm="identity"))
        made, mkdir = [], os.mkdir

        def counted(path: str, *args: Any) -> None:
            mkdir(path, *args)
            made.append(Path(path))

        monkeypatch.setattr(os, "mkdir", counted)
        for name in ("a/b/1", "a/b/2", "a/3"):
            storage.put("RSE", source, DID("scope", name))
        assert made == [pool / "scope", pool / "scope/a", pool / "scope/a/b"]

    def test_one_that_vanished_is_made_again(
        self, storage: RucioStorage, pool: Path, source: Path
    ) -> None:
        for _ in range(2):
            storage.put("RSE", source, FILE)
            assert files(pool) == {"file": b"ours"}
            shutil.rmtree(pool / "scope")

    @pytest.mark.parametrize("algorithm", ["identity", "hash"])
    def test_the_storages_own_is_never_made(
        self,
        pool: Path,
        source: Path,
        monkeypatch: pytest.MonkeyPatch,
        algorithm: str,
    ) -> None:
        """It is unmounted between the look and the writing."""
        from rucio_inject.rucio import posix

        storage = storage_of(settings_of(pool, lfn2pfn_algorithm=algorithm))
        real = posix.size_of

        def unmounted_after(*args: Any) -> int | None:
            size = real(*args)
            pool.rmdir()
            return size

        monkeypatch.setattr(posix, "size_of", unmounted_after)
        with pytest.raises(StorageUnavailable, match="is not there"):
            storage.put("RSE", source, FILE)
        assert not pool.exists()

    def test_one_that_may_not_be_made(
        self, storage: RucioStorage, pool: Path, source: Path
    ) -> None:
        (pool / "scope").write_bytes(b"a file where a folder should be")
        with pytest.raises(StorageRefused, match="Not a directory"):
            storage.put("RSE", source, FILE)


class TestReading:
    """What can go wrong when a replica is read, and who is told to be at fault."""

    Read = Callable[[str], object]

    @pytest.fixture
    def reads(self, storage: RucioStorage, tmp_path: Path) -> list[Read]:
        """The three ways to read."""
        copy = tmp_path / "copy"
        return [
            lambda pfn: storage.get("RSE", pfn, copy),
            lambda pfn: storage.measure("RSE", pfn),
            lambda pfn: storage.checksum("RSE", pfn),
        ]

    def told(self, reads: list[Read], pfn: str, kind: type[StorageError], match: str) -> None:
        """All of them raise this error."""
        for read in reads:
            with pytest.raises(kind, match=match) as caught:
                read(pfn)
            assert type(caught.value) is kind

    def test_a_storage_that_is_not_mounted(
        self, storage: RucioStorage, pool: Path, source: Path, reads: list[Read]
    ) -> None:
        pfn = storage.put("RSE", source, FILE).pfn
        pool.rename(pool.with_name("away"))
        self.told(reads, pfn, StorageUnavailable, "is not there")

    def test_a_folder_or_a_pipe_is_no_replica(self, pool: Path, reads: list[Read]) -> None:
        (pool / "scope").mkdir()
        os.mkfifo(pool / "pipe")
        for name in ("scope", "pipe", "nothing"):
            self.told(reads, f"file://localhost:0{pool}/{name}", ReplicaMissing, "it is not there")

    def test_a_pfn_of_another_storage(self, tmp_path: Path, reads: list[Read]) -> None:
        (tmp_path / "secret").write_bytes(b"x")
        self.told(reads, f"file://localhost:0{tmp_path}/secret", StorageRefused, "prefix")

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (PermissionError(13, "reason"), StorageRefused),
            (FileNotFoundError(2, "reason"), ReplicaMissing),
            (OSError(5, "reason"), StorageUnavailable),
        ],
    )
    def test_one_that_cannot_be_opened(
        self,
        storage: RucioStorage,
        source: Path,
        reads: list[Read],
        monkeypatch: pytest.MonkeyPatch,
        error: OSError,
        kind: type[StorageError],
    ) -> None:
        pfn = storage.put("RSE", source, FILE).pfn

        def fail(*_: Any) -> None:
            raise error

        monkeypatch.setattr("rucio_inject.rucio.posix.FileIO", fail)
        self.told(reads, pfn, kind, "reason|it is not there")

    def test_a_replica_that_cannot_be_read_to_its_end_leaves_no_copy(
        self,
        storage: RucioStorage,
        source: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        pfn = storage.put("RSE", source, FILE).pfn

        def fail(_file: Any, write: Callable[[memoryview], object]) -> None:
            write(memoryview(b"a part"))
            raise OSError(5, "Input/output error")

        monkeypatch.setattr("rucio_inject.rucio.posix.measure_open", fail)
        with pytest.raises(StorageUnavailable, match="Input/output error"):
            storage.get("RSE", pfn, tmp_path / "copy")
        assert not (tmp_path / "copy").exists()

    def test_a_copy_that_cannot_be_written(
        self, storage: RucioStorage, source: Path, tmp_path: Path
    ) -> None:
        pfn = storage.put("RSE", source, FILE).pfn
        with pytest.raises(StorageRefused, match=r"cannot write .*No such file"):
            storage.get("RSE", pfn, tmp_path / "nowhere" / "copy")
        (tmp_path / "copy").symlink_to("/dev/full")
        with pytest.raises(DiskFull, match="is full") as caught:
            storage.get("RSE", pfn, tmp_path / "copy")
        assert "make room" in str(caught.value.hint)


class TestDurability:
    """What is on the disk when, as the system is told."""

    @pytest.fixture
    def calls(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Which files and folders were synchronised or named, in order."""
        calls: list[str] = []
        link = os.link

        def sync(descriptor: int) -> None:
            name = Path(f"/proc/self/fd/{descriptor}").readlink().name
            calls.append("partial" if name.endswith(".rucio.upload") else name)

        def named(old: str, new: str) -> None:
            calls.append("name")
            link(old, new)

        monkeypatch.setattr("os.fsync", sync)
        monkeypatch.setattr("os.link", named)
        return calls

    def test_bytes_then_name_then_folder(self, pool: Path, source: Path, calls: list[str]) -> None:
        storage = storage_of(settings_of(pool, lfn2pfn_algorithm="identity"), durable=True)
        storage.put("RSE", source, FILE)
        assert calls == ["pool", "partial", "name", "scope"]

    def test_what_is_read_back_is_on_the_disk_whoever_wrote_it(
        self, pool: Path, source: Path, storage: RucioStorage, calls: list[str], tmp_path: Path
    ) -> None:
        pfn = storage.put("RSE", source, FILE).pfn
        careful = storage_of(settings_of(pool), durable=True)
        calls.clear()
        careful.measure("RSE", pfn)
        careful.checksum("RSE", pfn)
        careful.get("RSE", pfn, tmp_path / "copy")
        assert calls == [Path(pfn).name] * 3

    def test_nobody_waits_who_did_not_ask_for_it(
        self, storage: RucioStorage, source: Path, calls: list[str]
    ) -> None:
        storage.measure("RSE", storage.put("RSE", source, FILE).pfn)
        assert calls == ["name"]
