"""Watching Rucio replicate, until every promised replica is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rucio_inject.domain.did import DID
from rucio_inject.domain.facts import (
    Fact,
    FileReplicated,
    FileWaits,
    ReplicaReady,
    RuleChanged,
)
from rucio_inject.domain.injection import FileRecord, FileState, RuleRecord
from rucio_inject.domain.rule import Lock, LockState, RuleState, RuleView
from rucio_inject.ports import Catalogue
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.organise import in_cycle_order
from rucio_inject.steps.pace import Pace


@dataclass(frozen=True, slots=True)
class Watched:
    """How the watch ended: rules that are not OK, as they were seen last."""

    not_ok: tuple[RuleView, ...] = ()


class Watch:
    """Polls the rules of datasets, and believes a file to be replicated when its locks say so.

    A rule that was made while its dataset was empty is OK until Rucio has looked at the files, so
    the rule's state alone proves nothing.
    """

    def __init__(
        self, journal: Journal, catalogue: Catalogue, *, account: str, deadline: float
    ) -> None:
        """`deadline`: seconds from now on that Rucio may take."""
        self._journal = journal
        self._catalogue = catalogue
        self._account = account
        self._deadline = deadline
        self._seen: dict[str, RuleView] = {}
        self._reasons: dict[tuple[DID, str], str] = {}
        self._judged: dict[DID, list[RuleView]] = {}

    def run(self, files: Sequence[FileRecord]) -> Watched:
        """Wait until the REPLICATING ones are REPLICATED, or the deadline has passed."""
        waiting = {r.did: r for r in files if r.state is FileState.REPLICATING}
        pace = Pace(self._journal.clock, self._deadline)
        while waiting:
            views = self._look(in_cycle_order(list(waiting.values())))
            for record in self._replicated(waiting, views):
                del waiting[record.did]
            if not waiting or pace.over():
                break
            pace.wait()
        if not waiting:
            return Watched()
        not_ok = [view for view in self._seen.values() if view.state is not RuleState.OK]
        return Watched(tuple(not_ok))

    def _look(self, datasets: Sequence[DID]) -> Mapping[DID, list[RuleView]]:
        """Ask for the rules' states and tell what has changed."""
        ours = {rule.rule_id for rule in self._live_rules()}
        views: dict[DID, list[RuleView]] = {dataset: [] for dataset in datasets}
        facts: list[Fact] = []
        for view in self._catalogue.rules(datasets, self._account):
            if view.rule_id not in ours:
                continue
            views[view.did].append(view)
            if self._seen.get(view.rule_id) != view:
                self._seen[view.rule_id] = view
                facts.append(RuleChanged(at=self._journal.clock.now(), view=view))
                facts += self._why_stuck(view)
        self._journal.tell(facts)
        return views

    def _live_rules(self) -> list[RuleRecord]:
        return [rule for rule in self._journal.ledger.rules() if rule.gone_at is None]

    def _why_stuck(self, view: RuleView) -> list[Fact]:
        """Rucio keeps the reason with each file's lock and requests, not with the rule."""
        if view.state not in {RuleState.STUCK, RuleState.SUSPENDED}:
            return []
        facts: list[Fact] = []
        for stuck in self._catalogue.stuck_files(view.rule_id):
            known = self._journal.ledger.file(stuck.did)
            if known is not None and self._reasons.get((stuck.did, stuck.rse)) != stuck.reason:
                self._reasons[stuck.did, stuck.rse] = stuck.reason
                now = self._journal.clock.now()
                facts.append(FileWaits(at=now, did=stuck.did, rse=stuck.rse, reason=stuck.reason))
        return facts

    def _replicated(
        self, waiting: Mapping[DID, FileRecord], views: Mapping[DID, list[RuleView]]
    ) -> list[FileRecord]:
        """Files whose every lock is OK, of datasets that may have such files."""
        done: list[FileRecord] = []
        wanted: dict[DID, int] = {}
        for rule in self._live_rules():
            wanted[rule.dataset] = wanted.get(rule.dataset, 0) + 1
        for dataset, rules in views.items():
            complete = len(rules) == wanted.get(dataset, 0)
            settled = all(rule.locks_ok and not rule.locks_replicating for rule in rules)
            if complete and settled and self._judged.get(dataset) != rules:
                self._judged[dataset] = rules
                here = [record for record in waiting.values() if record.dataset == dataset]
                done += self._by_locks(here, rules)
        return done

    def _by_locks(self, files: Sequence[FileRecord], rules: Sequence[RuleView]) -> list[FileRecord]:
        locks = [self._locks_by_file(rule.rule_id) for rule in rules]
        done: list[FileRecord] = []
        facts: list[Fact] = []
        now = self._journal.clock.now()
        for record in files:
            held = [of_rule.get(record.did, []) for of_rule in locks]
            enough = all(
                len(mine) >= rule.copies and all(lock.state is LockState.OK for lock in mine)
                for mine, rule in zip(held, rules, strict=True)
            )
            if not enough:
                continue
            rses = sorted({lock.rse for mine in held for lock in mine})
            facts += [ReplicaReady(at=now, did=record.did, rse=rse) for rse in rses]
            facts.append(FileReplicated(at=now, did=record.did))
            done.append(record)
        self._journal.tell(facts)
        return done

    def _locks_by_file(self, rule_id: str) -> dict[DID, list[Lock]]:
        by_file: dict[DID, list[Lock]] = {}
        for lock in self._catalogue.locks(rule_id):
            by_file.setdefault(lock.did, []).append(lock)
        return by_file
