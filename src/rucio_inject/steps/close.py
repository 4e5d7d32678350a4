"""Closing the dataset of a run that is complete: nothing is put into it any more."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from rucio_inject.batches import REFUSALS, batches
from rucio_inject.domain.did import DID
from rucio_inject.domain.facts import CollectionClosing
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.ports import Catalogue
from rucio_inject.steps.journal import Journal


@dataclass(frozen=True, slots=True)
class Closing:
    """When a dataset takes no more: any one of these is enough. `quiet`: seconds since a file of it
    was found last; `next_run`: files of a later one were found; `triggered`: whether the file is
    there that says so, for a file of the dataset."""

    quiet: float | None = None
    next_run: bool = False
    triggered: Callable[[FileRecord], bool] | None = None


class CloseDatasets:
    """Closes datasets that we made, whose every file is VERIFIED, and that are complete.

    Rucio's judge looks at a dataset that may still grow again and again, and a chained rule on it
    waits for each attachment (rucio issue 8436).
    """

    def __init__(self, journal: Journal, catalogue: Catalogue, closing: Closing) -> None:
        self._journal = journal
        self._catalogue = catalogue
        self._closing = closing

    def run(self) -> Mapping[DID, str]:
        """Close what is complete; gives those that Rucio refused, and why."""
        ledger = self._journal.ledger
        ours, order = ledger.collections(), list(ledger.datasets(tuple(FileState)))
        complete = [d for d in order if d in ours and self._is_complete(d, last=d == order[-1])]
        refused: dict[DID, str] = {}
        for some in batches(complete):
            known = self._catalogue.look_up_collections(some)
            for did in some:
                if did in known and known[did].open:
                    self._close(did, refused)
        return refused

    def _close(self, dataset: DID, refused: dict[DID, str]) -> None:
        self._journal.clock.check()
        self._journal.tell([CollectionClosing(at=self._journal.clock.now(), did=dataset)])
        try:
            self._catalogue.close(dataset)
        except REFUSALS as error:
            refused[dataset] = error.message

    def _is_complete(self, dataset: DID, *, last: bool) -> bool:
        ledger, closing = self._journal.ledger, self._closing
        if ledger.counts(dataset=dataset).keys() != {FileState.VERIFIED}:
            return False
        if closing.next_run and not last:
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
