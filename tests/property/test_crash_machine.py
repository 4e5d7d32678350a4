"""A campaign among crashes and other people: whatever happens, nothing is lost or done twice.

A long search: `CRASH_MACHINE_EXAMPLES=2000 pytest tests/property/test_crash_machine.py
--hypothesis-seed=1`.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.in_memory import quick_folder
from tests.injection_world import HOLDERS, MOCK, NAMES, SCOPE, telescope_files
from tests.property.machine_judge import AtOnce, Judge, WatchedWorld
from tests.property.machine_others import OWNERS, SITES, SPOILERS, Action, Others

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import InjectError, LedgerError, NothingToInject
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.outcome import Outcome
from rucio_inject.ports import NewFile
from rucio_inject.testing.memory_catalogue import MemoryCatalogue
from rucio_inject.testing.memory_daemons import pfn_of
from rucio_inject.testing.memory_lake import Crash

EXAMPLES = int(os.environ.get("CRASH_MACHINE_EXAMPLES", "0"))
SETTINGS = settings(
    max_examples=EXAMPLES or 50,
    stateful_step_count=30 if EXAMPLES else 15,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)

MORE_NAMES = (*NAMES, NAMES[2].replace(".001_", ".002_"))
END = {"lifetime": "5s", "deadline": "60s"}
EXPRESSIONS = ("PIC-DCACHE", "INFN-NA-DPM", "QOS=FAST")
# Every call may first be tried for a minute at each of five worlds: Rucio and four storages. The
# last minute is for what is asked once more when a world has come back.
PATIENCE = 6 * 70.0
NUMBERS = st.integers(0, 12)
ENDED = {FileState.VERIFIED, FileState.EXPIRING, FileState.GONE}


class CrashMachine(RuleBasedStateMachine):
    """Runs one campaign again and again; other rules are what happens in between and meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = ExitStack()
        self.folder = self.opened.enter_context(quick_folder())
        self.opened.enter_context(patch("rucio_inject.steps.pool.ThreadPoolExecutor", AtOnce))
        self.inbox = self.folder / "inbox"
        self.inbox.mkdir()
        self.world = WatchedWorld(self.folder)
        self.judge = Judge(self.world, self.inbox)
        self.world.judge = self.judge
        self.others = Others(self.world, self.judge)
        self.meanwhile: dict[int, tuple[Action, str, int]] = {}
        self.down = range(0)
        """The calls of the lake that it does not answer."""
        self.outcome: Outcome | None = None
        self.said: InjectError | None = None
        self._watch_the_lake()

    def _watch_the_lake(self) -> None:
        lake, catalogue, judge = self.world.lake, self.world.catalogue, self.judge
        call = lake.call
        real = MemoryCatalogue(lake)

        def watched_call(doing: str) -> Any:
            lake.down = "connection refused" if lake.calls in self.down else None
            if self.others.running and (act := self.meanwhile.pop(lake.calls, None)):
                action, rse, number = act
                action(self.others, rse, number)
            return call(doing)

        def end_rule(rule_id: str, lifetime: int, child: str | None = None) -> None:
            judge.end_rule(rule_id)
            real.end_rule(rule_id, lifetime, child)

        def add_files(rse: str, files: list[NewFile]) -> None:
            judge.add_files(rse, files)
            real.add_files(rse, files)

        def expire_collection(collection: Any, lifetime: int) -> None:
            judge.expire_collection(collection)
            real.expire_collection(collection, lifetime)

        lake.call = watched_call  # type: ignore[method-assign]
        catalogue.end_rule = end_rule  # type: ignore[method-assign]
        catalogue.add_files = add_files  # type: ignore[method-assign,assignment]
        catalogue.expire_collection = expire_collection  # type: ignore[method-assign]

    @initialize(
        real=st.booleans(),
        free=st.booleans(),
        end=st.booleans(),
        files=st.integers(1, 3),
        porters=st.booleans(),
    )
    def begin(self, real: bool, free: bool, end: bool, files: int, porters: bool) -> None:
        """A campaign is written: of mock files, or of real ones; so many that porters bring them,
        or not."""
        if porters:
            self.opened.enter_context(patch("rucio_inject.steps.upload.MANY", 1))
        self.world.changes["end"] = END if end else None
        if real:
            source = {"kind": "directory", "path": str(self.inbox), "free": free and not end}
            self.judge.sources |= telescope_files(self.inbox, MORE_NAMES[:files])
            self.world.changes["source"] = source
        else:
            self.world.changes["source"] = {**MOCK, "subruns": files}

    @property
    def real(self) -> bool:
        """Whether the campaign's files are real ones."""
        return str(self.world.changes["source"]["kind"]) == "directory"

    def _run(self, *, new_cycle: bool = False) -> None:
        world, judge = self.world, self.judge
        began = world.clock.monotonic()
        judge.begin_run()
        self.others.running, self.outcome, self.said = True, None, None

        def unlink(path: Path, missing_ok: bool = False) -> None:
            judge.unlink(path, missing_ok=missing_ok)

        try:
            with patch.object(Path, "unlink", unlink):
                self.outcome = world.run(new_cycle=new_cycle)
        except Crash:
            pass
        except LedgerError as error:
            judge.broken.append(f"the ledger was told what cannot be: {error}")
        except InjectError as error:
            self.said = error
        finally:
            self.others.running = False
            self.meanwhile.clear()
            world.lake.no_crash()
            world.clock.go_on()
        campaign = world.campaign
        limit = campaign.replication.deadline + PATIENCE + 31 * len(self.down)
        limit += campaign.end.deadline + campaign.end.lifetime if campaign.end else 0
        if world.clock.monotonic() - began > limit:
            judge.broken.append(f"a run took {world.clock.monotonic() - began} s, not {limit} s")

    @rule()
    def run(self) -> None:
        """The command is given."""
        self._run()

    @rule(calls=st.integers(1, 120))
    def run_and_crash(self, calls: int) -> None:
        """The process is killed after a call, or after something was put on record."""
        self.world.lake.crash_after(calls)
        self._run()

    @rule(
        doing=st.sampled_from(
            ["told", "unlink", "put", "place_files", "add_rules", "attach", "end_rule", "measure"]
        ),
        times=st.integers(1, 4),
    )
    def run_and_crash_after(self, doing: str, times: int) -> None:
        """The process is killed after a call of a kind."""
        self.world.lake.crash_after(times, doing)
        self._run()

    @rule(checks=st.integers(0, 40))
    def run_and_stop(self, checks: int) -> None:
        """Somebody presses Ctrl-C."""
        self.world.clock.stop_after_checks(checks)
        self._run()

    @rule(
        acts=st.lists(
            st.tuples(
                st.sampled_from([*SITES, *SPOILERS]),
                st.sampled_from(HOLDERS),
                NUMBERS,
                st.integers(1, 100),
            ),
            min_size=1,
            max_size=3,
        ),
        crash=st.one_of(st.just(0), st.integers(1, 120)),
    )
    def run_while_others_act(self, acts: list[tuple[Action, str, int, int]], crash: int) -> None:
        """Others do something while the command runs."""
        now = self.world.lake.calls
        self.meanwhile = {now + after: (action, rse, n) for action, rse, n, after in acts}
        self.world.lake.crash_after(crash)
        self._run()

    @rule(calls=st.integers(1, 12), after=st.integers(0, 80))
    def run_while_the_lake_is_down(self, calls: int, after: int) -> None:
        """Rucio and its storages are away for a while."""
        begin = self.world.lake.calls + after
        self.down = range(begin, begin + calls)
        self._run()
        self.down = range(0)

    @precondition(lambda self: not self.real)
    @rule()
    def run_a_new_cycle(self) -> None:
        """Another cycle of mock files is asked for."""
        self._run(new_cycle=True)

    @rule(seconds=st.integers(1, 20))
    def time_passes(self, seconds: int) -> None:
        """Daemons do what they do."""
        for _ in range(seconds):
            self.world.clock.advance(1)

    @rule(action=st.sampled_from(SITES), rse=st.sampled_from(HOLDERS), number=NUMBERS)
    def a_site(self, action: Action, rse: str, number: int) -> None:
        """A site has trouble, or mends it."""
        action(self.others, rse, number)

    @rule(action=st.sampled_from(SPOILERS), rse=st.sampled_from(HOLDERS), number=NUMBERS)
    def somebody_spoils(self, action: Action, rse: str, number: int) -> None:
        """Somebody takes away what we made, or puts something to it."""
        action(self.others, rse, number)

    @rule(action=st.sampled_from(OWNERS), rse=st.sampled_from(HOLDERS), number=NUMBERS)
    def somebody_was_first(self, action: Action, rse: str, number: int) -> None:
        """Somebody has what we are about to make."""
        action(self.others, rse, number)

    @precondition(lambda self: self.real)
    @rule(name=st.sampled_from((*MORE_NAMES, "notes.txt")), number=NUMBERS)
    def a_source_is_written(self, name: str, number: int) -> None:
        """A file arrives, or one that is there is written anew."""
        content = f"{number % 3} events of {name}".encode()
        self._spoil_source(name, content)
        self.judge.sources[name] = content
        (self.inbox / name).write_bytes(content)

    @precondition(lambda self: self.real)
    @rule(name=st.sampled_from(MORE_NAMES))
    def a_source_is_removed(self, name: str) -> None:
        """Somebody removes a file."""
        if name in self.judge.sources:
            self._spoil_source(name, None)
            del self.judge.sources[name]
            (self.inbox / name).unlink()

    def _spoil_source(self, name: str, content: bytes | None) -> None:
        did = DID(SCOPE, name)
        known = did in self.judge.records or did in self.world.lake.files
        if known and self.judge.sources.get(name) != content:
            self.others.spoiled.add(did)

    @rule()
    def the_campaign_ends_or_not(self) -> None:
        """Somebody adds `end`, or takes it away."""
        changes = self.world.changes
        changes["end"] = None if changes["end"] else END
        if changes["end"] and self.real:
            changes["source"] = {**changes["source"], "free": False, "watermark": None}

    @precondition(lambda self: self.real)
    @rule()
    def the_campaign_frees_or_not(self) -> None:
        """Somebody changes `free`."""
        source = self.world.changes["source"]
        self.world.changes["source"] = {**source, "free": not source["free"], "watermark": None}
        if not source["free"]:
            self.world.changes["end"] = None

    @rule(asked=st.lists(st.sampled_from(EXPRESSIONS), min_size=1, unique=True))
    def the_campaign_asks_for(self, asked: list[str]) -> None:
        """A rule is dropped, or added."""
        self.world.changes["rules"] = [{"rse_expression": expression} for expression in asked]

    @rule(sample=st.sampled_from([None, "50%", 1]))
    def the_campaign_reads(self, sample: str | int | None) -> None:
        """A sample is read back from now on, or everything."""
        self.world.changes["access"] = {"workers": 2, "sample": sample}

    @precondition(lambda self: self.real)
    @rule(high=st.sampled_from([None, 0.01, 1.0]))
    def the_campaign_has_a_watermark(self, high: float | None) -> None:
        """Sources go when there is no room, or as soon as they may."""
        marks = {"high": high, "low": high, "capacity": 100} if high else None
        source = {**self.world.changes["source"], "watermark": marks}
        self.world.changes["source"] = {**source, "free": True} if marks else source
        if marks:
            self.world.changes["end"] = None

    @rule(seconds=st.sampled_from(["1s", "60s"]))
    def the_campaign_waits(self, seconds: str) -> None:
        """The deadline becomes short, or long."""
        self.world.changes["replication"] = {"deadline": seconds}

    @invariant()
    def nothing_is_broken(self) -> None:
        """What must never happen has not happened."""
        self.judge.look()
        assert self.judge.broken == [], "\n".join(self.judge.broken)

    def teardown(self) -> None:
        """Everything is mended; then the campaign comes to its goal, or says why not."""
        with self.opened:
            if "source" in self.world.changes and not self.judge.broken:
                self._heal()
                for _ in range(4):
                    self._run()
                    self._heal()
                self.nothing_is_broken()
                self._has_come_to_its_goal()

    def _heal(self) -> None:
        lake = self.world.lake
        lake.signed_in, lake.daemons_run = True, True
        self.world.changes["replication"] = {"deadline": "60s"}
        kept = {pfn_of(rse, did) for rse, did in self.judge.theirs}
        for name, rse in lake.rses.items():
            rse.offline = rse.refuses_writes = rse.refuses_deletion = False
            rse.limits.clear()
            lake.heal(name)
            # What a storage would not delete when it was told to, its site cleans away.
            known = {pfn_of(name, did) for did, file in lake.files.items() if name in file.replicas}
            waiting = {
                pfn_of(name, record.did)
                for record in self.world.files()
                if record.state is not FileState.EXPIRING
            }
            dark = set(rse.bytes) - known - kept - waiting
            rse.bytes = {pfn: held for pfn, held in rse.bytes.items() if pfn not in dark}
        self._reap_what_no_rule_holds()
        for _ in range(10):
            self.world.clock.advance(1)

    def _reap_what_no_rule_holds(self) -> None:
        """As Rucio's reaper does in the end with replicas that an ended rule did not purge."""
        lake = self.world.lake
        held = {key for rule in lake.rules.values() for key in rule.locks}
        for record in self.world.files():
            file = lake.files.get(record.did)
            if record.state is not FileState.EXPIRING or file is None:
                continue
            for rse, replica in file.replicas.items():
                if (record.did, rse) not in held and (rse, record.did) not in self.judge.theirs:
                    replica.tombstone = self.world.clock.now()

    def _has_come_to_its_goal(self) -> None:
        if self.outcome is None:
            # The only thing left that may keep a whole run from its end: an empty inbox.
            assert isinstance(self.said, NothingToInject), self.said
            return
        files = self.world.files()
        left = [r for r in files if not self._is_settled(r)]
        assert not left, [(r.did, r.state, r.source, r.failure, r.waits_for) for r in left]
        if {record.state for record in files} <= ENDED:
            assert not self.outcome.changed, "a run that had nothing to do changed something"

    def _is_settled(self, record: FileRecord) -> bool:
        assert self.outcome is not None
        if record.did in self.others.spoiled or record.dataset in self.others.doomed:
            waits = record.waits_for is not None
            return record.failure is not None or waits or record.state in ENDED
        if self.world.campaign.end is None:
            return record.state in ENDED
        told = {*self.outcome.kept, *self.outcome.endless}
        return record.state is FileState.GONE or record.dataset in told


CrashMachine.TestCase.settings = SETTINGS
TestCrashes = CrashMachine.TestCase
if EXAMPLES:
    TestCrashes = pytest.mark.timeout(0)(TestCrashes)
