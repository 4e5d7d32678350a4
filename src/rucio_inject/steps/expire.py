"""The end begins: rules of what was verified get their lifetime."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from rucio_inject.batches import batches
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import (
    FileRefused,
    NotFound,
    SourceChanged,
    SourceIsReplica,
    SourceUnreadable,
)
from rucio_inject.domain.facts import (
    Fact,
    FileExpiring,
    RuleEnding,
    RuleGone,
    RuleKept,
)
from rucio_inject.domain.injection import FileRecord, FileState, RuleRecord, SourceCopy, reached
from rucio_inject.domain.story import advance
from rucio_inject.measuring import Seen
from rucio_inject.ports import Catalogue
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.originals import check_original, read_original
from rucio_inject.steps.same_file import CannotTell, SameFile

# Datasets whose end goes on record at once: what Rucio says that they hold stays young meanwhile.
ENDED_AT_ONCE = 20
UNLINK = "see to the child, or undo the link (rucio rule update --child-rule-id None RULE)"

TO_COME = frozenset({FileState.FOUND, FileState.MEASURED, FileState.UPLOADED})
NOT_ENDED = frozenset(
    {
        FileState.REGISTERED,
        FileState.REPLICATING,
        FileState.REPLICATED,
        FileState.VERIFIED,
        FileState.QUARANTINED,
    }
)


@dataclass(frozen=True, slots=True)
class _Whole:
    """A dataset that may end: its files in the lake, those whose end is to come, and what shows
    whether their sources are still what was read of them just now."""

    inside: Sequence[FileRecord]
    ready: Sequence[FileRecord]
    seen: Mapping[DID, Seen]


class EndRules:
    """Gives the rules of verified datasets their end."""

    def __init__(
        self,
        journal: Journal,
        catalogue: Catalogue,
        same_file: SameFile,
        *,
        account: str,
        lifetimes: Mapping[str, int],
        default: int,
    ) -> None:
        """`lifetimes`: seconds by RSE expression; `default` for the others."""
        self._journal = journal
        self._catalogue = catalogue
        self._same_file = same_file
        self._account = account
        self._lifetimes = lifetimes
        self._default = default

    def run(self) -> Mapping[DID, str]:
        """End the rules of datasets whose every file is VERIFIED; gives the others, and why not.

        A dataset with a file that was not read back is left alone, whoever put it there: the
        replicas that its rules keep may be the last good ones. They are that, too, where a source
        is gone, whoever removed it, or is another file by now. So is one left alone with files that
        are still to come: they would need its rules again.
        """
        kept: dict[DID, str] = {}
        self._same_file.forget()
        for datasets in batches(self._journal.ledger.datasets(NOT_ENDED), ENDED_AT_ONCE):
            rules: dict[DID, list[RuleRecord]] = {dataset: [] for dataset in datasets}
            for rule in self._journal.ledger.rules(datasets=datasets):
                rules[rule.dataset].append(rule)
            # Sources are read first, which may take long: what Rucio says is to be young.
            whole = {
                dataset: found
                for dataset in datasets
                if (found := self._whole(dataset, rules[dataset], kept)) is not None
            }
            self._end(
                {
                    dataset: (files, [rule for rule in rules[dataset] if rule.gone_at is None])
                    for dataset, files in self._ready(whole, rules, kept).items()
                }
            )
        return kept

    def _whole(
        self, dataset: DID, rules: Sequence[RuleRecord], kept: dict[DID, str]
    ) -> _Whole | None:
        """A dataset that may end now, as far as its record and its sources tell; of one that may
        not, `kept` is told why."""
        self._journal.clock.check()
        if self._journal.ledger.counts(dataset=dataset).keys() & TO_COME:
            return None
        files = self._journal.ledger.files(dataset=dataset)
        inside = [record for record in files if is_in_the_lake(record)]
        unproved = [r for r in inside if not reached(r.state, FileState.VERIFIED)]
        ready = [r for r in inside if r.state is FileState.VERIFIED]
        if not unproved and not ready:
            return None
        # First what will not change by itself.
        why = _not_ours(inside, rules)
        if why is None and unproved:
            why = f"{len(unproved)} of its {len(inside)} files are not verified"
        if why is not None:
            kept[dataset] = why
            return None
        now = self._journal.clock.now()
        for record in ready:
            # A rule that was given its end purges: that the files may end must be known before.
            advance(record, FileExpiring(at=now, did=record.did))
        try:
            return _Whole(inside, ready, self._originals(ready))
        except (SourceUnreadable, SourceChanged, SourceIsReplica) as error:
            self._keep(dataset, rules, error, kept)
            return None

    def _originals(self, files: Sequence[FileRecord]) -> Mapping[DID, Seen]:
        """What shows whether sources, which are what was injected, are still that. SourceUnreadable
        or SourceChanged if one is gone, or is another one by now; SourceIsReplica if it would go
        with its replica."""
        seen: dict[DID, Seen] = {}
        for record in files:
            if not record.generated:
                self._journal.clock.check()
                # Where nobody may write it is not known: no upload took such a place for its own.
                with suppress(CannotTell):
                    self._same_file.refuse(record)
                seen[record.did] = read_original(record)
        return seen

    def _keep(
        self,
        dataset: DID,
        rules: Sequence[RuleRecord],
        error: FileRefused,
        kept: dict[DID, str],
    ) -> None:
        """Leave a dataset alone of which a source is gone. An end that an earlier run, stopped
        since, asked for is taken back: nothing else would keep what is left."""
        kept[dataset] = f"{error.message}: these replicas may be the only copies"
        now = self._journal.clock.now
        for rule in rules:
            if rule.ends_dataset and rule.gone_at is None:
                try:
                    self._catalogue.keep_rule(rule.rule_id)
                except NotFound:
                    self._journal.tell([RuleGone(at=now(), rule_id=rule.rule_id)])
                else:
                    why = kept[dataset]
                    self._journal.tell([RuleKept(at=now(), rule_id=rule.rule_id, reason=why)])

    def _ready(
        self,
        whole: Mapping[DID, _Whole],
        rules: Mapping[DID, Sequence[RuleRecord]],
        kept: dict[DID, str],
    ) -> Mapping[DID, list[DID]]:
        """The files of datasets that may end now, by all that is known; of those that may not,
        `kept` is told why."""
        chained = self._chained(whole.keys(), rules)
        ready: dict[DID, list[DID]] = {}
        for dataset, known in whole.items():
            why = f"{chained[dataset]}: {UNLINK}" if dataset in chained else None
            if why is None:
                why = self._strangers(dataset, known.inside)
            if why is not None:
                kept[dataset] = why
        for dataset, known in whole.items():
            if dataset in kept:
                continue
            try:
                for record in known.ready:
                    # The last look: they were read a while ago.
                    if record.did in known.seen:
                        check_original(record, known.seen[record.did])
            except (SourceUnreadable, SourceChanged) as error:
                self._keep(dataset, rules[dataset], error, kept)
                continue
            ready[dataset] = [record.did for record in known.ready]
        return ready

    def _chained(
        self, datasets: Collection[DID], rules: Mapping[DID, Sequence[RuleRecord]]
    ) -> Mapping[DID, str]:
        """Those of some datasets, not yet about to end, with a rule of ours to which somebody has
        linked a child that is not OK."""
        whole = sorted(d for d in datasets if not any(rule.ends_dataset for rule in rules[d]))
        views = self._catalogue.rules(whole, self._account) if whole else ()
        ours = {rule.rule_id for dataset in whole for rule in rules[dataset]}
        return {v.did: v.chained for v in views if v.rule_id in ours and v.chained is not None}

    def _strangers(self, dataset: DID, ours: Sequence[FileRecord]) -> str | None:
        """Why what the dataset holds forbids its end; None if it does not."""
        try:
            held = set(self._catalogue.contents(dataset))
        except NotFound:
            return "it is not in the catalogue any more; the next run looks for its files"
        strangers = held - {record.did for record in ours}
        if strangers:
            return f"it holds {len(strangers)} files that this campaign did not verify"
        return None

    def _end(self, ready: Mapping[DID, tuple[Sequence[DID], Sequence[RuleRecord]]]) -> None:
        """Give a few datasets, whose files and rules they come with, their end. The disk is waited
        for once before and once after."""
        now = self._journal.clock.now
        answers: list[Fact] = []
        self._journal.tell(
            RuleEnding(at=now(), rule_id=rule.rule_id, lifetime=self._lifetime(rule))
            for _, rules in ready.values()
            for rule in rules
        )
        try:
            for files, rules in ready.values():
                for rule in rules:
                    try:
                        self._catalogue.end_rule(rule.rule_id, self._lifetime(rule))
                    except NotFound:
                        # It ended already: an earlier run was stopped between asking and noting.
                        answers.append(RuleGone(at=now(), rule_id=rule.rule_id))
                answers.extend(FileExpiring(at=now(), did=did) for did in files)
        finally:
            # Also of those that ended before Rucio went away.
            self._journal.tell(answers)

    def _lifetime(self, rule: RuleRecord) -> int:
        return self._lifetimes.get(rule.rse_expression, self._default)


def _not_ours(inside: Sequence[FileRecord], rules: Sequence[RuleRecord]) -> str | None:
    """Why the end of a dataset is not ours to give, as far as the record tells; None if it is."""
    if any(record.in_place for record in inside):
        return "it holds files that lie where they were before us"
    if any(r.source is not SourceCopy.KEPT and not r.generated for r in inside):
        return "its sources were freed, so these replicas are the only copies"
    if any(record.adopted for record in inside):
        return "it holds files that were in the lake before this campaign"
    if any(rule.adopted for rule in rules):
        return "it has rules that were there before this campaign"
    return None


def is_in_the_lake(record: FileRecord) -> bool:
    """Whether a file is, or may be, in its dataset: one set aside before that does not count."""
    if record.state is FileState.QUARANTINED and record.failure is not None:
        return reached(record.failure.came_from, FileState.REGISTERED)
    return reached(record.state, FileState.REGISTERED)
