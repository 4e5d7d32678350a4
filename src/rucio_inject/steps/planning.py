"""What a run would do, as one value: the lake is asked, and nothing is changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from rucio_inject.batches import BATCH
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import InjectError, NotPermitted
from rucio_inject.plan import Plan, PlannedAttribute, PlannedFiles, PlannedRSE, ToMake
from rucio_inject.ports import Catalogue, KnownCollection, Ledger
from rucio_inject.steps.foresee import ForeseeFiles, Promise
from rucio_inject.steps.organise import RULED_AT_ONCE
from rucio_inject.steps.place import DESCRIBED_AT_ONCE, PLACED_AT_ONCE
from rucio_inject.steps.prepare import Attributes, is_attribute
from rucio_inject.steps.room import lacking


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a campaign asks for besides its files. `ends`: its rules would be given an end."""

    scope: str
    attributes: Attributes
    ends: bool


class MakePlan:
    """Puts together what a run of a campaign would do."""

    def __init__(
        self, ledger: Ledger, catalogue: Catalogue, foresee: ForeseeFiles, promise: Promise
    ) -> None:
        self._ledger = ledger
        self._catalogue = catalogue
        self._foresee = foresee
        self._promise = promise

    def make(self, wanted: Wanted, cycle: int, asked: Mapping[str, int]) -> Plan:
        """The plan. `asked` counts the calls made until it is complete."""
        lake = self._promise.lake
        account = lake.identity.account
        owner = self._catalogue.scope_owner(wanted.scope)
        attributes = tuple(self._attributes(wanted.attributes))
        rses = tuple(
            PlannedRSE(self._catalogue.quota(account, rse), self._catalogue.space(rse))
            for rse in lake.all_rses()
        )
        files = self._foresee.run(cycle)
        datasets, containers = self._collections()
        rules, asked_for = self._rules()
        made = datasets.made + containers.made
        calls = {
            "make the scope": int(owner is None),
            "set an RSE attribute": sum(attribute.changes for attribute in attributes),
            "upload a file": files.brought.files,
            "make datasets and containers": ceil(made / BATCH),
            "ask for rules": asked_for,
            "register and attach files": ceil(files.registered / PLACED_AT_ONCE),
            "set metadata": ceil(files.described / DESCRIBED_AT_ONCE),
            "read a replica back": files.read_back,
            "give a rule its end": (rules.made + rules.there) * wanted.ends,
        }
        return Plan(
            cycle=cycle,
            identity=lake.identity,
            scope=wanted.scope,
            scope_owner=owner,
            upload_rse=lake.upload_rse,
            expressions=lake.rses,
            attributes=attributes,
            rses=rses,
            files=files,
            datasets=datasets,
            containers=containers,
            rules=rules,
            calls={kind: number for kind, number in calls.items() if number},
            asked=dict(asked),
            drain=self._ledger.drain,
            obstacles=tuple(self._obstacles(wanted.scope, owner, rses, files)),
        )

    def _attributes(self, attributes: Attributes) -> Iterator[PlannedAttribute]:
        for rse, wanted in attributes.items():
            have = self._catalogue.rse_attributes(rse)
            for key, value in wanted.items():
                before = have.get(key)
                changes = not is_attribute(before, value)
                yield PlannedAttribute(rse, key, before, value, changes)

    def _collections(self) -> tuple[ToMake, ToMake]:
        found = self._foresee.collections
        datasets = Counter(found.get(dataset) is None for dataset in self._foresee.datasets)
        around = {c for containers in self._foresee.datasets.values() for c in containers}
        containers = Counter(found.get(container) is None for container in around)
        return ToMake(datasets[True], datasets[False]), ToMake(containers[True], containers[False])

    def _rules(self) -> tuple[ToMake, int]:
        """Rules of the datasets, and how many calls would ask for some: also for those that are
        there and that we did not ask for, which Rucio then gives us."""
        datasets, found = self._foresee.datasets, self._foresee.collections
        there = [did for did in datasets if isinstance(found.get(did), KnownCollection)]
        account = self._promise.lake.identity.account
        views = self._catalogue.rules(there, account) if there else ()
        live = {(view.did, view.rse_expression, view.copies) for view in views}
        promised = self._promised(datasets, {view.rule_id for view in views})
        made = calls = 0
        for rule in self._promise.rules:
            keys = {d: (d, rule.rse_expression, rule.copies) for d in datasets}
            made += sum(key not in live and key not in promised for key in keys.values())
            asked = Counter(d in there for d, key in keys.items() if key not in promised)
            calls += asked[True] + ceil(asked[False] / RULED_AT_ONCE)
        there_before = len(datasets) * len(self._promise.rules) - made
        return ToMake(made, there_before), calls

    def _promised(
        self, datasets: Mapping[DID, object], live: set[str]
    ) -> set[tuple[DID, str, int]]:
        return {
            (rule.dataset, rule.rse_expression, rule.copies)
            for rule in self._ledger.rules()
            if rule.dataset in datasets
            and (rule.at_origin or (rule.rule_id in live and rule.ending_at is None))
        }

    def _obstacles(
        self, scope: str, owner: str | None, rses: Sequence[PlannedRSE], files: PlannedFiles
    ) -> Iterator[InjectError]:
        """What would end the run before it brings anything, in the order of the run."""
        account = self._promise.lake.identity.account
        if owner not in {None, account}:
            yield NotPermitted(
                f"scope {scope} belongs to account {owner}, not to {account}",
                hint="run as that account (--account), or name another scope in the campaign",
            )
        left = {rse.quota.rse: rse.quota.left for rse in rses}
        refusal = lacking(self._promise.lake, self._promise.rules, left, files.coming)
        if refusal is not None:
            yield refusal
