"""What a run would do: a value, which a dry run makes and a door shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import InjectError
from rucio_inject.domain.facts import DrainOrdered, NameSkipped
from rucio_inject.domain.injection import FileState
from rucio_inject.domain.usage import Usage
from rucio_inject.ports import AttributeValue, Identity, Quota, Space
from rucio_inject.words.numbers import size

LISTED = 1000
"""Files that a plan names one by one; of more it has the numbers only."""


class Fate(StrEnum):
    """What a run would make of a file."""

    NEW = "new"
    """The catalogue does not know it: its bytes would be brought."""
    THERE = "there"
    """The upload RSE has it with the same content: it would be taken as it is."""
    ELSEWHERE = "elsewhere"
    """The catalogue has it with the same content, but not at the upload RSE: it would be brought
    there."""
    UNDER_WAY = "under way"
    """On record: it would go on from where it stopped."""
    LOST = "lost"
    """On record as in the lake, and not there any more: it would be brought again."""
    ASIDE = "set aside"
    """It could not go on, or is no file for the lake."""
    DONE = "done"
    """Nothing is left to do."""


_BROUGHT_TOO = (Fate.ELSEWHERE, Fate.LOST)
BROUGHT = frozenset({Fate.NEW, *_BROUGHT_TOO})
"""Whose bytes would be copied to the upload RSE; of those under way it depends on how far."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """A file that could not go on: why, and what to do."""

    did: DID
    code: str
    reason: str
    hint: str | None


@dataclass
class PlannedFiles:
    """The files of a plan in numbers.

    `brought` are those whose bytes would be copied to the upload RSE; `moves` what each rule would
    have Rucio transfer, by RSE expression. `unsized` files have no size before they are made, and
    count no bytes; `by_size` are in the catalogue with the same size, and their checksums are not
    known before their bytes are read. `left` counts what is on record by the state from which it
    goes on; `coming` are bytes that no rule holds yet.
    """

    count: Counter[Fate] = field(default_factory=Counter)
    bytes: Counter[Fate] = field(default_factory=Counter)
    brought: Usage = field(default_factory=lambda: Usage(0, 0))
    registered: int = 0
    described: int = 0
    read_back: int = 0
    coming: int = 0
    unsized: int = 0
    by_size: int = 0
    left: Counter[FileState] = field(default_factory=Counter)
    moves: dict[str, Usage] = field(default_factory=dict)
    codes: Counter[str] = field(default_factory=Counter)
    aside: list[SetAside] = field(default_factory=list)
    skipped: int = 0
    skips: list[NameSkipped] = field(default_factory=list)

    @property
    def waits(self) -> int:
        """Files that would have to be brought, or taken as they are: none of a drained campaign."""
        to_bring = sum(self.left[state] for state in (FileState.FOUND, FileState.MEASURED))
        return to_bring + sum(self.count[fate] for fate in (Fate.NEW, Fate.THERE, *_BROUGHT_TOO))

    def brings(self, size: int) -> None:
        """One more file would be copied to the upload RSE."""
        self.brought = Usage(self.brought.files + 1, self.brought.bytes + size)

    def moves_to(self, expression: str, copies: int, size: int) -> None:
        """Rucio would transfer so many copies of a file for a rule."""
        known = self.moves.get(expression, Usage(0, 0))
        self.moves[expression] = Usage(known.files + copies, known.bytes + copies * size)

    def refuse(self, refused: SetAside) -> None:
        """One more file could not go on."""
        self.codes[refused.code] += 1
        if len(self.aside) < LISTED:
            self.aside.append(refused)

    def skip(self, fact: NameSkipped) -> None:
        """One more name is no file for the lake."""
        self.skipped += 1
        if len(self.skips) < LISTED:
            self.skips.append(fact)


@dataclass(frozen=True, slots=True)
class PlannedRSE:
    """An RSE of the campaign's: what the account may have there, and what its storage has."""

    quota: Quota
    space: Space


@dataclass(frozen=True, slots=True)
class PlannedAttribute:
    """An attribute of an RSE that the campaign names; `before` is what it is, None for nothing."""

    rse: str
    key: str
    before: AttributeValue | None
    value: AttributeValue
    changes: bool


@dataclass(frozen=True, slots=True)
class ToMake:
    """How many of a kind would be made, and how many are there already."""

    made: int
    there: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do.

    `scope_owner` is None if the scope would be made. `obstacles` would end the run before it
    brings anything; one that is drained brings nothing either. `calls` are those that would change
    something, by kind, and `asked` those that the plan itself took, which changed nothing.
    """

    cycle: int
    identity: Identity
    scope: str
    scope_owner: str | None
    upload_rse: str
    expressions: Mapping[str, tuple[str, ...]]
    attributes: Sequence[PlannedAttribute]
    rses: Sequence[PlannedRSE]
    files: PlannedFiles
    datasets: ToMake
    containers: ToMake
    rules: ToMake
    calls: Mapping[str, int]
    asked: Mapping[str, int]
    obstacles: tuple[InjectError, ...] = ()
    drain: DrainOrdered | None = None

    @property
    def cautions(self) -> tuple[str, ...]:
        """Why files would be set aside, or not come where they should, for want of room."""
        needs = {rse: used.bytes for rse, used in self._to_each().items()}
        told: list[str] = []
        for planned in self.rses:
            rse, space = planned.quota.rse, planned.space
            if rse in needs and not space.writable:
                told.append(f"{rse} is blocked for writing")
            elif space.free is not None and needs.get(rse, 0) > space.free:
                free, need = size(space.free), size(needs[rse])
                told.append(f"{rse} has {free} free, and {need} would go there")
        return tuple(told)

    def _to_each(self) -> Mapping[str, Usage]:
        """What would go to each RSE, as far as there is no choice."""
        sent = {self.upload_rse: self.files.brought} if self.files.brought.files else {}
        for expression, used in self.files.moves.items():
            if len(rses := self.expressions.get(expression, ())) == 1:
                known = sent.get(rses[0], Usage(0, 0))
                total = Usage(known.files + used.files, known.bytes + used.bytes)
                sent[rses[0]] = total
        return sent

    @property
    def nothing_to_do(self) -> bool:
        """Whether all is done already, and a run would change nothing."""
        idle = not self.files.count.keys() - {Fate.DONE, Fate.ASIDE}
        return idle and not any(attribute.changes for attribute in self.attributes)
