"""Files on record, against what the catalogue and the storages hold of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

from rucio_inject.audit.findings import Finding, Kind, Repair
from rucio_inject.audit.reading import Reader, difference, reached_state
from rucio_inject.audit.world import Plan, Unseen, World
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import StorageError, StorageRefused
from rucio_inject.domain.injection import FileRecord, FileState, SourceCopy
from rucio_inject.domain.replica import ReplicaState
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
    """A replica that was looked at: how it differs, None if it is not there, or why none knows."""

    replica: Replica
    difference: str | StorageError | None


def promised(record: FileRecord) -> tuple[str, ...]:
    """RSEs that should hold a file by what was proved of it."""
    held = [rse for rse, replica in record.replicas.items() if replica.gone_at is None]
    if reached_state(record) in PROVED:
        return tuple(held)
    return tuple(rse for rse in held if rse == record.upload_rse)


class LookAtFiles:
    """Compares some files at a time: two calls to the catalogue, and one to the storage for each
    replica."""

    def __init__(self, world: World, plan: Plan, reader: Reader, unseen: Unseen) -> None:
        self._world = world
        self._plan = plan
        self._reader = reader
        self._unseen = unseen
        self._ending = world.ending()
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
            if did is not None and self._world.ledger.file(did) == by_did[did]:
                yield finding

    def _content(self, records: Iterable[FileRecord], known: Known) -> Iterator[Finding]:
        for record in records:
            conflict = _conflict(record, known)
            if conflict is not None and record.measure is not None:
                yield Finding(
                    Kind.CONTENT,
                    record.did,
                    there=conflict,
                    expected="size and checksums as the source was measured",
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
            return f"{pfn} is there, with {found.size} bytes", False
        return f"{pfn} is there, with the right size", True

    def _not_available(self, records: Iterable[FileRecord], known: Known) -> Iterator[Finding]:
        odd = [
            (record, rse, replica.state)
            for record in records
            if record.did in known
            for rse, replica in known[record.did].replicas.items()
            if not replica.available
        ]
        locked = self._locked([record for record, _, _ in odd])
        for record, rse, state in odd:
            proved = reached_state(record) in PROVED and rse in promised(record)
            if (record.did, rse) in locked:
                if proved:
                    yield _awaited(record, rse, state)
            elif proved or state is not ReplicaState.BEING_DELETED:
                yield _half_declared(record, rse, state, self._plan.account)

    def _locked(self, records: Sequence[FileRecord]) -> frozenset[tuple[DID, str]]:
        """Files and RSEs that rules promise for some files."""
        if not records:
            return frozenset()
        dids = {record.dataset for record in records} | {record.did for record in records}
        rules = self._world.catalogue.rules(sorted(dids), self._plan.account)
        return frozenset(
            (lock.did, lock.rse)
            for rule in rules
            for lock in self._world.catalogue.locks(rule.rule_id)
        )

    def _on_storage(self, records: Sequence[FileRecord], known: Known) -> Iterator[Finding]:
        wrong = [seen for seen in self._look(records, known) if seen.difference != ""]
        bad = [seen for seen in wrong if not isinstance(seen.difference, StorageError)]
        if not bad:
            return
        # What was ended or moved since it was listed is not lost.
        again = self._world.catalogue.look_up(sorted({seen.replica.record.did for seen in bad}))
        still = [seen for seen in bad if _is_available(seen.replica, again)]
        spoilt = {(seen.replica.record.did, seen.replica.rse) for seen in wrong}
        for seen in still:
            record = seen.replica.record
            others = [
                rse
                for rse, replica in again[record.did].replicas.items()
                if replica.available and (record.did, rse) not in spoilt
            ]
            yield _bad_replica(seen, others, in_conflict=_conflict(record, again) is not None)

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
        if self._plan.checksums:
            self._reader.prepare()
        self.replicas += len(replicas)
        with ThreadPoolExecutor(self._plan.workers, thread_name_prefix="audit") as pool:
            return list(pool.map(self._seen, replicas))

    def _seen(self, replica: Replica) -> Seen:
        self._world.clock.check()
        if replica.record.measure is None:
            return Seen(replica, "")
        wanted, read = replica.record.measure, self._plan.checksums
        error: StorageError | None = self._unseen.away(replica.rse)
        if error is None:
            try:
                found = difference(self._reader, replica.rse, replica.pfn, wanted, read=read)
            except StorageError as told:
                error = told
            else:
                return Seen(replica, found)
        self._unseen.add(replica.rse, error)
        return Seen(replica, error)


def _conflict(record: FileRecord, known: Known) -> str | None:
    found = known.get(record.did)
    return found.conflict(record.measure) if found and record.measure else None


def _is_available(replica: Replica, known: Known) -> bool:
    found = known.get(replica.record.did)
    there = found.replicas.get(replica.rse) if found else None
    return there is not None and there.available


def _bad_replica(seen: Seen, others: Sequence[str], *, in_conflict: bool) -> Finding:
    replica, record = seen.replica, seen.replica.record
    ours = replica.rse in record.replicas and not (
        record.adopted and replica.rse == record.upload_rse
    )
    if not ours:
        hint = "it is not on record as ours: tell those who look after that RSE"
    elif in_conflict:
        hint = "first mend what the catalogue says of its content"
    else:
        hint = f"no other replica is left to make it from; {_about_source(record)}"
    repair = Repair.MARK_BAD if ours and others and not in_conflict else None
    lost = seen.difference is None
    return Finding(
        Kind.LOST if lost else Kind.CORRUPT,
        record.did,
        there=f"nothing at {replica.pfn}" if lost else str(seen.difference),
        expected="the replica that the catalogue calls AVAILABLE"
        if lost
        else "the bytes that were injected",
        evidence=f"others that are AVAILABLE: {', '.join(others) or 'none'}",
        rse=replica.rse,
        pfn=replica.pfn,
        repair=repair,
        hint=None if repair else hint,
    )


def _awaited(record: FileRecord, rse: str, state: ReplicaState) -> Finding:
    return Finding(
        Kind.AWAITED,
        record.did,
        there=f"a replica that is {state}",
        expected="an AVAILABLE replica",
        evidence=f"a rule of {record.dataset} is bringing it",
        rse=rse,
        hint="let Rucio work, then run the audit again",
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
