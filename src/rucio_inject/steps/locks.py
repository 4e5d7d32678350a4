"""Which files the rules of a dataset hold, by their locks: a rule's state alone proves nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rucio_inject.domain.did import DID
from rucio_inject.domain.injection import RuleRecord
from rucio_inject.domain.rule import Lock, LockState
from rucio_inject.ports import Catalogue, Ledger


def rules_that_keep(ledger: Ledger, datasets: Iterable[DID]) -> dict[DID, list[RuleRecord]]:
    """The rules that keep some datasets, as far as the record tells."""
    wanted: dict[DID, list[RuleRecord]] = {dataset: [] for dataset in datasets}
    for rule in ledger.rules(datasets=wanted):
        if rule.gone_at is None and rule.ending_at is None:
            wanted[rule.dataset].append(rule)
    return wanted


@dataclass(frozen=True, slots=True)
class Held:
    """The locks of one rule, by file."""

    rule_id: str
    where: str
    copies: int
    locks: Mapping[DID, Sequence[Lock]]

    def of(self, did: DID) -> Sequence[Lock]:
        """The rule's locks on a file."""
        return self.locks.get(did, ())

    def keeps(self, did: DID) -> bool:
        """Whether the file is everywhere where the rule wants it."""
        mine = self.of(did)
        return len(mine) >= self.copies and all(lock.state is LockState.OK for lock in mine)

    @property
    def settled(self) -> bool:
        """Whether no lock is still to become OK."""
        return not any(
            lock.state is LockState.REPLICATING for mine in self.locks.values() for lock in mine
        )


def look_up_locks(catalogue: Catalogue, rule_id: str, where: str, copies: int) -> Held:
    """Ask for the locks of a rule to `where`."""
    locks: dict[DID, list[Lock]] = {}
    for lock in catalogue.locks(rule_id):
        locks.setdefault(lock.did, []).append(lock)
    return Held(rule_id, where, copies, locks)
