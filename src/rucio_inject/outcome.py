"""What a run left, in numbers, and everything that is not as it should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os.path import commonpath
from pathlib import Path

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import AnalysisFailed
from rucio_inject.domain.facts import DrainOrdered
from rucio_inject.domain.injection import FileRecord, FileState, SourceCopy, reached
from rucio_inject.domain.outline import FileOutline
from rucio_inject.domain.rule import RuleView
from rucio_inject.domain.usage import Room
from rucio_inject.ports import Analysis, LeftOut

LISTED = 1000
"""Files of a kind that an outcome lists; of more it has the numbers only."""


@dataclass
class Totals:
    """A cycle in numbers, counted in one pass over its files. Bytes are of measured files.

    `failures` counts codes; `datasets` are those with a registered file, `waiting_datasets` those
    with one that waits for its replicas, nobody knows why. `adopted` files were in the lake before,
    with the same content: they are not among what was injected. `freed` are real sources that were
    removed, from `freed_from` or folders in it, None if they were at an RSE; `empty` files have
    no bytes. `sampled` files are VERIFIED by what the storages of `replicas_told` told.
    """

    by_state: Counter[FileState] = field(default_factory=Counter)
    bytes: int = 0
    bytes_injected: int = 0
    adopted: int = 0
    bytes_adopted: int = 0
    datasets: set[DID] = field(default_factory=set)
    waiting_datasets: set[DID] = field(default_factory=set)
    replicas_read_back: int = 0
    replicas_verified: int = 0
    replicas_told: int = 0
    sampled: int = 0
    replicas_gone: int = 0
    freed: int = 0
    bytes_freed: int = 0
    freed_from: Path | None = None
    empty: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, files: Iterable[FileOutline]) -> Totals:
        """Count some files."""
        totals = cls()
        for file in files:
            totals.count(file)
        return totals

    def count(self, file: FileOutline) -> None:
        """Count one more."""
        size = file.size or 0
        self.by_state[file.state] += 1
        self.bytes += size
        self.empty += file.size == 0
        self.replicas_read_back += file.read_back
        self.replicas_gone += file.gone
        if file.failure is not None:
            self.failures[file.failure] += 1
        if reached(file.state, FileState.REGISTERED):
            self.adopted += file.adopted
            self.bytes_adopted += size * file.adopted
            self.bytes_injected += size * (not file.adopted)
            self.datasets.add(file.dataset)
        if file.state is FileState.REPLICATING and not file.waits:
            self.waiting_datasets.add(file.dataset)
        if reached(file.state, FileState.VERIFIED):
            self.replicas_verified += file.read_back
            self.sampled += file.sampled
            self.replicas_told += file.told if file.sampled else 0
        if file.source is SourceCopy.FREED and not file.generated:
            self.freed += 1
            self.bytes_freed += size
            if not file.in_place:
                self._count_folder(Path(file.path).parent)

    def _count_folder(self, folder: Path) -> None:
        if folder != self.freed_from:
            known = self.freed_from or folder
            self.freed_from = Path(commonpath([known, folder]))

    @property
    def injected(self) -> int:
        """Files that we brought into the lake."""
        return self.that_reached(FileState.REGISTERED) - self.adopted

    def that_reached(self, state: FileState) -> int:
        """How many files have come as far as a state."""
        return sum(count for have, count in self.by_state.items() if reached(have, state))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run left.

    `failed` were set aside, `waiting` are not yet where their rules want them, `still_there` have
    rules that ended and are on some RSE still: of each the first `LISTED`. `kept` are datasets
    whose rules were not ended, `endless` those whose rules do not end all the same; and why.
    `not_yet` is what the source will offer later, `not_closed` datasets that
    are complete and that Rucio does not close; `origin` is how full the place of real files is.
    Of an origin RSE that is freed: `leaving` are datasets whose files will go there by themselves,
    `staying` those that will not; and what they wait for.
    """

    cycle: int
    totals: Totals
    failed: Sequence[FileRecord] = ()
    waiting: Sequence[FileRecord] = ()
    still_there: Sequence[FileRecord] = ()
    skipped: int = 0
    held_back: int = 0
    drain: DrainOrdered | None = None
    changed: bool = True
    not_ok: Sequence[RuleView] = ()
    kept: Mapping[DID, str] = field(default_factory=dict)
    endless: Mapping[DID, str] = field(default_factory=dict)
    analysis: Analysis | None = None
    analysis_error: AnalysisFailed | None = None
    not_yet: Sequence[LeftOut] = ()
    not_closed: Mapping[DID, str] = field(default_factory=dict)
    origin: Room | None = None
    leaving: Mapping[DID, str] = field(default_factory=dict)
    staying: Mapping[DID, str] = field(default_factory=dict)

    @property
    def by_state(self) -> Mapping[FileState, int]:
        """How many files are in each state."""
        return self.totals.by_state
