"""The state of an in-memory lake: what catalogue and storages hold, and the faults a test makes.

`MemoryCatalogue` and `MemoryStorage` are views of it; `memory_daemons` moves it on, a pass each
time that its clock moves.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import CatalogueUnavailable, NotFound
from rucio_inject.domain.replica import ReplicaState
from rucio_inject.domain.rule import LockState, RuleState
from rucio_inject.ports import AttributeValue
from rucio_inject.testing import memory_daemons
from rucio_inject.testing.expressions import matching
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.testing.lake_values import (
    LakeCollection,
    LakeFile,
    LakeReplica,
    LakeRSE,
    LakeRule,
)

RSES: Mapping[str, Mapping[str, AttributeValue]] = {
    "PIC-INJECT": {"site": "PIC", "QOS": "BUFFER"},
    "PIC-DCACHE": {"site": "PIC", "QOS": "SAFE"},
    "INFN-NA-DPM": {"site": "INFN-NAPOLI", "QOS": "CHEAP"},
    "LAPP-FAST": {"site": "LAPP", "QOS": "FAST"},
}


class Crash(BaseException):
    """The process ends here, as `kill -9` would end it: nothing of ours may catch this."""


class MemoryLake:
    """A lake with one injecting account. Every change of the clock is a pass of its daemons."""

    def __init__(
        self,
        clock: FakeClock,
        *,
        account: str = "magic",
        rses: Mapping[str, Mapping[str, AttributeValue]] = RSES,
    ) -> None:
        self.clock = clock
        self.account = account
        self.rses = {name: LakeRSE({name: True, **attributes}) for name, attributes in rses.items()}
        self.scopes: dict[str, str] = {}
        self.files: dict[DID, LakeFile] = {}
        self.collections: dict[DID, LakeCollection] = {}
        self.rules: dict[str, LakeRule] = {}
        self.registrations: list[DID] = []
        """Every file DID that was ever registered, in order."""
        self.lock = threading.RLock()
        self.closed: set[DID] = set()
        """Datasets and containers that take no more."""
        self.unlistable: set[str] = set()
        """RSEs whose storage cannot be listed."""
        self.may_mark_bad = True
        """Whether the account may declare replicas bad; Rucio's generic policy lets root alone."""
        self.daemons_run = True
        self.signed_in = True
        self.down: str | None = None
        self.calls = 0
        self._until_crash, self._fatal = 0, ""
        self._crashed = False
        self._numbers = count(1)
        clock.on_passing(self.daemons)

    def daemons(self) -> None:
        """Let every daemon do one pass."""
        with self.lock:
            if self.daemons_run:
                memory_daemons.one_pass(self)

    def crash_after(self, calls: int, doing: str = "") -> None:
        """End the process after so many calls from now (1 the next), of one method or of all.

        The call has had its effect by then, and nobody has heard of it. Calls that other threads
        of the process make afterwards have none.
        """
        self._until_crash, self._fatal, self._crashed = calls, doing, False

    def no_crash(self) -> None:
        """Forget that the process was to end, or has ended."""
        self._until_crash, self._crashed = 0, False

    def begin_process(self) -> None:
        """Another process begins, if one has ended by a crash."""
        self._crashed = False

    @contextmanager
    def call(self, doing: str) -> Iterator[None]:
        """Around every call from outside: one at a time, and the faults that concern them all."""
        with self.lock:
            self.calls += 1
            if self._crashed:
                raise Crash(f"before {doing}: the process has ended")
            if self.down:
                raise CatalogueUnavailable(f"{doing}: {self.down}")
            yield
            if self._until_crash and self._fatal in {"", doing}:
                self._until_crash -= 1
                if not self._until_crash:
                    self._crashed = True
                    raise Crash(f"after {doing}")

    def rse(self, name: str) -> LakeRSE:
        """An RSE by its name. NotFound if there is no such RSE."""
        if name not in self.rses:
            raise NotFound(f"there is no RSE {name}", hint="`rucio rse list` shows them")
        return self.rses[name]

    def resolve(self, expression: str) -> tuple[str, ...]:
        """The RSEs of an expression, sorted; there may be none."""
        return matching(expression, {name: rse.attributes for name, rse in self.rses.items()})

    def new_rule_id(self) -> str:
        """An id of the form that Rucio gives."""
        return f"{next(self._numbers):032x}"

    def files_of(self, did: DID) -> tuple[DID, ...]:
        """The files of a DID, through all collections."""
        if did in self.files:
            return (did,)
        collection = self.collections.get(did)
        inside = collection.contents if collection else {}
        return tuple(dict.fromkeys(f for child in inside for f in self.files_of(child)))

    def used(self, account: str, rse: str) -> int:
        """Bytes that an account's rules hold on an RSE."""
        return sum(
            self.files[did].measure.size
            for rule in self.rules.values()
            if rule.account == account
            for did, where in rule.locks
            if where == rse
        )

    def room(self, account: str, rse: str) -> int | None:
        """Bytes that an account may still have on an RSE; None is no limit."""
        limit = self.rses[rse].limits.get(account)
        return None if limit is None else limit - self.used(account, rse)

    def replica(self, did: DID, rse: str) -> LakeReplica:
        """A replica that a test knows to be there."""
        return self.files[did].replicas[rse]

    def content(self, did: DID, rse: str) -> bytes | None:
        """What the storage of an RSE has of a file; None if it has nothing."""
        return self.rses[rse].bytes.get(memory_daemons.pfn_of(rse, did))

    def corrupt(self, did: DID, rse: str) -> None:
        """Change one byte of a replica; its size stays."""
        pfn = self.replica(did, rse).pfn
        content = bytearray(self.rses[rse].bytes[pfn])
        content[len(content) // 2] ^= 1
        self.rses[rse].bytes[pfn] = bytes(content)

    def lose(self, did: DID, rse: str) -> None:
        """Delete the bytes of a replica behind the catalogue's back."""
        del self.rses[rse].bytes[self.replica(did, rse).pfn]

    def declare_bad(self, did: DID, rse: str) -> None:
        """Say that a replica is bad: rules that hold it have it made again."""
        self.replica(did, rse).state = ReplicaState.BAD
        self._again([(did, rse)])

    def heal(self, rse: str) -> None:
        """Mend transfers to an RSE; what was stuck there is tried again."""
        self.rses[rse].fails_transfers, self.rses[rse].hangs = None, False
        self._again([key for rule in self.rules.values() for key in rule.locks if key[1] == rse])

    def arrived(self, did: DID, rse: str) -> None:
        """A replica is there, whoever brought it: every rule that holds it has it."""
        self.replica(did, rse).state = ReplicaState.AVAILABLE
        for rule in self.rules.values():
            if (lock := rule.locks.get((did, rse))) is not None:
                lock.state, lock.reason = LockState.OK, None

    def link(self, parent: str, child: str) -> None:
        """Make a rule the parent of another one, as an operator may; not of one that is OK."""
        if self.rules[child].state() is not RuleState.OK:
            self.rules[parent].child_rule_id = child

    def _again(self, keys: list[tuple[DID, str]]) -> None:
        for rule in (rule for rule in self.rules.values() if rule.brings):
            for key in set(keys) & set(rule.locks):
                did, rse = key
                if self.files[did].replicas[rse].state is not ReplicaState.AVAILABLE:
                    rule.locks[key].state = LockState.REPLICATING
