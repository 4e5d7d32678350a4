"""What the steps need of the world, as interfaces whose docstrings are the contract.

Every implementation, in-memory or real, passes the same contract suite. All methods may be called
from several threads at once. None of them retries: that is a wrapper's work.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeAlias

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID, DIDType
from rucio_inject.domain.errors import InjectError
from rucio_inject.domain.facts import Fact
from rucio_inject.domain.injection import FileRecord, FileState, RuleRecord
from rucio_inject.domain.replica import ReplicaState
from rucio_inject.domain.rule import Lock, RuleRequest, RuleView, StuckFile
from rucio_inject.domain.usage import Usage

AttributeValue: TypeAlias = str | bool | int


class Clock(Protocol):
    """Time, so that tests can decide it."""

    def now(self) -> datetime:
        """This moment, UTC, with its time zone."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards, for durations and deadlines."""
        ...

    def wait(self, seconds: float) -> None:
        """Let time pass; raises Interrupted at once when somebody asks us to stop."""
        ...

    def check(self) -> None:
        """Raise Interrupted if somebody asked us to stop. Called between two units of work."""
        ...


class FactSink(Protocol):
    """Somebody who wants to know what happens."""

    def record(self, facts: Sequence[Fact]) -> None:
        """Take facts in the order in which they happened. Durable sinks have them on disk when
        this returns; a display may only draw."""
        ...


class Ledger(FactSink, Protocol):
    """The durable record of a campaign; every fact goes in, and files and rules come out."""

    @property
    def cycle(self) -> int:
        """The number of the cycle begun last; 0 before the first."""
        ...

    @property
    def cycle_ended(self) -> bool:
        """Whether the cycle begun last has come to its end."""
        ...

    @property
    def analysed(self) -> bool:
        """Whether the files of the cycle begun last were analysed."""
        ...

    @property
    def upload_rse(self) -> str | None:
        """The upload RSE that was chosen last; None before the first."""
        ...

    def files(
        self, states: Collection[FileState] | None = None, *, dataset: DID | None = None
    ) -> Iterator[FileRecord]:
        """Files of the cycle begun last, in the order in which they were found; those in
        `states`, and of `dataset`, only.

        Facts may be recorded while this is drawn from: each file comes at most once, as it is at
        that moment, and none is left out that belongs all the while.
        """
        ...

    def counts(self, *, dataset: DID | None = None) -> Mapping[FileState, int]:
        """How many files of the cycle begun last are in each state; a state without a file
        is left out."""
        ...

    def usage(self) -> Mapping[FileState, Usage]:
        """Files and bytes of the cycle begun last in each state; a file that is not measured
        counts no bytes, and a state without a file is left out."""
        ...

    def datasets(self, states: Collection[FileState]) -> Sequence[DID]:
        """Datasets of the cycle begun last with a file in one of these states, in the order in
        which they came up."""
        ...

    def file(self, did: DID) -> FileRecord | None:
        """One file, of whichever cycle; None if it is not on record."""
        ...

    def known(self, dids: Sequence[DID]) -> Mapping[DID, FileRecord]:
        """Those of some files, of whichever cycle, that are on record."""
        ...

    def rules(self) -> Sequence[RuleRecord]:
        """Rules asked for in the cycle begun last."""
        ...

    def asked_for(self, dataset: DID, rse_expression: str) -> bool:
        """Whether such a rule was ever asked for by us, and not found there before us: one that
        exists now is ours, even if a crash kept its id off the record."""
        ...

    def collections(self) -> frozenset[DID]:
        """Datasets and containers that we made, or began to make, and that are not gone."""
        ...


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that a source offers.

    `name` is what the grammar reads, with whatever folders tell; `generated`: the file is made for
    the lake, so it may be removed after.
    """

    path: Path
    name: str
    generated: bool = False


class Source(Protocol):
    """Where files come from."""

    def files(self) -> Iterator[SourceFile]:
        """What there is to inject, cheaply: nothing is made or read yet.

        The same source asked again offers the same files under the same names. NothingToInject
        when there is none, UsageError when the place cannot be looked into.
        """
        ...

    def provide(self, path: Path) -> None:
        """Make sure that the bytes of an offered file are there; does nothing if they are."""
        ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom Rucio takes us for."""

    account: str
    details: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Quota:
    """An account's room on an RSE, in bytes; `limit` None is no limit at all."""

    rse: str
    limit: int | None
    used: int

    @property
    def left(self) -> int | None:
        """Bytes that still fit; None is no limit."""
        return None if self.limit is None else self.limit - self.used


@dataclass(frozen=True, slots=True)
class KnownReplica:
    """A replica as the catalogue has it; `pfn` None where the RSE offers no way to read it."""

    pfn: str | None
    state: ReplicaState

    @property
    def available(self) -> bool:
        """Whether it can be read."""
        return self.state is ReplicaState.AVAILABLE


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file DID as the catalogue has it, with its replicas by RSE, in whatever state."""

    did: DID
    size: int
    adler32: str | None
    md5: str | None
    replicas: Mapping[str, KnownReplica] = field(default_factory=dict)

    def conflict(self, measure: Measure) -> str | None:
        """Where the catalogue and a measured file differ, in words; None if they agree.

        A checksum that the catalogue does not have says nothing; the size always does.
        """
        theirs = Measure(self.size, self.adler32 or measure.adler32, self.md5 or measure.md5)
        return ", ".join(measure.differences(theirs)) or None


@dataclass(frozen=True, slots=True)
class KnownCollection:
    """A dataset or container as the catalogue has it; nothing can be attached unless it is open."""

    did: DID
    kind: DIDType
    open: bool


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to register: its DID, measure, and PFN where the RSE needs one."""

    did: DID
    measure: Measure
    pfn: str | None = None


class Catalogue(Protocol):
    """Rucio's catalogue: what is there, and what should be where.

    Raises SignInFailed when Rucio does not know us, CatalogueUnavailable when it cannot answer
    now, and NotFound, NotPermitted, QuotaExceeded or CatalogueRefused for what it will not do.
    """

    def whoami(self) -> Identity:
        """Whom Rucio takes us for."""
        ...

    def ensure_scope(self, scope: str, account: str) -> bool:
        """Make the scope for the account; False if it was there and is the account's.

        NotPermitted if another account owns it. Idempotent.
        """
        ...

    def resolve(self, rse_expression: str) -> tuple[str, ...]:
        """The RSEs that an expression stands for, sorted. NotFound if none, CatalogueRefused
        if the expression is no expression."""
        ...

    def rse_attributes(self, rse: str) -> Mapping[str, AttributeValue]:
        """Attributes of an RSE as Rucio holds them. NotFound if there is no such RSE."""
        ...

    def set_rse_attribute(self, rse: str, key: str, value: AttributeValue) -> None:
        """Set one attribute of an RSE; idempotent."""
        ...

    def quota(self, account: str, rse: str) -> Quota:
        """The limit that leaves the account least room on an RSE, local or global, with the use
        that counts against it; no limit where Rucio applies none."""
        ...

    def find(self, dids: Sequence[DID]) -> Mapping[DID, KnownFile | KnownCollection]:
        """What the catalogue knows of these DIDs, of any type; unknown ones are left out."""
        ...

    def look_up(self, dids: Sequence[DID]) -> Mapping[DID, KnownFile]:
        """What the catalogue knows of these files; unknown ones, and collections, are left out."""
        ...

    def add_files(self, rse: str, files: Sequence[NewFile]) -> None:
        """Register files with an available replica each on an RSE.

        All or none of each 500. A file that is there with its replica is left as it is: callers
        look up and compare first.
        """
        ...

    def place_files(self, rse: str, contents: Mapping[DID, Sequence[NewFile]]) -> None:
        """Register files as `add_files` does, and put them into their datasets, which must be
        there.

        All or none of each 500. CatalogueRefused if the catalogue has one of them with another
        size or checksum. Idempotent.
        """
        ...

    def set_metadata(self, metadata: Mapping[DID, Mapping[str, str | int]]) -> None:
        """Set metadata of many files; idempotent."""
        ...

    def add_collections(self, collections: Mapping[DID, DIDType]) -> None:
        """Make datasets and containers that are not there yet. CatalogueRefused if a DID is
        there with another type. Idempotent."""
        ...

    def attach(self, contents: Mapping[DID, Sequence[DID]]) -> None:
        """Put files into datasets and collections into containers; what is in stays in."""
        ...

    def contents(self, collection: DID) -> tuple[DID, ...]:
        """What a dataset or container holds directly; NotFound if it is not there."""
        ...

    def expire_collection(self, collection: DID, lifetime: int) -> None:
        """Let a dataset or container end by itself after `lifetime` seconds."""
        ...

    def missing(self, dids: Sequence[DID]) -> frozenset[DID]:
        """Which of these DIDs, of any type, the catalogue does not have."""
        ...

    def look_up_collections(self, dids: Sequence[DID]) -> Mapping[DID, KnownCollection]:
        """What the catalogue knows of these datasets and containers; unknown ones, and files, are
        left out."""
        ...

    def mark_bad(self, rse: str, dids: Sequence[DID], reason: str) -> None:
        """Declare replicas on an RSE bad: rules that hold them have them made anew, from other
        replicas.

        Idempotent. NotFound if one is not in the catalogue; NotPermitted for most accounts.
        """
        ...

    def add_rule(self, did: DID, request: RuleRequest, account: str) -> str:
        """Ask for a rule; gives its id, or that of the same rule if the DID has it already, which
        then no longer ends by itself."""
        ...

    def rules(self, dids: Sequence[DID], account: str) -> Sequence[RuleView]:
        """Rules of an account on these datasets, as they are now."""
        ...

    def locks(self, rule_id: str) -> Sequence[Lock]:
        """What a rule promises, file by file. Empty if the rule is not there."""
        ...

    def stuck_files(self, rule_id: str) -> Sequence[StuckFile]:
        """Why files of a STUCK rule are not where they should be; empty for other rules."""
        ...

    def end_rule(self, rule_id: str, lifetime: int) -> None:
        """Let a rule end after `lifetime` seconds and purge its replicas then.

        Idempotent, but counts anew from each call. NotFound if the rule is not there.
        """
        ...

    def usage(self, rse: str) -> Usage:
        """What the catalogue's counters say an RSE holds."""
        ...


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as a storage shows it: its size in bytes and its adler32, None where it does not tell.

    From a listing also the DID that the place is for, None if it is for none, or for a name that
    Rucio's generic schema does not take; `partial`: what an upload of ours writes before it gives
    the file its name; `modified`: when it was written to last, UTC, by the storage's own clock,
    None where that is not told.
    """

    pfn: str
    size: int | None = None
    adler32: str | None = None
    did: DID | None = None
    partial: bool = False
    modified: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Stored:
    """Where `put` has stored a file, and what it measured of the bytes while they were read for
    it."""

    pfn: str
    measure: Measure


class Storage(Protocol):
    """The storages behind the RSEs, through each RSE's own protocols.

    Raises StorageUnavailable when it may work later, StorageRefused when it will not, and
    ReplicaMissing for what should be there and is not.
    """

    def taken(self, rse: str, did: DID) -> str | None:
        """The PFN under which `put` would store a DID, if something lies there; None if not."""
        ...

    def put(self, rse: str, path: Path, did: DID) -> Stored:
        """Store a local file as a DID's replica, and measure what was read for it.

        The final name never shows a part of the file, and what lies under it already is never
        overwritten: PlaceTaken. SourceUnreadable if the file cannot be read, SourceChanged if it
        changed while it was: then there is nothing under the final name.
        """
        ...

    def get(self, rse: str, pfn: str, path: Path) -> Measure:
        """Read a replica into a local file, which is overwritten, and measure what was read.
        DiskFull if it has no room."""
        ...

    def measure(self, rse: str, pfn: str) -> Measure:
        """Read a replica whole, and keep nothing of it."""
        ...

    def checksum(self, rse: str, pfn: str) -> StoredFile:
        """Size and adler32 of what the storage holds now, always both: told by it, or read
        again there."""
        ...

    def exists(self, rse: str, pfn: str) -> bool:
        """Whether the storage shows the file. Never guesses: raises if it cannot be known."""
        ...

    def stat(self, rse: str, pfn: str) -> StoredFile | None:
        """What the storage tells of a file without reading it; None if the file is not there.

        Never guesses: raises if it cannot be known.
        """
        ...

    def listing(self, rse: str, scope: str) -> Iterator[StoredFile] | None:
        """Every file below the place of a scope, in no order, while it is drawn from; None where
        the storage cannot be listed, or scopes have no place of their own.

        StorageRefused, while it is drawn from, if a part cannot be looked into.
        """
        ...

    def remove(self, rse: str, pfn: str) -> None:
        """Remove a file that is no replica in the catalogue. ReplicaMissing if it is not there."""
        ...

    def count(self, rse: str) -> Usage | None:
        """What a listing of the storage shows; None where it cannot be listed."""
        ...


@dataclass(frozen=True, slots=True)
class Analysis:
    """What an application made of files read back: one line, the files written, and failures."""

    headline: str
    files: int
    events: int
    paths: tuple[Path, ...]
    failures: tuple[tuple[Path, InjectError], ...] = ()


class Analyser(Protocol):
    """An application that really uses the data."""

    def analyse(self, files: Sequence[Path], out: Path) -> Analysis:
        """Open every file and write figures and numbers into `out`.

        A file that cannot be used is named in `failures`; the others are used all the same.
        """
        ...
