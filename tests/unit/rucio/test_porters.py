"""Processes that bring small files to a folder of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING

import pytest
from tests.unit.rucio.test_storage import settings_of
from tests.unit.rucio.test_storage_listing import storage_of

from rucio_inject.domain.did import DID
from rucio_inject.rucio import porters as module
from rucio_inject.rucio.porters import PosixPorters

if TYPE_CHECKING:
    from rucio_inject.rucio.storage import RucioStorage

Files = list[tuple[Path, DID]]


@pytest.fixture
def pool(tmp_path: Path, rucio_cfg: Path) -> Path:
    """The folder of the RSE."""
    folder = tmp_path / "pool"
    folder.mkdir()
    return folder


@pytest.fixture
def storage(pool: Path) -> RucioStorage:
    """The adapter, with a posix RSE."""
    return storage_of(settings_of(pool))


@pytest.fixture
def porters(storage: RucioStorage, monkeypatch: pytest.MonkeyPatch) -> Iterator[PosixPorters]:
    """One, on a machine with two processors."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    made = storage.porters("RSE", 4)
    assert isinstance(made, PosixPorters)
    yield made
    made.close()


@pytest.fixture
def files(tmp_path: Path) -> Callable[[int], Files]:
    """Makes so many."""

    def make(count: int) -> Files:
        made = []
        for number in range(count):
            path = tmp_path / f"{number}.root"
            path.write_bytes(bytes([number % 256]) * 1000)
            made.append((path, DID("scope", path.name)))
        return made

    return make


def processes() -> list[int]:
    """Those of ours that are porters."""
    asked = ["pgrep", "-f", "rucio_inject.rucio.porter", "-P", str(os.getpid())]
    found = subprocess.run(asked, check=False, stdout=subprocess.PIPE, text=True)
    return [int(line) for line in found.stdout.split()]


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until it holds, with patience."""
    deadline = monotonic() + 60
    while not condition():
        assert monotonic() < deadline
        sleep(0.01)


def partials(pool: Path) -> list[Path]:
    """What no upload has finished."""
    return list(pool.rglob("*.rucio.upload"))


def test_they_end_when_they_are_let_go(
    porters: PosixPorters, files: Callable[[int], Files]
) -> None:
    assert None not in porters.carry(files(3))
    assert len(processes()) == 1
    porters.close()
    assert processes() == []


def test_one_that_is_killed_decides_nothing(
    porters: PosixPorters, files: Callable[[int], Files], pool: Path, storage: RucioStorage
) -> None:
    (porter,) = processes()
    os.kill(porter, signal.SIGKILL)
    brought = files(3)
    assert porters.carry(brought) == [None] * 3
    assert processes() == []
    # It has no successor, and the files go the other way.
    assert porters.carry(brought) == [None] * 3
    for path, did in brought:
        storage.put("RSE", path, did)
    assert partials(pool) == []


def test_what_a_killed_one_was_writing_is_removed(
    porters: PosixPorters, tmp_path: Path, pool: Path
) -> None:
    source = tmp_path / "large.root"
    with source.open("wb") as file:
        file.truncate(4 << 30)
    (porter,) = processes()

    def kill() -> None:
        eventually(lambda: bool(partials(pool)))
        os.kill(porter, signal.SIGKILL)

    killer = Thread(target=kill)
    killer.start()
    assert porters.carry([(source, DID("scope", "large.root"))]) == [None]
    killer.join(60)
    assert partials(pool) == []


def test_nobody_waits_long_for_one_that_is_busy(
    porters: PosixPorters,
    files: Callable[[int], Files],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LONG", 0.0)
    busy = porters._free.get()
    brought = files(2)
    assert porters.carry(brought) == [None, None]
    porters._free.put(busy)
    assert None not in porters.carry(brought)


def test_there_is_another_one_where_there_are_processors(
    storage: RucioStorage, files: Callable[[int], Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(module, "LONG", 0.0)
    made = storage.porters("RSE", 2)
    assert isinstance(made, PosixPorters)
    first = made._free.get()
    brought = files(4)
    assert None not in made.carry(brought[:2])
    second = made._free.get()
    assert made.carry(brought[2:]) == [None, None]
    made.close()
    # Those that were carrying are let go when they come back.
    made._release(first)
    made._release(second)
    assert processes() == []


def test_no_process_can_be_begun(storage: RucioStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert storage.porters("RSE", 4) is None


def test_a_blocked_rse_has_none(pool: Path) -> None:
    assert storage_of(settings_of(pool, availability_write=False)).porters("RSE", 4) is None


def test_an_rse_that_cannot_be_written_to_has_none(pool: Path) -> None:
    """Whoever puts a file there is told why."""
    settings = settings_of(pool)
    for domain in ("lan", "wan"):
        settings["protocols"][0]["domains"][domain].update(write=None)
    assert storage_of(settings).porters("RSE", 4) is None


def test_a_folder_that_is_not_mounted(
    porters: PosixPorters, files: Callable[[int], Files], pool: Path
) -> None:
    pool.rmdir()
    assert porters.carry(files(2)) == [None, None]
    assert not pool.exists()


def test_a_name_that_rucio_cannot_have(
    porters: PosixPorters, files: Callable[[int], Files]
) -> None:
    ((path, _), *_) = files(1)
    assert porters.carry([(path, DID("scope", "a#b"))]) == [None]
    assert None not in porters.carry(files(1))


def test_none_outlives_who_sent_it(tmp_path: Path, pool: Path) -> None:
    """Also if that is killed, and cannot say so."""
    script = tmp_path / "boss.py"
    script.write_text(
        "import time\n"
        "from rucio_inject.rucio.porters import PosixPorters\n"
        "made = PosixPorters(lambda files: None, lambda load: None, 1)\n"
        "print(made._free.get()._process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as boss:
        assert boss.stdout is not None
        porter = int(boss.stdout.readline())
        assert Path(f"/proc/{porter}").exists()
        boss.kill()
    eventually(lambda: not Path(f"/proc/{porter}").exists() or is_gone(porter))


def is_gone(pid: int) -> bool:
    """Whether a process has ended, and nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
