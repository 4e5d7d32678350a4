"""Rucio's catalogue, and what it answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeAlias

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID, DIDType
from rucio_inject.domain.replica import ReplicaState
from rucio_inject.domain.rule import Holder, Lock, RuleRequest, RuleView, StuckFile
from rucio_inject.domain.usage import Usage

AttributeValue: TypeAlias = str | bool | int


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
class Space:
    """An RSE's own room, in bytes, as far as its lake was told: None is not known. `writable`:
    whether its site lets files be brought there now; `told_at`: when the lake was told."""

    rse: str
    writable: bool
    free: int | None = None
    total: int | None = None
    told_at: datetime | None = None


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
    """A dataset or container as the catalogue has it; nothing can be attached unless it is open.
    `expires_at`: when it goes, with all its rules; None if never."""

    did: DID
    kind: DIDType
    open: bool
    expires_at: datetime | None = None


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

    def scope_owner(self, scope: str) -> str | None:
        """The account that a scope belongs to; None if there is no such scope."""
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

    def held_to_limits(self, account: str) -> bool:
        """Whether Rucio holds an account to any limit; if not, no RSE's quota has one."""
        ...

    def quota(self, account: str, rse: str) -> Quota:
        """The limit that leaves the account least room on an RSE, local or global, with the use
        that counts against it; no limit where Rucio applies none."""
        ...

    def space(self, rse: str) -> Space:
        """What the catalogue was told of the room that the RSE's storage has. NotFound if there is
        no such RSE."""
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

    def restore_files(self, rse: str, files: Sequence[NewFile]) -> None:
        """Declare that an RSE holds files of the catalogue again: each gets a replica there, or the
        one that a rule was to bring is available, and the rule has it.

        NotFound if one is not in the catalogue; nothing is changed then. Idempotent.
        """
        ...

    def set_metadata(self, metadata: Mapping[DID, Mapping[str, str | int]]) -> None:
        """Set metadata of many files; idempotent."""
        ...

    def add_collections(self, collections: Mapping[DID, DIDType]) -> frozenset[DID]:
        """Make datasets and containers that are not there yet. CatalogueRefused if a DID is
        there with another type. Idempotent.

        Gives those that this very call has made: nobody had them before. Of others, somebody
        may have made them meanwhile, or an earlier try whose answer was lost.
        """
        ...

    def attach(self, contents: Mapping[DID, Sequence[DID]]) -> None:
        """Put files into datasets and collections into containers; what is in stays in."""
        ...

    def contents(self, collection: DID) -> tuple[DID, ...]:
        """What a dataset or container holds directly; NotFound if it is not there."""
        ...

    def close(self, collection: DID) -> None:
        """Let a dataset or container take no more. Idempotent. NotFound if it is not there."""
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

    def add_rules(
        self, dids: Sequence[DID], request: RuleRequest, account: str
    ) -> Mapping[DID, str]:
        """Ask for the same rule on each of these DIDs; gives the rules' ids. A DID that has the
        rule already keeps it, which then no longer ends by itself.

        A refusal is of one DID or more, and none of the others has got a rule.
        """
        ...

    def hold(self, files: Sequence[DID], rse: str, account: str) -> Mapping[DID, str]:
        """Ask for a rule on each of these files that keeps its replica on an RSE, and brings none
        there: without one it is stuck. It may be an RSE that nobody may write to. Otherwise as
        `add_rules`; gives the rules' ids."""
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

    def holders(self, did: DID, rse: str, *, but: Collection[str] = ()) -> Sequence[Holder]:
        """Rules of whichever account that hold a file's replica on an RSE, by the rule's id; empty
        if the file is not there. Not asked about: the rules of some ids (`but`)."""
        ...

    def end_rule(self, rule_id: str, lifetime: int, child: str | None = None) -> None:
        """Let a rule end after `lifetime` seconds and purge its replicas then.

        `child` is another rule of the same DID: one that is not OK is waited for, and if it is
        deleted before that, the end is taken back. Idempotent, but counts anew from each call.
        NotFound if the rule, or its child, is not there.
        """
        ...

    def keep_rule(self, rule_id: str) -> None:
        """Take the end of a rule back, the link to its child, and that it is to purge. Idempotent.
        NotFound if the rule is not there: it has ended."""
        ...

    def usage(self, rse: str) -> Usage:
        """What the catalogue's counters say an RSE holds."""
        ...
