"""Putting registered files in order: metadata, datasets, containers, and the datasets' rules."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rucio_inject.domain.did import DID, DIDType
from rucio_inject.domain.facts import CollectionAsked, FileOrganised, RuleAsked, RuleGone, RuleMade
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.domain.rule import RuleRequest
from rucio_inject.ports import Catalogue
from rucio_inject.steps.journal import Journal

TO_BE_PROVED = frozenset({FileState.REGISTERED, FileState.REPLICATING, FileState.REPLICATED})


def in_cycle_order(files: Sequence[FileRecord]) -> tuple[DID, ...]:
    """The datasets of some files, in the order in which they come up."""
    return tuple(dict.fromkeys(record.dataset for record in files))


class Organise:
    """Makes datasets with their rules while they are empty, then fills them.

    In this order Rucio evaluates the rules in its daemons, not inside our calls, which would cost
    some milliseconds a file and rule.
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

    def run(self, files: Sequence[FileRecord]) -> None:
        """Organise REGISTERED files; see that datasets under way still have their rules."""
        registered = [record for record in files if record.state is FileState.REGISTERED]
        if registered:
            self._make_collections(registered)
        self._make_rules(self._in_need_of_rules(files))
        if not registered:
            return
        self._catalogue.set_metadata({record.did: record.metadata for record in registered})
        self._attach(registered)
        self._journal.tell(
            FileOrganised(at=self._journal.clock.now(), did=record.did) for record in registered
        )

    def _in_need_of_rules(self, files: Sequence[FileRecord]) -> tuple[DID, ...]:
        """Datasets with files that are still to be proved, or whose end has not begun."""
        ending = {r.dataset for r in self._journal.ledger.rules() if r.ending_at is not None}
        return in_cycle_order(
            [
                record
                for record in files
                if record.state in TO_BE_PROVED
                or (record.state is FileState.VERIFIED and record.dataset not in ending)
            ]
        )

    def _make_collections(self, files: Sequence[FileRecord]) -> None:
        wanted = {record.dataset: DIDType.DATASET for record in files}
        wanted |= {c: DIDType.CONTAINER for record in files for c in record.containers}
        now = self._journal.clock.now()
        missing = self._catalogue.missing(list(wanted))
        # What is on record as made by us may end with the campaign; what was there before may not.
        self._journal.tell(CollectionAsked(at=now, did=did) for did in wanted if did in missing)
        self._catalogue.add_collections(wanted)

    def _attach(self, files: Sequence[FileRecord]) -> None:
        """Files into datasets, datasets into the innermost container, each container into the one
        around it."""
        contents: dict[DID, dict[DID, None]] = {}
        for record in files:
            chain = (*record.containers, record.dataset, record.did)
            for parent, child in pairwise(chain):
                contents.setdefault(parent, {})[child] = None
        self._catalogue.attach({parent: tuple(children) for parent, children in contents.items()})

    def _make_rules(self, datasets: Sequence[DID]) -> None:
        """Ask for the rules that a dataset does not have; an existing one is adopted."""
        on_record = {
            (rule.dataset, rule.rse_expression, rule.copies): rule
            for rule in self._journal.ledger.rules()
            if rule.gone_at is None and rule.ending_at is None
        }
        live = {view.rule_id for view in self._catalogue.rules(datasets, self._account)}
        for dataset in datasets:
            for request in self._rules:
                self._journal.clock.check()
                key = (dataset, request.rse_expression, request.copies)
                known = on_record.get(key)
                if known is not None and known.rule_id in live:
                    continue
                if known is not None:
                    # Somebody ended it behind our back: the promise still stands.
                    gone = RuleGone(at=self._journal.clock.now(), rule_id=known.rule_id)
                    self._journal.tell([gone])
                self._ask(dataset, request)

    def _ask(self, dataset: DID, request: RuleRequest) -> None:
        now = self._journal.clock.now
        self._journal.tell([RuleAsked(at=now(), dataset=dataset, request=request)])
        rule_id, adopted = self._catalogue.add_rule(dataset, request, self._account)
        made = RuleMade(
            at=now(), dataset=dataset, rule_id=rule_id, request=request, adopted=adopted
        )
        self._journal.tell([made])
