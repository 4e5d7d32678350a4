"""The storage adapter with folders, with Rucio's real posix protocol as if it were another one, and
with protocols that are not there."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import pytest

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import (
    PlaceTaken,
    SourceChanged,
    SourceUnreadable,
    StorageError,
    StorageRefused,
    StorageUnavailable,
)
from rucio_inject.domain.usage import Usage
from rucio_inject.rucio.credentials import Credentials
from rucio_inject.rucio.session import Session
from rucio_inject.testing.fake_clock import FakeClock

if TYPE_CHECKING:
    from rucio_inject.rucio.storage import RucioStorage

FILE = DID("scope", "file")
POSIX = "rucio.rse.protocols.posix.Default"


class StubClient:
    """Rucio's client, as far as a storage asks it."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings

    def get_rse(self, rse: str) -> dict[str, Any]:
        return self._settings

    def lfns2pfns(self, rse: str, lfns: list[str], scheme: str) -> dict[str, str]:
        prefix = self._settings["protocols"][0]["prefix"]
        return dict.fromkeys(lfns, f"{scheme}://localhost:0{prefix}/named/by/rucio")


class StubSession:
    """Gives every thread the same client."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._client = StubClient(settings)
        self.credentials = Credentials(FakeClock(), {})

    def client(self) -> StubClient:
        return self._client


def settings_of(prefix: Path, impl: str = POSIX, **changes: object) -> dict[str, Any]:
    """An RSE with one protocol, as Rucio shows it."""
    every = {"read": 1, "write": 1, "delete": 1}
    protocol = {
        "scheme": "file",
        "hostname": "localhost",
        "port": 0,
        "prefix": str(prefix),
        "impl": impl,
        "domains": {"lan": dict(every), "wan": dict(every)},
        "extended_attributes": None,
    }
    settings = {
        "rse": "RSE",
        "deterministic": True,
        "lfn2pfn_algorithm": "hash",
        "protocols": [protocol],
    }
    return {**settings, **changes}


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """The folder of the RSE."""
    folder = tmp_path / "pool"
    folder.mkdir()
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file to store."""
    path = tmp_path / "source"
    path.write_bytes(b"ours")
    return path


Make = Callable[[dict[str, Any]], "RucioStorage"]


@pytest.fixture
def make(rucio_cfg: Path) -> Make:
    """Makes the adapter for an RSE with these settings."""
    from rucio_inject.rucio.storage import RucioStorage

    return lambda settings: RucioStorage(cast("Session", StubSession(settings)))


@pytest.fixture
def storage(make: Make, pool: Path) -> RucioStorage:
    """The adapter, with a posix RSE."""
    return make(settings_of(pool))


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its content."""
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def posix(rucio_cfg: Path) -> type[Any]:
    """Rucio's posix protocol, to be broken."""
    from rucio.rse.protocols.posix import Default

    found: type[Any] = Default
    return found


def test_what_lies_there_is_left(storage: RucioStorage, pool: Path, source: Path) -> None:
    storage.put("RSE", source, FILE)
    source.write_bytes(b"other")
    with pytest.raises(StorageRefused, match="already"):
        storage.put("RSE", source, FILE)
    assert files(pool) == {"file": b"ours"}


Hook = Callable[[str], object]
WhenWritten = Callable[[Hook], None]


@pytest.fixture(params=["file", "davs"])
def scheme(request: pytest.FixtureRequest) -> str:
    """Of a storage that we write to ourselves, and of one that Rucio's class writes to."""
    return str(request.param)


@pytest.fixture
def either(make: Make, pool: Path, scheme: str) -> RucioStorage:
    """The adapter, with an RSE of the scheme."""
    settings = settings_of(pool)
    settings["protocols"][0]["scheme"] = scheme
    return make(settings)


@pytest.fixture
def when_written(
    scheme: str, pool: Path, posix: type[Any], monkeypatch: pytest.MonkeyPatch
) -> WhenWritten:
    """Has a function called with the path of each partial file as soon as it is written."""
    from rucio_inject.rucio import posix as ours

    put, write = posix.put, ours.PosixAccess.write

    def install(hook: Hook) -> None:
        def put_and_call(self: Any, path: str, target: str) -> None:
            put(self, path, target)
            hook(urlsplit(target).path)

        def write_and_call(self: Any, path: Path, found: Any, partial: str) -> Any:
            measure = write(self, path, found, partial)
            hook(urlsplit(partial).path)
            return measure

        monkeypatch.setattr(posix, "put", put_and_call)
        monkeypatch.setattr(ours.PosixAccess, "write", write_and_call)

    return install


def test_what_comes_while_the_bytes_are_written_is_left(
    either: RucioStorage, pool: Path, source: Path, when_written: WhenWritten
) -> None:
    def another_comes(partial: str) -> None:
        Path(partial).with_name("file").write_bytes(b"somebody's")

    when_written(another_comes)
    with pytest.raises(PlaceTaken, match="already"):
        either.put("RSE", source, FILE)
    assert files(pool) == {"file": b"somebody's"}


def test_tries_of_one_did_have_names_of_their_own(
    storage: RucioStorage, pool: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rucio_inject.rucio import posix as ours

    both, partials = Barrier(2, timeout=300), []
    write, rename = ours.PosixAccess.write, ours.PosixAccess.rename

    def write_together(self: Any, path: Path, found: Any, partial: str) -> Any:
        both.wait()
        measure = write(self, path, found, partial)
        partials.append(partial)
        return measure

    def rename_together(self: Any, partial: str, pfn: str) -> None:
        both.wait()
        rename(self, partial, pfn)

    monkeypatch.setattr(ours.PosixAccess, "write", write_together)
    monkeypatch.setattr(ours.PosixAccess, "rename", rename_together)
    with ThreadPoolExecutor(2) as threads:
        tries = [threads.submit(storage.put, "RSE", source, FILE) for _ in range(2)]
    # Both saw that the place was free; only one of them got it.
    (refused,) = [error for attempt in tries if (error := attempt.exception())]
    assert isinstance(refused, PlaceTaken)
    assert len(set(partials)) == 2
    assert all(partial.endswith(".rucio.upload") for partial in partials)
    assert files(pool) == {"file": b"ours"}


@pytest.mark.parametrize("cleans", [True, False])
def test_a_failed_try_removes_what_it_can(
    either: RucioStorage,
    pool: Path,
    source: Path,
    when_written: WhenWritten,
    posix: type[Any],
    monkeypatch: pytest.MonkeyPatch,
    cleans: bool,
) -> None:
    from rucio.common.exception import ServiceUnavailable

    def fail(partial: str) -> None:
        assert Path(partial).read_bytes() == b"ours"
        raise OSError(5, "the first error")

    def fail_too(*_: Any) -> None:
        raise ServiceUnavailable("the second error")

    def refuse(path: str) -> None:
        raise OSError(5, "the second error")

    when_written(fail)
    if not cleans:
        monkeypatch.setattr(posix, "delete", fail_too)
        monkeypatch.setattr("os.unlink", refuse)
    with pytest.raises(StorageRefused, match="the first error"):
        either.put("RSE", source, FILE)
    assert len(files(pool)) == (0 if cleans else 1)


def test_a_file_that_cannot_get_its_name_is_removed(
    either: RucioStorage, pool: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, new: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.rename", refuse)
    monkeypatch.setattr("os.link", refuse)
    with pytest.raises(StorageError, match="Permission denied"):
        either.put("RSE", source, FILE)
    assert files(pool) == {}


def test_a_file_system_without_hard_links(
    storage: RucioStorage, pool: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, new: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    storage.put("RSE", source, FILE)
    assert files(pool) == {"file": b"ours"}


def test_an_upload_that_the_storage_does_not_show(
    either: RucioStorage, source: Path, posix: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posix, "rename", lambda *_: None)
    monkeypatch.setattr("rucio_inject.rucio.posix.PosixAccess.rename", lambda *_: None)
    with pytest.raises(StorageRefused, match="does not show it"):
        either.put("RSE", source, FILE)


def test_a_failed_try_leaves_nothing(
    either: RucioStorage, pool: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(path: str, target: str) -> None:
        Path(target).write_bytes(b"a part")
        raise OSError(28, "No space left on device")

    def full(file: Any, block: Any) -> None:
        file.write(b"a part")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copy", fill)
    monkeypatch.setattr("rucio_inject.rucio.posix.write_whole", full)
    with pytest.raises(StorageRefused, match="No space left"):
        either.put("RSE", source, FILE)
    assert files(pool) == {}


def test_a_source_that_changes_on_its_way(
    either: RucioStorage,
    pool: Path,
    source: Path,
    when_written: WhenWritten,
    scheme: str,
) -> None:
    """Rucio's class reads it once more, after we have measured it."""
    when_written(lambda partial: os.utime(source, ns=(1, 1)))
    if scheme == "file":
        # It was read whole by then: what was stored is what was measured.
        either.put("RSE", source, FILE)
        return
    with pytest.raises(SourceChanged):
        either.put("RSE", source, FILE)
    assert files(pool) == {}


def test_a_source_that_is_not_there_is_told_first(make: Make, pool: Path, tmp_path: Path) -> None:
    storage = make(settings_of(pool, availability_write=False))
    with pytest.raises(SourceUnreadable, match="No such file"):
        storage.put("RSE", tmp_path / "nothing", FILE)


def test_a_storage_that_is_not_mounted(make: Make, tmp_path: Path, source: Path) -> None:
    storage = make(settings_of(tmp_path / "away"))
    with pytest.raises(StorageUnavailable, match="is not there"):
        storage.put("RSE", source, FILE)
    assert not (tmp_path / "away").exists()


def test_an_rse_that_is_blocked_for_writing(make: Make, pool: Path, source: Path) -> None:
    storage = make(settings_of(pool, availability_write=False))
    with pytest.raises(StorageUnavailable, match="blocked for writing"):
        storage.put("RSE", source, FILE)
    assert files(pool) == {}


def test_an_rse_that_is_not_deterministic(make: Make, pool: Path, source: Path) -> None:
    storage = make(settings_of(pool, deterministic=False))
    with pytest.raises(StorageRefused, match="not deterministic"):
        storage.put("RSE", source, FILE)


def test_names_that_only_the_server_knows(make: Make, pool: Path, source: Path) -> None:
    storage = make(settings_of(pool, lfn2pfn_algorithm="of_this_site"))
    assert storage.put("RSE", source, FILE).pfn.endswith("/named/by/rucio")
    assert files(pool) == {"rucio": b"ours"}


@pytest.fixture
def abstract(monkeypatch: pytest.MonkeyPatch, rucio_cfg: Path) -> str:
    """An implementation that cannot be made."""
    from rucio.rse.protocols.protocol import RSEProtocol

    module = ModuleType("half_installed")
    module.Default = RSEProtocol  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "half_installed", module)
    return "half_installed.Default"


@pytest.mark.parametrize(
    "impl",
    [
        "nowhere.Default",
        "rucio.rse.protocols.nowhere.Default",
        "rucio.rse.protocols.posix.Nowhere",
        "json.nowhere.Default",
        "Default",
        None,
        "half_installed.Default",
    ],
)
def test_a_protocol_that_is_not_installed(
    make: Make, pool: Path, source: Path, impl: Any, abstract: str
) -> None:
    settings = settings_of(pool, impl)
    settings["protocols"][0]["scheme"] = "davs"
    storage = make(settings)
    calls: list[Callable[[], object]] = [
        lambda: storage.put("RSE", source, FILE),
        lambda: storage.get("RSE", "davs://localhost:0/pool/file", source),
        lambda: storage.exists("RSE", "davs://localhost:0/pool/file"),
        lambda: storage.remove("RSE", "davs://localhost:0/pool/file"),
    ]
    for call in calls:
        with pytest.raises(StorageRefused, match=f"RSE RSE .*davs.*{impl}") as told:
            call()
        assert "install" in str(told.value.hint)


@pytest.mark.parametrize("missing", ["all", "operation", "scheme"])
def test_no_protocol_for_the_operation(make: Make, pool: Path, source: Path, missing: str) -> None:
    settings = settings_of(pool)
    if missing == "all":
        settings["protocols"] = []
    elif missing == "operation":
        for domain in ("lan", "wan"):
            settings["protocols"][0]["domains"][domain].update(read=None, write=None)
    storage = make(settings)
    if missing != "scheme":
        with pytest.raises(StorageRefused, match="RSE RSE has no protocol for write"):
            storage.put("RSE", source, FILE)
    with pytest.raises(StorageRefused, match="RSE RSE has no protocol for read over davs"):
        storage.exists("RSE", "davs://localhost:0/pool/file")


def test_settings_that_make_no_sense(make: Make, pool: Path, source: Path) -> None:
    from rucio_inject.domain.errors import CatalogueUnavailable

    good = settings_of(pool)
    protocol = good["protocols"][0]
    odd: list[Any] = [
        "<html>",
        {**good, "protocols": "none"},
        {**good, "protocols": [1]},
        {**good, "deterministic": None},
        {**good, "protocols": [{**protocol, "domains": {"wan": 1}}]},
        {**good, "protocols": [{key: protocol[key] for key in protocol if key != "prefix"}]},
    ]
    for settings in odd:
        with pytest.raises(CatalogueUnavailable, match="makes no sense"):
            make(settings).put("RSE", source, FILE)


def test_a_protocol_that_cannot_look(make: Make, pool: Path, rucio_cfg: Path) -> None:
    from rucio_inject.rucio.errors import storage_errors

    with pytest.raises(StorageRefused, match="cannot do that"), storage_errors("cannot look"):
        raise NotImplementedError
    for kind in (TimeoutError, ConnectionResetError):
        with pytest.raises(StorageUnavailable), storage_errors("cannot look"):
            raise kind
    with pytest.raises(TypeError, match="ours"), storage_errors("cannot look"):
        raise TypeError("ours")


def test_every_protocol_has_settings_of_its_own(rucio_cfg: Path, pool: Path) -> None:
    """Rucio writes into the settings of an RSE while it makes a protocol."""
    from rucio_inject.rucio import protocols

    settings = protocols.settings(settings_of(pool))
    first, second = (protocols.make(settings, "read", None, "cannot read") for _ in range(2))
    assert first.attributes == second.attributes
    assert first.attributes is not second.attributes
    assert first.attributes is not settings["protocols"][0]


def test_names_with_a_per_cent_sign(make: Make, tmp_path: Path, source: Path) -> None:
    """Rucio's posix protocol takes a path as it is written."""
    folder = tmp_path / "a%20pool"
    folder.mkdir()
    storage = make(settings_of(folder))
    pfn = storage.put("RSE", source, FILE).pfn
    assert storage.exists("RSE", pfn)


def test_reading_into_no_folder(storage: RucioStorage, source: Path, tmp_path: Path) -> None:
    pfn = storage.put("RSE", source, FILE).pfn
    with pytest.raises(StorageError):
        storage.get("RSE", pfn, tmp_path / "nowhere" / "copy")


def test_a_storage_that_cannot_be_listed(storage: RucioStorage, pool: Path, source: Path) -> None:
    storage.put("RSE", source, FILE)
    assert storage.count("RSE") == Usage(1, 4)
    shutil.rmtree(pool)
    assert storage.count("RSE") is None


def test_a_count_may_rest(storage: RucioStorage, pool: Path, source: Path) -> None:
    storage.put("RSE", source, FILE)
    for number in range(1000):
        (pool / f"{number}").write_bytes(b"12")
    rests: list[None] = []
    assert storage.count("RSE", lambda: rests.append(None)) == Usage(1001, 2004)
    assert len(rests) == 3


def test_a_folder_that_cannot_be_listed_is_not_counted_as_empty(
    storage: RucioStorage, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.put("RSE", source, FILE)
    real = os.scandir

    def refuse(path: str) -> Any:
        if "scope" in path:
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert storage.count("RSE") is None
