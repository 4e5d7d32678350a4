"""What was given up at an origin RSE: watched until it is gone, and kept if it is needed still."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rucio_inject.batches import REFUSALS, batches
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import NotFound
from rucio_inject.domain.facts import (
    Fact,
    ReplicaGone,
    RuleGone,
    RuleKept,
    SourceFreed,
    SourceKept,
)
from rucio_inject.domain.injection import FileRecord, FileState, RuleRecord, SourceCopy
from rucio_inject.domain.rule import Holder, RuleState, RuleView
from rucio_inject.ports import Catalogue, KnownFile, Storage
from rucio_inject.steps.hold import HoldAtOrigin
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.locks import rules_that_keep
from rucio_inject.steps.proofs import Proofs
from rucio_inject.words.moments import shown

FREEING = frozenset({SourceCopy.FREEING})


@dataclass(slots=True)
class AtOrigin:
    """What is still at an origin that is to be freed. `waiting`: datasets that will go by
    themselves; `staying`: those that will not; and why."""

    waiting: dict[DID, str] = field(default_factory=dict)
    staying: dict[DID, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Now:
    """What Rucio says now of datasets of which something leaves. `promised`: the rules of each that
    go on; `wanting`: datasets that these do not keep, and why; `anew`: those with a file that was
    written anew at the origin."""

    promised: Mapping[DID, Sequence[RuleView]]
    wanting: Mapping[DID, str]
    anew: Mapping[DID, str]


class Leaving:
    """Looks at files whose rule at the origin was given its end.

    Until the rule has ended, its end is taken back where the lake does not hold what is promised.
    After that, and until Rucio's reaper comes, such a file gets a rule of its own there.
    """

    def __init__(
        self,
        journal: Journal,
        catalogue: Catalogue,
        storage: Storage,
        proofs: Proofs,
        *,
        account: str,
        rse: str,
        frees: bool,
        fixed: Collection[str],
        rewritten: Collection[DID] = (),
    ) -> None:
        """`frees`: whether the campaign still frees its origin; `fixed` are expressions that leave
        Rucio no choice of RSEs; `rewritten` are files that were seen at the origin as others than
        were injected, when it is looked."""
        self.hold = HoldAtOrigin(journal, catalogue, account=account, rse=rse)
        self._journal = journal
        self._catalogue = catalogue
        self._storage = storage
        self._proofs = proofs
        self._account = account
        self._rse = rse
        self._frees = frees
        self._fixed = fixed
        self._rewritten = rewritten

    def keep(self) -> None:
        """Keep what must not go, before anything is waited for: a run may wait for a lost copy for
        longer than the last good one is there."""
        self.hold.renew()
        for files, now in self._let_go(AtOrigin()):
            unsure = self._unsure(files, now)
            known = self._catalogue.look_up([record.did for record in unsure]) if unsure else {}
            self.hold.hold(self._needed(unsure, known))

    def look(self, left: AtOrigin) -> None:
        """See what became of everything that was to go; that it stays or waits is noted in
        `left`."""
        for files, now in self._let_go(left):
            self._journal.clock.check()
            known = self._catalogue.look_up([record.did for record in files])
            needed = self._needed(self._unsure(files, now), known)
            self.hold.hold(needed)
            self._confirm([record for record in files if record.did not in needed], known, left)

    def anew(self) -> Mapping[DID, str]:
        """Datasets with a file that was written anew at the origin, and why they stay."""
        anew = self._journal.ledger.known(sorted(self._rewritten)).values()
        return {r.dataset: f"{r.path} was written anew: nobody has that" for r in anew}

    def kept(self, rule: RuleRecord, why: str) -> None:
        """Tell that what a rule holds stays, and the rule has no end."""
        now = self._journal.clock.now()
        kept = [SourceKept(at=now, did=r.did, reason=why) for r in self._held_by(rule)]
        self._journal.tell([RuleKept(at=now, rule_id=rule.rule_id, reason=why), *kept])

    def others(self, did: DID, but: Collection[str] = ()) -> str | None:
        """Which rule holds a file at the origin besides some of ours; None if there is none."""
        for holder in self._catalogue.holders(did, self._rse, but=but):
            return self.held(did, holder)
        return None

    def held(self, did: DID, holder: Holder) -> str:
        """That a rule holds a file at the origin."""
        return (
            f"rule {holder.rule_id} of account {holder.account} to {holder.rse_expression} "
            f"holds {did} at {self._rse}, too"
        )

    def _let_go(self, left: AtOrigin) -> Iterator[tuple[list[FileRecord], _Now]]:
        """Files that no rule on record keeps at the origin, some at a time. The rules that are
        there still are looked at first."""
        ledger = self._journal.ledger
        in_place = (record for record in ledger.files(sources=FREEING) if record.in_place)
        datasets = dict.fromkeys(record.dataset for record in in_place)
        if not datasets:
            return
        rules = self._ending(datasets)
        alone = [rule.dataset for rule, dataset in rules if rule.dataset != dataset]
        views = {
            view.rule_id: view for view in self._catalogue.rules([*datasets, *alone], self._account)
        }
        now, there = self._ask(datasets, views), set[DID]()
        for rule, dataset in rules:
            view = views.get(rule.rule_id)
            if view is not None:
                if self._is_ending(rule, dataset, view, now, left):
                    there.add(rule.dataset)
            elif rule.gone_at is None:
                self._journal.tell([RuleGone(at=self._journal.clock.now(), rule_id=rule.rule_id)])
        files = ledger.files(sources=FREEING)
        gone = (r for r in files if r.in_place and there.isdisjoint((r.dataset, r.did)))
        for some in batches(gone):
            yield some, now

    def _ending(self, datasets: Collection[DID]) -> list[tuple[RuleRecord, DID]]:
        """The rules that were given their end, of datasets and of single files; each with the
        dataset of what it holds."""
        rules = [rule for rule in self._journal.ledger.rules() if rule.at_origin]
        alone = [r.dataset for r in rules if r.dataset not in datasets and r.gone_at is None]
        known = self._journal.ledger.known(alone).values()
        homes = {r.did: r.dataset for r in known if r.source is SourceCopy.FREEING}
        homes |= {dataset: dataset for dataset in datasets}
        return [(rule, homes[rule.dataset]) for rule in rules if rule.dataset in homes]

    def _ask(self, datasets: Collection[DID], views: Mapping[str, RuleView]) -> _Now:
        """`views` are all rules of the datasets."""
        keeping = rules_that_keep(self._journal.ledger, datasets)
        wanting = self._proofs.not_for_good(datasets, list(views.values()), without=self._rse)
        promised = {
            dataset: [views[rule.rule_id] for rule in rules if rule.rule_id in views]
            for dataset, rules in keeping.items()
        }
        return _Now(promised, wanting, self.anew())

    def _is_ending(
        self, rule: RuleRecord, dataset: DID, view: RuleView, now: _Now, left: AtOrigin
    ) -> bool:
        """Whether a rule still comes to its end by itself, or is to stay and could not be kept."""
        why = self._must_stay(rule, dataset, view, now)
        if why is not None:
            return self._keep(rule, dataset, why, left)
        if view.chained is not None:
            left.staying[dataset] = view.chained
        else:
            assert view.expires_at is not None
            left.waiting[dataset] = f"its rule there ends at {shown(view.expires_at)}"
        return True

    def _must_stay(self, rule: RuleRecord, dataset: DID, view: RuleView, now: _Now) -> str | None:
        """Why the end of a rule is to be taken back; None if it may come."""
        if not self._frees:
            return "the campaign frees nothing any more"
        if dataset in now.anew:
            return now.anew[dataset]
        if view.expires_at is None and view.child_rule_id is None:
            return "the end that it was to get never came to it, or was taken back"
        if dataset in now.wanting:
            return now.wanting[dataset]
        alone = rule.dataset != dataset
        unproved = None if alone else unproved_of(self._journal.ledger.counts(dataset=dataset))
        if not alone and unproved is None and self._is_sure(dataset, now):
            return None
        return next(iter(self._unkept(self._held_by(rule)).values()), unproved)

    def _is_sure(self, dataset: DID, now: _Now) -> bool:
        """Whether all of a dataset is kept as promised. Each look asks, perhaps for days: locks are
        listed only where a rule has too few, or Rucio may have moved them."""
        files = sum(self._journal.ledger.counts(dataset=dataset).values())
        promised = now.promised[dataset]
        kept = bool(promised) and all(self._holds(view, files) for view in promised)
        return kept and dataset not in now.wanting

    def _holds(self, view: RuleView, files: int) -> bool:
        """Whether a rule has all its locks on so many files, where they were, and all are OK."""
        waiting = view.locks_replicating + view.locks_stuck
        enough = not waiting and view.locks_ok >= files * view.copies
        return view.state is RuleState.OK and enough and view.rse_expression in self._fixed

    def _unkept(self, files: Sequence[FileRecord]) -> dict[DID, str]:
        """Files that are not VERIFIED now, or not held as promised, and why."""
        unproved = [r for r in files if r.state is not FileState.VERIFIED]
        proved = [r for r in files if r.state is FileState.VERIFIED]
        not_held = self._proofs.not_held(proved, without=self._rse)
        why = {record.did: f"it is {record.state}" for record in unproved}
        return why | {did: error.message for did, error in not_held.items()}

    def _held_by(self, rule: RuleRecord) -> list[FileRecord]:
        """The files that a rule at the origin holds, and that are to go."""
        alone = self._journal.ledger.file(rule.dataset)
        if alone is not None:
            return [alone] if alone.source is SourceCopy.FREEING else []
        return list(self._journal.ledger.files(dataset=rule.dataset, sources=FREEING))

    def _keep(self, rule: RuleRecord, dataset: DID, why: str, left: AtOrigin) -> bool:
        """What was asked for before is asked for again later, after its proof. False: the rule has
        ended meanwhile."""
        try:
            self._catalogue.keep_rule(rule.rule_id)
        except NotFound:
            self._journal.tell([RuleGone(at=self._journal.clock.now(), rule_id=rule.rule_id)])
            return False
        except REFUSALS as error:
            # The next look asks for it again.
            left.staying[dataset] = f"{why}, but {error.message}"
        else:
            self.kept(rule, why)
        return True

    def _unsure(self, files: Sequence[FileRecord], now: _Now) -> list[FileRecord]:
        """Files that may not be held as promised."""
        datasets = dict.fromkeys(record.dataset for record in files)
        sure = {dataset for dataset in datasets if self._is_sure(dataset, now)}
        return [r for r in files if r.dataset not in sure or r.state is not FileState.VERIFIED]

    def _needed(
        self, files: Sequence[FileRecord], known: Mapping[DID, KnownFile]
    ) -> dict[DID, str]:
        """Files that nothing keeps at the origin, that are there still, and that the lake does not
        hold as promised; and why."""
        there = [record for record in files if self.hold.is_there(known.get(record.did))]
        return self._unkept(there)

    def _confirm(
        self, files: Sequence[FileRecord], known: Mapping[DID, KnownFile], left: AtOrigin
    ) -> None:
        """Free what is gone from catalogue and storage."""
        facts: list[Fact] = []
        unknown: dict[DID, str] = {}
        for record in files:
            found = known.get(record.did)
            if record.state is not FileState.VERIFIED:
                # What is to become of it is told elsewhere.
                continue
            if found is None or not self._is_elsewhere(found):
                left.staying[record.dataset] = f"{record.did} is on no other RSE any more"
            elif self._rse in found.replicas:
                if self._is_held_unknown(record, found, left):
                    unknown[record.did] = "a rule of ours keeps it there: a run was killed then"
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
        self.hold.hold(unknown)

    def _is_elsewhere(self, known: KnownFile) -> bool:
        return any(rse != self._rse and held.available for rse, held in known.replicas.items())

    def _is_held_unknown(self, record: FileRecord, known: KnownFile, left: AtOrigin) -> bool:
        """A replica outlives our rule until the reaper comes, or as long as another holds it, which
        is told; True: that is one that we asked for, and a crash kept it off the record."""
        if record.dataset in left.staying:
            # One reason is enough.
            return False
        holders = self._catalogue.holders(record.did, self._rse)
        if any(self._is_ours(record.did, holder) for holder in holders):
            return True
        if holders:
            left.staying[record.dataset] = self.held(record.did, holders[0])
        else:
            state = known.replicas[self._rse].state
            left.waiting[record.dataset] = f"Rucio has yet to remove {record.did} ({state})"
        return False

    def _is_ours(self, did: DID, holder: Holder) -> bool:
        ours = (holder.account, holder.rse_expression) == (self._account, self._rse)
        return ours and self._journal.ledger.asked_for(did, self._rse)


def unproved_of(counts: Mapping[FileState, int]) -> str | None:
    """That a dataset has files that are not proved; None if it has none. `counts` are its files by
    state."""
    unproved = counts.keys() - {FileState.VERIFIED}
    return f"it has files that are {', '.join(sorted(unproved))}" if unproved else None
