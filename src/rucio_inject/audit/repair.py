"""Repairs that can take nothing away: each is looked at once more just before it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

from rucio_inject.audit.files import IN_LAKE
from rucio_inject.audit.findings import Finding, Kind, Repair, Repaired, Report
from rucio_inject.audit.locked import Locks
from rucio_inject.audit.reading import (
    Looked,
    conflict,
    differs,
    look_at,
    reached_state,
)
from rucio_inject.audit.storages import is_our_partial, is_our_rest
from rucio_inject.audit.world import Plan, World
from rucio_inject.batches import batches
from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import (
    CatalogueRefused,
    InjectError,
    NotFound,
    NotPermitted,
    QuotaExceeded,
    StorageError,
)
from rucio_inject.domain.facts import Fact, FileSetBack, RepairAsked, RepairMade
from rucio_inject.domain.injection import BACK, FileRecord, FileState
from rucio_inject.domain.rule import RuleRequest
from rucio_inject.ports import KnownFile, NewFile

REFUSALS = (NotFound, NotPermitted, QuotaExceeded, CatalogueRefused, StorageError)
"""What concerns one repair, or this account: others are tried all the same."""
# Bytes first, then what keeps them. Rules are changed before anything is attached: where Rucio's
# evaluator meets a change of a rule it sets the dataset aside for minutes.
ORDER = (Repair.REGISTER, Repair.KEEP_RULE, Repair.ATTACH, Repair.MARK_BAD, Repair.REMOVE)
AS_ROOT = (
    "sign in as an account that may, for this repair: --account root; on an embedded lake: "
    'eval "$(rucio-inject lake env --account root)"'
)


class RepairRefused(Exception):
    """A repair that would not be safe, or is not needed any more."""


class MakeRepairs:
    """Repairs what a report names, with each intent on record before and the outcome after.

    The ledger must be held: nobody else may work on the campaign meanwhile.
    """

    def __init__(self, world: World, plan: Plan) -> None:
        self._world = world
        self._plan = plan
        self._locks = Locks(world, plan)
        self._shown: Mapping[str, str] = {}
        self._work: dict[Repair, Callable[[Sequence[Finding]], None]] = {
            Repair.REGISTER: self._register,
            Repair.ATTACH: self._attach,
            Repair.KEEP_RULE: self._keep_rule,
            Repair.MARK_BAD: self._mark_bad,
            Repair.REMOVE: self._remove,
        }
        self._check: dict[Repair, Callable[[Finding], None]] = {
            Repair.REGISTER: self._check_register,
            Repair.ATTACH: self._check_attach,
            Repair.KEEP_RULE: self._check_rule,
            Repair.MARK_BAD: self._check_bad,
            Repair.REMOVE: self._check_remove,
        }

    def run(self, report: Report) -> Iterator[Repaired]:
        """Make the repairs; yields what came of each, some at a time."""
        self._shown = report.looked.shown
        found = report.repairable()
        for repair in ORDER:
            # Together what one call can do.
            ordered = sorted(found[repair], key=_together)
            for _, group in groupby(ordered, key=_together):
                for some in batches(group):
                    self._world.clock.check()
                    yield from self._some(repair, some)

    def _some(self, repair: Repair, findings: Sequence[Finding]) -> list[Repaired]:
        with ThreadPoolExecutor(self._plan.workers, thread_name_prefix="audit") as pool:
            checked = list(pool.map(lambda finding: self._checked(repair, finding), findings))
        ready = [outcome.finding for outcome in checked if outcome.error is None]
        refused = [outcome for outcome in checked if outcome.error is not None]
        if not ready:
            return refused
        now = self._world.clock.now()
        self._world.ledger.record(
            [
                RepairAsked(
                    at=now,
                    finding=finding.kind,
                    subject=finding.subject,
                    rse=finding.rse,
                    repair=repair,
                    reason=f"{finding.there}; {finding.evidence}",
                )
                for finding in ready
            ]
        )
        made = list(_each(ready, self._work[repair]))
        self._world.ledger.record([fact for outcome in made for fact in self._outcome(outcome)])
        return [*refused, *made]

    def _outcome(self, outcome: Repaired) -> Iterator[Fact]:
        finding, now = outcome.finding, self._world.clock.now()
        yield RepairMade(
            at=now,
            finding=finding.kind,
            subject=finding.subject,
            rse=finding.rse,
            repair=str(finding.repair),
            error=outcome.error,
        )
        if finding.repair is Repair.MARK_BAD and outcome.error is None:
            # What was read of it is no proof of the one that Rucio makes.
            record, back = self._world.ledger.file(_did(finding)), FileState.REPLICATING
            if record is not None and back in BACK.get(record.state, ()):
                why = f"its replica at {finding.rse} was {finding.kind}, and is made anew"
                yield FileSetBack(at=now, did=record.did, state=back, reason=why)

    def _checked(self, repair: Repair, finding: Finding) -> Repaired:
        try:
            self._check[repair](finding)
        except RepairRefused as refusal:
            return Repaired(finding, str(refusal))
        except REFUSALS as error:
            return Repaired(finding, error.message)
        return Repaired(finding)

    def _record(self, finding: Finding) -> tuple[FileRecord, Measure]:
        record = self._world.ledger.file(_did(finding))
        if record is None or record.measure is None or reached_state(record) not in IN_LAKE:
            raise RepairRefused("the record has changed since")
        return record, record.measure

    def _known(self, did: DID) -> KnownFile | None:
        return self._world.catalogue.look_up([did]).get(did)

    def _check_register(self, finding: Finding) -> None:
        record, measure = self._record(finding)
        did, rse, pfn = _did(finding), str(finding.rse), str(finding.pfn)
        known = self._known(did)
        if known is not None and rse in known.replicas:
            raise RepairRefused("the catalogue has a replica there by now")
        _refuse_conflict(known, record)
        if self._world.storage.taken(rse, did) != pfn:
            raise RepairRefused(f"Rucio would look for it elsewhere than at {pfn}")
        self._refuse_other_bytes(rse, pfn, measure)

    def _refuse_other_bytes(self, rse: str, pfn: str, measure: Measure) -> None:
        other = differs(measure, self._world.storage.measure(rse, pfn))
        if other is not None:
            raise RepairRefused(
                f"its bytes are not those on record: there: {other.there}; "
                f"should be: {other.expected}"
            )

    def _register(self, findings: Sequence[Finding]) -> None:
        records = [self._record(finding) for finding in findings]
        catalogue, rse = self._world.catalogue, str(findings[0].rse)
        catalogue.add_files(rse, [NewFile(record.did, measure) for record, measure in records])
        ours = {record.did: record.metadata for record, _ in records if not record.adopted}
        catalogue.set_metadata({did: told for did, told in ours.items() if told})

    def _check_attach(self, finding: Finding) -> None:
        parent = _parent(finding)
        known = self._world.catalogue.look_up_collections([parent]).get(parent)
        if known is None or not known.open:
            raise RepairRefused(f"{parent} is {'gone' if known is None else 'closed'}")
        if self._world.catalogue.missing([_did(finding)]):
            raise RepairRefused("it is not in the catalogue itself")

    def _attach(self, findings: Sequence[Finding]) -> None:
        children = [_did(finding) for finding in findings]
        self._world.catalogue.attach({_parent(findings[0]): children})

    def _check_rule(self, finding: Finding) -> None:
        self._request(finding)

    def _request(self, finding: Finding) -> RuleRequest:
        """The rule as it was asked for."""
        for rule in self._world.ledger.rules(datasets=[_did(finding)]):
            ended = rule.gone_at is not None or rule.ending_at is not None
            if rule.rule_id == finding.rule_id and not ended:
                return RuleRequest(rule.rse_expression, rule.copies, rule.lifetime)
        raise RepairRefused("the record has changed since")

    def _keep_rule(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            request = self._request(finding)
            # Asking for a rule that is there takes its end back.
            self._world.catalogue.add_rules([_did(finding)], request, self._plan.account)

    def _check_bad(self, finding: Finding) -> None:
        """Is it still bad, and is there a good one that was read just now?"""
        record, measure = self._record(finding)
        rse = str(finding.rse)
        known = self._known(record.did)
        replica = known.replicas.get(rse) if known else None
        if known is None or replica is None or not replica.available or replica.pfn is None:
            raise RepairRefused("the catalogue does not call it AVAILABLE any more")
        _refuse_conflict(known, record)
        if (record.did, rse) not in self._locks.of([record]):
            raise RepairRefused("no rule of ours holds it there: Rucio would make none anew")
        looked = self._look_again(rse, replica.pfn, measure, finding)
        if looked.good:
            raise RepairRefused("the replica is good by now")
        if not looked.there:
            self._refuse_unmounted(rse)
        if not any(
            self._is_good(known, other, measure) for other in known.replicas if other != rse
        ):
            raise RepairRefused(
                "no other replica could be read back and is good: it may be the last"
            )

    def _look_again(self, rse: str, pfn: str, measure: Measure, finding: Finding) -> Looked:
        read = finding.kind is Kind.CORRUPT
        return look_at(self._world.storage, rse, pfn, measure, read=read)

    def _refuse_unmounted(self, rse: str) -> None:
        """Where what was there a moment ago is not there either, the storage has gone away."""
        pfn = self._shown.get(rse)
        if pfn is None or not self._world.storage.exists(rse, pfn):
            raise RepairRefused(f"{rse} shows nothing that was there: is it mounted?")

    def _is_good(self, known: KnownFile, rse: str, measure: Measure) -> bool:
        replica = known.replicas[rse]
        if not replica.available or replica.pfn is None:
            return False
        try:
            return differs(measure, self._world.storage.measure(rse, replica.pfn)) is None
        except StorageError:
            # What cannot be read is no proof; another one may be.
            return False

    def _mark_bad(self, findings: Sequence[Finding]) -> None:
        rse, reason = str(findings[0].rse), f"rucio-inject audit: {findings[0].kind}"
        dids = [_did(finding) for finding in findings]
        # All of them were read before: of one the good replica may be gone since.
        known = self._world.catalogue.look_up(dids)
        for did in dids:
            there = known[did].replicas if did in known else {}
            if not any(replica.available for other, replica in there.items() if other != rse):
                raise RepairRefused("no other replica is AVAILABLE any more: it may be the last")
        self._world.catalogue.mark_bad(rse, dids, reason)

    def _check_remove(self, finding: Finding) -> None:
        did, rse, pfn = _did(finding), str(finding.rse), str(finding.pfn)
        record = self._world.ledger.file(did)
        if self._world.storage.stat(rse, pfn) is None:
            raise RepairRefused("it is gone by now")
        if self._world.storage.taken(rse, did) != pfn:
            # Not the place of a replica: a partial file.
            if not is_our_partial(rse, record):
                raise RepairRefused("the record has changed since")
            return
        if record is None or record.measure is None or not is_our_rest(rse, record):
            raise RepairRefused("by the record it may be somebody else's")
        self._refuse_replica(rse, did)
        self._refuse_other_bytes(rse, pfn, record.measure)

    def _refuse_replica(self, rse: str, did: DID) -> None:
        known = self._known(did)
        if known is not None and rse in known.replicas:
            raise RepairRefused("it is a replica by now")

    def _remove(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            did, rse, pfn = _did(finding), str(finding.rse), str(finding.pfn)
            # All of them were read before: who injected the same bytes since has a replica there.
            if self._world.storage.taken(rse, did) == pfn:
                self._refuse_replica(rse, did)
            self._world.storage.remove(rse, pfn)


def _together(finding: Finding) -> tuple[str, str, str]:
    return str(finding.parent or ""), finding.rse or "", finding.kind


def _each(
    findings: Sequence[Finding], work: Callable[[Sequence[Finding]], None]
) -> Iterable[Repaired]:
    """Do idempotent work for all at once; if it is refused, for each alone."""
    try:
        work(findings)
    except RepairRefused as refusal:
        if len(findings) == 1:
            return [Repaired(finding, str(refusal)) for finding in findings]
        return [outcome for finding in findings for outcome in _each([finding], work)]
    except REFUSALS as error:
        # Whoever may not do it may do it for none of them.
        if len(findings) == 1 or isinstance(error, NotPermitted):
            return [Repaired(finding, _told(error, finding)) for finding in findings]
        return [outcome for finding in findings for outcome in _each([finding], work)]
    return [Repaired(finding) for finding in findings]


def _told(error: InjectError, finding: Finding) -> str:
    marking = isinstance(error, NotPermitted) and finding.repair is Repair.MARK_BAD
    hint = AS_ROOT if marking else error.hint
    return f"{error.message} ({hint})" if hint else error.message


def _refuse_conflict(known: KnownFile | None, record: FileRecord) -> None:
    if (other := conflict(known, record)) is not None:
        raise RepairRefused(f"the catalogue has other content: {other.there}")


def _did(finding: Finding) -> DID:
    assert finding.did is not None
    return finding.did


def _parent(finding: Finding) -> DID:
    assert finding.parent is not None
    return finding.parent
