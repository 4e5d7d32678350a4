"""Datasets, containers and rules, against what is on record of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise

from rucio_inject.audit.files import ATTACHED
from rucio_inject.audit.findings import Finding, Kind, Repair
from rucio_inject.audit.reading import counted, reached_state
from rucio_inject.audit.world import Plan, World
from rucio_inject.batches import batches
from rucio_inject.domain.did import DID, DIDType
from rucio_inject.domain.errors import NotFound
from rucio_inject.domain.injection import FileRecord, FileState, RuleRecord
from rucio_inject.domain.rule import RuleState, RuleView
from rucio_inject.ports import KnownCollection

SHOWN = 3
IN_TROUBLE = frozenset({RuleState.STUCK, RuleState.SUSPENDED, RuleState.WAITING_APPROVAL})
# Rucio sets a dataset aside for up to ten minutes if it met somebody's change of its rules.
MOMENTS = timedelta(minutes=15)
AGAIN = "run the campaign again: it asks for it"

Chains = Mapping[DID, tuple[DID, ...]]
"""Containers, outermost first, by the dataset that is in them."""


class LookAtCollections:
    """Looks into each dataset and container once."""

    def __init__(self, world: World, plan: Plan) -> None:
        self._world = world
        self._closes = plan.closes
        self._made = world.ledger.collections()
        self._held: dict[DID, frozenset[DID] | None] = {}
        self.detached: set[DID] = set()
        """Files that are not in their datasets, so that no rule holds them."""

    def findings(self, chains: Chains) -> Iterator[Finding]:
        """What is wrong with datasets that have files in them, by the record, and with the
        containers around them."""
        told: set[DID] = set()
        for datasets in batches(chains):
            inside = dict.fromkeys(datasets, DIDType.DATASET)
            around = {did: DIDType.CONTAINER for dataset in datasets for did in chains[dataset]}
            known = self._world.catalogue.look_up_collections([*around, *inside])
            for did, kind in (around | inside).items():
                if did not in told:
                    told.add(did)
                    closed = self._closes and kind is DIDType.DATASET
                    yield from _collection(did, kind, known.get(did), may_be_closed=closed)
            for dataset in datasets:
                self._world.clock.check()
                if _is(known.get(dataset), DIDType.DATASET):
                    yield from self._files(dataset)
                yield from self._chain(dataset, chains[dataset], known)

    def _chain(
        self, dataset: DID, containers: Sequence[DID], known: Mapping[DID, KnownCollection]
    ) -> Iterator[Finding]:
        for parent, child in pairwise((*containers, dataset)):
            if parent not in known or child not in known:
                continue
            if parent not in self._held:
                self._held[parent] = self._contents(parent)
            held = self._held[parent]
            if held is not None and child not in held:
                # Siblings share their containers: told once.
                self._held[parent] = held | {child}
                yield _detached(child, parent)

    def _contents(self, did: DID) -> frozenset[DID] | None:
        try:
            return frozenset(self._world.catalogue.contents(did))
        except NotFound:
            # It went since it was looked up; the next audit says so.
            return None

    def _files(self, dataset: DID) -> Iterator[Finding]:
        held = self._contents(dataset)
        if held is None:
            return
        ours: set[DID] = set()
        for record in self._world.ledger.files(dataset=dataset):
            ours.add(record.did)
            if reached_state(record) in ATTACHED and record.did not in held:
                self.detached.add(record.did)
                yield _detached(record.did, dataset)
        strangers = sorted(held - ours)
        if strangers and dataset in self._made:
            first = ", ".join(map(str, strangers[:SHOWN]))
            yield Finding(
                Kind.DATASET,
                dataset,
                there=f"{counted(len(strangers), 'file')} not on record",
                expected="the files of this campaign alone",
                evidence=f"{first}{' …' if strangers[SHOWN:] else ''}",
                hint="its rules bring them, too, and are never given their end: whose are they?",
            )


def _is(known: KnownCollection | None, kind: DIDType) -> bool:
    return known is not None and known.kind is kind


def _collection(
    did: DID, kind: DIDType, known: KnownCollection | None, *, may_be_closed: bool
) -> Iterator[Finding]:
    word = str(kind).lower()
    if known is None:
        yield Finding(
            Kind.DATASET,
            did,
            there=f"no {word} of that name",
            expected=f"a {word} of the campaign",
            evidence="the catalogue does not have it",
            hint="run the campaign again: a dataset that is gone is made and filled anew",
        )
    elif known.kind is not kind:
        yield Finding(
            Kind.DATASET,
            did,
            there=f"a {str(known.kind).lower()}",
            expected=f"a {word}",
            evidence="the catalogue's type of it",
            hint="a DID is for ever: find out who made it",
        )
    elif not known.open and not may_be_closed:
        yield Finding(
            Kind.DATASET,
            did,
            there=f"a closed {word}",
            expected="an open one",
            evidence="nothing can be attached to it",
            hint=f"if more is to come: rucio did update --open {did}",
        )


def _detached(did: DID, parent: DID) -> Finding:
    return Finding(
        Kind.DATASET,
        did,
        there=f"not in {parent}",
        expected=f"attached to {parent}",
        evidence="the catalogue's list of what that holds",
        parent=parent,
        repair=Repair.ATTACH,
    )


class LookAtRules:
    """Compares the rules on record with the account's rules on our datasets."""

    def __init__(self, world: World, plan: Plan, detached: Collection[DID]) -> None:
        """`detached`: files that are told already as not in their datasets."""
        self._world = world
        self._plan = plan
        self._detached = detached
        self._made = world.ledger.collections()
        self._ending = world.ending()

    def findings(self, datasets: Sequence[DID]) -> Iterator[Finding]:
        """What is wrong with the rules of these datasets, and of those that rules are on record
        of; none of what is given its end."""
        on_record = {rule.rule_id: rule for rule in self._world.ledger.rules()}
        with_rules = {*datasets, *(rule.dataset for rule in on_record.values())} - self._ending
        # In one call: above some datasets Rucio is asked for all rules of the scope, each time.
        views = self._world.catalogue.rules(sorted(with_rules), self._plan.account)
        live = {view.rule_id: view for view in views}
        for rule in on_record.values():
            self._world.clock.check()
            if rule.dataset in with_rules and rule.gone_at is None and not rule.at_origin:
                yield from self._rule(rule, live.get(rule.rule_id))
        for view in views:
            if view.rule_id not in on_record and view.did in self._made:
                yield self._unknown(view)

    def _rule(self, rule: RuleRecord, view: RuleView | None) -> Iterator[Finding]:
        wanted = _copies(rule)
        if view is None:
            yield _about_rule(rule, "no such rule", wanted, "it was made and is gone", hint=AGAIN)
            return
        there = _copies(view)
        if there != wanted:
            hint = "somebody moved it; run the campaign again for another one"
            yield _about_rule(rule, there, wanted, "Rucio shows it so", hint=hint)
        if view.expires_at is not None:
            ours = not rule.adopted
            yield _about_rule(
                rule,
                f"ends at {view.expires_at.isoformat()}",
                "no end",
                "an end that the campaign did not give",
                repair=Repair.KEEP_RULE if ours and there == wanted else None,
                hint=None if ours else "it was there before the campaign: ask whose it is",
            )
        if view.state in IN_TROUBLE:
            yield self._in_trouble(rule, view)
        if there == wanted:
            yield from self._unlocked(rule, view)

    def _unlocked(self, rule: RuleRecord, view: RuleView) -> Iterator[Finding]:
        """Files that the rule does not hold: neither brought nor kept, whatever its state says."""
        locks = view.locks_ok + view.locks_replicating + view.locks_stuck
        if not locks and view.state in IN_TROUBLE:
            # Why it has none is told with its state.
            return
        counts = self._world.ledger.counts(dataset=rule.dataset)
        inside = sum(counts.get(state, 0) for state in ATTACHED)
        # How far those have come that were set aside is told file by file.
        if locks == inside * rule.copies and not counts.get(FileState.QUARANTINED):
            return
        held = Counter(lock.did for lock in self._world.catalogue.locks(rule.rule_id))
        if locks and not held:
            # It ended since it was listed.
            return
        for record in self._world.ledger.files(dataset=rule.dataset):
            attached = reached_state(record) in ATTACHED and record.did not in self._detached
            if attached and held[record.did] < rule.copies:
                yield self._not_held(record, rule, held[record.did])

    def _not_held(self, record: FileRecord, rule: RuleRecord, locks: int) -> Finding:
        at_upload = record.replicas.get(record.upload_rse or "")
        since = max(rule.made_at, (at_upload and at_upload.registered_at) or record.found_at)
        moments_ago = self._world.clock.now() - since < MOMENTS
        return Finding(
            Kind.AWAITED if moments_ago else Kind.RULE,
            record.did,
            there=f"{counted(locks, 'lock') if locks else 'no lock'} of rule {rule.rule_id} on it",
            expected=f"one for each copy: {_copies(rule)}",
            evidence=f"on {rule.dataset}, by the rule's locks",
            hint="let Rucio work, then run the audit again"
            if moments_ago
            else "the rule does not keep it: is Rucio's judge-evaluator at work? it may have set "
            "the dataset aside for some minutes",
        )

    def _in_trouble(self, rule: RuleRecord, view: RuleView) -> Finding:
        try:
            stuck = self._world.catalogue.stuck_files(view.rule_id)
        except NotFound:
            # It ended since it was listed.
            stuck = ()
        reasons = [f"{file.did} at {file.rse}: {file.reason}" for file in stuck[:SHOWN]]
        again = view.state is RuleState.STUCK
        return _about_rule(
            rule,
            f"{view.state}, {view.locks_stuck} of its locks stuck",
            "OK",
            "; ".join(reasons) or view.error or "Rucio gives no reason",
            hint="Rucio tries it again by itself; mend the reason"
            if again
            else "Rucio does nothing more by itself: its administrators must look",
        )

    def _unknown(self, view: RuleView) -> Finding:
        asked = self._world.ledger.asked_for(view.did, view.rse_expression)
        return Finding(
            Kind.RULE,
            view.did,
            there=_copies(view),
            expected="only rules that are on record",
            evidence="the campaign was stopped while it asked for it"
            if asked
            else "the campaign did not ask for it",
            rule_id=view.rule_id,
            hint="run the campaign again: it takes it up" if asked else "find out who did",
        )


def _copies(rule: RuleRecord | RuleView) -> str:
    return f"{rule.copies} at {rule.rse_expression}"


def _about_rule(
    rule: RuleRecord,
    there: str,
    expected: str,
    evidence: str,
    *,
    repair: Repair | None = None,
    hint: str | None = None,
) -> Finding:
    return Finding(
        Kind.RULE,
        rule.dataset,
        there=there,
        expected=expected,
        evidence=f"on {rule.dataset}: {evidence}",
        rule_id=rule.rule_id,
        repair=repair,
        hint=hint,
    )
