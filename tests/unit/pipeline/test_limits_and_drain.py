"""Whole campaigns under limits, and drained ones."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path

import pytest
from tests.injection_world import World, telescope_files

from rucio_inject.api import Injector
from rucio_inject.cli.exit_codes import ExitCode, of_outcome
from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import UsageError
from rucio_inject.domain.injection import FileState
from rucio_inject.domain.rule import Lock
from rucio_inject.domain.usage import Usage
from rucio_inject.factory import Ports
from rucio_inject.outcome import Outcome
from rucio_inject.plan import Fate
from rucio_inject.ports import FactSink
from rucio_inject.steps.turns import LOOK_UP, in_flight
from rucio_inject.testing import memory_daemons
from rucio_inject.testing.lake_values import LakeLock
from rucio_inject.testing.memory_lake import Crash, MemoryLake
from rucio_inject.testing.memory_ledger import MemoryLedger, Shelf

RUNS = ("05089063", "05089064", "05089065")
NAMES = [f"20200203_M1_{run}.{n:03d}_Y_Crab-W0.40+035.root" for run in RUNS for n in range(1, 6)]
SIZE = 100
DEADLINE = 60
"""Seconds that a test's campaign lets Rucio take."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    folder = tmp_path / "inbox"
    telescope_files(folder, NAMES)
    for path in folder.iterdir():
        path.write_bytes(path.name.encode().ljust(SIZE, b"."))
    world.changes["source"] = {"kind": "directory", "path": str(folder)}
    return world


class Gauge:
    """An onlooker who measures what is in flight at every fact."""

    outcome: Outcome

    def __init__(self, ledger: MemoryLedger) -> None:
        self.ledger = ledger
        self.most = Usage(0, 0)
        self.uploaded: list[str] = []

    def record(self, facts: Sequence[f.Fact]) -> None:
        used = in_flight(self.ledger)
        self.most = max(self.most, used, key=lambda used: (used.files, used.bytes))
        self.uploaded += [x.did.name[12:20] for x in facts if isinstance(x, f.FileUploaded)]


def run_gauged(world: World, *others: FactSink) -> Gauge:
    world.lake.begin_process()
    ports = Ports(world.catalogue, world.storage, None, world.clock)
    with world.ledger() as ledger:
        gauge = Gauge(ledger)
        injector = Injector(world.campaign, ports, ledger, [gauge, *others])
        gauge.outcome = injector.run(injector.prepare())
    return gauge


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        ({"files_in_flight": 4}, Usage(4, 4 * SIZE)),
        ({"bytes_in_flight": 3 * SIZE}, Usage(3, 3 * SIZE)),
        ({"bytes_in_flight": SIZE - 1}, Usage(1, SIZE)),
        ({"per_rse": {"LAPP-FAST": {"files_in_flight": 2}}, "files_in_flight": 9}, Usage(2, 200)),
        ({}, Usage(15, 15 * SIZE)),
    ],
)
def test_no_more_is_in_flight_than_limits_allow(
    world: World, limits: dict[str, object], most: Usage
) -> None:
    world.changes["limits"] = limits
    assert run_gauged(world).most == most
    world.run()
    assert set(world.states().values()) == {"GONE"}


@pytest.mark.parametrize("calls", range(3, 90, 9))
def test_a_resume_counts_what_an_earlier_run_left_in_flight(world: World, calls: int) -> None:
    world.changes["limits"] = {"files_in_flight": 4}
    world.lake.crash_after(calls)
    with pytest.raises(Crash):
        world.run()
    assert run_gauged(world).most.files <= 4
    assert set(world.states().values()) == {"GONE"}


def test_a_lake_that_does_not_replicate_gets_no_more(world: World) -> None:
    world.changes["limits"] = {"files_in_flight": 4}
    world.lake.rses["LAPP-FAST"].hangs = True
    outcome = world.run()
    assert dict(outcome.by_state) == {FileState.REPLICATING: 4, FileState.FOUND: 11}
    assert (outcome.held_back, of_outcome(outcome)) == (11, ExitCode.LATER)
    world.lake.heal("LAPP-FAST")
    world.run_to_the_end()
    assert world.broken() == []


def hang(monkeypatch: pytest.MonkeyPatch, *parts: str, until: float = inf) -> None:
    """Let transfers of files with such parts in their names not come to an end."""

    def transfer(lake: MemoryLake, did: DID, rse: str, lock: LakeLock) -> None:
        if lake.clock.monotonic() >= until or not any(part in did.name for part in parts):
            does(lake, did, rse, lock)

    does = memory_daemons._transfer
    monkeypatch.setattr(memory_daemons, "_transfer", transfer)


def timed(world: World) -> tuple[Outcome, float]:
    """One run, and how many seconds it took."""
    begun = world.clock.monotonic()
    return world.run(), world.clock.monotonic() - begun


def test_one_transfer_that_hangs_does_not_hold_up_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.changes["limits"] = {"files_in_flight": 4}
    hang(monkeypatch, "9063.001")
    outcome, seconds = timed(world)
    by_state = dict(outcome.by_state)
    assert by_state == {FileState.REPLICATING: 1, FileState.VERIFIED: 4, FileState.GONE: 10}
    assert seconds < 2 * DEADLINE


def test_what_has_come_by_the_deadline_is_read_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang(monkeypatch, "9063.001")
    outcome, seconds = timed(world)
    by_state = dict(outcome.by_state)
    assert by_state == {FileState.REPLICATING: 1, FileState.VERIFIED: 4, FileState.GONE: 10}
    assert seconds < 2 * DEADLINE


def listings(world: World, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the locks of a rule are listed, from now on."""
    listed: list[float] = []
    locks = world.catalogue.locks

    def counted(rule_id: str) -> Sequence[Lock]:
        listed.append(world.clock.monotonic())
        return locks(rule_id)

    monkeypatch.setattr(world.catalogue, "locks", counted)
    return listed


def test_locks_are_not_listed_at_every_look(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.changes["limits"] = {"files_in_flight": 4}
    hang(monkeypatch, "9063.002", "9063.003", "9063.004")
    listed = listings(world, monkeypatch)
    world.run()
    # Of each rule, when the one that does not hang has come; then no more are OK.
    assert sum(at < DEADLINE - 1 for at in listed) == 4


def test_locks_of_what_still_comes_are_not_listed_when_there_is_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.changes |= {"limits": {"files_in_flight": 10}, "end": None}
    hang(monkeypatch, RUNS[1], until=4)
    listed = listings(world, monkeypatch)
    world.run()
    # Of each run once, when all of its files have come.
    assert len(listed) == len(RUNS) * 4


def test_files_that_are_everywhere_already_are_not_waited_for(world: World) -> None:
    world.changes["end"] = None
    world.run()
    world.shelf = Shelf()
    world.changes["limits"] = {"files_in_flight": 2}
    outcome, seconds = timed(world)
    assert dict(outcome.by_state) == {FileState.VERIFIED: 15}
    assert seconds < DEADLINE


@pytest.fixture
def stuck(world: World) -> list[str]:
    """Three files of a run that are STUCK from an earlier run, with a limit of four."""
    inbox = world.folder / "inbox"
    later = {path: path.read_bytes() for path in inbox.iterdir() if RUNS[0] not in path.name}
    later |= {path: path.read_bytes() for path in inbox.glob("*9063.00[45]*")}
    for path in later:
        path.unlink()
    world.changes["limits"] = {"files_in_flight": 4}
    world.lake.rses["LAPP-FAST"].fails_transfers = "FAILED: no route to host"
    world.run()
    world.lake.rses["LAPP-FAST"].fails_transfers = None
    for path, content in later.items():
        path.write_bytes(content)
    return [name for name, state in world.states().items() if state == "REPLICATING"]


def test_what_is_stuck_does_not_cost_a_deadline_for_every_few_files(
    world: World, stuck: list[str]
) -> None:
    assert len(stuck) == 3
    outcome, seconds = timed(world)
    by_state = dict(outcome.by_state)
    assert by_state == {FileState.REPLICATING: 3, FileState.VERIFIED: 2, FileState.GONE: 10}
    assert seconds < 2 * DEADLINE
    world.lake.heal("LAPP-FAST")
    world.run_to_the_end()
    assert world.broken() == []


def test_a_run_ends_when_a_lake_stands_still(
    world: World, monkeypatch: pytest.MonkeyPatch, stuck: list[str]
) -> None:
    world.changes["limits"] = {"files_in_flight": 5}
    hang(monkeypatch, "9063.004")
    outcome, seconds = timed(world)
    by_state = dict(outcome.by_state)
    assert by_state == {FileState.REPLICATING: 4, FileState.VERIFIED: 1, FileState.FOUND: 10}
    assert DEADLINE <= seconds < 2 * DEADLINE
    assert (outcome.held_back, of_outcome(outcome)) == (10, ExitCode.STUCK)
    assert len(stuck) == 3


def test_a_files_failure_makes_room(world: World) -> None:
    world.changes["limits"] = {"files_in_flight": 2}
    world.lake.rses["PIC-INJECT"].refuses_writes = True
    outcome = world.run()
    assert dict(outcome.by_state) == {FileState.QUARANTINED: 15}


def test_rules_of_a_dataset_do_not_end_before_its_last_files_came(world: World) -> None:
    world.changes["limits"] = {"files_in_flight": 2}
    world.run_to_the_end()
    ending = world.facts(f.RuleEnding)
    assert len(ending) == len(RUNS) * 4
    assert len(world.facts(f.RuleMade)) == len(RUNS) * 4


def test_files_of_datasets_come_in_turn(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rucio_inject.steps.turns.TURN", 2)
    world.changes["limits"] = {"files_in_flight": 2}
    uploaded = run_gauged(world).uploaded
    assert uploaded[:6] == [run for run in RUNS for _ in range(2)]
    assert sorted(uploaded) == sorted([*RUNS] * 5)


def test_a_limit_of_an_rse_that_no_file_goes_to_is_refused(world: World) -> None:
    world.changes["limits"] = {"per_rse": {"PIC-TAPE": {"files_in_flight": 2}}}
    with pytest.raises(UsageError, match="PIC-TAPE"):
        world.run()
    with pytest.raises(UsageError, match="PIC-TAPE"):
        world.plan()


def test_uploads_keep_to_their_rate(world: World) -> None:
    world.changes["limits"] = {"rate": f"{SIZE}B/s"}
    begun = world.clock.monotonic()
    run_gauged(world)
    assert world.clock.monotonic() - begun >= len(NAMES) - 2


class DrainAt:
    """An onlooker at whose first fact of a kind the campaign is drained, as from outside."""

    def __init__(self, world: World, kind: type[f.Fact]) -> None:
        self.world = world
        self.kind = kind

    def record(self, facts: Sequence[f.Fact]) -> None:
        if any(isinstance(fact, self.kind) for fact in facts):
            order(self.world, on=True)
            self.world.clock.wait(LOOK_UP)


def order(world: World, *, on: bool) -> None:
    now = world.clock.now()
    MemoryLedger(world.shelf).record([f.DrainOrdered(at=now, on=on, by="me on here")])


def test_a_drained_campaign_begins_nothing(world: World) -> None:
    order(world, on=True)
    outcome = world.run()
    assert dict(outcome.by_state) == {FileState.FOUND: 15}
    assert (outcome.held_back, of_outcome(outcome)) == (15, ExitCode.DRAINED)
    assert world.lake.files == {}
    plan = world.plan()
    assert plan.drain is not None
    order(world, on=False)
    world.run_to_the_end()


def test_a_run_that_is_drained_finishes_what_is_under_way(world: World) -> None:
    world.changes["limits"] = {"files_in_flight": 3}
    gauge = run_gauged(world, DrainAt(world, f.FileUploaded))
    outcome = gauge.outcome
    assert of_outcome(outcome) is ExitCode.DRAINED
    assert outcome.held_back == 15 - len(gauge.uploaded)
    assert len(gauge.uploaded) == 3
    # Their datasets have more to come: their rules stay.
    assert dict(outcome.by_state) == {FileState.VERIFIED: 3, FileState.FOUND: 12}
    assert world.run().held_back == 12
    order(world, on=False)
    world.run_to_the_end()
    assert world.broken() == []


def test_a_run_that_is_drained_waits_for_what_is_under_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.changes["limits"] = {"files_in_flight": 10}
    hang(monkeypatch, RUNS[1], until=20)
    # Half of the limit is free long before.
    outcome = run_gauged(world, DrainAt(world, f.FileUploaded)).outcome
    assert dict(outcome.by_state) == {FileState.GONE: 10, FileState.FOUND: 5}
    assert of_outcome(outcome) is ExitCode.DRAINED


def test_generated_files_are_not_made_for_a_drained_campaign(world: World) -> None:
    del world.changes["source"]
    order(world, on=True)
    world.run()
    assert not list((world.folder / "out").rglob("*.root"))
    assert world.plan().files.count == {Fate.UNDER_WAY: 2}


def test_a_drain_that_is_ordered_when_nothing_is_left_is_no_trouble(world: World) -> None:
    world.run_to_the_end()
    order(world, on=True)
    outcome = world.run()
    assert (outcome.held_back, dict(outcome.by_state)) == (0, {FileState.GONE: 15})
    assert of_outcome(outcome) is ExitCode.DONE
