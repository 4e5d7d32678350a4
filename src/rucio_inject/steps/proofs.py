"""Whether what was proved of files holds now: asked before anything is given up for it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import ReplicaMissing
from rucio_inject.domain.injection import FileRecord, RuleRecord
from rucio_inject.domain.rule import RuleRequest, RuleView
from rucio_inject.domain.story import replicas_left
from rucio_inject.ports import Catalogue, KnownFile
from rucio_inject.steps.access import AccessFiles
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.locks import Held, look_up_locks, rules_that_keep
from rucio_inject.words.moments import shown


class Proofs:
    """Proves files once more, and asks what holds their replicas."""

    def __init__(
        self,
        journal: Journal,
        catalogue: Catalogue,
        access: AccessFiles,
        *,
        account: str,
        promised: Sequence[RuleRequest],
    ) -> None:
        """`access` reads replicas back; the rules of each dataset that are `promised` are those of
        `account`."""
        self._journal = journal
        self._catalogue = catalogue
        self._access = access
        self._account = account
        self._promised = promised

    def renewed(self, files: Sequence[FileRecord]) -> list[FileRecord]:
        """Those of some VERIFIED files that are the same everywhere; the others are set aside.

        What was proved by an earlier run, perhaps weeks ago and by a campaign that has changed
        since, is proved once more. A file that was not read itself counts only when all of its
        dataset that were to be read were.
        """
        stale = {record.did: record for record in files if not self._is_fresh(record)}
        still_good = self._access.again(list(stale.values()))
        proved = [r for r in files if r.did not in stale or r.did in still_good]
        return [record for record in proved if self._is_spoken_for(record)]

    def not_held(
        self, files: Sequence[FileRecord], *, without: str | None = None
    ) -> Mapping[DID, ReplicaMissing]:
        """Files with a replica that the catalogue does not have now, or that no rule of ours holds
        for good where it was proved; and why. Neither a replica on the RSE `without` counts, nor a
        rule to it."""
        if not files:
            return {}
        datasets = {record.dataset for record in files}
        known = self._catalogue.look_up([record.did for record in files])
        rules = self._locks(datasets, without)
        # Half an answer may pass for a whole one: what it lacks is asked for once more.
        lacking = {record.dataset for record in files if _unkept(record, rules[record.dataset])}
        rules |= self._locks(lacking, without) if lacking else {}
        # After the locks: a rule that was there then may have got its end since.
        views = self._catalogue.rules(sorted(datasets), self._account)
        ending = self.not_for_good(datasets, views, without=without)
        found = {
            record.did: _lost(record, known.get(record.did), without)
            or _unkept(record, rules[record.dataset])
            or _moved(record, rules[record.dataset], without)
            or _ends(record, ending.get(record.dataset))
            for record in files
        }
        return {did: error for did, error in found.items() if error is not None}

    def not_for_good(
        self, datasets: Collection[DID], views: Sequence[RuleView], *, without: str | None = None
    ) -> Mapping[DID, str]:
        """Datasets of which Rucio does not keep all that is promised, or for some time only; and
        why. `views` are their rules as they are now; what becomes of one to the RSE `without` does
        not count."""
        known = self._catalogue.look_up_collections(sorted(datasets))
        ends = {view.rule_id: view.expires_at for view in views}
        keeping = rules_that_keep(self._journal.ledger, datasets)

        def reasons(dataset: DID) -> Iterator[str]:
            if dataset not in known:
                yield f"{dataset} is not in the catalogue any more"
            elif (end := known[dataset].expires_at) is not None:
                yield f"{dataset} itself ends at {shown(end)}"
            rules = {(rule.rse_expression, rule.copies): rule for rule in keeping[dataset]}
            for request in self._promised:
                rule = rules.get((request.rse_expression, request.copies))
                if request.rse_expression != without and rule is None:
                    yield f"no rule to {request.rse_expression} keeps it"
            for rule in _elsewhere(keeping[dataset], without):
                if rule.rule_id not in ends:
                    yield f"rule {rule.rule_id} to {rule.rse_expression} is not there any more"
                elif (end := ends[rule.rule_id]) is not None:
                    yield f"rule {rule.rule_id} to {rule.rse_expression} ends at {shown(end)}"

        found = {dataset: next(reasons(dataset), None) for dataset in datasets}
        return {dataset: why for dataset, why in found.items() if why is not None}

    def _is_spoken_for(self, record: FileRecord) -> bool:
        """Whether a file was read, or all of its dataset's sample were."""
        sampling = self._access.sampling
        return sampling.reads(record) or sampling.speaks(record.dataset)

    def _is_fresh(self, record: FileRecord) -> bool:
        """Whether every replica was proved in this run, in the way that the campaign asks for."""
        read = self._access.sampling.reads(record)
        return self._access.proved.covers(record, read=read)

    def _locks(self, datasets: Collection[DID], without: str | None) -> dict[DID, list[Held]]:
        """What the rules of datasets hold now, asked anew for each batch of files."""
        keeping = rules_that_keep(self._journal.ledger, datasets)
        return {
            dataset: [
                look_up_locks(self._catalogue, rule.rule_id, rule.rse_expression, rule.copies)
                for rule in _elsewhere(rules, without)
            ]
            for dataset, rules in keeping.items()
        }


def _elsewhere(rules: Sequence[RuleRecord], without: str | None) -> list[RuleRecord]:
    return [rule for rule in rules if rule.rse_expression != without]


def _lost(
    record: FileRecord, known: KnownFile | None, without: str | None
) -> ReplicaMissing | None:
    there = known.replicas if known else {}
    lost = [
        rse
        for rse in record.replicas
        if rse != without and (rse not in there or not there[rse].available)
    ]
    if not lost:
        return None
    return ReplicaMissing(
        f"{record.did} is no longer at {', '.join(lost)}: its source is kept",
        hint=f"rucio replica list file {record.did} --all-states",
    )


def _unkept(record: FileRecord, rules: Sequence[Held]) -> ReplicaMissing | None:
    """Replicas that no rule holds may be deleted at any time: then the source is all there is."""
    letting_go = [rule for rule in rules if not rule.keeps(record.did)]
    if rules and not letting_go:
        return None
    which = ", ".join(f"rule {rule.rule_id} to {rule.where}" for rule in letting_go)
    return ReplicaMissing(
        f"{record.did} is not held by {which or 'any rule'}: its source is kept",
        hint=f"is it still in {record.dataset}? run the same command again to put it back",
    )


def _moved(record: FileRecord, rules: Sequence[Held], without: str | None) -> ReplicaMissing | None:
    """Where it may, Rucio keeps a copy on another RSE than that on which it was proved."""
    held = {lock.rse for rule in rules for lock in rule.of(record.did)}
    proved = {rse for rse in replicas_left(record.replicas) if rse != without}
    if held <= proved:
        return None
    return ReplicaMissing(
        f"{record.did} is held at {', '.join(sorted(held - proved))} now, where nobody has read it "
        "yet: its source is kept",
        hint="run the same command again: it is read there",
    )


def _ends(record: FileRecord, why: str | None) -> ReplicaMissing | None:
    """What is kept for some time only may be the last copy once that is over."""
    if why is None:
        return None
    return ReplicaMissing(
        f"the lake does not keep {record.did} for good: {why}; its source is kept",
        hint="the same command takes the end of a rule back; that of a dataset goes with "
        f"rucio did remove --undo {record.dataset}",
    )
