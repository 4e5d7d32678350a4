"""Giving the room at an origin RSE back: Rucio removes there what nothing keeps any more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rucio_inject.batches import REFUSALS, batches
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import InjectError, NotFound
from rucio_inject.domain.facts import (
    Fact,
    RuleEnding,
    SourceFreeing,
)
from rucio_inject.domain.injection import FileRecord, FileState, RuleRecord, SourceCopy
from rucio_inject.domain.rule import Holder
from rucio_inject.ports import Catalogue, KnownCollection
from rucio_inject.steps.compare import measure_of
from rucio_inject.steps.free import Watermark
from rucio_inject.steps.in_place import TakeAsTheyLie
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.leaving import FREEING, AtOrigin, Leaving, unproved_of
from rucio_inject.steps.locks import rules_that_keep
from rucio_inject.steps.pool import in_threads
from rucio_inject.steps.proofs import Proofs
from rucio_inject.words.numbers import duration

VERIFIED = frozenset({FileState.VERIFIED})
KEPT = frozenset({SourceCopy.KEPT})


@dataclass(frozen=True, slots=True)
class OriginTerms:
    """How an origin is freed: its rules live on for `lifetime` seconds once their files are proved.
    `watermark` None: all that may go does."""

    lifetime: int
    watermark: Watermark | None = None


@dataclass(frozen=True, slots=True)
class _Landing:
    """What keeps files of a dataset at the origin: its rule there, and rules of single files, each
    with the files that go when it ends; and a promised rule of the dataset."""

    of_dataset: RuleRecord | None
    parts: Sequence[tuple[RuleRecord, Sequence[FileRecord]]]
    promised: RuleRecord

    @property
    def files(self) -> list[FileRecord]:
        """All that are to go."""
        return [record for _, files in self.parts for record in files]


class FreeAtOrigin:
    """Ends the rules that keep files at the origin, once the lake has proved that it has them.

    A rule is of a dataset, so that a dataset's files go together: when it takes no more, and every
    one of its files is proved. They are freed when Rucio says that they are gone, and the storage
    shows them no more.
    """

    def __init__(
        self,
        journal: Journal,
        catalogue: Catalogue,
        proofs: Proofs,
        in_place: TakeAsTheyLie,
        leaving: Leaving,
        *,
        account: str,
        rse: str,
        workers: int,
        terms: OriginTerms | None,
    ) -> None:
        """`in_place` looks at what lies at the origin, `leaving` at what was given up there;
        `terms` None: nothing is freed from now on."""
        self._journal = journal
        self._catalogue = catalogue
        self._proofs = proofs
        self._in_place = in_place
        self._leaving = leaving
        self._account = account
        self._rse = rse
        self._workers = workers
        self._terms = terms
        self._anew: Mapping[DID, str] = {}

    def keep(self) -> None:
        """Before a run waits for anything: keep what must not go."""
        self._leaving.keep()

    def run(self) -> AtOrigin:
        """See what became of files that were to go, and let others go."""
        left = AtOrigin()
        self._leaving.look(left)
        if self._terms is not None:
            self._anew = self._leaving.anew()
            self._free(self._terms, left)
        return left

    def _free(self, terms: OriginTerms, left: AtOrigin) -> None:
        """In the order in which they were found: the oldest datasets go first."""
        lacking = self._lacking(terms.watermark, left)
        if lacking is not None and lacking <= 0:
            return
        files = self._journal.ledger.files(VERIFIED, sources=KEPT)
        datasets = dict.fromkeys(record.dataset for record in files if record.in_place)
        rules = rules_that_keep(self._journal.ledger, datasets)
        alone = self._leaving.hold.rules()
        for some in batches(list(datasets)):
            known = self._catalogue.look_up_collections(some)
            for dataset in some:
                self._journal.clock.check()
                if (why := self._may_grow(dataset, known.get(dataset))) is not None:
                    left.waiting[dataset] = why
                    continue
                freed = self._free_dataset(dataset, rules[dataset], alone, terms, left)
                if lacking is not None:
                    lacking -= freed
                    if lacking <= 0:
                        return

    def _lacking(self, watermark: Watermark | None, left: AtOrigin) -> int | None:
        """Bytes that are to be made room for, besides those that will be free by themselves; None:
        whatever may go."""
        if watermark is None:
            return None
        if (wanted := watermark.lacking(self._freed_since)) == 0:
            return 0
        freeing = self._journal.ledger.files(sources=FREEING)
        going = (r for r in freeing if r.in_place and r.dataset not in left.staying)
        return wanted - sum(measure_of(record).size for record in going)

    def _freed_since(self, moment: datetime) -> int:
        """Bytes that went from the origin since a moment; what went just before may count, too, as
        it is found out afterwards."""
        return sum(
            file.size or 0
            for file in self._journal.ledger.outlines()
            if file.in_place and file.source is SourceCopy.FREED
            if file.gone_at is not None and file.gone_at >= moment
        )

    def _may_grow(self, dataset: DID, known: KnownCollection | None) -> str | None:
        """Why a dataset may get more files, or has some that are not proved; None if neither is."""
        if (why := unproved_of(self._journal.ledger.counts(dataset=dataset))) is not None:
            return why
        if known is None or known.open:
            return "it is not closed: more may come (naming.closing)"
        return None

    def _free_dataset(
        self,
        dataset: DID,
        rules: Sequence[RuleRecord],
        alone: Mapping[DID, RuleRecord],
        terms: OriginTerms,
        left: AtOrigin,
    ) -> int:
        """The bytes of a dataset that are going to be free; 0 if it may not go now. `rules` are
        ours that keep its files, `alone` those that keep one file each."""
        if dataset in self._anew:
            left.staying[dataset] = self._anew[dataset]
            return 0
        files = list(self._journal.ledger.files(dataset=dataset))
        landing = self._landing(files, rules, alone)
        if landing is None:
            left.staying[dataset] = f"no rule of ours keeps its files at {self._rse}, or elsewhere"
            return 0
        why = self._not_ours(landing, files) or self._held_by_others(landing, rules)
        if why is not None:
            left.staying[dataset] = why
            return 0
        if not self._is_proved_now(landing.files):
            return 0
        return self._end(dataset, landing, terms.lifetime, left)

    def _landing(
        self,
        files: Sequence[FileRecord],
        rules: Sequence[RuleRecord],
        alone: Mapping[DID, RuleRecord],
    ) -> _Landing | None:
        """None: not all that would go is kept there, or nothing is promised elsewhere."""
        here = next((rule for rule in rules if rule.rse_expression == self._rse), None)
        promised = next((rule for rule in rules if rule.rse_expression != self._rse), None)
        going = [record for record in files if record.source is SourceCopy.KEPT]
        own = [(alone[r.did], [] if here else [r]) for r in going if r.did in alone]
        if promised is None or (here is None and len(own) < len(going)):
            return None
        return _Landing(here, [(here, going), *own] if here else own, promised)

    def _not_ours(self, landing: _Landing, files: Sequence[FileRecord]) -> str | None:
        """Why what a dataset holds is not ours to free; None if it is. `files` are all of it."""
        if any(rule.adopted for rule, _ in landing.parts):
            return f"its rule at {self._rse} was there before this campaign"
        if any(record.adopted for record in files):
            return "it holds files that were in the lake before this campaign"
        if any(not record.in_place or record.upload_rse != self._rse for record in files):
            return f"it holds files that did not lie at {self._rse} before us"
        try:
            held = set(self._catalogue.contents(landing.promised.dataset))
        except NotFound:
            return "it is not in the catalogue any more; the next run looks for its files"
        if strangers := held - {record.did for record in files}:
            return f"it holds {len(strangers)} files that this campaign did not verify"
        return None

    def _held_by_others(self, landing: _Landing, rules: Sequence[RuleRecord]) -> str | None:
        """Which other rule, of whichever account, keeps a file at the origin, too: ours would end
        for nothing. One of the campaign's own `rules` may have found its replica there."""
        files = landing.files
        dids = {record.did for record in files}
        for rule in rules:
            # Ours hold all of the dataset: their locks are listed once, not for each file.
            locks = self._catalogue.locks(rule.rule_id) if rule is not landing.of_dataset else ()
            for lock in locks:
                if lock.rse == self._rse and lock.did in dids:
                    holder = Holder(rule.rule_id, self._account, rule.rse_expression)
                    return self._leaving.held(lock.did, holder)
        ours = frozenset(rule.rule_id for rule in (*rules, *(rule for rule, _ in landing.parts)))

        def asked(record: FileRecord) -> str | None:
            return self._leaving.others(record.did, ours)

        crew = self._journal.crew
        for batch in in_threads(files, asked, workers=self._workers, crew=crew):
            for _, found in batch:
                if isinstance(found, InjectError):
                    raise found
                if found is not None:
                    return found
        return None

    def _is_proved_now(self, files: Sequence[FileRecord]) -> bool:
        """Whether every replica of all files is the same now, that at the origin, too, and the
        others are held by rules. A file of which that is not so is set aside."""
        if len(self._proofs.renewed(files)) < len(files):
            return False
        # One that was to go before, and was kept, may be on record as promised elsewhere alone.
        unread = [record for record in files if self._rse not in record.replicas]
        for outcomes in self._in_place.again(unread):
            failed = {r.did: out for r, out in outcomes if isinstance(out, InjectError)}
            if failed:
                self._journal.tell(self._journal.failed(*each) for each in failed.items())
                return False
        # As they are on record now.
        known = self._journal.ledger.known([record.did for record in files])
        not_held = self._proofs.not_held(list(known.values()), without=self._rse)
        self._journal.tell(self._journal.failed(did, error) for did, error in not_held.items())
        return not not_held

    def _end(self, dataset: DID, landing: _Landing, lifetime: int, left: AtOrigin) -> int:
        """Give rules their end; the bytes of those that Rucio took.

        Should a promised copy be found wanting at this very moment, its rule is not OK, and Rucio
        does not end that of the dataset before it is: a parent waits for its child. A rule of a
        single file can have no such child.
        """
        ended = 0
        for rule, files in landing.parts:
            now = self._journal.clock.now()
            freeing: Iterator[Fact] = (SourceFreeing(at=now, did=r.did) for r in files)
            ending = RuleEnding(at=now, rule_id=rule.rule_id, lifetime=lifetime, at_origin=True)
            self._journal.tell([*freeing, ending])
            child = landing.promised.rule_id if rule is landing.of_dataset else None
            try:
                self._catalogue.end_rule(rule.rule_id, lifetime, child)
            except NotFound:
                # One of the two is gone: the next look tells which.
                continue
            except REFUSALS as error:
                self._leaving.kept(rule, error.message)
                left.staying[dataset] = error.message
                continue
            left.waiting[dataset] = f"its rule there ends in {duration(lifetime)}"
            ended += sum(measure_of(record).size for record in files)
        return ended
