"""At the start of a run: does what an earlier run has proved still hold?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum, auto
from pathlib import Path

from rucio_inject.batches import batches
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import NotFound, ReplicaMissing, SourceUnreadable
from rucio_inject.domain.facts import Fact, FileSetBack, RuleKept, SourceKept
from rucio_inject.domain.injection import FileRecord, FileState, SourceCopy
from rucio_inject.measuring import there
from rucio_inject.ports import Catalogue, KnownFile
from rucio_inject.steps.compare import conflict
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.looks import Looks
from rucio_inject.steps.organise import UNDER_WAY, datasets_under_way

VERIFIED = frozenset({FileState.VERIFIED})
LEFT = frozenset({SourceCopy.KEPT, SourceCopy.FREEING})


class GivenUp(Enum):
    """What a campaign gives up of a file once it is proved."""

    NOTHING = auto()
    SOURCES = auto()
    """Its source: the lake has the only copies then."""
    REPLICAS = auto()
    """All that the lake has of it."""


class Recheck:
    """Sets files back that somebody has taken out of the catalogue behind our back.

    Registered files that no rule keeps yet may be reaped, and datasets may be erased. A file that
    is nowhere is brought again; one that has no source any more is set aside. One that was to go
    from its origin, and is there, stays: its replica there may be the last, and gets a rule again.
    """

    def __init__(
        self,
        journal: Journal,
        catalogue: Catalogue,
        rse: str,
        *,
        account: str,
        given_up: GivenUp,
        looks: Looks,
    ) -> None:
        """`given_up`: what is for what was proved; `looks`: which look of a watch this is."""
        self._journal = journal
        self._catalogue = catalogue
        self._rse = rse
        self._account = account
        self._given_up = given_up
        self._looks = looks

    def run(self) -> None:
        """Look at registered files, and at the datasets that are concerned."""
        ledger = self._journal.ledger
        for batch in batches(ledger.files({FileState.REGISTERED})):
            self._look(batch, "was reaped before a rule kept it")
        concerned = self.concerned()
        for dataset in self._vanished(concerned):
            for batch in batches(ledger.files(UNDER_WAY, dataset=dataset)):
                self._look(batch, f"was in {dataset}, which is not in the catalogue any more")
        at_stake = frozenset(self._at_stake())
        for dataset in (d for d in concerned if d in at_stake):
            self._find_detached(dataset)
        for dataset in self._short_of_locks([d for d in concerned if d not in at_stake]):
            self._find_detached(dataset)

    def concerned(self) -> Sequence[DID]:
        """Datasets whose rules must be there, as far as this look goes into them."""
        ledger = self._journal.ledger
        return datasets_under_way(ledger) if self._looks.whole else self._at_stake()

    def _at_stake(self) -> Sequence[DID]:
        """Those that have files still to be proved, or such that something will be given up for:
        all others are only kept."""
        ledger, given_up = self._journal.ledger, self._given_up
        unproved = ledger.datasets(UNDER_WAY - VERIFIED)
        proved: Sequence[DID] = ()
        if given_up is not GivenUp.NOTHING:
            sources = LEFT if given_up is GivenUp.SOURCES else None
            proved = ledger.datasets(VERIFIED, sources=sources)
        rules = ledger.rules(datasets=proved) if proved else ()
        ending = {rule.dataset for rule in rules if rule.ends_dataset}
        return list(dict.fromkeys((*unproved, *(d for d in proved if d not in ending))))

    def _short_of_locks(self, datasets: Sequence[DID]) -> list[DID]:
        """Those with a rule that holds fewer files than are on record as in them: one list of rules
        tells it, where each dataset would have to be listed."""
        ledger = self._journal.ledger
        if not datasets:
            return []
        ours = {rule.rule_id for rule in ledger.rules(datasets=datasets)}
        views = self._catalogue.rules(sorted(datasets), self._account)
        inside = dict(ledger.dataset_counts(UNDER_WAY))
        held: dict[DID, int] = {}
        for view in views:
            if view.rule_id in ours:
                locks = view.locks_ok + view.locks_replicating + view.locks_stuck
                files = locks // view.copies
                held[view.did] = min(files, held.get(view.did, files))
        return [did for did in datasets if did in held and held[did] < inside.get(did, 0)]

    def _find_detached(self, dataset: DID) -> None:
        """Files that somebody took out of their dataset: no rule brings or keeps them."""
        try:
            held = frozenset(self._catalogue.contents(dataset))
        except NotFound:
            return
        files = self._journal.ledger.files(UNDER_WAY, dataset=dataset)
        for batch in batches(record for record in files if record.did not in held):
            self._look(batch, f"is not in {dataset} any more")

    def _vanished(self, datasets: Sequence[DID]) -> list[DID]:
        gone = self._catalogue.missing(datasets) if datasets else frozenset()
        return [dataset for dataset in datasets if dataset in gone]

    def _look(self, files: Sequence[FileRecord], why: str) -> None:
        self._journal.clock.check()
        known = self._catalogue.look_up([record.did for record in files])
        found = [(record, self._fact(record, known.get(record.did), why)) for record in files]
        back = {r.did: r for r, fact in found if isinstance(fact, FileSetBack)}
        # At once: a crash between them would leave the replica at the origin without a rule.
        self._journal.tell(
            [
                *self._stay([r for r in back.values() if _is_leaving(r)], why),
                *(fact for _, fact in found if fact is not None),
            ]
        )

    def _stay(self, files: Sequence[FileRecord], why: str) -> Iterator[Fact]:
        """That files are not given up at their origin any more, nor is the rule that kept them."""
        now, datasets = self._journal.clock.now(), {record.dataset for record in files}
        for rule in self._journal.ledger.rules() if datasets else ():
            if rule.at_origin and rule.dataset in datasets:
                yield RuleKept(at=now, rule_id=rule.rule_id, reason=f"what it kept {why}")
        for record in files:
            yield SourceKept(at=now, did=record.did, reason=f"it {why}")

    def _fact(self, record: FileRecord, known: KnownFile | None, why: str) -> Fact | None:
        at, reason = self._journal.clock.now(), f"{record.did} {why}"
        if known is not None and (other := conflict(record, known)) is not None:
            # An imported ledger says so of years ago; or it was reaped, and registered by others.
            return self._journal.failed(record.did, other)
        if known is not None and self._rse in known.replicas:
            if record.state is FileState.REGISTERED:
                return None
            state = FileState.REGISTERED
        else:
            try:
                found = has_source(record)
            except SourceUnreadable as error:
                return self._journal.failed(record.did, error)
            if not found:
                missing = lost(record, f"{reason}, nor at {self._rse}")
                return self._journal.failed(record.did, missing)
            state = FileState.MEASURED
        return FileSetBack(at=at, did=record.did, state=state, reason=reason)


def _is_leaving(record: FileRecord) -> bool:
    return record.in_place and record.source is SourceCopy.FREEING


def has_source(record: FileRecord) -> bool:
    """Whether a file can be brought again: its source was kept, or was about to be removed and
    never was. SourceUnreadable if the system does not tell."""
    freeing = record.source is SourceCopy.FREEING and not record.in_place
    return record.source is SourceCopy.KEPT or (freeing and there(Path(record.path)))


def lost(record: FileRecord, why: str) -> ReplicaMissing:
    """That a file is where it should be no more, and has no source either."""
    return ReplicaMissing(
        f"{why}, and its source was freed",
        hint=f"rucio replica list file {record.did} --all-states tells where else it is",
    )
