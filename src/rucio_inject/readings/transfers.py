"""Which way files went, how long that took, and what holds them up: the matrix of RSEs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from rucio_inject.domain.injection import FileRecord, FileState, ReplicaRecord
from rucio_inject.readings.spread import Durations, Spread

REASONS = 3
"""So many reasons are kept of a link, the most frequent first."""


@dataclass(frozen=True, slots=True)
class Link:
    """What went from one RSE to another; from an RSE to itself: what was uploaded there.

    `waiting` are files that are not there yet, with Rucio's reason for it; others may be under way.
    `latency` runs from the registration of the uploaded replica to the moment when the lock of the
    other one was seen to be OK; for uploads, from the first byte to the last. `seconds` are those
    of all cycles, each from the first file's beginning to the last one's arrival.
    """

    source: str
    destination: str
    arrived: int
    bytes: int
    waiting: int
    read_back: int
    latency: Spread | None
    seconds: float
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_upload(self) -> bool:
        """Whether files came from outside the lake."""
        return self.source == self.destination

    @property
    def success(self) -> float | None:
        """The share that arrived, of what arrived or is held up; None if nothing did either."""
        tried = self.arrived + self.waiting
        return self.arrived / tried if tried else None

    @property
    def bytes_per_second(self) -> float | None:
        """The pace over the cycles; None if it cannot be told."""
        return self.bytes / self.seconds if self.seconds and self.arrived else None

    @property
    def files_per_second(self) -> float | None:
        """The pace over the cycles; None if it cannot be told."""
        return self.arrived / self.seconds if self.seconds and self.arrived else None


PHASES: Mapping[str, str] = MappingProxyType(
    {
        "upload": "first byte to last byte at the upload RSE",
        "registration": "last byte to the replica in the catalogue",
        "replication": "replica in the catalogue to the last promised replica",
        "read-back": "last promised replica to the last one read back and compared",
        "proof": "found to read back from everywhere",
        "end": "read back from everywhere to gone from the last RSE",
    }
)
"""What a file's time is spent on, each with where it begins and ends."""


@dataclass(frozen=True, slots=True)
class Passage:
    """What some files' records say of their way: `links` between RSEs, and `phases` by name, those
    that any file went through."""

    files: int = 0
    links: Sequence[Link] = ()
    phases: Mapping[str, Spread] = field(default_factory=dict)

    @property
    def sources(self) -> list[str]:
        """RSEs that files came from, sorted."""
        return sorted({link.source for link in self.links})

    @property
    def destinations(self) -> list[str]:
        """RSEs that files went to: first those that they came from, and each kind sorted."""
        sources = set(self.sources)
        return sorted(
            {link.destination for link in self.links}, key=lambda rse: (rse not in sources, rse)
        )

    def link(self, source: str, destination: str) -> Link | None:
        """One of the links."""
        wanted = (source, destination)
        return next((k for k in self.links if (k.source, k.destination) == wanted), None)


def passage(records: Iterable[FileRecord]) -> Passage:
    """Look at records, of one cycle or several, once each; none is kept."""
    tally = _Tally()
    for record in records:
        tally.count(record)
    return tally.passage()


class _OpenLink:
    """A link while its files are counted."""

    def __init__(self) -> None:
        self.arrived = 0
        self.bytes = 0
        self.waiting = 0
        self.read_back = 0
        self.latency = Durations()
        self.spans: dict[int, tuple[datetime, datetime]] = {}
        self.reasons: Counter[str] = Counter()

    def arrive(self, record: FileRecord, begun: datetime | None, at: datetime) -> None:
        self.arrived += 1
        self.bytes += record.measure.size if record.measure else 0
        if begun is None:
            return
        self.latency.add((at - begun).total_seconds())
        first, last = self.spans.get(record.cycle, (begun, at))
        self.spans[record.cycle] = min(first, begun), max(last, at)

    def closed(self, source: str, destination: str) -> Link:
        seconds = sum((last - first).total_seconds() for first, last in self.spans.values())
        return Link(
            source=source,
            destination=destination,
            arrived=self.arrived,
            bytes=self.bytes,
            waiting=self.waiting,
            read_back=self.read_back,
            latency=self.latency.spread(),
            seconds=seconds,
            reasons=dict(self.reasons.most_common(REASONS)),
        )


class _Tally:
    def __init__(self) -> None:
        self._files = 0
        self._links: dict[tuple[str, str], _OpenLink] = {}
        self._phases = {name: Durations() for name in PHASES}

    def passage(self) -> Passage:
        links = [link.closed(*ends) for ends, link in sorted(self._links.items())]
        spreads = {name: durations.spread() for name, durations in self._phases.items()}
        phases = {name: spread for name, spread in spreads.items() if spread is not None}
        return Passage(self._files, links, phases)

    def count(self, record: FileRecord) -> None:
        self._files += 1
        source = record.upload_rse
        if source is None:
            return
        at_source = record.replicas.get(source)
        registered = at_source.registered_at if at_source else None
        if record.uploaded_at is not None and not record.adopted:
            upload = self._link(source, source)
            upload.arrive(record, record.upload_begun_at, record.uploaded_at)
            upload.read_back += at_source is not None and at_source.read_back_at is not None
        for rse, replica in record.replicas.items():
            if rse != source and replica.registered_at is not None:
                link = self._link(source, rse)
                # What the lake had before went there before, too.
                begun = None if record.adopted else registered
                link.arrive(record, begun, replica.registered_at)
                link.read_back += replica.read_back_at is not None
        if record.state is FileState.REPLICATING and record.waits_for is not None:
            rse, _, reason = record.waits_for.partition(": ")
            link = self._link(source, rse)
            link.waiting += 1
            link.reasons[reason] += 1
        self._count_phases(record, registered)

    def _link(self, source: str, destination: str) -> _OpenLink:
        return self._links.setdefault((source, destination), _OpenLink())

    def _count_phases(self, record: FileRecord, registered: datetime | None) -> None:
        replicas = record.replicas.values()
        uploaded = None if record.adopted else record.uploaded_at
        proved = _last([known.read_back_at for known in replicas])
        moments = {
            "upload": (record.upload_begun_at if uploaded else None, uploaded),
            "registration": (uploaded, registered),
            "replication": (registered if uploaded else None, _everywhere(record)),
            "read-back": (_everywhere(record), proved),
            "proof": (record.found_at, proved),
            "end": (proved, _last([known.gone_at for known in replicas])),
        }
        for name, (begun, ended) in moments.items():
            if begun is not None and ended is not None:
                self._phases[name].add((ended - begun).total_seconds())


def _everywhere(record: FileRecord) -> datetime | None:
    """When the last promised replica was there; None if one is not there yet, or if none is
    promised but the uploaded one."""
    others: list[ReplicaRecord] = [
        known for rse, known in record.replicas.items() if rse != record.upload_rse
    ]
    waits = record.state is FileState.REPLICATING or not others
    return None if waits else _last([known.registered_at for known in others])


def _last(moments: Sequence[datetime | None]) -> datetime | None:
    """The last of them; None if one is not known, or there is none."""
    known = [at for at in moments if at is not None]
    return max(known) if known and len(known) == len(moments) else None
