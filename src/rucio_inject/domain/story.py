"""How facts change what is on record: pure functions from a record and a fact to a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from operator import attrgetter

from rucio_inject.domain import facts as f
from rucio_inject.domain.checksum import Announced
from rucio_inject.domain.errors import LedgerError
from rucio_inject.domain.injection import (
    BACK,
    MOVES,
    Failure,
    FileRecord,
    FileState,
    ReplicaRecord,
    RuleRecord,
    SourceCopy,
    reached,
)
from rucio_inject.domain.rule import RuleState

# `dataclasses.replace` looks through all fields one by one, which is most of what a fact costs.
_NAMES = tuple(field.name for field in fields(FileRecord))
_PLACES = {name: place for place, name in enumerate(_NAMES)}
_VALUES = attrgetter(*_NAMES)
_UNKNOWN = ReplicaRecord()


def begin_file(fact: f.FileFound) -> FileRecord:
    """The record of a file that has just been found."""
    return FileRecord(
        did=fact.did,
        path=fact.path,
        dataset=fact.dataset,
        containers=fact.containers,
        cycle=fact.cycle,
        found_at=fact.at,
        generated=fact.generated,
        metadata=dict(fact.metadata),
        announced=fact.announced,
        in_place=fact.in_place,
    )


def begin_rule(fact: f.RuleMade, cycle: int) -> RuleRecord:
    """The record of a rule that a dataset has just got, in a cycle."""
    return RuleRecord(
        cycle=cycle,
        rule_id=fact.rule_id,
        dataset=fact.dataset,
        rse_expression=fact.request.rse_expression,
        copies=fact.request.copies,
        lifetime=fact.request.lifetime,
        made_at=fact.at,
        adopted=fact.adopted,
    )


def _changed(record: FileRecord, **changes: object) -> FileRecord:
    """What `replace` gives, three times as quickly."""
    values = list(_VALUES(record))
    for name, value in changes.items():
        values[_PLACES[name]] = value
    return FileRecord(*values)


def _moved(record: FileRecord, state: FileState, **changes: object) -> FileRecord:
    """The record in a state that it may go to, with other changes beside."""
    if state is not record.state and state not in MOVES[record.state]:
        raise LedgerError(
            f"{record.did} cannot go from {record.state} to {state}",
            hint="this is a defect of rucio-inject: please report it with the ledger file",
        )
    return _changed(record, state=state, **changes)


def _with_replica(record: FileRecord, rse: str, **changes: object) -> Mapping[str, ReplicaRecord]:
    """The record's replicas, with changes to what is known of the one on this RSE."""
    replica = replace(record.replicas.get(rse, _UNKNOWN), **changes)  # type: ignore[arg-type]
    return {**record.replicas, rse: replica}


def advance(record: FileRecord, fact: f.FileFact) -> FileRecord:  # noqa: C901, PLR0911, PLR0912 -- a flat table
    """The record after one more fact. LedgerError if the fact is no allowed move."""
    match fact:
        case f.FileAnnounced():
            return _announced(record, fact)
        case f.FileMeasured():
            return _measured(record, fact)
        case f.UploadBegun():
            begun = {"upload_begun_at": fact.at, "nothing_left_at": None}
            return _changed(record, upload_rse=fact.rse, **begun)
        case f.UploadLeftNothing():
            return _left_nothing(record, fact)
        case f.FileUploaded():
            replicas = _with_replica(record, fact.rse, pfn=fact.pfn)
            return _moved(record, FileState.UPLOADED, replicas=replicas, uploaded_at=fact.at)
        case f.FileRegistered():
            return _registered(record, fact)
        case f.FileOrganised():
            return _moved(record, FileState.REPLICATING)
        case f.FileDescribed():
            return _changed(record, described_at=fact.at)
        case f.FileWaits():
            return _changed(record, waits_for=f"{fact.rse}: {fact.reason}")
        case f.FileReplicated():
            return _replicated(record, fact.rses)
        case f.FileSetBack():
            return _set_back(record, fact.state)
        case f.FileVerified():
            return _verified(record, sampled=fact.sampled)
        case f.FileExpiring():
            return _expiring(record)
        case f.FileGone():
            return _moved(record, FileState.GONE)
        case f.SourceFreeing():
            return replace(_given_up(record), source=SourceCopy.FREEING)
        case f.SourceFreed():
            return _freed(record, fact)
        case f.SourceKept():
            return _kept(record)
        case f.SourceSentAgain():
            return _sent_again(record, fact)
        case f.FileFailed():
            came_from = record.failure.came_from if record.failure else record.state
            failure = Failure(fact.code, fact.reason, fact.hint, came_from, fact.at)
            return _moved(record, FileState.QUARANTINED, failure=failure)
        case f.FileRetried():
            return _retried(record)
        case _:
            return _advance_replica(record, fact)


def _advance_replica(record: FileRecord, fact: f.FileFact) -> FileRecord:
    match fact:
        case f.ReplicaReady():
            known = record.replicas.get(fact.rse, _UNKNOWN)
            at = known.registered_at or fact.at
            replicas = _with_replica(record, fact.rse, registered_at=at)
        case f.ReplicaRead():
            replicas = _with_replica(
                record, fact.rse, pfn=fact.pfn, read_back_at=fact.at, read_back=fact.measure
            )
        case f.ReplicaTold():
            told = Announced(fact.size, fact.adler32)
            replicas = _with_replica(record, fact.rse, pfn=fact.pfn, told_at=fact.at, told=told)
        case f.ReplicaGone():
            replicas = _with_replica(record, fact.rse, gone_at=fact.at)
        case _:
            raise LedgerError(f"no story is told by {type(fact).__name__}")
    return _changed(record, replicas=replicas)


def _announced(record: FileRecord, fact: f.FileAnnounced) -> FileRecord:
    """What was compared already is not announced anew."""
    if record.measure is not None:
        raise LedgerError(f"{record.did} was measured: what came with it is compared already")
    return _changed(record, announced=fact.announced)


def _measured(record: FileRecord, fact: f.FileMeasured) -> FileRecord:
    """MEASURED needs the content that was announced, if any was."""
    if record.announced and (wrong := record.announced.differences(fact.measure)):
        raise LedgerError(f"{record.did} is not what came with it says: {', '.join(wrong)}")
    return _moved(record, FileState.MEASURED, measure=fact.measure, measured_at=fact.at)


def _left_nothing(record: FileRecord, fact: f.UploadLeftNothing) -> FileRecord:
    """Only an upload that was begun there, and of which no replica is on record."""
    begun = record.upload_begun_at is not None and record.upload_rse == fact.rse
    if not begun or record.replicas:
        raise LedgerError(f"no upload of {record.did} to {fact.rse} can have left nothing")
    return _changed(record, nothing_left_at=fact.at)


def _registered(record: FileRecord, fact: f.FileRegistered) -> FileRecord:
    replicas = _with_replica(record, fact.rse, pfn=fact.pfn, registered_at=fact.at)
    return _moved(
        record,
        FileState.REGISTERED,
        replicas=replicas,
        upload_rse=fact.rse,
        adopted=fact.adopted,
    )


def _replicated(record: FileRecord, rses: Sequence[str]) -> FileRecord:
    """A rule may have moved its replica to another RSE since: what it left is no promise now."""
    promised = {rse: known for rse, known in record.replicas.items() if rse in rses}
    return _moved(record, FileState.REPLICATED, replicas=promised, waits_for=None)


def _set_back(record: FileRecord, state: FileState) -> FileRecord:
    freeing = record.in_place and record.source is SourceCopy.FREEING
    sourceless = state is FileState.MEASURED and (freeing or record.source is SourceCopy.FREED)
    if state not in BACK.get(record.state, ()) or sourceless:
        raise LedgerError(f"{record.did}, which is {record.state}, cannot go back to {state}")
    moved = replace(record, state=state, waits_for=None)
    if state is FileState.MEASURED:
        # That an upload was begun stays on record: its bytes may lie there, whether or not the
        # catalogue has them.
        again = replace(moved, described_at=None, source=SourceCopy.KEPT)
        return replace(again, replicas={}, adopted=False)
    if state is FileState.REPLICATING:
        return moved
    at_upload = {rse: r for rse, r in record.replicas.items() if rse == record.upload_rse}
    unproved = {"read_back": None, "read_back_at": None, "told": None, "told_at": None}
    proofless = {rse: replace(r, **unproved) for rse, r in at_upload.items()}
    return replace(moved, replicas=proofless)


def _expiring(record: FileRecord) -> FileRecord:
    if record.in_place:
        raise LedgerError(f"{record.did} is to end, and it lies where it was before us")
    if record.source is not SourceCopy.KEPT and not record.generated:
        raise LedgerError(f"{record.did} is to end, but its source was freed: these are all copies")
    return _moved(record, FileState.EXPIRING)


def _verified(record: FileRecord, *, sampled: bool) -> FileRecord:
    """VERIFIED needs evidence on record: every replica was read and is the same as the source.

    Of a file that a sample leaves out, every storage must have told the same size and adler32; one
    that was read and was different is not made good by that.
    """
    there = {rse: known for rse, known in record.replicas.items() if known.gone_at is None}
    proves = _is_told if sampled else _is_same
    other = [rse for rse, known in there.items() if not proves(record, known)]
    if other or not there:
        raise LedgerError(f"{record.did} is not verified: not the same bytes at {other}")
    return _moved(record, FileState.VERIFIED, sampled=sampled)


def _is_same(record: FileRecord, known: ReplicaRecord) -> bool:
    """Whether what was read of a replica is the file."""
    measure, read = record.measure, known.read_back
    return measure is not None and read is not None and not measure.differences(read)


def _is_told(record: FileRecord, known: ReplicaRecord) -> bool:
    """Whether what a replica's storage told of it, or what was read since, is of the file."""
    measure, told = record.measure, known.told
    if known.read_back_at is not None and (
        known.told_at is None or known.read_back_at > known.told_at
    ):
        return _is_same(record, known)
    return (
        measure is not None
        and told is not None
        and told.size is not None
        and told.adler32 is not None
        and not told.differences(measure)
    )


def _given_up(record: FileRecord) -> FileRecord:
    """The record, if its source may go."""
    # Past VERIFIED the replicas are on their way to their end: a real source is then the last copy.
    safe = (
        reached(record.state, FileState.VERIFIED)
        if record.generated
        else (record.state is FileState.VERIFIED)
    )
    if not safe:
        raise LedgerError(f"the source of {record.did} is given up while it is {record.state}")
    if record.in_place and not _is_elsewhere(record):
        raise LedgerError(f"{record.did} is given up where it was, and is proved nowhere else")
    return record


def _is_elsewhere(record: FileRecord) -> bool:
    """Whether another replica than that at the origin is on record as the same."""
    proves = _is_told if record.sampled else _is_same
    return any(
        known.gone_at is None and proves(record, known)
        for rse, known in record.replicas.items()
        if rse != record.upload_rse
    )


def _freed(record: FileRecord, fact: f.SourceFreed) -> FileRecord:
    """A source at an RSE is freed once its replica there is gone."""
    at_origin = record.replicas.get(record.upload_rse or "") if record.in_place else None
    if at_origin is not None and at_origin.gone_at is None:
        raise LedgerError(f"{record.did} is said to be freed, and is at {record.upload_rse}")
    return replace(_given_up(record), source=SourceCopy.FREED, freed_at=fact.at)


def _kept(record: FileRecord) -> FileRecord:
    """Only a source that a rule keeps can still be there after we began to remove it."""
    if not record.in_place or record.source is not SourceCopy.FREEING:
        raise LedgerError(f"the source of {record.did} is kept, and was {record.source}")
    return _changed(record, source=SourceCopy.KEPT)


def _sent_again(record: FileRecord, fact: f.SourceSentAgain) -> FileRecord:
    """Only the bytes that are on record are a source again."""
    same = record.measure is not None and not record.measure.differences(fact.measure)
    if record.source is not SourceCopy.FREED or not same:
        raise LedgerError(f"what was sent again is no source copy of {record.did} that was freed")
    return _changed(record, source=SourceCopy.KEPT, freed_at=None)


def _retried(record: FileRecord) -> FileRecord:
    if record.failure is None:
        raise LedgerError(f"{record.did} has not failed, so it cannot be retried")
    back = record.failure.came_from
    if back in {FileState.REPLICATED, FileState.VERIFIED}:
        # Rucio may have made a bad replica anew, perhaps elsewhere: its locks are to be asked.
        back = FileState.REPLICATING
    return replace(record, state=back, failure=None)


def advance_rule(
    record: RuleRecord, fact: f.RuleChanged | f.RuleEnding | f.RuleKept | f.RuleGone
) -> RuleRecord:
    """The record of a rule after one more fact."""
    match fact:
        case f.RuleChanged():
            view = fact.view
            ok_at = record.ok_at or (fact.at if view.state is RuleState.OK else None)
            return replace(
                record, state=view.state, changed_at=fact.at, error=view.error, ok_at=ok_at
            )
        case f.RuleEnding():
            return replace(
                record, ending_at=fact.at, lifetime=fact.lifetime, at_origin=fact.at_origin
            )
        case f.RuleKept():
            return replace(record, ending_at=None, gone_at=None, at_origin=False)
        case f.RuleGone():
            return replace(record, gone_at=fact.at)


def replicas_left(replicas: Mapping[str, ReplicaRecord]) -> tuple[str, ...]:
    """RSEs on record as holding the file still."""
    return tuple(rse for rse, known in replicas.items() if known.gone_at is None)
