"""The storage adapter with Rucio's real posix protocol, and with protocols that are not there."""

from __future__ import annotations

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
from rucio_inject.domain.errors import StorageError, StorageRefused, StorageUnavailable
from rucio_inject.domain.usage import Usage
from rucio_inject.rucio.session import Session

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
    storage.put("RSE", source, FILE, overwrite=False)
    source.write_bytes(b"other")
    with pytest.raises(StorageRefused, match="already"):
        storage.put("RSE", source, FILE, overwrite=False)
    assert files(pool) == {"file": b"ours"}


@pytest.mark.parametrize("scheme", ["file", "davs"])
def test_overwriting_replaces_it(
    make: Make,
    pool: Path,
    source: Path,
    posix: type[Any],
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
) -> None:
    rename = posix.rename

    def rename_to_nothing(self: Any, pfn: str, new: str) -> None:
        assert scheme == "file" or not self.exists(new)
        rename(self, pfn, new)

    monkeypatch.setattr(posix, "rename", rename_to_nothing)
    settings = settings_of(pool)
    settings["protocols"][0]["scheme"] = scheme
    storage = make(settings)
    storage.put("RSE", source, FILE, overwrite=False)
    source.write_bytes(b"other")
    storage.put("RSE", source, FILE, overwrite=True)
    assert files(pool) == {"file": b"other"}


def test_what_comes_while_the_bytes_are_written_is_left(
    storage: RucioStorage,
    pool: Path,
    source: Path,
    posix: type[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put = posix.put

    def put_beside_another(self: Any, path: str, target: str) -> None:
        put(self, path, target)
        folder = next(path for path in pool.rglob("*.rucio.upload")).parent
        (folder / "file").write_bytes(b"somebody's")

    monkeypatch.setattr(posix, "put", put_beside_another)
    with pytest.raises(StorageRefused, match="already"):
        storage.put("RSE", source, FILE, overwrite=False)
    assert files(pool) == {"file": b"somebody's"}


def test_tries_of_one_did_have_names_of_their_own(
    storage: RucioStorage,
    pool: Path,
    source: Path,
    posix: type[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both, put = Barrier(2, timeout=20), posix.put
    partials = []

    def put_together(self: Any, path: str, target: str) -> None:
        # Rucio's protocol would fail if both made the folder.
        assert Path(urlsplit(target).path).parent.is_dir()
        put(self, path, target)
        partials.append(target)
        both.wait()

    monkeypatch.setattr(posix, "put", put_together)
    with ThreadPoolExecutor(2) as threads:
        tries = [threads.submit(storage.put, "RSE", source, FILE, overwrite=True) for _ in range(2)]
    assert {attempt.result() for attempt in tries} == {next(iter(partials)).rsplit(".", 3)[0]}
    assert len(set(partials)) == 2
    assert all(partial.endswith(".rucio.upload") for partial in partials)
    assert files(pool) == {"file": b"ours"}


@pytest.mark.parametrize("step", ["put", "rename"])
@pytest.mark.parametrize("cleans", [True, False])
def test_a_failed_try_removes_what_it_can(
    storage: RucioStorage,
    pool: Path,
    source: Path,
    posix: type[Any],
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    cleans: bool,
) -> None:
    from rucio.common.exception import DestinationNotAccessible, ServiceUnavailable

    put = posix.put

    def fail(self: Any, path: str, target: str) -> None:
        if step == "put":
            put(self, path, target)
        raise DestinationNotAccessible("the first error")

    def fail_too(self: Any, pfn: str) -> None:
        raise ServiceUnavailable("the second error")

    monkeypatch.setattr(posix, step, fail)
    if not cleans:
        monkeypatch.setattr(posix, "delete", fail_too)
    with pytest.raises(StorageRefused, match="the first error"):
        storage.put("RSE", source, FILE, overwrite=False)
    assert len(files(pool)) == (0 if cleans else 1)


def test_a_failed_try_leaves_what_lies_there(
    storage: RucioStorage,
    pool: Path,
    source: Path,
    posix: type[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage.put("RSE", source, FILE, overwrite=False)

    def fail(path: str, target: str) -> None:
        Path(target).write_bytes(b"a part")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copy", fail)
    with pytest.raises(StorageRefused, match="No space left"):
        storage.put("RSE", source, FILE, overwrite=True)
    assert files(pool) == {"file": b"ours"}


def test_a_source_that_is_not_there(storage: RucioStorage, tmp_path: Path) -> None:
    with pytest.raises(StorageRefused, match="there is no file"):
        storage.put("RSE", tmp_path / "nothing", FILE, overwrite=False)


def test_a_storage_that_is_not_mounted(make: Make, tmp_path: Path, source: Path) -> None:
    storage = make(settings_of(tmp_path / "away"))
    with pytest.raises(StorageUnavailable, match="is not there"):
        storage.put("RSE", source, FILE, overwrite=False)
    assert not (tmp_path / "away").exists()


def test_an_rse_that_is_blocked_for_writing(make: Make, pool: Path, source: Path) -> None:
    storage = make(settings_of(pool, availability_write=False))
    with pytest.raises(StorageUnavailable, match="blocked for writing"):
        storage.put("RSE", source, FILE, overwrite=False)
    assert files(pool) == {}


def test_an_rse_that_is_not_deterministic(make: Make, pool: Path, source: Path) -> None:
    storage = make(settings_of(pool, deterministic=False))
    with pytest.raises(StorageRefused, match="not deterministic"):
        storage.put("RSE", source, FILE, overwrite=False)


def test_names_that_only_the_server_knows(make: Make, pool: Path, source: Path) -> None:
    storage = make(settings_of(pool, lfn2pfn_algorithm="of_this_site"))
    assert storage.put("RSE", source, FILE, overwrite=False).endswith("/named/by/rucio")
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
        lambda: storage.put("RSE", source, FILE, overwrite=False),
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
            storage.put("RSE", source, FILE, overwrite=False)
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
            make(settings).put("RSE", source, FILE, overwrite=False)


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
    pfn = storage.put("RSE", source, FILE, overwrite=False)
    assert storage.exists("RSE", pfn)


def test_reading_into_no_folder(storage: RucioStorage, source: Path, tmp_path: Path) -> None:
    pfn = storage.put("RSE", source, FILE, overwrite=False)
    with pytest.raises(StorageError):
        storage.get("RSE", pfn, tmp_path / "nowhere" / "copy")


def test_a_storage_that_cannot_be_listed(storage: RucioStorage, pool: Path, source: Path) -> None:
    storage.put("RSE", source, FILE, overwrite=False)
    assert storage.count("RSE") == Usage(1, 4)
    shutil.rmtree(pool)
    assert storage.count("RSE") is None


@pytest.mark.parametrize("call", ["scandir", "lstat"])
def test_a_folder_that_cannot_be_listed_is_not_counted_as_empty(
    storage: RucioStorage, source: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    import os

    storage.put("RSE", source, FILE, overwrite=False)
    real = getattr(os, call)

    def refuse(path: Any) -> Any:
        if "scope" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, call, refuse)
    assert storage.count("RSE") is None
