"""A campaign in numbers, as its facts add up: what every kind of metrics is made of."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.injection import FileState, reached
from rucio_inject.domain.rule import RuleState
from rucio_inject.domain.usage import Usage
from rucio_inject.ports import Ledger


@dataclass(frozen=True, slots=True)
class Locks:
    """Locks of a rule, or of all rules to one place: one a file and RSE."""

    ok: int = 0
    replicating: int = 0
    stuck: int = 0

    def __add__(self, other: Locks) -> Locks:
        return Locks(
            self.ok + other.ok, self.replicating + other.replicating, self.stuck + other.stuck
        )


@dataclass(frozen=True, slots=True)
class RuleNow:
    """A rule as it was seen last; `locks` is None until Rucio was asked for it."""

    dataset: DID
    rse_expression: str
    state: RuleState
    locks: Locks | None = None


@dataclass(frozen=True, slots=True)
class Numbers:
    """A campaign at a moment.

    `files` are those of the cycle begun last, by state; `rules` those of that cycle that are not
    gone. Counters grow from the moment that somebody began to look: `facts` by their kind, `failed`
    files by code, `runs` by exit code.
    """

    campaign: str
    cycle: int
    ended: bool
    files: Mapping[FileState, Usage]
    rules: Sequence[RuleNow]
    datasets: int
    containers: int
    counts: Mapping[str, f.RSECounted] = field(default_factory=dict)
    facts: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    runs: Mapping[int, int] = field(default_factory=dict)
    read_back_bytes: int = 0
    run_begun: datetime | None = None
    run_ended: f.RunEnded | None = None
    running: bool = False
    next_run: datetime | None = None

    def rules_in(self, *states: RuleState) -> int:
        """How many rules are in one of these states."""
        return sum(rule.state in states for rule in self.rules)

    @property
    def locks(self) -> Mapping[str, Locks]:
        """Locks by the RSE expression of their rules, as far as they are known."""
        known: dict[str, Locks] = {}
        for rule in self.rules:
            if rule.locks is not None:
                known[rule.rse_expression] = known.get(rule.rse_expression, Locks()) + rule.locks
        return known

    @property
    def files_in_lake(self) -> int:
        """Files that the catalogue has because of us, as far as is on record."""
        return sum(
            used.files
            for state, used in self.files.items()
            if reached(state, FileState.REGISTERED) and state is not FileState.GONE
        )


class Tally:
    """An onlooker that adds up what the ledger does not tell at a glance."""

    def __init__(
        self, campaign: str, counted: Callable[[], Sequence[f.RSECounted]] = tuple
    ) -> None:
        """`counted` gives the last counts of RSEs that are on record."""
        self._campaign = campaign
        self._counted = counted
        self._lock = threading.Lock()
        self._primed = False
        self._rules: dict[str, RuleNow] = {}
        self._counts: dict[str, f.RSECounted] = {}
        self._facts: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._runs: Counter[int] = Counter()
        self._read_back_bytes = 0
        self._cycle: int | None = None
        self._begun: datetime | None = None
        self._ended: f.RunEnded | None = None
        self._running = False

    def record(self, facts: Sequence[f.Fact]) -> None:
        """See `ports.FactSink`."""
        with self._lock:
            for fact in facts:
                self._facts[type(fact).__name__] += 1
                self._take(fact)

    def know_run(self, begun: datetime, ended: f.RunEnded | None) -> None:
        """Take the last run that is on record for the last one, unless another was seen since."""
        with self._lock:
            if self._begun is None:
                self._begun, self._ended = begun, ended

    def _take(self, fact: f.Fact) -> None:  # noqa: C901 -- a flat table
        match fact:
            case f.CycleBegun():
                if fact.cycle != self._cycle:
                    self._rules.clear()
                self._cycle, self._primed = fact.cycle, self._primed or fact.cycle != self._cycle
            case f.RuleMade():
                request = fact.request
                made = RuleNow(fact.dataset, request.rse_expression, RuleState.INJECT)
                self._rules[fact.rule_id] = made
            case f.RuleChanged():
                view = fact.view
                locks = Locks(view.locks_ok, view.locks_replicating, view.locks_stuck)
                now = RuleNow(view.did, view.rse_expression, view.state, locks)
                self._rules[view.rule_id] = now
            case f.RuleGone():
                self._rules.pop(fact.rule_id, None)
            case f.RSECounted():
                self._counts[fact.rse] = fact
            case f.FileFailed():
                self._failed[fact.code] += 1
            case f.ReplicaRead():
                self._read_back_bytes += fact.measure.size
            case f.RunBegun():
                self._begun, self._running = fact.at, True
            case f.RunEnded():
                self._ended, self._running = fact, False
                self._runs[fact.code] += 1
            case _:
                pass

    def numbers(self, ledger: Ledger, *, next_run: datetime | None = None) -> Numbers:
        """All of it now, with what the ledger tells."""
        self._prime(ledger)
        collections = ledger.collections()
        usage, cycle, ended = ledger.usage(), ledger.cycle, ledger.cycle_ended
        with self._lock:
            rules = tuple(self._rules.values())
            datasets = {rule.dataset for rule in rules}
            return Numbers(
                campaign=self._campaign,
                cycle=cycle,
                ended=ended,
                files=usage,
                rules=rules,
                datasets=len(datasets),
                containers=len(collections - datasets),
                counts=dict(self._counts),
                facts=dict(self._facts),
                failed=dict(self._failed),
                runs=dict(self._runs),
                read_back_bytes=self._read_back_bytes,
                run_begun=self._begun,
                run_ended=self._ended,
                running=self._running,
                next_run=next_run,
            )

    def _prime(self, ledger: Ledger) -> None:
        """Learn from the record, once, of rules and counts that were there before we looked."""
        with self._lock:
            if self._primed:
                return
        known = {
            rule.rule_id: RuleNow(rule.dataset, rule.rse_expression, rule.state)
            for rule in ledger.rules()
            if rule.gone_at is None
        }
        counts = {count.rse: count for count in self._counted()}
        with self._lock:
            if not self._primed:
                # What was seen since is newer.
                self._rules, self._primed = {**known, **self._rules}, True
                self._counts = {**counts, **self._counts}
