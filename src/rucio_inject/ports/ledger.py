"""The durable record of a campaign."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from rucio_inject.domain.did import DID
from rucio_inject.domain.injection import FileRecord, FileState, RuleRecord, SourceCopy
from rucio_inject.domain.outline import FileOutline
from rucio_inject.domain.usage import Usage

if TYPE_CHECKING:
    # So many classes take a while, and a porter needs none of them.
    from rucio_inject.domain.facts import DrainOrdered, Fact


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

    @property
    def drain(self) -> DrainOrdered | None:
        """Who drained the campaign, if it is: no new files are to be taken then. It may be ordered
        from outside at any time, also while a run goes on."""
        ...

    def files(
        self,
        states: Collection[FileState] | None = None,
        *,
        dataset: DID | None = None,
        sources: Collection[SourceCopy] | None = None,
    ) -> Iterator[FileRecord]:
        """Files of the cycle begun last, in the order in which they were found; those in
        `states`, of `dataset`, and with their source in one of the states `sources`, only.

        Facts may be recorded while this is drawn from: each file comes at most once, as it is at
        that moment, and none is left out that belongs all the while.
        """
        ...

    def outlines(self) -> Iterator[FileOutline]:
        """Every file of the cycle begun last in short, in no order: for counting, twice as quick as
        `files`. Facts may not be recorded while this is drawn from."""
        ...

    def counts(self, *, dataset: DID | None = None) -> Mapping[FileState, int]:
        """How many files of the cycle begun last are in each state; a state without a file
        is left out."""
        ...

    def usage(self) -> Mapping[FileState, Usage]:
        """Files and bytes of the cycle begun last in each state; a file that is not measured
        counts no bytes, and a state without a file is left out."""
        ...

    def sampled(self) -> int:
        """How many files of the cycle begun last have come as far as VERIFIED by what their
        storages told: a sample that they are not of was read back."""
        ...

    def datasets(
        self, states: Collection[FileState], *, sources: Collection[SourceCopy] | None = None
    ) -> Sequence[DID]:
        """Datasets of the cycle begun last with a file in one of these states, and with its source
        in one of the states `sources`, in the order in which they came up."""
        ...

    def dataset_counts(self, states: Collection[FileState]) -> Sequence[tuple[DID, int]]:
        """Datasets with a file in one of these states, and the number of their files in them."""
        ...

    def file(self, did: DID) -> FileRecord | None:
        """One file, of whichever cycle; None if it is not on record."""
        ...

    def known(self, dids: Sequence[DID]) -> Mapping[DID, FileRecord]:
        """Those of some files, of whichever cycle, that are on record."""
        ...

    def rules(self, *, datasets: Collection[DID] | None = None) -> Sequence[RuleRecord]:
        """Rules asked for in the cycle begun last, in the order of their making; those of some
        `datasets` only, which is as quick however many others there are."""
        ...

    def asked_for(self, dataset: DID, rse_expression: str) -> bool:
        """Whether such a rule was ever asked for by us, and not found there before us: one that
        exists now is ours, even if a crash kept its id off the record."""
        ...

    def collections(self) -> frozenset[DID]:
        """Datasets and containers that we made, or began to make, and that are not gone."""
        ...
