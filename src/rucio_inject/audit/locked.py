"""What the rules of the campaign's account promise of some files, by their locks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from threading import Lock as ThreadLock

from rucio_inject.audit.world import Plan, World
from rucio_inject.domain.did import DID
from rucio_inject.domain.injection import FileRecord
from rucio_inject.domain.rule import LockState

# Of several locks the one that brings a replica counts, then the one that may.
_BRINGS = (LockState.REPLICATING, LockState.STUCK, LockState.OK)


class Locks:
    """Locks by file and RSE. The rules of a dataset are asked once; for several threads."""

    def __init__(self, world: World, plan: Plan) -> None:
        self._world = world
        self._plan = plan
        self._states: dict[tuple[DID, str], LockState] = {}
        self._asked: set[DID] = set()
        self._lock = ThreadLock()

    def of(self, records: Iterable[FileRecord]) -> Mapping[tuple[DID, str], LockState]:
        """The locks on some files, and maybe on others."""
        dids = {did for record in records for did in (record.dataset, record.did)}
        with self._lock:
            if new := sorted(dids - self._asked):
                for rule in self._world.catalogue.rules(new, self._plan.account):
                    self._ask(rule.rule_id)
                self._asked.update(new)
            return self._states

    def _ask(self, rule_id: str) -> None:
        for lock in self._world.catalogue.locks(rule_id):
            key = lock.did, lock.rse
            other = self._states.get(key, lock.state)
            self._states[key] = min(lock.state, other, key=_BRINGS.index)
