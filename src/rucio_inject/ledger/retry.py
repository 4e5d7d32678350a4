"""Files that were set aside, and how they come to go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from rucio_inject.batches import batches
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import UsageError
from rucio_inject.domain.facts import FileRetried
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.ports import Clock


def retry_files(ledger: SqlLedger, dids: Sequence[DID], code: str | None, clock: Clock) -> int:
    """Let files of the cycle begun last go on at the next run: those named, or those that were set
    aside with a code (None: with any); how many. UsageError as `set_aside` raises it."""
    count = 0
    for batch in batches(set_aside(ledger, dids, code)):
        ledger.record([FileRetried(at=clock.now(), did=record.did) for record in batch])
        count += len(batch)
    return count


def set_aside(ledger: SqlLedger, dids: Sequence[DID], code: str | None) -> Iterator[FileRecord]:
    """The quarantined files of the cycle begun last: those named, or those of a code (None: all).

    UsageError, before the first one is given, if one that is named is no such file, or if a code
    is that of none.
    """
    if dids:
        return iter([_quarantined(ledger, did) for did in dids])
    chosen = (
        record
        for record in ledger.files({FileState.QUARANTINED})
        if code is None or (record.failure is not None and record.failure.code == code)
    )
    first = next(chosen, None)
    if first is None and code is not None:
        raise UsageError(
            f"no file is set aside with code {code}",
            hint="rucio-inject status tells the codes; only files of the last cycle can go on",
        )
    return chain([first] if first else [], chosen)


def _quarantined(ledger: SqlLedger, did: DID) -> FileRecord:
    record = ledger.file(did)
    if record is None or record.state is not FileState.QUARANTINED:
        state = record.state if record else "not on record any more"
        raise UsageError(
            f"{did} is {state}: only a file that is {FileState.QUARANTINED} can be retried",
            hint="a run goes on with all other files by itself",
        )
    if record.cycle != ledger.cycle:
        raise UsageError(
            f"{did} is of cycle {record.cycle}, and the campaign is at cycle {ledger.cycle}",
            hint="files of earlier cycles cannot go on any more",
        )
    return record
