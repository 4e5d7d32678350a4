"""The proof of the end: replicas are gone from catalogue and storage, and collections with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from rucio_inject.batches import batches
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import NotFound
from rucio_inject.domain.facts import (
    CollectionEnding,
    CollectionGone,
    Fact,
    FileGone,
    ReplicaGone,
    RuleChanged,
    RuleGone,
)
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.domain.story import replicas_left
from rucio_inject.ports import Bell, Catalogue, KnownFile, Storage
from rucio_inject.steps.expire import is_in_the_lake
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.pace import Pace

# The undertaker takes what has expired: a second is as good as never having had a lifetime.
COLLECTION_LIFETIME = 1
EXPIRING = frozenset({FileState.EXPIRING})


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
        bell: Bell | None = None,
    ) -> None:
        """`deadline`: seconds from now, the rules' lifetime included."""
        self._bell = bell
        self._journal = journal
        self._catalogue = catalogue
        self._storage = storage
        self._account = account
        self._deadline = deadline

    def run(self) -> Mapping[DID, str]:
        """Wait for EXPIRING files to be GONE, at the latest until the deadline; gives datasets
        whose rules do not end, and why: those are not waited for."""
        pace = Pace(self._journal.clock, self._deadline, self._bell)
        endless: Mapping[DID, str] = {}
        while self._expiring():
            for files in batches(self._journal.ledger.files(EXPIRING)):
                self._look(files)
            endless = self._look_at_rules()
            left = self._journal.ledger.datasets(EXPIRING)
            if set(left) <= set(endless) or pace.over():
                break
            pace.wait()
        if not self._expiring():
            # An earlier run may have been killed between the last file's end and its rules'.
            self._look_at_rules()
            self._end_collections(pace)
        return endless

    def _expiring(self) -> int:
        return self._journal.ledger.counts().get(FileState.EXPIRING, 0)

    def _look(self, files: Sequence[FileRecord]) -> None:
        known = self._catalogue.look_up([record.did for record in files])
        facts: list[Fact] = []
        now = self._journal.clock.now()
        for record in files:
            # All of them each time: a rule that was taken back for a late sibling may have brought
            # a replica back.
            found = known.get(record.did)
            gone = {rse for rse in record.replicas if self._gone(record, rse, found)}
            news = sorted(gone.intersection(replicas_left(record.replicas)))
            facts += [ReplicaGone(at=now, did=record.did, rse=rse) for rse in news]
            # Nor may a replica that was promised once, and is on record no more, be left.
            if len(gone) == len(record.replicas) and not (found and found.replicas):
                facts.append(FileGone(at=now, did=record.did))
        self._journal.tell(facts)

    def _gone(self, record: FileRecord, rse: str, known: KnownFile | None) -> bool:
        if known is not None and rse in known.replicas:
            return False
        pfn = record.replicas[rse].pfn
        # Rucio's posix protocol reports a file deleted that it could not delete: look for it.
        return pfn is not None and not self._storage.exists(rse, pfn)

    def _look_at_rules(self) -> Mapping[DID, str]:
        """Note rules that are gone; gives datasets of which only rules that do not end are left."""
        ending = [r for r in self._journal.ledger.rules() if r.ending_at and not r.gone_at]
        if not ending:
            return {}
        datasets = sorted({rule.dataset for rule in ending})
        views = {view.rule_id: view for view in self._catalogue.rules(datasets, self._account)}
        now = self._journal.clock.now()
        self._journal.tell(
            RuleGone(at=now, rule_id=rule.rule_id) for rule in ending if rule.rule_id not in views
        )
        live = [(rule, views[rule.rule_id]) for rule in ending if rule.rule_id in views]
        # Rucio sees no error in it: what is on record of the rule tells why it is there still.
        self._journal.tell(
            RuleChanged(at=now, view=replace(view, error=view.endless))
            for rule, view in live
            if view.endless and rule.error != view.endless
        )
        ends = {view.did for _, view in live if not view.endless}
        return {v.did: v.endless for _, v in live if v.endless and v.did not in ends}

    def _end_collections(self, pace: Pace) -> None:
        """Expire datasets that are through, and containers that hold nothing else; wait for it."""
        ours = self._journal.ledger.collections()
        chains = self._chains_through() if ours else {}
        # Innermost first: what a container holds is decided before the container is.
        depths = _depths(chains)
        left = [did for did in sorted(depths, key=lambda did: -depths[did]) if did in ours]
        gone = set(self._catalogue.missing(left)) if left else set()
        ending: list[DID] = []
        over = set(gone)
        for did in left:
            if did not in over and over.issuperset(self._catalogue.contents(did)):
                self._journal.tell([CollectionEnding(at=self._journal.clock.now(), did=did)])
                try:
                    self._catalogue.expire_collection(did, COLLECTION_LIFETIME)
                except NotFound:
                    # It has ended already: the answer to an earlier try was lost.
                    gone.add(did)
                else:
                    ending.append(did)
                over.add(did)
        gone |= self._wait_for_end(ending, pace)
        now = self._journal.clock.now()
        self._journal.tell(CollectionGone(at=now, did=did) for did in left if did in gone)

    def _chains_through(self) -> Mapping[tuple[DID, ...], None]:
        """Datasets whose every file is gone, each behind the containers it is in."""
        ledger = self._journal.ledger
        chains: dict[tuple[DID, ...], None] = {}
        for dataset in ledger.datasets({FileState.GONE}):
            left = (r for r in ledger.files(dataset=dataset) if r.state is not FileState.GONE)
            if not any(map(is_in_the_lake, left)):
                gone = ledger.files({FileState.GONE}, dataset=dataset)
                chains |= dict.fromkeys((*record.containers, dataset) for record in gone)
        return chains

    def _wait_for_end(self, collections: Sequence[DID], pace: Pace) -> frozenset[DID]:
        """Those of some collections that are no longer in the catalogue, at the latest when the
        deadline has passed."""
        pace.hurry()
        gone = self._catalogue.missing(collections) if collections else frozenset()
        while len(gone) < len(collections) and not pace.over():
            pace.wait()
            gone = self._catalogue.missing(collections)
        return gone


def _depths(chains: Iterable[tuple[DID, ...]]) -> Mapping[DID, int]:
    """How far inside collections lie; 0 is outermost."""
    depths: dict[DID, int] = {}
    for chain in chains:
        for depth, did in enumerate(chain):
            depths[did] = max(depth, depths.get(did, 0))
    return depths
