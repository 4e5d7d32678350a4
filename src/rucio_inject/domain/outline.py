"""What of a file is counted: far less than is on record of it, as there may be a million."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rucio_inject.domain.did import DID
from rucio_inject.domain.injection import FileRecord, FileState, SourceCopy


@dataclass(frozen=True, slots=True)
class FileOutline:
    """A file in short. `size` is None before it is measured; `read_back`, `told` (whose checksums
    the storage told) and `gone` count its replicas, and the moments are the last of their kind."""

    state: FileState
    dataset: DID
    size: int | None
    source: SourceCopy
    failure: str | None
    path: str
    adopted: bool
    generated: bool
    waits: bool
    sampled: bool
    read_back: int
    told: int
    gone: int
    uploaded_at: datetime | None
    read_back_at: datetime | None
    gone_at: datetime | None
    in_place: bool = False


def outline(record: FileRecord) -> FileOutline:
    """A record in short."""
    replicas = record.replicas.values()
    read_back = [known.read_back_at for known in replicas if known.read_back_at is not None]
    gone = [known.gone_at for known in replicas if known.gone_at is not None]
    return FileOutline(
        state=record.state,
        dataset=record.dataset,
        size=record.measure.size if record.measure else None,
        source=record.source,
        failure=record.failure.code if record.failure else None,
        path=record.path,
        adopted=record.adopted,
        generated=record.generated,
        waits=record.waits_for is not None,
        sampled=record.sampled,
        read_back=len(read_back),
        told=sum(known.told_at is not None for known in replicas),
        gone=len(gone),
        uploaded_at=record.uploaded_at,
        read_back_at=max(read_back, default=None),
        gone_at=max(gone, default=None),
        in_place=record.in_place,
    )
