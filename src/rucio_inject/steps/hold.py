"""Files that are to stay at an origin RSE although nothing keeps them there any more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial

from rucio_inject.batches import batches, divided
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import InjectError, NotFound, ReplicaMissing
from rucio_inject.domain.facts import (
    Fact,
    RuleAsked,
    RuleChanged,
    RuleGone,
    RuleMade,
    RuleRefused,
    SourceKept,
)
from rucio_inject.domain.injection import FileRecord, FileState, RuleRecord, SourceCopy
from rucio_inject.domain.replica import ReplicaState
from rucio_inject.domain.rule import RuleRequest, RuleState, RuleView
from rucio_inject.ports import Catalogue, KnownFile
from rucio_inject.steps.journal import Journal

_READABLE = frozenset({ReplicaState.AVAILABLE, ReplicaState.TEMPORARY_UNAVAILABLE})
ALL = frozenset(FileState)


class HoldAtOrigin:
    """Asks for rules that keep single files at the origin, whose dataset's rule there has ended.

    A rule of the dataset would bring back those that Rucio has removed already; these bring none.
    What the reaper has begun to remove cannot be held any more.
    """

    def __init__(self, journal: Journal, catalogue: Catalogue, *, account: str, rse: str) -> None:
        self._journal = journal
        self._catalogue = catalogue
        self._account = account
        self._rse = rse

    def is_there(self, known: KnownFile | None) -> bool:
        """Whether a file's replica at the origin can still be held."""
        replica = known.replicas.get(self._rse) if known else None
        return replica is not None and replica.state in _READABLE

    def rules(self) -> dict[DID, RuleRecord]:
        """Rules that keep single files there, by file."""
        ledger = self._journal.ledger
        datasets = frozenset(ledger.datasets(ALL))
        return {
            rule.dataset: rule
            for rule in ledger.rules()
            if rule.rse_expression == self._rse
            and rule.dataset not in datasets
            and rule.gone_at is None
            and rule.ending_at is None
        }

    def renew(self) -> None:
        """See that these rules are still there, and that nobody has given them an end."""
        rules = self.rules()
        if not rules:
            return
        views = {view.rule_id: view for view in self._catalogue.rules(list(rules), self._account)}
        now = self._journal.clock.now()
        gone = [rule for rule in rules.values() if rule.rule_id not in views]
        self._journal.tell(RuleGone(at=now, rule_id=rule.rule_id) for rule in gone)
        ends = [r for r in rules.values() if r.rule_id in views and views[r.rule_id].expires_at]
        lacking = [rule.dataset for rule in (*gone, *ends)]
        for some in batches(lacking):
            known = self._catalogue.look_up(some)
            there = [did for did in some if self.is_there(known.get(did))]
            self.hold(dict.fromkeys(there, "its rule there was taken away, or given an end"))

    def hold(self, files: Mapping[DID, str]) -> None:
        """Keep files there; their values say why. One that Rucio refuses a rule to is set aside:
        somebody must see to it before the reaper comes."""
        self._journal.clock.check()
        known = self._journal.ledger.known(list(files)) if files else {}
        request = RuleRequest(self._rse)
        ask = partial(self._ask, request, files)
        divided(list(known.values()), ask, partial(self._refused, request, files))

    def _ask(
        self, request: RuleRequest, why: Mapping[DID, str], files: Sequence[FileRecord]
    ) -> None:
        now = self._journal.clock.now
        dids = [record.did for record in files]
        theirs = self._theirs(dids, request)
        self._journal.tell(
            RuleAsked(at=now(), dataset=did, request=request) for did in dids if did not in theirs
        )
        rules = self._catalogue.hold(dids, self._rse, self._account)
        views = {view.rule_id: view for view in self._catalogue.rules(dids, self._account)}
        there = self._catalogue.look_up(dids)
        facts: list[Fact] = []
        for record in files:
            did, rule_id = record.did, rules[record.did]
            view = views.get(rule_id)
            # Half an answer may pass for a whole one.
            if (view is not None and view.state is RuleState.OK) or self.is_there(there.get(did)):
                made = RuleMade(
                    at=now(),
                    dataset=did,
                    rule_id=rule_id,
                    request=request,
                    adopted=did in theirs,
                )
                facts += [made, *self._kept(record, view, why[did])]
            else:
                facts.append(self._too_late(did, rule_id, request))
        self._journal.tell(facts)

    def _theirs(self, dids: Sequence[DID], request: RuleRequest) -> frozenset[DID]:
        """Files that have such a rule of the account already, which is none of ours."""
        wanted = (request.rse_expression, request.copies)
        views = self._catalogue.rules(dids, self._account)
        live = {view.did for view in views if (view.rse_expression, view.copies) == wanted}
        asked_for = self._journal.ledger.asked_for
        return frozenset(did for did in live if not asked_for(did, request.rse_expression))

    def _kept(self, record: FileRecord, view: RuleView | None, why: str) -> Iterator[Fact]:
        now = self._journal.clock.now()
        if view is not None:
            yield RuleChanged(at=now, view=view)
        if record.source is SourceCopy.FREEING:
            yield SourceKept(at=now, did=record.did, reason=why)

    def _too_late(self, did: DID, rule_id: str, request: RuleRequest) -> Fact:
        """The rule keeps nothing."""
        with suppress(NotFound):
            self._catalogue.end_rule(rule_id, 1)
        now, why = self._journal.clock.now(), "Rucio had begun to remove it"
        return RuleRefused(at=now, dataset=did, request=request, reason=why)

    def _refused(
        self,
        request: RuleRequest,
        why: Mapping[DID, str],
        record: FileRecord,
        error: InjectError,
    ) -> None:
        now, did = self._journal.clock.now(), record.did
        told = RuleRefused(at=now, dataset=did, request=request, reason=error.message)
        failure = ReplicaMissing(
            f"{did} goes from {self._rse}, and the lake does not hold it as promised "
            f"({why[did]}); Rucio refuses a rule that would keep it there: {error.message}",
            hint=f"before its reaper comes: rucio rule add --rses {self._rse} --copies 1 {did}",
        )
        self._journal.tell([told, self._journal.failed(did, failure)])
