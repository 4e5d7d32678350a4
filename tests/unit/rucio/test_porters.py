"""Processes that bring small files to a folder of this machine."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, cast

import psutil
import pytest
from tests.unit.rucio.test_storage import settings_of
from tests.unit.rucio.test_storage_listing import storage_of

from rucio_inject.domain.did import DID
from rucio_inject.rucio import porters as module
from rucio_inject.rucio import posix
from rucio_inject.rucio.porter import Errand, carried, errand_of
from rucio_inject.rucio.porters import PosixPorters

if TYPE_CHECKING:
    from rucio_inject.rucio.storage import RucioStorage

Files = list[tuple[Path, DID]]


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


def processes() -> list[psutil.Process]:
    """Those of ours that are porters."""
    ours = psutil.Process().children()
    return [process for process in ours if "rucio_inject.rucio.porter" in process.cmdline()]


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
    porter.kill()
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
        file.truncate(1 << 30)
    (porter,) = processes()

    def kill() -> None:
        eventually(lambda: bool(partials(pool)))
        porter.kill()

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


def test_they_are_none_of_the_terminals(porters: PosixPorters) -> None:
    """A Ctrl-C there is for the run."""
    (porter,) = processes()
    assert os.getsid(porter.pid) == porter.pid != os.getsid(0)


def test_one_that_does_not_end_is_killed(
    porters: PosixPorters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE", 0.01)
    (porter,) = processes()
    porter.suspend()
    porters.close()
    assert processes() == []


def test_one_that_was_killed_has_no_successor(
    storage: RucioStorage, files: Callable[[int], Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(module, "LONG", 0.0)
    brought = files(6)
    made = storage.porters("RSE", 2)
    assert isinstance(made, PosixPorters)
    processes()[0].kill()
    assert made.carry(brought[:2]) == [None, None]
    # The second one that was to be had is not the first one's successor.
    assert made._most == 1
    assert made._hired == 0
    assert made.carry(brought[2:4]) == [None, None]
    made.close()


def test_what_others_print_is_no_answer(
    storage: RucioStorage,
    files: Callable[[int], Files],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A site's own settings of Python, for one."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("print('[null, null]', flush=True)\n")
    monkeypatch.syspath_prepend(str(site))
    made = storage.porters("RSE", 4)
    assert made is not None
    with closing(made):
        assert None not in made.carry(files(2))


@pytest.mark.parametrize("told", ["no JSON", "[null]", "[[1, 2], null]", "7", "[5, 6]", ""])
def test_an_answer_that_makes_no_sense(
    porters: PosixPorters, files: Callable[[int], Files], told: str
) -> None:
    porter = porters._free.get()
    porter._answers.close()
    porter._answers = cast("Any", io.BytesIO(told.encode() + b"\n"))
    porters._free.put(porter)
    assert porters.carry(files(2)) == [None, None]
    assert processes() == []


def test_modules_of_the_runs_folder_are_not_taken(
    storage: RucioStorage,
    files: Callable[[int], Files],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may be a folder that anybody writes to."""
    evil = tmp_path / "evil"
    evil.mkdir()
    for name in ("json", "zlib_ng", "rucio_inject"):
        (evil / f"{name}.py").write_text("open('harm', 'w').close()\n")
    monkeypatch.chdir(evil)
    monkeypatch.setattr(sys, "path", ["", ".", Path("a/b"), *sys.path])
    made = storage.porters("RSE", 4)
    assert made is not None
    with closing(made):
        assert None not in made.carry(files(2))
    assert not (evil / "harm").exists()


@pytest.mark.parametrize("python", [None, "", "/nowhere/python"])
def test_no_python_can_be_begun(
    storage: RucioStorage, monkeypatch: pytest.MonkeyPatch, python: str | None
) -> None:
    monkeypatch.setattr(sys, "executable", python)
    assert storage.porters("RSE", 4) is None


def test_another_file_than_was_looked_at_is_left(
    storage: RucioStorage,
    porters: PosixPorters,
    files: Callable[[int], Files],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A link that somebody puts in its place leads anywhere."""
    brought = files(2)
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    find = porters._porter

    def replaced() -> object:
        brought[0][0].unlink()
        brought[0][0].symlink_to(secret)
        return find()

    monkeypatch.setattr(porters, "_porter", replaced)
    first, second = porters.carry(brought)
    assert first is None
    assert second is not None
    assert storage.taken("RSE", brought[0][1]) is None


def test_what_it_left_is_removed_now_or_later(
    porters: PosixPorters,
    files: Callable[[int], Files],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its storage may be away: then the next file that is stored there sees to it."""
    (_, *others), left = files(3), list[str]()
    monkeypatch.setattr(porters._halves, "discard", lambda access, name: left.append(name))
    missing = (Path("/nowhere/1.root"), DID("scope", "1.root"))
    outcomes = porters.carry([missing, *others])
    assert [found is None for found in outcomes] == [True, False, False]
    (name,) = left
    assert re.search(r"/1\.root\.[0-9a-f]{12}\.rucio\.upload$", name)


class TestCarried:
    """What a porter does, looked at in this process."""

    @pytest.fixture
    def errand(self, storage: RucioStorage, files: Callable[[int], Files]) -> Errand:
        made = storage.porters("RSE", 4)
        assert isinstance(made, PosixPorters)
        made.close()
        errand = made._order(files(1))
        assert errand is not None
        return errand

    def test_it_reads_again_what_arrived(
        self, errand: Errand, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(posix, "checksum_open", lambda _: (3, "00000003"))
        told = carried(errand, errand.loads[0])
        assert told is not None
        assert told[0] == 1000
        assert told[3:] == (3, "00000003")

    @pytest.mark.parametrize("durable", [True, False])
    def test_it_waits_for_the_disk_where_that_is_promised(
        self, errand: Errand, monkeypatch: pytest.MonkeyPatch, *, durable: bool
    ) -> None:
        waited: list[int] = []
        monkeypatch.setattr(os, "fsync", waited.append)
        assert carried(replace(errand, durable=durable), errand.loads[0]) is not None
        assert bool(waited) is durable

    def test_an_errand_is_what_was_told(self, errand: Errand) -> None:
        odd = replace(errand.loads[0], source="/in\n/\udcff", inode=[1, 2])
        told = replace(errand, loads=(odd, errand.loads[0]))
        assert errand_of(told.line()) == told
        assert told.line().count(b"\n") == 1


BOSS = """
import sys, time
from pathlib import Path
from rucio_inject.rucio.porter import Errand, Load, inode_of
from rucio_inject.rucio.porters import PosixPorters
from rucio_inject.rucio.uploading import Halves

def load(source):
    path = f"{sys.argv[1]}/{source.name}"
    pfn = f"file://localhost:0{path}"
    half = f"{pfn}.0123456789ab.rucio.upload"
    return Load("cannot", str(source), inode_of(source.stat()), pfn, path, half)

loads = tuple(load(source) for source in sorted(Path(sys.argv[2]).iterdir()))
made = PosixPorters(lambda files: None, Halves(), 1)
porter = made._free.get()._process
porter.stdin.write(Errand(sys.argv[1], (sys.argv[1],), False, loads).line())
porter.stdin.flush()
print(porter.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("begun", [False, True])
def test_none_goes_on_when_its_run_was_killed(tmp_path: Path, pool: Path, *, begun: bool) -> None:
    """Nor one that had not begun yet: a new run may be bringing the same files."""
    sources = tmp_path / "sources"
    sources.mkdir()
    for number in range(16):
        with (sources / f"{number}.root").open("wb") as file:
            file.truncate(8 << 20)
    told = [sys.executable, "-c", BOSS, str(pool), str(sources)]
    with subprocess.Popen(told, stdout=subprocess.PIPE) as boss:
        assert boss.stdout is not None
        porter = psutil.Process(int(boss.stdout.readline()))
        if begun:
            eventually(lambda: bool(list(pool.iterdir())))
        porter.suspend()
        before = len(list(pool.glob("*.root")))
        boss.kill()
    porter.resume()
    eventually(lambda: not porter.is_running() or porter.status() == psutil.STATUS_ZOMBIE)
    # The one that it was writing is whole.
    assert len(list(pool.glob("*.root"))) <= before + 1
    assert partials(pool) == []
