"""What an audit may find, and what can be done about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from rucio_inject.domain.did import DID

KEPT = 10_000
"""Findings of a kind that a report holds; others are only counted, so that memory is bounded."""


class Kind(StrEnum):
    """What is wrong."""

    LOST = "lost"
    """The catalogue has an AVAILABLE replica, and the storage does not show it."""
    CORRUPT = "corrupt"
    """The bytes of a replica are not those on record."""
    CONTENT = "content"
    """The catalogue's size or checksums are not those on record."""
    MISSING = "missing"
    """The catalogue lacks a file or a replica that was proved to be there."""
    HALF_DECLARED = "half-declared"
    """A replica is not AVAILABLE, and no rule brings it (rucio issue 6670)."""
    DARK = "dark"
    """The storage has a file that the catalogue does not know."""
    DATASET = "dataset"
    """A dataset or container is not there, is closed, or does not hold what it should."""
    RULE = "rule"
    """A rule is not what was asked for, or does not do it."""
    SOURCE = "source"
    """A source file is not what the record says."""
    AWAITED = "awaited"
    """A replica that was proved is not there now, and a rule is bringing it anew."""
    UNSEEN = "unseen"
    """A storage could not be looked into."""


class Repair(StrEnum):
    """What `--fix` can do."""

    MARK_BAD = "mark the replica bad"
    """So that Rucio makes it anew from another one, which was read back just before."""
    REGISTER = "register the replica"
    """After its bytes were read back."""
    ATTACH = "attach it"
    KEEP_RULE = "take the rule's end back"
    REMOVE = "remove our left-over"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be.

    `did` is what it is about; of a rule it is the dataset, and `rule_id` names the rule. `there` is
    what is there and `expected` what should be. `repair` is what `--fix` can do safely; `hint` what
    else there is to do, and by whom.
    """

    kind: Kind
    did: DID | None
    there: str
    expected: str
    evidence: str
    rse: str | None = None
    rule_id: str | None = None
    pfn: str | None = None
    parent: DID | None = None
    repair: Repair | None = None
    hint: str | None = None

    @property
    def subject(self) -> str:
        """The thing's name: a rule's id, a DID, a PFN, or an RSE."""
        return self.rule_id or str(self.did or self.pfn or self.rse)


@dataclass(frozen=True, slots=True)
class Looked:
    """How much was looked at."""

    files: int = 0
    replicas: int = 0
    not_listed: tuple[str, ...] = ()
    """RSEs whose storage cannot be listed: dark files there would go unseen."""
    waiting: int = 0
    """Files that are not VERIFIED yet: the campaign has not finished with them."""
    set_aside: int = 0
    """Files that are QUARANTINED."""
    shown: Mapping[str, str] = field(default_factory=dict)
    """The PFN of a replica that was there, by RSE: where none was, the storage may be another."""


@dataclass(slots=True)
class Report:
    """What an audit found: all of it counted by kind, and the first `KEPT` of each kind."""

    counts: Counter[Kind] = field(default_factory=Counter)
    kept: dict[Kind, list[Finding]] = field(default_factory=dict)
    looked: Looked = field(default_factory=Looked)

    def take(self, findings: Iterable[Finding]) -> None:
        """Add findings."""
        for finding in findings:
            self.counts[finding.kind] += 1
            held = self.kept.setdefault(finding.kind, [])
            if len(held) < KEPT:
                held.append(finding)

    def repairable(self) -> Mapping[Repair, Sequence[Finding]]:
        """Findings that `--fix` may repair, by how."""
        found: dict[Repair, list[Finding]] = {repair: [] for repair in Repair}
        for held in self.kept.values():
            for finding in held:
                if finding.repair is not None:
                    found[finding.repair].append(finding)
        return found


@dataclass(frozen=True, slots=True)
class Repaired:
    """What came of one repair; `error` says why it was not made."""

    finding: Finding
    error: str | None = None
