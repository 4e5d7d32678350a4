"""An origin RSE that is freed, among crashes and other people: nothing goes before it is proved,
and never a last replica.

A long search: `CRASH_MACHINE_EXAMPLES=2000 pytest tests/property/test_origin_machine.py
--hypothesis-seed=1`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.in_memory import quick_folder
from tests.injection_world import HOLDERS, NAMES, SCOPE, World
from tests.property.machine_judge import AtOnce, Judge, WatchedWorld
from tests.property.machine_others import SITES, Others
from tests.property.test_crash_machine import EXAMPLES, NUMBERS, SETTINGS

from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import InjectError, LedgerError
from rucio_inject.domain.injection import FileRecord, FileState, SourceCopy
from rucio_inject.domain.replica import ReplicaState
from rucio_inject.domain.rule import LockState, RuleRequest
from rucio_inject.outcome import Outcome
from rucio_inject.testing.contracts.world import measured
from rucio_inject.testing.lake_values import LakeRule
from rucio_inject.testing.memory_catalogue import MemoryCatalogue
from rucio_inject.testing.memory_daemons import evaluate
from rucio_inject.testing.memory_lake import Crash

ORIGIN = "PIC-INJECT"
MORE_NAMES = (*NAMES, NAMES[2].replace("05089064", "05089065"))
EXPRESSIONS = ("PIC-DCACHE", "INFN-NA-DPM", "QOS=FAST", "QOS=BUFFER|QOS=SAFE")
FREES = {"kind": "rse", "folder": "raw", "free": True, "lifetime": "5s"}


def pfn(name: str) -> str:
    """Where the telescope puts a file."""
    return f"memory://{ORIGIN}/raw/{name}"


class OriginJudge(Judge):
    """Looks on at what is done to files at the origin."""

    def __init__(self, world: World, folder: Path) -> None:
        super().__init__(world, folder)
        self.originals: dict[DID, bytes] = {}
        """What the telescope has written there."""
        self.asked: set[DID] = set()
        """Files whose rule there we have ended."""
        self.let_go: set[DID] = set()
        """Files whose rule there others have ended."""

    def on_record(self, facts: Sequence[f.Fact]) -> None:
        """Facts are in the ledger."""
        super().on_record(facts)
        for fact in facts:
            if isinstance(fact, f.SourceKept):
                self.asked.discard(fact.did)

    def _is_good(self, record: FileRecord, rse: str) -> bool:
        if (record.did, rse) in self.spoiled_now:
            return True
        known = self.lake.files.get(record.did)
        replica = known.replicas.get(rse) if known else None
        content = self.lake.rses[rse].bytes.get(replica.pfn) if replica else None
        assert record.measure is not None
        return content is not None and not record.measure.differences(measured(content))

    def _was_seen_to_go(self, did: DID) -> None:
        known = self.lake.files.get(did)
        if pfn(did.name) in self.lake.rses[ORIGIN].bytes or (known and ORIGIN in known.replicas):
            self.broken.append(f"{did} is said to be freed, and is at its origin")

    def _has_good_replicas(self, did: DID, when: str) -> None:
        """Without the origin's, from when that is given up."""
        record = self.records[did]
        among = {rse for rse in self.lake.rses if not record.leaves(rse)}
        good = {rse for rse in among if self._is_good(record, rse)}
        for wanted in self.world.campaign.rules:
            if len(good.intersection(self.lake.resolve(wanted.rse_expression))) < wanted.copies:
                self.broken.append(f"{did} is not at {wanted.rse_expression} {when}")

    def end_rule(self, rule_id: str) -> None:
        """A rule is about to be ended by us."""
        ended = self.lake.rules.get(rule_id)
        if ended is None:
            return
        if ended.request.rse_expression != ORIGIN or rule_id in self.their_rules:
            self.broken.append(f"a rule to {ended.request.rse_expression} is ended")
        alone = self.records.get(ended.did)
        if (alone.dataset if alone else ended.did) not in self.lake.closed:
            self.broken.append(f"the rule of {ended.did} is ended, and more may come")
        for did in self.lake.files_of(ended.did):
            record = self.records.get(did)
            if record is None or record.state is not FileState.VERIFIED:
                state = record and record.state
                if ended.did not in self.raced:
                    self.broken.append(f"the rule is ended that keeps {did}, which is {state}")
                continue
            if record.source is not SourceCopy.FREEING:
                self.broken.append(f"it is not on record that {did} is to be freed")
            self._has_good_replicas(did, "when its origin's rule was ended")
            self.asked.add(did)

    def after_run(self) -> None:
        """The command has come to its end, and nobody did anything meanwhile."""
        for record in self.records.values():
            known = self.lake.files.get(record.did)
            there = known.replicas.get(ORIGIN) if known else None
            if record.source is not SourceCopy.FREEING or there is None or there.tombstone is None:
                continue
            refused = record.failure is not None and "refuses a rule" in record.failure.reason
            if there.state is ReplicaState.AVAILABLE and not self._is_held(record) and not refused:
                self.broken.append(f"{record.did} is left to the reaper, and is not held elsewhere")

    def _is_held(self, record: FileRecord) -> bool:
        """Whether rules of ours, which do not end, hold all that is promised of a file."""
        rules = [
            rule
            for rule_id, rule in self.lake.rules.items()
            if rule.did == record.dataset and rule_id not in self.their_rules
        ]
        return all(
            any(
                rule.request.rse_expression == wanted.rse_expression
                and rule.expires_at is None
                and self._holds(rule, record.did)
                for rule in rules
            )
            for wanted in self.world.campaign.rules
        )

    def _holds(self, rule: LakeRule, did: DID) -> bool:
        locks = [lock for (locked, _), lock in rule.locks.items() if locked == did]
        return bool(locks) and all(lock.state is LockState.OK for lock in locks)

    def look(self) -> None:
        """After every step."""
        held = self.lake.rses[ORIGIN].bytes
        for did, content in self.originals.items():
            there = held.get(pfn(did.name))
            if there not in {None, content}:
                self.broken.append(f"{did} was written anew at its origin")
            if there is None and did not in self.asked | self.let_go:
                self.broken.append(f"{did} has gone from its origin, and nobody was to take it")
        for rule_id in self.their_rules:
            for did, rse in self.lake.rules[rule_id].locks:
                ours = rse == ORIGIN and did in self.originals and did not in self.let_go
                if ours and pfn(did.name) not in held:
                    self.broken.append(f"{did} has gone from its origin, where others keep it")
        for record in self.world.files():
            if record != self.records[record.did]:
                self.broken.append(f"{record} is on record, for {self.records[record.did]}")


class OriginOthers(Others):
    """What others do to rules at the origin takes files from there, too."""

    judge: OriginJudge

    def _let_go(self, rule_id: str) -> None:
        super()._let_go(rule_id)
        ended = self.lake.rules[rule_id]
        if ended.request.rse_expression == ORIGIN:
            self.judge.let_go.update(self.lake.files_of(ended.did))

    def keep_at_origin(self, rse: str, number: int) -> None:
        """Somebody has a rule of theirs on a file of ours, or on its dataset, at the origin."""
        known = [did for did in self.judge.originals if did in self.lake.files]
        for did in self._one(known, number):
            if ORIGIN not in self.lake.files[did].replicas:
                continue
            dataset = self.judge.records[did].dataset if number % 2 else did
            if dataset != did and dataset not in self.lake.collections:
                continue
            rule_id = f"theirs-{len(self.judge.their_rules)}"
            made = self.lake.rules[rule_id] = LakeRule(dataset, RuleRequest(ORIGIN), "telescope")
            # As Rucio does within the call: what was to be reaped stays.
            evaluate(self.lake, made)
            self.judge.their_rules.add(rule_id)

    def reaper_stays_away(self, rse: str, number: int) -> None:
        """Rucio is told to delete nothing at the origin for a while."""
        self.lake.rses[ORIGIN].unreaped = True

    def reaper_comes(self, rse: str, number: int) -> None:
        """It may delete there again."""
        self.lake.rses[ORIGIN].unreaped = False

    def keep_no_more(self, rse: str, number: int) -> None:
        """They need it no more."""
        theirs = sorted(self.judge.their_rules)
        for rule_id in theirs[number % len(theirs) :][:1] if theirs else ():
            del self.lake.rules[rule_id]
            self.judge.their_rules.discard(rule_id)


Action = Callable[[OriginOthers, str, int], None]
ACTS: tuple[Action, ...] = (
    Others.corrupt,
    Others.lose,
    Others.declare_bad,
    Others.delete_rule,
    Others.expire_rule,
    Others.chain,
    Others.detach,
    Others.erase_dataset,
    Others.attach_stranger,
    OriginOthers.keep_at_origin,
    OriginOthers.keep_no_more,
    OriginOthers.reaper_stays_away,
    OriginOthers.reaper_comes,
)


class OriginMachine(RuleBasedStateMachine):
    """Runs one campaign again and again; other rules are what happens in between and meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = ExitStack()
        self.folder = self.opened.enter_context(quick_folder())
        self.opened.enter_context(patch("rucio_inject.steps.pool.ThreadPoolExecutor", AtOnce))
        self.world = WatchedWorld(self.folder)
        self.judge = OriginJudge(self.world, self.folder)
        self.world.judge = self.judge
        self.others = OriginOthers(self.world, self.judge)
        self.meanwhile: dict[int, tuple[Action, str, int]] = {}
        self.down = range(0)
        self.outcome: Outcome | None = None
        self.world.lake.rses[ORIGIN].bytes[pfn(".keep")] = b""
        self.world.changes |= {
            "end": None,
            "source": FREES,
            "naming": {"closing": {"quiet": "1s"}},
            "access": {"workers": 2},
        }
        self._watch_the_lake()

    def _watch_the_lake(self) -> None:
        lake, catalogue, judge = self.world.lake, self.world.catalogue, self.judge
        call, real = lake.call, MemoryCatalogue(lake)

        def watched_call(doing: str) -> Any:
            lake.down = "connection refused" if lake.calls in self.down else None
            if self.others.running and (act := self.meanwhile.pop(lake.calls, None)):
                action, rse, number = act
                action(self.others, rse, number)
            return call(doing)

        def end_rule(rule_id: str, lifetime: int, child: str | None = None) -> None:
            judge.end_rule(rule_id)
            real.end_rule(rule_id, lifetime, child)

        lake.call = watched_call  # type: ignore[method-assign]
        catalogue.end_rule = end_rule  # type: ignore[method-assign]

    @initialize(files=st.integers(1, 4), lifetime=st.sampled_from([None, "1s", "60s", "60s"]))
    def begin(self, files: int, lifetime: str | None) -> None:
        """The telescope has written some files."""
        for name in MORE_NAMES[:files]:
            self._write(name)
        free = {"free": True, "lifetime": lifetime} if lifetime else {}
        self.world.changes["source"] = {"kind": "rse", "folder": "raw", **free}

    def _write(self, name: str) -> None:
        did, held = DID(SCOPE, name), self.world.lake.rses[ORIGIN].bytes
        if did not in self.judge.originals:
            self.judge.originals[did] = held[pfn(name)] = f"events of {name}".encode()

    def _run(self) -> None:
        self.judge.begin_run()
        alone = not self.meanwhile and not self.down
        self.others.running, self.outcome = True, None
        try:
            self.outcome = self.world.run()
            if alone:
                self.judge.after_run()
        except Crash:
            pass
        except LedgerError as error:
            self.judge.broken.append(f"the ledger was told what cannot be: {error}")
        except InjectError:
            pass
        finally:
            self.others.running = False
            self.meanwhile.clear()
            self.world.lake.no_crash()
            self.world.clock.go_on()

    @rule()
    def run(self) -> None:
        """The command is given."""
        self._run()

    @rule()
    def run_until_all_are_closed(self) -> None:
        """The command is given twice, with some time between."""
        self._run()
        self.time_passes(2)
        self._run()

    @rule(
        action=st.sampled_from([Others.declare_bad, Others.delete_rule, Others.expire_rule]),
        rse=st.sampled_from([rse for rse in HOLDERS if rse != ORIGIN]),
        number=NUMBERS,
        crash=st.one_of(st.just(0), st.integers(1, 40)),
    )
    def run_before_the_reaper(self, action: Action, rse: str, number: int, crash: int) -> None:
        """Rules have ended at the origin, and its files are there still; then somebody takes away
        what is promised, and the command is given."""
        self.world.changes["source"] = FREES
        self.others.reaper_stays_away(rse, number)
        self.run_until_all_are_closed()
        self.time_passes(8)
        action(self.others, rse, number)
        self.world.lake.crash_after(crash)
        self._run()
        self._run()
        self.others.reaper_comes(rse, number)

    @rule(calls=st.integers(1, 120))
    def run_and_crash(self, calls: int) -> None:
        """The process is killed after a call, or after something was put on record."""
        self.world.lake.crash_after(calls)
        self._run()

    @rule(
        doing=st.sampled_from(
            [
                "told",
                "end_rule",
                "keep_rule",
                "add_rules",
                "hold",
                "holders",
                "close",
                "look_up",
                "exists",
                "measure",
            ]
        ),
        times=st.integers(1, 4),
    )
    def run_and_crash_after(self, doing: str, times: int) -> None:
        """The process is killed after a call of a kind."""
        self.world.lake.crash_after(times, doing)
        self._run()

    @rule(
        acts=st.lists(
            st.tuples(
                st.sampled_from([*SITES, *ACTS]),
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

    @rule(seconds=st.integers(1, 20))
    def time_passes(self, seconds: int) -> None:
        """Daemons do what they do."""
        for _ in range(seconds):
            self.world.clock.advance(1)

    @rule(action=st.sampled_from(SITES), rse=st.sampled_from(HOLDERS), number=NUMBERS)
    def a_site(self, action: Action, rse: str, number: int) -> None:
        """A site has trouble, or mends it."""
        action(self.others, rse, number)

    @rule(action=st.sampled_from(ACTS), rse=st.sampled_from(HOLDERS), number=NUMBERS)
    def somebody_acts(self, action: Action, rse: str, number: int) -> None:
        """Somebody takes away what we made, or keeps what we would free."""
        action(self.others, rse, number)

    @rule(name=st.sampled_from(MORE_NAMES))
    def a_file_is_written(self, name: str) -> None:
        """The telescope writes one more."""
        self._write(name)

    @rule(
        free=st.booleans(),
        lifetime=st.sampled_from(["1s", "5s", "60s"]),
        high=st.sampled_from([None, None, 0.01, 0.5, 1.0]),
    )
    def the_campaign_frees_or_not(self, free: bool, lifetime: str, high: float | None) -> None:
        """Somebody changes how the origin is freed."""
        marks = {"high": high, "low": high, "capacity": 200} if high else None
        more = {"free": True, "lifetime": lifetime, "watermark": marks} if free else {}
        self.world.changes["source"] = {"kind": "rse", "folder": "raw", **more}

    @rule(asked=st.lists(st.sampled_from(EXPRESSIONS), min_size=1, unique=True))
    def the_campaign_asks_for(self, asked: list[str]) -> None:
        """A rule is dropped, or added; one of them may find its copy at the origin."""
        self.world.changes["rules"] = [{"rse_expression": expression} for expression in asked]

    @rule(sample=st.sampled_from([None, "50%", 1]))
    def the_campaign_reads(self, sample: str | int | None) -> None:
        """A sample is read back from now on, or everything."""
        self.world.changes["access"] = {"workers": 2, "sample": sample}

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
        """Everything is mended; then all is freed, or the campaign says why not."""
        with self.opened:
            if self.judge.originals and not self.judge.broken:
                self.world.changes["source"] = FREES
                self.world.changes["replication"] = {"deadline": "60s"}
                for _ in range(6):
                    self._heal()
                    self._run()
                self.nothing_is_broken()
                self._is_freed_or_told()

    def _heal(self) -> None:
        lake = self.world.lake
        lake.signed_in, lake.daemons_run = True, True
        for name, rse in lake.rses.items():
            rse.offline = rse.refuses_writes = rse.refuses_deletion = rse.unreaped = False
            rse.limits.clear()
            lake.heal(name)
        # What a storage would not delete when it was told to, its site cleans away.
        for record in self.world.files():
            known = lake.files.get(record.did)
            given_up = record.source is not SourceCopy.KEPT
            if given_up and (known is None or ORIGIN not in known.replicas):
                lake.rses[ORIGIN].bytes.pop(record.path, None)
        self.time_passes(10)

    def _is_freed_or_told(self) -> None:
        outcome = self.outcome
        assert outcome is not None
        told = {*outcome.staying, *outcome.leaving}
        failed = {record.dataset for record in self.world.files() if record.failure is not None}
        left = [
            record
            for record in self.world.files()
            if record.source is not SourceCopy.FREED
            and record.dataset not in told | failed
            and record.did not in self.others.spoiled
            and record.dataset not in self.others.doomed | self.judge.raced
        ]
        assert not left, [(r.did, r.state, r.source, r.failure, r.waits_for) for r in left]


OriginMachine.TestCase.settings = SETTINGS
TestOrigin = OriginMachine.TestCase
if EXAMPLES:
    TestOrigin = pytest.mark.timeout(0)(TestOrigin)
