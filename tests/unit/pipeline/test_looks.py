"""The looks of a watch after the first: they cost what is new, not what was done long ago."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.injection_world import NAMES, SCOPE, World

from rucio_inject import measuring
from rucio_inject.domain import facts as f
from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import Interrupted
from rucio_inject.domain.injection import FileState
from rucio_inject.measuring import Seen
from rucio_inject.steps import looks
from rucio_inject.steps.looks import WHOLE_AGAIN, Looks

EVERY = 30
FILE = DID(SCOPE, NAMES[0])


class Spy:
    """Counts what the catalogue is asked for."""

    def __init__(self, catalogue: Any, calls: Counter[str]) -> None:
        self._catalogue, self._calls = catalogue, calls

    def __getattr__(self, name: str) -> Any:
        """A call, counted."""
        self._calls[name] += 1
        return getattr(self._catalogue, name)


class Watch:
    """Looks of one watch at an inbox."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.inbox = folder / "inbox"
        self.inbox.mkdir()
        source = {"kind": "inbox", "path": str(self.inbox), "complete": {"stable": None}}
        source.update(changes.pop("source", {}))
        self.world = World(folder, {"end": None, "source": source, **changes})
        self.calls = Counter[str]()
        self.world.catalogue = Spy(self.world.catalogue, self.calls)  # type: ignore[assignment]
        self.looks = Looks(self.world.clock, go_on=True)

    def arrive(self, run: int, subrun: int = 1) -> DID:
        """A file of a run arrives, complete."""
        name = f"20200203_M1_0508{run:04}.{subrun:03}_Y_CrabNebula-W0.40_035.root"
        path = self.inbox / name
        path.write_text(name)
        path.with_name(f"{name}.md5").write_text(hashlib.md5(name.encode()).hexdigest())
        return DID(SCOPE, name)

    def look(self, after: float = EVERY) -> Any:
        """The next look; `calls` are those that it makes."""
        self.world.clock.advance(after)
        self.calls.clear()
        return self.world.run(looks=self.looks)

    def detach(self, did: DID) -> None:
        """Somebody takes a file out of its dataset, and Rucio's judge its locks."""
        (record,) = [record for record in self.world.files() if record.did == did]
        del self.world.lake.collections[record.dataset].contents[did]
        for rule in self.world.lake.rules.values():
            rule.locks = {key: lock for key, lock in rule.locks.items() if key[0] != did}

    def set_back(self) -> list[DID]:
        """Files that were set back so far."""
        return [fact.did for fact in self.world.facts(f.FileSetBack)]


FREES = {"source": {"free": True}, "naming": {"closing": {"quiet": "1s"}}}
KEEPS = {"naming": {"closing": {"quiet": "1s"}}}


@pytest.mark.parametrize("changes", [FREES, KEEPS])
def test_an_idle_look_asks_nothing_about_what_is_done(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    watch = Watch(tmp_path, **changes)
    for run in range(7):
        watch.arrive(run)
    watch.look()
    watch.look()
    for _ in range(3):
        outcome = watch.look()
        assert not outcome.changed
        assert dict(outcome.by_state) == {FileState.VERIFIED: 7}
        asked = {"contents", "missing", "look_up", "look_up_collections", "rules", "locks"}
        assert watch.calls.keys() & asked == set()


def test_a_run_lists_no_dataset_whose_sources_were_freed(tmp_path: Path) -> None:
    watch = Watch(tmp_path, **FREES)
    did = watch.arrive(1)
    watch.look()
    watch.calls.clear()
    assert not watch.world.run().changed
    assert watch.calls["contents"] == 0
    # Its locks tell it.
    watch.detach(did)
    assert watch.world.run().changed
    assert watch.set_back() == [did]


@pytest.mark.parametrize("changes", [FREES, KEEPS])
def test_what_was_done_is_looked_at_again_once_an_hour(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    watch = Watch(tmp_path, **changes)
    did = watch.arrive(1)
    watch.look()
    watch.look()
    watch.detach(did)
    assert not watch.look().changed
    watch.look(WHOLE_AGAIN)
    assert watch.set_back() == [did]
    assert watch.world.broken() == []


def test_a_source_is_not_freed_before_its_dataset_was_looked_into(tmp_path: Path) -> None:
    """It stays for as long as there is room: its dataset may be another one by then."""
    marks = {"high": 0.9, "low": 0.9, "capacity": 10_000}
    watch = Watch(tmp_path, source={"free": True, "watermark": marks})
    did = watch.arrive(1)
    watch.look()
    watch.detach(did)
    watch.look()
    assert watch.set_back() == [did]


def test_files_under_way_are_looked_at_by_each_look(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    done, waits = watch.arrive(1), watch.arrive(2)
    watch.world.lake.daemons_run = False
    watch.look()
    watch.detach(done)
    watch.detach(waits)
    watch.look()
    assert sorted(watch.set_back()) == [done, waits]


def test_after_a_look_that_was_broken_off_all_is_looked_at(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    did = watch.arrive(1)
    watch.look()
    watch.look()
    watch.detach(did)
    watch.arrive(2)
    watch.world.clock.stop_after_checks(3)
    with pytest.raises(Interrupted):
        watch.look()
    assert watch.set_back() == []
    watch.world.clock.go_on()
    outcome = watch.look()
    assert watch.set_back() == [did]
    assert dict(outcome.by_state) == {FileState.VERIFIED: 2}


def test_a_dataset_that_was_opened_again_is_closed_within_the_hour(tmp_path: Path) -> None:
    watch = Watch(tmp_path, **KEEPS)
    watch.arrive(1)
    watch.look()
    watch.look()
    (dataset,) = watch.world.lake.closed
    watch.look()
    watch.world.lake.closed.clear()
    watch.look()
    assert not watch.world.lake.closed
    watch.look(WHOLE_AGAIN)
    assert watch.world.lake.closed == {dataset}


def test_a_sample_grows_with_what_a_look_finds(tmp_path: Path) -> None:
    watch = Watch(tmp_path, access={"sample": 1})
    for subrun in range(1, 6):
        watch.arrive(1, subrun)
    watch.look()
    assert sum(not record.sampled for record in watch.world.files()) == 1
    watch.world.changes["access"] = {"sample": "50%"}
    # Of what the same campaign reads nothing is new before a file comes.
    assert not watch.look().changed
    watch.arrive(1, 6)
    assert dict(watch.look().by_state) == {FileState.VERIFIED: 6}
    assert sum(not record.sampled for record in watch.world.files()) >= 3


@pytest.mark.parametrize("free", [False, True])
def test_a_source_that_was_written_anew_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: bool
) -> None:
    read: list[Path] = []

    def measure_seen(path: Path) -> tuple[Measure, Seen]:
        read.append(path)
        return measuring.measure_seen(path)

    monkeypatch.setattr(looks, "measure_seen", measure_seen)
    watch = Watch(tmp_path, source={"free": free})
    name = watch.arrive(1).name
    watch.look()
    assert (watch.inbox / name).exists() is not free
    # Of another size it would not be read at all.
    for content in ("other bytes".ljust(len(name)), "others again".ljust(len(name))):
        (watch.inbox / name).write_text(content)
        digest = hashlib.md5(content.encode()).hexdigest()
        (watch.inbox / f"{name}.md5").write_text(digest)
        read.clear()
        assert [watch.look().skipped for _ in range(3)] == [1, 1, 1]
        assert read == [watch.inbox / name]
    # That the system tells of each change is not relied upon for ever.
    watch.look(WHOLE_AGAIN)
    assert len(read) == 2
