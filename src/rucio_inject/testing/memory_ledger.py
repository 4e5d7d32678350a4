"""A ledger in memory, for tests that open one hundreds of times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self, TypeVar

from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError
from rucio_inject.domain.injection import FileRecord, FileState, RuleRecord, SourceCopy, reached
from rucio_inject.domain.outline import FileOutline, outline
from rucio_inject.domain.story import advance, advance_rule, begin_file, begin_rule
from rucio_inject.domain.usage import Usage

K = TypeVar("K")
T = TypeVar("T")


@dataclass
class Pages:
    """What is on record, and stays when the ledger is closed. Never changed in place, but for
    `held`: a record that is refused leaves all as it was."""

    cycle: int = 0
    ended: bool = False
    analysed: bool = False
    upload_rse: str | None = None
    drain: f.DrainOrdered | None = None
    files: dict[DID, FileRecord] = field(default_factory=dict)
    rules: dict[str, RuleRecord] = field(default_factory=dict)
    asked: frozenset[tuple[DID, str]] = frozenset()
    collections: dict[DID, bool] = field(default_factory=dict)
    """Whether each is still there."""


@dataclass
class Shelf:
    """Where a ledger lies between two runs."""

    pages: Pages = field(default_factory=Pages)
    held: bool = False


class MemoryLedger:
    """Implements `ports.Ledger` on a shelf. A context manager, as real ledgers are."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def __enter__(self) -> Self:
        """Take the ledger. LedgerError if somebody has it."""
        if self._shelf.held:
            raise LedgerError("the ledger is in use by another test")
        self._shelf.held = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give it back."""
        self._shelf.held = False

    @property
    def _pages(self) -> Pages:
        return self._shelf.pages

    @property
    def cycle(self) -> int:
        """See the port."""
        return self._pages.cycle

    @property
    def cycle_ended(self) -> bool:
        """See the port."""
        return self._pages.ended

    @property
    def analysed(self) -> bool:
        """See the port."""
        return self._pages.analysed

    @property
    def upload_rse(self) -> str | None:
        """See the port."""
        return self._pages.upload_rse

    def files(
        self,
        states: Collection[FileState] | None = None,
        *,
        dataset: DID | None = None,
        sources: Collection[SourceCopy] | None = None,
    ) -> Iterator[FileRecord]:
        """See the port."""
        for did in list(self._pages.files):
            record = self._pages.files[did]
            ours = record.cycle == self._pages.cycle and dataset in {None, record.dataset}
            chosen = sources is None or record.source in sources
            if ours and chosen and (states is None or record.state in states):
                yield record

    def outlines(self) -> Iterator[FileOutline]:
        """See the port."""
        return map(outline, self.files())

    def counts(self, *, dataset: DID | None = None) -> Mapping[FileState, int]:
        """See the port."""
        return Counter(record.state for record in self.files(dataset=dataset))

    def usage(self) -> Mapping[FileState, Usage]:
        """See the port."""
        used: dict[FileState, Usage] = {}
        for record in self.files():
            before = used.get(record.state, Usage(0, 0))
            size = record.measure.size if record.measure else 0
            used[record.state] = Usage(before.files + 1, before.bytes + size)
        return used

    def sampled(self) -> int:
        """See the port."""
        return sum(
            record.sampled and reached(record.state, FileState.VERIFIED) for record in self.files()
        )

    def datasets(
        self, states: Collection[FileState], *, sources: Collection[SourceCopy] | None = None
    ) -> Sequence[DID]:
        """See the port."""
        chosen = self.files(states, sources=sources)
        return list(dict.fromkeys(record.dataset for record in chosen))

    def dataset_counts(self, states: Collection[FileState]) -> Sequence[tuple[DID, int]]:
        """See the port."""
        return list(Counter(record.dataset for record in self.files(states)).items())

    @property
    def drain(self) -> f.DrainOrdered | None:
        """See the port."""
        return self._pages.drain

    def file(self, did: DID) -> FileRecord | None:
        """See the port."""
        return self._pages.files.get(did)

    def known(self, dids: Sequence[DID]) -> Mapping[DID, FileRecord]:
        """See the port."""
        return {did: self._pages.files[did] for did in dids if did in self._pages.files}

    def rules(self, *, datasets: Collection[DID] | None = None) -> Sequence[RuleRecord]:
        """See the port."""
        return [
            rule
            for rule in self._pages.rules.values()
            if rule.cycle == self._pages.cycle and (datasets is None or rule.dataset in datasets)
        ]

    def asked_for(self, dataset: DID, rse_expression: str) -> bool:
        """See the port."""
        return (dataset, rse_expression) in self._pages.asked or any(
            (rule.dataset, rule.rse_expression, rule.adopted) == (dataset, rse_expression, False)
            for rule in self._pages.rules.values()
        )

    def collections(self) -> frozenset[DID]:
        """See the port."""
        return frozenset(did for did, there in self._pages.collections.items() if there)

    def record(self, facts: Sequence[f.Fact]) -> None:
        """See the port. LedgerError if the facts contradict the record: nothing is changed then."""
        known = self._pages
        pages = replace(
            known,
            files=dict(known.files),
            rules=dict(known.rules),
            collections=dict(known.collections),
        )
        for fact in facts:
            _take(pages, fact)
        self._shelf.pages = pages


def _take(pages: Pages, fact: f.Fact) -> None:  # noqa: C901, PLR0912 -- a flat table
    match fact:
        case f.CycleBegun():
            pages.cycle, pages.ended, pages.analysed = fact.cycle, False, False
        case f.CycleEnded():
            pages.ended = True
        case f.AnalysisMade():
            pages.analysed = True
        case f.UploadRSEChosen():
            pages.upload_rse = fact.rse
        case f.DrainOrdered():
            pages.drain = fact if fact.on else None
        case f.FileFound():
            pages.files[fact.did] = begin_file(fact)
        case f.FileFact():
            pages.files[fact.did] = advance(_known(pages.files, fact.did), fact)
        case f.RuleAsked():
            pages.asked |= {(fact.dataset, fact.request.rse_expression)}
        case f.RuleRefused():
            pages.asked -= {(fact.dataset, fact.request.rse_expression)}
        case f.RuleMade():
            pages.asked -= {(fact.dataset, fact.request.rse_expression)}
            pages.rules[fact.rule_id] = begin_rule(fact, pages.cycle)
        case f.RuleChanged():
            key = fact.view.rule_id
            pages.rules[key] = advance_rule(_known(pages.rules, key), fact)
        case f.RuleEnding() | f.RuleKept() | f.RuleGone():
            pages.rules[fact.rule_id] = advance_rule(_known(pages.rules, fact.rule_id), fact)
        case f.CollectionAsked():
            pages.collections[fact.did] = True
        case f.CollectionGone():
            _known(pages.collections, fact.did)
            pages.collections[fact.did] = False
        case _:
            # For people who read the story; nothing is decided by it.
            pass


def _known(records: Mapping[K, T], key: K) -> T:
    if key not in records:
        raise LedgerError(f"{key} is not on record, so nothing can have happened to it")
    return records[key]
