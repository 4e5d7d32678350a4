"""Watching Rucio replicate, until every promised replica is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rucio_inject.batches import batches
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import NotFound
from rucio_inject.domain.facts import (
    Fact,
    FileReplicated,
    FileWaits,
    ReplicaReady,
    RuleChanged,
)
from rucio_inject.domain.injection import FileState, RuleRecord
from rucio_inject.domain.rule import RuleState, RuleView, StuckFile
from rucio_inject.ports import Bell, Catalogue
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.locks import Held, look_up_locks, rules_that_keep
from rucio_inject.steps.pace import Pace

WAITING = frozenset({FileState.REPLICATING})
TROUBLED = frozenset({RuleState.STUCK, RuleState.SUSPENDED})
AGAIN = 5.0
"""Seconds between two listings of locks while some still replicate: a listing is dear."""
NO_LOCK = "has no lock for it: Rucio has not evaluated the dataset since the file came"


@dataclass(frozen=True, slots=True)
class Watched:
    """How the watch ended: rules that are not OK, as they were seen last, and whether the deadline
    had passed before there was enough."""

    not_ok: tuple[RuleView, ...] = ()
    late: bool = False


class Watch:
    """Polls the rules of datasets, and believes a file to be replicated when its locks say so.

    A rule that was made while its dataset was empty is OK until Rucio has looked at the files, so
    the rule's state alone proves nothing.
    """

    def __init__(
        self,
        journal: Journal,
        catalogue: Catalogue,
        *,
        account: str,
        deadline: float,
        bell: Bell | None = None,
    ) -> None:
        """`deadline`: seconds from now on that Rucio may take."""
        self._bell = bell
        self._journal = journal
        self._catalogue = catalogue
        self._account = account
        self._deadline = deadline
        self._seen: dict[str, RuleView] = {}
        self._reasons: dict[tuple[DID, str], str] = {}
        self._judged: dict[DID, list[RuleView]] = {}
        # When locks were listed last, and how many of each rule were OK.
        self._listed: dict[DID, tuple[float, list[int]]] = {}

    def run(self, enough: Callable[[], bool] | None = None) -> Watched:
        """Wait until the REPLICATING files are REPLICATED, or `enough` are, or the deadline has
        passed. With `enough` files are told while others of their dataset still replicate.

        A dataset that has lost a rule is not waited for: nothing will come of it in this run.
        """
        self._judged.clear()
        self._listed.clear()
        waiting = list(self._journal.ledger.datasets(WAITING))
        broken: list[DID] = []
        late = False
        pace = Pace(self._journal.clock, self._deadline, self._bell)
        while waiting:
            views = self._look(waiting)
            wanted = rules_that_keep(self._journal.ledger, waiting)
            lost = [dataset for dataset in waiting if self._tell_lost(wanted[dataset], views)]
            broken += lost
            over = pace.over()
            waiting = [
                dataset
                for dataset in waiting
                if dataset not in lost
                and not (
                    self._is_due(dataset, views[dataset], over=over, early=enough is not None)
                    and self._is_through(dataset, views[dataset])
                )
            ]
            if not waiting or (enough is not None and enough()):
                break
            if over:
                late = True
                break
            pace.wait(sum(rule.locks_replicating for rules in views.values() for rule in rules))
        # After less than that nobody wonders yet what a file waits for.
        for dataset in waiting if late else ():
            self._tell_unlocked(dataset)
        left = {*waiting, *broken}
        seen = [view for view in self._seen.values() if view.did in left]
        return Watched(tuple(view for view in seen if view.state is not RuleState.OK), late)

    def _look(self, datasets: Sequence[DID]) -> Mapping[DID, list[RuleView]]:
        """Ask for the rules' states and tell what has changed."""
        wanted = rules_that_keep(self._journal.ledger, datasets)
        ours = {rule.rule_id for rules in wanted.values() for rule in rules}
        views: dict[DID, list[RuleView]] = {dataset: [] for dataset in datasets}
        for view in self._catalogue.rules(datasets, self._account):
            if view.rule_id not in ours:
                continue
            views[view.did].append(view)
            if self._seen.get(view.rule_id) != view:
                self._seen[view.rule_id] = view
                self._journal.tell([RuleChanged(at=self._journal.clock.now(), view=view)])
                if view.state in TROUBLED:
                    self._tell_why_stuck(view)
        return views

    def _tell_why_stuck(self, view: RuleView) -> None:
        """Rucio keeps the reason with each file's lock and requests; only where it could not make
        any (no quota left, no RSE fits) does it keep it with the rule."""
        try:
            stuck = self._catalogue.stuck_files(view.rule_id)
        except NotFound:
            # It ended since it was listed; the next look finds it missing.
            return
        if stuck:
            self._tell_waits(stuck)
        else:
            self._tell_all_wait(view.did, view.rse_expression, view.error or "no reason given")

    def _tell_lost(
        self, wanted: Sequence[RuleRecord], views: Mapping[DID, Sequence[RuleView]]
    ) -> bool:
        """Tell files that a rule of theirs has vanished; whether one has."""
        lost = [r for r in wanted if r.rule_id not in {v.rule_id for v in views[r.dataset]}]
        for rule in lost:
            reason = f"rule {rule.rule_id} is not in Rucio any more; the next run asks for it again"
            self._tell_all_wait(rule.dataset, rule.rse_expression, reason)
        return bool(lost)

    def _tell_all_wait(self, dataset: DID, where: str, reason: str) -> None:
        for files in batches(self._journal.ledger.files(WAITING, dataset=dataset)):
            self._tell_waits([StuckFile(record.did, where, reason, 0) for record in files])

    def _tell_waits(self, stuck: Sequence[StuckFile]) -> None:
        facts: list[Fact] = []
        now = self._journal.clock.now()
        for file in stuck:
            if self._reasons.get((file.did, file.rse)) == file.reason:
                continue
            if self._journal.ledger.file(file.did) is not None:
                self._reasons[file.did, file.rse] = file.reason
                facts.append(FileWaits(at=now, did=file.did, rse=file.rse, reason=file.reason))
        self._journal.tell(facts)

    def _is_due(self, dataset: DID, rules: Sequence[RuleView], *, over: bool, early: bool) -> bool:
        """Whether a dataset's files are to be judged: its rules have changed, and all are settled;
        or the time is `over`. `early`: also once in a while when more locks are OK."""
        some = rules and all(rule.locks_ok for rule in rules)
        if not some or self._judged.get(dataset) == rules:
            return False
        if over or not any(rule.locks_replicating for rule in rules):
            return True
        now = self._journal.clock.monotonic()
        # In the first moments most of them come, and often all.
        at, before = self._listed.setdefault(dataset, (now, []))
        return early and now - at >= AGAIN and [rule.locks_ok for rule in rules] != before

    def _is_through(self, dataset: DID, rules: list[RuleView]) -> bool:
        """Judge a dataset's files by their locks; whether none of them waits any more."""
        # What was seen in the middle of a change is looked at again, changed or not.
        if self._judge(dataset, rules):
            self._judged[dataset] = rules
        oks = [rule.locks_ok for rule in rules]
        self._listed[dataset] = (self._journal.clock.monotonic(), oks)
        return not any(self._journal.ledger.counts(dataset=dataset).get(s) for s in WAITING)

    def _judge(self, dataset: DID, rules: Sequence[RuleView]) -> bool:
        """Tell files that all rules hold; whether all locks were as settled as their rules."""
        held = self._held(rules)
        for files in batches(self._journal.ledger.files(WAITING, dataset=dataset)):
            facts: list[Fact] = []
            for record in files:
                if all(of_rule.keeps(record.did) for of_rule in held):
                    facts += self._replicated(record.did, held)
            self._journal.tell(facts)
        return all(of_rule.settled for of_rule in held)

    def _held(self, rules: Sequence[RuleView]) -> list[Held]:
        return [
            look_up_locks(self._catalogue, rule.rule_id, rule.rse_expression, rule.copies)
            for rule in rules
        ]

    def _tell_unlocked(self, dataset: DID) -> None:
        """Files that a rule does not know of: Rucio sets a dataset aside for minutes if it met
        somebody's change of its rules when it was to evaluate it."""
        seen = [view for view in self._seen.values() if view.did == dataset]
        # Why a STUCK rule has none is told already.
        held = self._held([view for view in seen if view.state not in TROUBLED])
        for files in batches(self._journal.ledger.files(WAITING, dataset=dataset)):
            self._tell_waits(
                [
                    StuckFile(record.did, of_rule.where, f"rule {of_rule.rule_id} {NO_LOCK}", 0)
                    for record in files
                    for of_rule in held
                    if not of_rule.of(record.did)
                ]
            )

    def _replicated(self, did: DID, held: Sequence[Held]) -> list[Fact]:
        now = self._journal.clock.now()
        rses = tuple(sorted({lock.rse for of_rule in held for lock in of_rule.of(did)}))
        ready: list[Fact] = [ReplicaReady(at=now, did=did, rse=rse) for rse in rses]
        return [*ready, FileReplicated(at=now, did=did, rses=rses)]
