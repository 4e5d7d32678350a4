"""Putting files in order: datasets, containers, and the datasets' rules."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain, pairwise

from rucio_inject.batches import batches, divided
from rucio_inject.domain.did import DID, DIDType
from rucio_inject.domain.errors import InjectError
from rucio_inject.domain.facts import (
    CollectionAsked,
    Fact,
    FileOrganised,
    FileSetBack,
    RuleAsked,
    RuleGone,
    RuleMade,
    RuleRefused,
)
from rucio_inject.domain.injection import FileRecord, FileState, RuleRecord
from rucio_inject.domain.rule import RuleRequest, RuleView
from rucio_inject.ports import Catalogue, KnownCollection, KnownFile, Ledger
from rucio_inject.steps.journal import Journal

# Datasets just made that get a rule in one call, which takes Rucio some milliseconds for each.
RULED_AT_ONCE = 100

UNDER_WAY = frozenset({FileState.REPLICATING, FileState.REPLICATED, FileState.VERIFIED})
"""In their datasets, whose rules keep them, or should."""


def ending_datasets(ledger: Ledger, among: Collection[DID] | None = None) -> frozenset[DID]:
    """Datasets, of all or `among` some, whose rules were given their end, or began to be; not for
    the sake of an origin alone."""
    rules = ledger.rules(datasets=among)
    return frozenset(rule.dataset for rule in rules if rule.ends_dataset)


def datasets_under_way(ledger: Ledger) -> list[DID]:
    """Datasets whose rules must be there: with files still to be proved, also if they had begun to
    end before these came, or proved ones whose end has not begun."""
    unproved = ledger.datasets(UNDER_WAY - {FileState.VERIFIED})
    ending = ending_datasets(ledger)
    proved = [d for d in ledger.datasets({FileState.VERIFIED}) if d not in ending]
    return list(dict.fromkeys((*unproved, *proved)))


def grouped(files: Iterable[FileRecord]) -> dict[DID, list[FileRecord]]:
    """Files by their dataset."""
    inside: dict[DID, list[FileRecord]] = {}
    for record in files:
        inside.setdefault(record.dataset, []).append(record)
    return inside


def _is_a(kind: DIDType, known: KnownFile | KnownCollection | None) -> bool:
    return isinstance(known, KnownCollection) and known.kind is kind


class Organise:
    """Makes datasets with their rules while they are empty, then fills them.

    In this order Rucio evaluates the rules in its daemons, not inside our calls, which would cost
    some milliseconds a file and rule. A dataset that Rucio refuses sets its own files aside.
    """

    def __init__(
        self,
        journal: Journal,
        catalogue: Catalogue,
        *,
        account: str,
        rules: Sequence[RuleRequest],
    ) -> None:
        """`rules` are for every dataset, the one that keeps the uploaded replica first."""
        self._journal = journal
        self._catalogue = catalogue
        self._account = account
        self._rules = rules
        self._made: set[DID] = set()
        self._ruled: set[DID] = set()
        self._ready: set[DID] = set()
        self._lacking_rules: dict[DID, InjectError] = {}

    def renew(self, under_way: Iterable[DID]) -> None:
        """See that some datasets under way still have their rules."""
        for datasets in batches(under_way):
            for dataset, error in self._make_rules(datasets, promise_more=True).items():
                self._refused_rules(dataset, error)

    def run(self) -> None:
        """Put REGISTERED files into their datasets."""
        for files in batches(self._journal.ledger.files({FileState.REGISTERED})):
            self._journal.clock.check()
            self._attach(self.make_ready(files))

    def make_ready(self, files: Sequence[FileRecord]) -> list[FileRecord]:
        """See that the datasets of files are there, in their containers and with their rules;
        gives the files that can be put into theirs. The others are set aside.

        A dataset that did not get all its rules takes files all the same: the other rules bring
        them where they can.
        """
        refused = self.make_early(files)
        self._journal.tell(
            self._journal.failed(r.did, refused[r.dataset]) for r in files if r.dataset in refused
        )
        return [record for record in files if record.dataset not in refused]

    def make_early(self, files: Iterable[FileRecord]) -> Mapping[DID, InjectError]:
        """See to the datasets of files that are still to come; gives those that Rucio refused.
        Nobody is told: `make_ready` asks for them once more."""
        inside = grouped(files)
        refused: dict[DID, InjectError] = {}
        new = [dataset for dataset in inside if dataset not in self._ready]

        def make(datasets: Sequence[DID]) -> None:
            firsts = [inside[dataset][0] for dataset in datasets]
            made = self._make_collections(firsts)
            self._lacking_rules |= self._make_rules(datasets, made=made)
            self._nest(firsts)
            self._ready.update(datasets)

        divided(new, make, refused.__setitem__)
        return refused

    def put_in(self, record: FileRecord) -> Fact:
        """The fact that a file is in its dataset; or why that is not all that it needs."""
        if (error := self._lacking_rules.get(record.dataset)) is not None:
            return self._journal.failed(record.did, error)
        return FileOrganised(at=self._journal.clock.now(), did=record.did)

    def _attach(self, files: Sequence[FileRecord]) -> None:
        inside = grouped(files)

        def attach(datasets: Sequence[DID]) -> None:
            held = {dataset: [record.did for record in inside[dataset]] for dataset in datasets}
            self._catalogue.attach(held)
            self._journal.tell(self.put_in(r) for dataset in datasets for r in inside[dataset])

        def refused(dataset: DID, error: InjectError) -> None:
            self._journal.tell(self._journal.failed(r.did, error) for r in inside[dataset])

        divided(list(inside), attach, refused)

    def _refused_rules(self, dataset: DID, error: InjectError) -> None:
        """The promise for files under way cannot be kept: they must not come to their end."""
        for files in batches(self._journal.ledger.files(UNDER_WAY, dataset=dataset)):
            self._journal.tell(self._journal.failed(record.did, error) for record in files)

    def _make_collections(self, files: Sequence[FileRecord]) -> frozenset[DID]:
        """Make the datasets and containers of files; gives those that were certainly not there
        before."""
        wanted = {record.dataset: DIDType.DATASET for record in files}
        wanted |= {c: DIDType.CONTAINER for record in files for c in record.containers}
        wanted = {did: kind for did, kind in wanted.items() if did not in self._made}
        if not wanted:
            return frozenset()
        now = self._journal.clock.now()
        known = self._catalogue.find(list(wanted))
        # What is on record as made by us may end with the campaign; what was there before may not.
        self._journal.tell(CollectionAsked(at=now, did=did) for did in wanted if did not in known)
        # Those of another type, too: it says why not.
        lacking = {did: kind for did, kind in wanted.items() if not _is_a(kind, known.get(did))}
        made = self._catalogue.add_collections(lacking) if lacking else frozenset()
        self._made.update(wanted)
        return made

    def _nest(self, files: Sequence[FileRecord]) -> None:
        """Datasets into the innermost container, each container into the one around it."""
        contents: dict[DID, dict[DID, None]] = {}
        for record in files:
            for parent, child in pairwise((*record.containers, record.dataset)):
                contents.setdefault(parent, {})[child] = None
        if contents:
            self._catalogue.attach({parent: tuple(inner) for parent, inner in contents.items()})

    def _make_rules(
        self,
        datasets: Sequence[DID],
        *,
        promise_more: bool = False,
        made: frozenset[DID] = frozenset(),
    ) -> dict[DID, InjectError]:
        """Ask for the rules that datasets do not have; an existing one is adopted. Gives datasets
        that Rucio refused a rule to: one bad RSE does not keep the others from getting theirs.

        `promise_more`: what was proved of their files is less than is promised from now on.
        `made`: what was not there before we made it has no rules.
        """
        lacking = [dataset for dataset in datasets if dataset not in self._ruled]
        if not lacking:
            return {}
        there = sorted(dataset for dataset in lacking if dataset not in made)
        views = self._catalogue.rules(there, self._account) if there else ()
        known = self._journal.ledger.rules(datasets=lacking)
        # One of ours that is to lose an end, too, is none that was there before us.
        ours = {rule.rule_id for rule in known if not rule.adopted}
        theirs = [view for view in views if view.rule_id not in ours]
        live = {(view.did, view.rse_expression, view.copies) for view in theirs}
        promised = self._promised(known, views)
        wanted = {
            request: [
                dataset
                for dataset in lacking
                if (dataset, request.rse_expression, request.copies) not in promised
            ]
            for request in {(r.rse_expression, r.copies): r for r in self._rules}.values()
        }
        if promise_more:
            for dataset in dict.fromkeys(chain.from_iterable(wanted.values())):
                self._wait_again(dataset)
        refused = self._ask(wanted, live, made)
        self._ruled.update(dataset for dataset in lacking if dataset not in refused)
        return refused

    def _wait_again(self, dataset: DID) -> None:
        """Files that were proved wait for the new rule, too; on record before it is asked for."""
        proved = {FileState.REPLICATED, FileState.VERIFIED}
        for files in batches(self._journal.ledger.files(proved, dataset=dataset)):
            now, why = self._journal.clock.now(), "its dataset gets another rule"
            self._journal.tell(
                FileSetBack(at=now, did=r.did, state=FileState.REPLICATING, reason=why)
                for r in files
            )

    def _promised(
        self, known: Sequence[RuleRecord], views: Sequence[RuleView]
    ) -> set[tuple[DID, str, int]]:
        """Rules on record (`known`) that are still there, or that we ended to free the origin:
        asked for again, such a one would bring the files back. Those that somebody ended behind our
        back are told as gone, also those that the campaign no longer asks for. One that somebody
        gave an end does not count: asked for again, it loses that."""
        live = {view.rule_id: view for view in views}
        given_up = {
            (rule.dataset, rule.rse_expression, rule.copies) for rule in known if rule.at_origin
        }
        ours = [rule for rule in known if not rule.gone_at]
        now = self._journal.clock.now()
        self._journal.tell(
            RuleGone(at=now, rule_id=rule.rule_id) for rule in ours if rule.rule_id not in live
        )
        return given_up | {
            (rule.dataset, rule.rse_expression, rule.copies)
            for rule in ours
            if rule.rule_id in live
            and rule.ending_at is None
            and live[rule.rule_id].expires_at is None
        }

    def _ask(
        self,
        wanted: Mapping[RuleRequest, Sequence[DID]],
        live: Collection[tuple[DID, str, int]],
        made: Collection[DID],
    ) -> dict[DID, InjectError]:
        """Ask for rules, of which some may be there already (`live`); gives datasets that Rucio
        refused one to, and why."""
        lacking = list(dict.fromkeys(chain.from_iterable(wanted.values())))
        empty = [dataset for dataset in lacking if dataset in made]
        # Of what may hold files Rucio evaluates each within the call.
        filled = [[dataset] for dataset in lacking if dataset not in made]
        refused: dict[DID, InjectError] = {}
        for some in (*batches(empty, RULED_AT_ONCE), *filled):
            self._journal.clock.check()
            asks = {
                request: [dataset for dataset in datasets if dataset in some]
                for request, datasets in wanted.items()
            }
            refused |= self._ask_for(asks, live)
        return refused

    def _ask_for(
        self,
        asks: Mapping[RuleRequest, Sequence[DID]],
        live: Collection[tuple[DID, str, int]],
    ) -> dict[DID, InjectError]:
        """Ask for all rules of a few datasets. The disk is waited for once before and once after:
        no file of theirs can be registered until they have them."""
        theirs = self._theirs(asks, live)
        refused: dict[DID, InjectError] = {}
        answers: list[Fact] = []
        now = self._journal.clock.now

        def ask(request: RuleRequest, datasets: Sequence[DID]) -> None:
            rules = self._catalogue.add_rules(datasets, request, self._account)
            answers.extend(
                RuleMade(
                    at=now(),
                    dataset=dataset,
                    rule_id=rule_id,
                    request=request,
                    adopted=(dataset, request) in theirs,
                )
                for dataset, rule_id in rules.items()
            )

        def refuse(request: RuleRequest, dataset: DID, error: InjectError) -> None:
            refused[dataset] = error
            told = RuleRefused(at=now(), dataset=dataset, request=request, reason=error.message)
            answers.append(told)

        self._journal.tell(
            RuleAsked(at=now(), dataset=dataset, request=request)
            for request, datasets in asks.items()
            for dataset in datasets
            if (dataset, request) not in theirs
        )
        try:
            for request, datasets in asks.items():
                divided(datasets, partial(ask, request), partial(refuse, request))
        finally:
            # Also what was answered before Rucio went away.
            self._journal.tell(answers)
        return refused

    def _theirs(
        self,
        asks: Mapping[RuleRequest, Sequence[DID]],
        live: Collection[tuple[DID, str, int]],
    ) -> set[tuple[DID, RuleRequest]]:
        """Those that somebody else made. One that an earlier run asked for, and was killed before
        the answer, is ours; what others made is never on record as asked for: a crash would make
        it ours."""
        return {
            (dataset, request)
            for request, datasets in asks.items()
            for dataset in datasets
            if (dataset, request.rse_expression, request.copies) in live
            and not self._journal.ledger.asked_for(dataset, request.rse_expression)
        }
