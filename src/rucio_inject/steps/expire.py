"""The end: rules get their lifetime, and then it is proved that the replicas are gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import NotFound, StorageRefused
from rucio_inject.domain.facts import (
    CollectionGone,
    Fact,
    FileExpiring,
    FileGone,
    ReplicaGone,
    RuleEnding,
    RuleGone,
    SourceFreed,
)
from rucio_inject.domain.injection import FileRecord, FileState, SourceCopy, reached
from rucio_inject.domain.rule import RuleView
from rucio_inject.domain.story import replicas_left
from rucio_inject.ports import Catalogue, KnownFile, Storage
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.organise import in_cycle_order
from rucio_inject.steps.pace import Pace

# The undertaker takes what has expired: a second is as good as never having had a lifetime.
COLLECTION_LIFETIME = 1


class EndRules:
    """Gives the rules of verified datasets their end."""

    def __init__(
        self, journal: Journal, catalogue: Catalogue, lifetimes: Mapping[str, int], default: int
    ) -> None:
        """`lifetimes`: seconds by RSE expression; `default` for the others."""
        self._journal = journal
        self._catalogue = catalogue
        self._lifetimes = lifetimes
        self._default = default

    def run(self, files: Sequence[FileRecord]) -> Mapping[DID, str]:
        """End the rules of datasets whose every file is VERIFIED; gives the others, and why not.

        A dataset with a file that was not read back is left alone, whoever put it there: the
        replicas that its rules keep may be the last good ones.
        """
        kept: dict[DID, str] = {}
        for dataset in in_cycle_order([r for r in files if _is_in_the_lake(r)]):
            self._journal.clock.check()
            inside = [r for r in files if r.dataset == dataset and _is_in_the_lake(r)]
            unproved = [r for r in inside if not reached(r.state, FileState.VERIFIED)]
            ready = [r for r in inside if r.state is FileState.VERIFIED]
            if unproved:
                kept[dataset] = f"{len(unproved)} of its {len(inside)} files are not verified"
            elif ready and (strangers := self._strangers(dataset, inside)):
                kept[dataset] = f"it holds {strangers} files that this campaign did not verify"
            elif ready:
                self._end(dataset, ready)
        return kept

    def _strangers(self, dataset: DID, ours: Sequence[FileRecord]) -> int:
        return len(set(self._catalogue.contents(dataset)) - {record.did for record in ours})

    def _end(self, dataset: DID, files: Sequence[FileRecord]) -> None:
        now = self._journal.clock.now
        for rule in self._journal.ledger.rules():
            if rule.dataset != dataset or rule.gone_at is not None:
                continue
            lifetime = self._lifetimes.get(rule.rse_expression, self._default)
            self._journal.tell([RuleEnding(at=now(), rule_id=rule.rule_id, lifetime=lifetime)])
            try:
                self._catalogue.end_rule(rule.rule_id, lifetime)
            except NotFound:
                # It ended already: an earlier run was stopped between asking and noting.
                self._journal.tell([RuleGone(at=now(), rule_id=rule.rule_id)])
        self._journal.tell(FileExpiring(at=now(), did=record.did) for record in files)


def _is_in_the_lake(record: FileRecord) -> bool:
    """Whether a file is, or may be, in its dataset: one set aside before that does not count."""
    if record.state is FileState.QUARANTINED and record.failure is not None:
        return reached(record.failure.came_from, FileState.REGISTERED)
    return reached(record.state, FileState.REGISTERED)


class ConfirmGone:
    """Waits until neither catalogue nor storage has the replicas, and then the collections."""

    def __init__(
        self,
        journal: Journal,
        catalogue: Catalogue,
        storage: Storage,
        *,
        account: str,
        deadline: float,
    ) -> None:
        """`deadline`: seconds from now, the rules' lifetime included."""
        self._journal = journal
        self._catalogue = catalogue
        self._storage = storage
        self._account = account
        self._deadline = deadline

    def run(self, files: Sequence[FileRecord]) -> Sequence[DID]:
        """Wait for EXPIRING files to be GONE; gives those that are not at the deadline."""
        waiting = [record.did for record in files if record.state is FileState.EXPIRING]
        pace = Pace(self._journal.clock, self._deadline)
        while waiting:
            waiting = self._still_there(waiting)
            self._note_rules_gone()
            if not waiting or pace.over():
                break
            pace.wait()
        if not waiting:
            self._end_collections(pace)
        return waiting

    def _still_there(self, dids: Sequence[DID]) -> list[DID]:
        known = self._catalogue.look_up(dids)
        there: list[DID] = []
        facts: list[Fact] = []
        for did in dids:
            record = self._journal.ledger.file(did)
            if record is None:
                continue
            # All of them each time: a rule that was taken back for a late sibling may have brought
            # a replica back.
            gone = {rse for rse in record.replicas if self._gone(record, rse, known.get(did))}
            now = self._journal.clock.now()
            news = sorted(gone.intersection(replicas_left(record.replicas)))
            facts += [ReplicaGone(at=now, did=did, rse=rse) for rse in news]
            if len(gone) < len(record.replicas):
                there.append(did)
            else:
                facts.append(FileGone(at=now, did=did))
        self._journal.tell(facts)
        return there

    def _gone(self, record: FileRecord, rse: str, known: KnownFile | None) -> bool:
        if known is not None and rse in known.replicas:
            return False
        pfn = record.replicas[rse].pfn
        # Rucio's posix protocol reports a file deleted that it could not delete: look for it.
        return pfn is None or not self._storage.exists(rse, pfn)

    def _note_rules_gone(self) -> None:
        ending = [r for r in self._journal.ledger.rules() if r.ending_at and not r.gone_at]
        live = self._live({rule.dataset for rule in ending}) if ending else set()
        now = self._journal.clock.now()
        self._journal.tell(
            RuleGone(at=now, rule_id=rule.rule_id) for rule in ending if rule.rule_id not in live
        )

    def _live(self, datasets: set[DID]) -> set[str]:
        views: Sequence[RuleView] = self._catalogue.rules(sorted(datasets), self._account)
        return {view.rule_id for view in views}

    def _end_collections(self, pace: Pace) -> None:
        """Expire datasets that are through, and containers that hold nothing else; wait for it."""
        inside = [r for r in self._journal.ledger.files() if _is_in_the_lake(r)]
        busy = {record.dataset for record in inside if record.state is not FileState.GONE}
        through = [record for record in inside if record.dataset not in busy]
        ours = self._journal.ledger.collections()
        chains = dict.fromkeys((*record.containers, record.dataset) for record in through)
        # Innermost first: what a container holds is decided before the container is.
        candidates = dict.fromkeys(did for chain in chains for did in reversed(chain))
        ordered = sorted(candidates, key=lambda did: -_depth(did, chains))
        left = [did for did in ordered if did in ours]
        gone = set(self._catalogue.missing(left)) if left else set()
        ending: list[DID] = []
        for did in left:
            if did not in gone and gone.union(ending).issuperset(self._catalogue.contents(did)):
                self._catalogue.expire_collection(did, COLLECTION_LIFETIME)
                ending.append(did)
        gone |= self._wait_for_end(ending, pace)
        now = self._journal.clock.now()
        self._journal.tell(CollectionGone(at=now, did=did) for did in left if did in gone)

    def _wait_for_end(self, collections: Sequence[DID], pace: Pace) -> frozenset[DID]:
        """Those of some collections that are no longer in the catalogue, at the latest when the
        deadline has passed."""
        pace.hurry()
        gone = self._catalogue.missing(collections) if collections else frozenset()
        while len(gone) < len(collections) and not pace.over():
            pace.wait()
            gone = self._catalogue.missing(collections)
        return gone


def _depth(collection: DID, chains: Iterable[tuple[DID, ...]]) -> int:
    """How far inside a collection lies; 0 is outermost."""
    return max(chain.index(collection) for chain in chains if collection in chain)


class FreeSources:
    """Removes source copies of verified files: generated ones, and others if asked to."""

    def __init__(self, journal: Journal, *, made_in: Path, real_ones_too: bool) -> None:
        """`made_in`: the folder of generated files; none of them is removed anywhere else."""
        self._journal = journal
        self._made_in = made_in
        self._real_ones_too = real_ones_too

    def run(self, files: Sequence[FileRecord]) -> None:
        """Remove what may be removed. StorageRefused if the disk does not let us."""
        for record in files:
            self._journal.clock.check()
            path = Path(record.path)
            ours = record.generated and path.is_relative_to(self._made_in)
            verified = reached(record.state, FileState.VERIFIED)
            may_go = (ours or (self._real_ones_too and not record.generated)) and verified
            if not may_go or record.source is SourceCopy.FREED:
                continue
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise StorageRefused(
                    f"cannot remove the source copy {path}: {error.strerror}",
                    hint="mend its folder's permissions, then run the same command again",
                ) from error
            self._journal.tell([SourceFreed(at=self._journal.clock.now(), did=record.did)])
