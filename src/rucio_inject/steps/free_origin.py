"""Giving the room at an origin RSE back: Rucio removes there what nothing keeps any more."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from rucio_inject.batches import REFUSALS, batches
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import InjectError, NotFound
from rucio_inject.domain.facts import (
    Fact,
    ReplicaGone,
    RuleEnding,
    RuleGone,
    RuleKept,
    SourceFreed,
    SourceFreeing,
    SourceKept,
)
from rucio_inject.domain.injection import FileRecord, FileState, RuleRecord, SourceCopy
from rucio_inject.domain.rule import Holder, RuleState, RuleView
from rucio_inject.ports import Catalogue, KnownCollection, KnownFile, Storage
from rucio_inject.steps.compare import measure_of
from rucio_inject.steps.free import Watermark
from rucio_inject.steps.in_place import TakeAsTheyLie
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.locks import rules_that_keep
from rucio_inject.steps.pool import in_threads
from rucio_inject.steps.proofs import Proofs
from rucio_inject.words.moments import shown
from rucio_inject.words.numbers import duration

VERIFIED = frozenset({FileState.VERIFIED})
KEPT = frozenset({SourceCopy.KEPT})
FREEING = frozenset({SourceCopy.FREEING})


@dataclass(frozen=True, slots=True)
class OriginTerms:
    """How an origin is freed: its rules live on for `lifetime` seconds once their files are proved.
    `watermark` None: all that may go does."""

    lifetime: int
    watermark: Watermark | None = None


@dataclass(slots=True)
class AtOrigin:
    """What is still at an origin that is to be freed. `waiting`: datasets that will go by
    themselves; `staying`: those that will not; and why."""

    waiting: dict[DID, str] = field(default_factory=dict)
    staying: dict[DID, str] = field(default_factory=dict)


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
        storage: Storage,
        proofs: Proofs,
        in_place: TakeAsTheyLie,
        *,
        account: str,
        rse: str,
        workers: int,
        terms: OriginTerms | None,
        fixed: Collection[str],
        rewritten: Collection[DID] = (),
    ) -> None:
        """`in_place` looks at what lies at the origin; `terms` None: nothing is freed from now on;
        `fixed` are expressions that leave Rucio no choice of RSEs; `rewritten` are files that were
        seen at the origin as others than were injected, when `run` is called."""
        self._journal = journal
        self._catalogue = catalogue
        self._storage = storage
        self._proofs = proofs
        self._in_place = in_place
        self._account = account
        self._rse = rse
        self._workers = workers
        self._terms = terms
        self._fixed = fixed
        self._rewritten = rewritten
        self._anew: dict[DID, str] = {}

    def run(self) -> AtOrigin:
        """See what became of files that were to go, and let others go."""
        left = AtOrigin()
        anew = self._journal.ledger.known(sorted(self._rewritten)).values()
        self._anew = {r.dataset: f"{r.path} was written anew: nobody has that" for r in anew}
        self._look_at_ending(left)
        ending = {*left.waiting, *left.staying}
        for files in batches(self._journal.ledger.files(VERIFIED, sources=FREEING)):
            self._confirm([r for r in files if r.in_place and r.dataset not in ending], left)
        if self._terms is not None:
            self._free(self._terms, left)
        return left

    def _look_at_ending(self, left: AtOrigin) -> None:
        """Ask Rucio about the rules that were given their end; one that must stay is kept."""
        freeing = self._journal.ledger.files(sources=FREEING)
        datasets = dict.fromkeys(record.dataset for record in freeing if record.in_place)
        rules = [r for r in self._journal.ledger.rules() if r.at_origin and r.dataset in datasets]
        if not rules:
            return
        views = {
            view.rule_id: view for view in self._catalogue.rules(list(datasets), self._account)
        }
        promised = rules_that_keep(self._journal.ledger, datasets)
        wanting = self._proofs.not_for_good(datasets, list(views.values()), without=self._rse)
        for rule in rules:
            view = views.get(rule.rule_id)
            if view is None and rule.gone_at is None:
                gone = RuleGone(at=self._journal.clock.now(), rule_id=rule.rule_id)
                self._journal.tell([gone])
            elif view is not None:
                others = [views[r.rule_id] for r in promised[rule.dataset] if r.rule_id in views]
                why = self._must_stay(rule, view, others, wanting)
                self._look_at_rule(rule, view, why, left)

    def _look_at_rule(
        self, rule: RuleRecord, view: RuleView, why: str | None, left: AtOrigin
    ) -> None:
        """`why`: the rule must stay."""
        if why is not None:
            self._keep(rule, why, left)
        elif view.chained is not None:
            left.staying[rule.dataset] = view.chained
        else:
            assert view.expires_at is not None
            left.waiting[rule.dataset] = f"its rule there ends at {shown(view.expires_at)}"

    def _must_stay(
        self,
        rule: RuleRecord,
        view: RuleView,
        others: Sequence[RuleView],
        wanting: Mapping[DID, str],
    ) -> str | None:
        """Why the end of a rule is to be taken back; None if it may come. `others` are the rules of
        its dataset that go on; `wanting`: datasets that these do not keep, and why."""
        if self._terms is None:
            return "the campaign frees nothing any more"
        if rule.dataset in self._anew:
            return self._anew[rule.dataset]
        if view.expires_at is None and view.child_rule_id is None:
            return "the end that it was to get never came to it, or was taken back"
        if rule.dataset in wanting:
            return wanting[rule.dataset]
        counts = self._journal.ledger.counts(dataset=rule.dataset)
        unproved, files = _unproved(counts), sum(counts.values())
        if unproved is None and others and all(self._holds(other, files) for other in others):
            # Each look asks, perhaps for days: locks are listed only where a rule has too few, or
            # Rucio may have moved them.
            return None
        freeing = self._journal.ledger.files(dataset=rule.dataset, sources=FREEING)
        not_held = self._proofs.not_held(list(freeing), without=self._rse)
        return next((error.message for error in not_held.values()), unproved)

    def _holds(self, view: RuleView, files: int) -> bool:
        """Whether a rule has all its locks on so many files, where they were, and all are OK."""
        waiting = view.locks_replicating + view.locks_stuck
        enough = not waiting and view.locks_ok >= files * view.copies
        return view.state is RuleState.OK and enough and view.rse_expression in self._fixed

    def _keep(self, rule: RuleRecord, why: str, left: AtOrigin) -> None:
        """What was asked for before is asked for again later, after its proof."""
        files = list(self._journal.ledger.files(dataset=rule.dataset, sources=FREEING))
        try:
            self._catalogue.keep_rule(rule.rule_id)
        except NotFound:
            # It has ended meanwhile.
            gone = RuleGone(at=self._journal.clock.now(), rule_id=rule.rule_id)
            self._journal.tell([gone])
        except REFUSALS as error:
            # The next run asks for it again.
            left.staying[rule.dataset] = f"{why}, but {error.message}"
        else:
            self._tell_kept(rule, files, why)

    def _tell_kept(self, rule: RuleRecord, files: Sequence[FileRecord], why: str) -> None:
        now = self._journal.clock.now()
        kept = (SourceKept(at=now, did=record.did, reason=why) for record in files)
        self._journal.tell([RuleKept(at=now, rule_id=rule.rule_id, reason=why), *kept])

    def _confirm(self, files: Sequence[FileRecord], left: AtOrigin) -> None:
        """Free what is gone from catalogue and storage."""
        self._journal.clock.check()
        known = self._catalogue.look_up([record.did for record in files]) if files else {}
        facts: list[Fact] = []
        for record in files:
            found = known.get(record.did)
            if found is None or not self._is_elsewhere(found):
                left.staying[record.dataset] = f"{record.did} is on no other RSE any more"
            elif self._rse in found.replicas:
                self._tell_left(record, found, left)
            elif self._storage.exists(self._rse, record.path):
                left.staying[record.dataset] = (
                    f"Rucio has no replica at {self._rse} any more, and {record.path} is there: "
                    "ask who looks after that storage"
                )
            else:
                now = self._journal.clock.now()
                facts.append(ReplicaGone(at=now, did=record.did, rse=self._rse))
                facts.append(SourceFreed(at=now, did=record.did))
        self._journal.tell(facts)

    def _is_elsewhere(self, known: KnownFile) -> bool:
        return any(rse != self._rse and held.available for rse, held in known.replicas.items())

    def _tell_left(self, record: FileRecord, known: KnownFile, left: AtOrigin) -> None:
        """A replica outlives our rule until the reaper comes, or as long as another holds it."""
        if record.dataset in left.staying:
            # One reason is enough.
            return
        if (held := self._others(record.did)) is not None:
            left.staying[record.dataset] = held
        else:
            state = known.replicas[self._rse].state
            left.waiting[record.dataset] = f"Rucio has yet to remove {record.did} ({state})"

    def _others(self, did: DID, but: Collection[str] = ()) -> str | None:
        """Which rule holds a file at the origin besides some of ours; None if there is none."""
        for holder in self._catalogue.holders(did, self._rse, but=but):
            return self._held(did, holder)
        return None

    def _held(self, did: DID, holder: Holder) -> str:
        return (
            f"rule {holder.rule_id} of account {holder.account} to {holder.rse_expression} "
            f"holds {did} at {self._rse}, too"
        )

    def _free(self, terms: OriginTerms, left: AtOrigin) -> None:
        """In the order in which they were found: the oldest datasets go first."""
        lacking = self._lacking(terms.watermark, left)
        if lacking is not None and lacking <= 0:
            return
        files = self._journal.ledger.files(VERIFIED, sources=KEPT)
        datasets = dict.fromkeys(record.dataset for record in files if record.in_place)
        rules = rules_that_keep(self._journal.ledger, datasets)
        for some in batches(list(datasets)):
            known = self._catalogue.look_up_collections(some)
            for dataset in some:
                self._journal.clock.check()
                if (why := self._may_grow(dataset, known.get(dataset))) is not None:
                    left.waiting[dataset] = why
                    continue
                freed = self._free_dataset(dataset, rules[dataset], terms, left)
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
        if (why := _unproved(self._journal.ledger.counts(dataset=dataset))) is not None:
            return why
        if known is None or known.open:
            return "it is not closed: more may come (naming.closing)"
        return None

    def _free_dataset(
        self, dataset: DID, rules: Sequence[RuleRecord], terms: OriginTerms, left: AtOrigin
    ) -> int:
        """The bytes of a dataset that are going to be free; 0 if it may not go now. `rules` are
        ours that keep its files."""
        if dataset in self._anew:
            left.staying[dataset] = self._anew[dataset]
            return 0
        files = list(self._journal.ledger.files(dataset=dataset))
        here = next((rule for rule in rules if rule.rse_expression == self._rse), None)
        promised = next((rule for rule in rules if rule.rse_expression != self._rse), None)
        if here is None or promised is None:
            left.staying[dataset] = f"no rule of ours keeps its files at {self._rse}, or elsewhere"
            return 0
        why = self._not_ours(here, files) or self._held_by_others(here, rules, files)
        if why is not None:
            left.staying[dataset] = why
            return 0
        if not self._is_proved_now(files) or not self._end(
            here, promised, files, terms.lifetime, left
        ):
            return 0
        return sum(measure_of(record).size for record in files)

    def _not_ours(self, rule: RuleRecord, files: Sequence[FileRecord]) -> str | None:
        """Why what the dataset holds is not ours to free; None if it is."""
        if rule.adopted:
            return f"its rule at {self._rse} was there before this campaign"
        if any(record.adopted for record in files):
            return "it holds files that were in the lake before this campaign"
        if any(not record.in_place or record.upload_rse != self._rse for record in files):
            return f"it holds files that did not lie at {self._rse} before us"
        try:
            held = set(self._catalogue.contents(rule.dataset))
        except NotFound:
            return "it is not in the catalogue any more; the next run looks for its files"
        if strangers := held - {record.did for record in files}:
            return f"it holds {len(strangers)} files that this campaign did not verify"
        return None

    def _held_by_others(
        self, here: RuleRecord, rules: Sequence[RuleRecord], files: Sequence[FileRecord]
    ) -> str | None:
        """Which other rule, of whichever account, keeps a file at the origin, too: ours would end
        for nothing. One of the campaign's own `rules` may have found its replica there."""
        dids = {record.did for record in files}
        for rule in rules:
            # Ours hold all of the dataset: their locks are listed once, not for each file.
            locks = self._catalogue.locks(rule.rule_id) if rule is not here else ()
            for lock in locks:
                if lock.rse == self._rse and lock.did in dids:
                    holder = Holder(rule.rule_id, self._account, rule.rse_expression)
                    return self._held(lock.did, holder)
        ours = frozenset(rule.rule_id for rule in rules)

        def asked(record: FileRecord) -> str | None:
            return self._others(record.did, ours)

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

    def _end(
        self,
        rule: RuleRecord,
        promised: RuleRecord,
        files: Sequence[FileRecord],
        lifetime: int,
        left: AtOrigin,
    ) -> bool:
        """Give the rule its end; whether Rucio took it.

        Should a promised copy be found wanting at this very moment, its rule is not OK, and Rucio
        does not end ours before it is: a parent waits for its child.
        """
        now = self._journal.clock.now()
        freeing: Iterator[Fact] = (SourceFreeing(at=now, did=record.did) for record in files)
        ending = RuleEnding(at=now, rule_id=rule.rule_id, lifetime=lifetime, at_origin=True)
        self._journal.tell([*freeing, ending])
        try:
            self._catalogue.end_rule(rule.rule_id, lifetime, promised.rule_id)
        except NotFound:
            # One of the two is gone: the next look tells which.
            return False
        except REFUSALS as error:
            self._tell_kept(rule, files, error.message)
            left.staying[rule.dataset] = error.message
            return False
        left.waiting[rule.dataset] = f"its rule there ends in {duration(lifetime)}"
        return True


def _unproved(counts: Mapping[FileState, int]) -> str | None:
    """That a dataset has files that are not proved; None if it has none. `counts` are its files by
    state."""
    unproved = counts.keys() - VERIFIED
    return f"it has files that are {', '.join(sorted(unproved))}" if unproved else None
