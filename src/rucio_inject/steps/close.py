"""Closing the dataset of a run that is complete: nothing is put into it any more."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

from rucio_inject.batches import REFUSALS, batches
from rucio_inject.domain.did import DID
from rucio_inject.domain.facts import CollectionClosing
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.ports import Catalogue
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.looks import Looks


@dataclass(frozen=True, slots=True)
class Run:
    """Which run a file is of; runs are compared in their own `row` only, as that of a telescope."""

    row: tuple[str, ...]
    number: str

    def is_after(self, other: Run) -> bool:
        """Whether this one, found later, is a later run. One that has no number is if it is
        another."""
        if self.number.isdigit() and other.number.isdigit():
            later = int(self.number) > int(other.number)
        else:
            later = self.number != other.number
        return later and self.row == other.row


@dataclass(frozen=True, slots=True)
class Closing:
    """When a dataset takes no more: any one of these is enough. `quiet`: seconds since a file of it
    was found last; `run_of`: a later run was found than that of its files, as this tells them;
    `triggered`: whether the file is there that says so, for a file of the dataset."""

    quiet: float | None = None
    run_of: Callable[[FileRecord], Run] | None = None
    triggered: Callable[[FileRecord], bool] | None = None


class CloseDatasets:
    """Closes datasets that we made, whose every file is VERIFIED, and that are complete.

    Rucio's judge looks at a dataset that may still grow again and again, and a chained rule on it
    waits for each attachment (rucio issue 8436).
    """

    def __init__(
        self, journal: Journal, catalogue: Catalogue, closing: Closing, looks: Looks
    ) -> None:
        """`looks`: which look of a watch this is; what an earlier one saw closed is not asked for
        again at each."""
        self._journal = journal
        self._catalogue = catalogue
        self._closing = closing
        self._looks = looks

    def run(self) -> Mapping[DID, str]:
        """Close what is complete; gives those that Rucio refused, and why."""
        ledger = self._journal.ledger
        ours, order = ledger.collections(), list(ledger.datasets(tuple(FileState)))
        wanted = ours - self._looks.closed
        proved = [dataset for dataset in self._proved() if dataset in wanted]
        followed = self._followed(order)
        refused: dict[DID, str] = {}
        for some in batches(proved):
            known = self._catalogue.look_up_collections(some)
            for did in some:
                if did in known and not known[did].open:
                    self._looks.closed.add(did)
                elif did in known and self._is_complete(did, followed):
                    self._close(did, refused)
        return refused

    def _close(self, dataset: DID, refused: dict[DID, str]) -> None:
        self._journal.clock.check()
        self._journal.tell([CollectionClosing(at=self._journal.clock.now(), did=dataset)])
        try:
            self._catalogue.close(dataset)
        except REFUSALS as error:
            refused[dataset] = error.message
        else:
            self._looks.closed.add(dataset)

    def _proved(self) -> Sequence[DID]:
        """Datasets with VERIFIED files and no others."""
        ledger = self._journal.ledger
        others = frozenset(ledger.datasets(frozenset(FileState) - {FileState.VERIFIED}))
        return [d for d in ledger.datasets({FileState.VERIFIED}) if d not in others]

    def _followed(self, order: Sequence[DID]) -> Callable[[DID], bool]:
        """What tells whether a later run than that of a dataset was found after it. Nearly always
        the next few datasets tell."""
        run_of, ledger = self._closing.run_of, self._journal.ledger
        if run_of is None:
            return lambda _: False

        @cache
        def run(dataset: DID) -> Run:
            return run_of(next(ledger.files(dataset=dataset)))

        places = {dataset: place for place, dataset in enumerate(order)}

        def followed(dataset: DID) -> bool:
            later = islice(order, places[dataset] + 1, None)
            return any(run(other).is_after(run(dataset)) for other in later)

        return followed

    def _is_complete(self, dataset: DID, followed: Callable[[DID], bool]) -> bool:
        ledger, closing = self._journal.ledger, self._closing
        if followed(dataset):
            return True
        files = ledger.files(dataset=dataset)
        if closing.quiet is None:
            one = next(files, None)
            return one is not None and closing.triggered is not None and closing.triggered(one)
        known = list(files)
        quiet_since = max(record.found_at for record in known)
        if (self._journal.clock.now() - quiet_since).total_seconds() >= closing.quiet:
            return True
        return closing.triggered is not None and closing.triggered(known[0])


def closed(catalogue: Catalogue, datasets: Collection[DID]) -> frozenset[DID]:
    """Those of some datasets that take no more."""
    known = catalogue.look_up_collections(sorted(datasets))
    return frozenset(did for did, there in known.items() if not there.open)
