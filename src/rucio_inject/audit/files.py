"""Files on record, against what the catalogue and the storages hold of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

from rucio_inject.audit.absent import Absent
from rucio_inject.audit.findings import Finding, Kind, Repair
from rucio_inject.audit.locked import Locks
from rucio_inject.audit.reading import Looked, conflict, look_at, reached_state
from rucio_inject.audit.world import Plan, Unseen, World
from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import StorageError, StorageRefused
from rucio_inject.domain.injection import FileRecord, FileState, SourceCopy
from rucio_inject.domain.replica import ReplicaState
from rucio_inject.domain.rule import LockState
from rucio_inject.domain.story import replicas_left
from rucio_inject.ports import KnownFile

PROVED = frozenset({FileState.REPLICATED, FileState.VERIFIED})
ATTACHED = PROVED | {FileState.REPLICATING}
"""In their datasets."""
IN_LAKE = ATTACHED | {FileState.REGISTERED}
"""In the catalogue, with a replica at the upload RSE."""
COMING = frozenset({FileState.MEASURED, FileState.UPLOADED})

Known: TypeAlias = Mapping[DID, KnownFile]


@dataclass(frozen=True, slots=True)
class Replica:
    """An AVAILABLE replica that the catalogue has of a file on record."""

    record: FileRecord
    rse: str
    pfn: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A replica that was looked at: what came of it, or why none knows."""

    replica: Replica
    outcome: Looked | StorageError


AS_LOCKED = {
    LockState.REPLICATING: ("{} is bringing it", "let Rucio work, then run the audit again"),
    LockState.OK: (
        "{} holds it, and has yet to bring it anew",
        "let Rucio work, then run the audit again",
    ),
    LockState.STUCK: (
        "{} should bring it, and its lock is STUCK: a transfer failed",
        "Rucio tries again by itself; mend the reason, which is told with the rule",
    ),
}
"""What a lock on a replica that is not there says of it, and what is to be done."""


def promised(record: FileRecord) -> tuple[str, ...]:
    """RSEs that should hold a file by what was proved of it."""
    held = [rse for rse in replicas_left(record.replicas) if not record.leaves(rse)]
    if reached_state(record) in PROVED:
        return tuple(held)
    return tuple(rse for rse in held if rse == record.upload_rse)


def was_proved(record: FileRecord, rse: str) -> bool:
    """Whether a replica was ever proved to be on an RSE that should hold it."""
    replica = record.replicas.get(rse)
    if replica is None or replica.gone_at is not None or record.leaves(rse):
        return False
    # What is set back because a replica is made anew keeps what was read of it.
    return reached_state(record) in PROVED or replica.read_back is not None


class LookAtFiles:
    """Compares some files at a time: two calls to the catalogue, and one to the storage for each
    replica."""

    def __init__(self, world: World, plan: Plan, unseen: Unseen) -> None:
        self._world = world
        self._plan = plan
        self._unseen = unseen
        self._ending = world.ending()
        self._locks = Locks(world, plan)
        self.absent = Absent(unseen)
        """What is not there, where nothing else was there either."""
        self.replicas = 0
        """How many were looked at."""

    def findings(self, records: Sequence[FileRecord]) -> Iterator[Finding]:
        """What is wrong with these files, where they are or should be in the lake."""
        chosen = [
            record
            for record in records
            if reached_state(record) in IN_LAKE | COMING and record.dataset not in self._ending
        ]
        if not chosen:
            return
        known = self._world.catalogue.look_up([record.did for record in chosen])
        inside = [record for record in chosen if reached_state(record) in IN_LAKE]
        by_did = {record.did: record for record in chosen}
        for finding in (
            *self._content(inside, known),
            *self._missing(inside, known),
            *self._not_available(chosen, known),
            *self._on_storage(inside, known),
        ):
            # A run beside us may have gone on with the file since.
            did = finding.did
            if did is None or self._world.ledger.file(did) != by_did[did]:
                continue
            if finding.kind is Kind.LOST:
                self.absent.take(finding)
            else:
                yield finding
        yield from self.absent.certain()

    def _content(self, records: Iterable[FileRecord], known: Known) -> Iterator[Finding]:
        for record in records:
            other = conflict(known.get(record.did), record)
            if other is not None:
                yield Finding(
                    Kind.CONTENT,
                    record.did,
                    there=other.there,
                    expected=other.expected,
                    evidence=f"measured {record.measured_at}",
                    hint="a DID is for ever: find out who registered it anew, with other content",
                )

    def _missing(self, records: Iterable[FileRecord], known: Known) -> Iterator[Finding]:
        for record in records:
            there = known[record.did].replicas if record.did in known else {}
            for rse in promised(record):
                if rse not in there:
                    yield self._missing_at(record, rse, in_catalogue=record.did in known)

    def _missing_at(self, record: FileRecord, rse: str, *, in_catalogue: bool) -> Finding:
        evidence, bytes_there = self._bytes(record, rse)
        ours = not (record.adopted and rse == record.upload_rse)
        what = "no replica there" if in_catalogue else "not in the catalogue"
        return Finding(
            Kind.MISSING,
            record.did,
            there=what,
            expected="an AVAILABLE replica",
            evidence=evidence,
            rse=rse,
            pfn=record.replicas[rse].pfn,
            repair=Repair.REGISTER if bytes_there and ours else None,
            hint=None
            if bytes_there and ours
            else "a rule brings it anew if another replica is there: run the campaign again; "
            + _about_source(record),
        )

    def _bytes(self, record: FileRecord, rse: str) -> tuple[str, bool]:
        """What the storage shows where a replica was, and whether it may be the right bytes."""
        pfn = record.replicas[rse].pfn
        if pfn is None or record.measure is None:
            return "where its bytes were is not on record", False
        if (away := self._unseen.away(rse)) is not None:
            return away.message, False
        try:
            found = self._world.storage.stat(rse, pfn)
        except StorageError as error:
            self._unseen.add(rse, error)
            return error.message, False
        if found is None:
            return f"nothing is at {pfn}", False
        if found.size not in {None, record.measure.size}:
            return f"{pfn} is there, with {found.size:,} B", False
        return f"{pfn} is there, with the right size", True

    def _not_available(self, records: Iterable[FileRecord], known: Known) -> Iterator[Finding]:
        odd = [
            (record, rse, replica.state)
            for record in records
            if record.did in known
            for rse, replica in known[record.did].replicas.items()
            if not replica.available
        ]
        locks = self._locks.of(record for record, _, _ in odd)
        for record, rse, state in odd:
            proved = was_proved(record, rse)
            if (lock := locks.get((record.did, rse))) is not None:
                if proved:
                    yield _awaited(record, rse, state, lock)
            elif proved or state is not ReplicaState.BEING_DELETED:
                yield _half_declared(record, rse, state, self._plan.account)

    def _on_storage(self, records: Sequence[FileRecord], known: Known) -> Iterator[Finding]:
        wrong: list[Seen] = []
        bad: list[tuple[Replica, Looked]] = []
        for seen in self._look(records, known):
            replica, outcome = seen.replica, seen.outcome
            if isinstance(outcome, Looked):
                if outcome.there:
                    self.absent.shown.setdefault(replica.rse, replica.pfn)
                if outcome.good:
                    continue
                bad.append((replica, outcome))
            wrong.append(seen)
        if not bad:
            return
        # What was ended or moved since it was listed is not lost.
        again = self._world.catalogue.look_up(sorted({replica.record.did for replica, _ in bad}))
        locks = self._locks.of(replica.record for replica, _ in bad)
        spoilt = {(seen.replica.record.did, seen.replica.rse) for seen in wrong}
        for replica, looked in bad:
            if not _is_available(replica, again):
                continue
            did, there = replica.record.did, again[replica.record.did]
            others = [
                rse
                for rse, known_replica in there.replicas.items()
                if known_replica.available and (did, rse) not in spoilt
            ]
            reason = self._unmarkable(replica, there, others, kept=(did, replica.rse) in locks)
            yield _bad_replica(replica, looked, others, reason)

    def _unmarkable(
        self, replica: Replica, known: KnownFile, others: Sequence[str], *, kept: bool
    ) -> str | None:
        """Why a replica is not to be declared bad, and what else to do; None if it may be."""
        record = replica.record
        at_upload = replica.rse == record.upload_rse
        if replica.rse not in record.replicas or (record.adopted and at_upload):
            return "it is not on record as ours: tell those who look after that RSE"
        if record.in_place and at_upload:
            return (
                "Rucio would write over what lies at its source: ask those who look after that RSE "
                "what became of it; `rucio download` has one of the others"
            )
        if conflict(known, record) is not None:
            return "first mend what the catalogue says of its content"
        if not kept:
            return (
                f"no rule of account {self._plan.account} holds it there, so Rucio would make none "
                "anew: run the campaign again, it asks for the rule; then audit it again"
            )
        if not others:
            return f"no other replica is left to make it from; {_about_source(record)}"
        return None

    def _look(self, records: Iterable[FileRecord], known: Known) -> list[Seen]:
        replicas: list[Replica] = []
        for record in records:
            there = known[record.did].replicas if record.did in known else {}
            for rse, replica in there.items():
                if replica.available and replica.pfn is not None:
                    replicas.append(Replica(record, rse, replica.pfn))
                elif replica.available:
                    error = StorageRefused(f"RSE {rse} offers no way to read {record.did}")
                    self._unseen.add(rse, error)
        self.replicas += len(replicas)
        with ThreadPoolExecutor(self._plan.workers, thread_name_prefix="audit") as pool:
            return list(pool.map(self._seen, replicas))

    def _seen(self, replica: Replica) -> Seen:
        self._world.clock.check()
        if replica.record.measure is None:
            return Seen(replica, Looked(there=True))
        error: StorageError | None = self._unseen.away(replica.rse)
        if error is None:
            try:
                return Seen(replica, self._look_at(replica, replica.record.measure))
            except StorageError as told:
                error = told
        self._unseen.add(replica.rse, error)
        return Seen(replica, error)

    def _look_at(self, replica: Replica, wanted: Measure) -> Looked:
        read = self._plan.checksums
        return look_at(self._world.storage, replica.rse, replica.pfn, wanted, read=read)


def _is_available(replica: Replica, known: Known) -> bool:
    found = known.get(replica.record.did)
    there = found.replicas.get(replica.rse) if found else None
    return there is not None and there.available


def _bad_replica(
    replica: Replica, looked: Looked, others: Sequence[str], reason: str | None
) -> Finding:
    there, expected = f"nothing at {replica.pfn}", "the replica that the catalogue calls AVAILABLE"
    if looked.difference is not None:
        there, expected = looked.difference.there, looked.difference.expected
    return Finding(
        Kind.CORRUPT if looked.there else Kind.LOST,
        replica.record.did,
        there=there,
        expected=expected,
        evidence=f"others that are AVAILABLE: {', '.join(others) or 'none'}",
        rse=replica.rse,
        pfn=replica.pfn,
        repair=Repair.MARK_BAD if reason is None else None,
        hint=reason,
    )


def _awaited(record: FileRecord, rse: str, state: ReplicaState, lock: LockState) -> Finding:
    why, todo = AS_LOCKED[lock]
    return Finding(
        Kind.AWAITED,
        record.did,
        there=f"a replica that is {state}",
        expected="an AVAILABLE replica",
        evidence=why.format(f"a rule of {record.dataset}"),
        rse=rse,
        hint=todo,
    )


def _half_declared(record: FileRecord, rse: str, state: ReplicaState, account: str) -> Finding:
    return Finding(
        Kind.HALF_DECLARED,
        record.did,
        there=f"a replica that is {state}",
        expected="an AVAILABLE replica, or none",
        evidence=f"no rule of account {account} brings it",
        rse=rse,
        hint="somebody's upload that did not end, or a rule that is gone: run the campaign again, "
        "and if it stays, ask who declared it",
    )


def _about_source(record: FileRecord) -> str:
    if record.source is SourceCopy.FREED:
        return "its source was freed"
    return f"its source was kept at {record.path}"
