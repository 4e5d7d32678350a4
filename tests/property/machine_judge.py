"""What a run must never do, seen from outside: from the true state of the disk and of the lake."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.injection_world import SCOPE, World

from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.domain.story import advance, begin_file
from rucio_inject.ports import NewFile
from rucio_inject.testing.contracts.world import measured
from rucio_inject.testing.memory_daemons import pfn_of
from rucio_inject.testing.memory_ledger import MemoryLedger, Shelf

REMOVE = Path.unlink


class AtOnce:
    """Takes the place of a pool of threads: a seed then tells where a crash falls."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, work: Any, item: Any) -> Future[Any]:
        """Do it now. A crash ends the whole process, as it should."""
        future: Future[Any] = Future()
        future.set_result(work(item))
        return future

    def shutdown(self, **_: object) -> None:
        """Nothing is under way."""


class Judge:
    """Looks on at every record, removal and registration, and writes down what was wrong."""

    def __init__(self, world: World, inbox: Path) -> None:
        self.world = world
        self.lake = world.lake
        self.inbox = inbox
        self.broken: list[str] = []
        self.sources: dict[str, bytes] = {}
        """Real files that nobody has removed."""
        self.freed: set[DID] = set()
        """Files whose real source we have removed."""
        self.theirs: dict[tuple[str, DID], bytes] = {}
        """What others have stored."""
        self.their_rules: set[str] = set()
        self.their_collections: set[DID] = set()
        self.registered: set[DID] = set()
        """Files that we have registered and that have been in the catalogue ever since."""
        self.spoiled_now: set[tuple[DID, str]] = set()
        """Replicas that others spoiled while we ran: a look at them and an act are two calls."""
        self.raced: set[DID] = set()
        """Datasets that others changed while we ran."""
        self.records: dict[DID, FileRecord] = {}
        """What the story makes of the facts that were told."""

    def begin_run(self) -> None:
        """The command is about to be given."""
        self.spoiled_now.clear()
        self.raced.clear()

    def spoil(self, did: DID, rse: str) -> None:
        """Others have spoiled a replica."""
        self.spoiled_now.add((did, rse))

    def on_record(self, facts: Sequence[f.Fact]) -> None:
        """Facts are in the ledger."""
        for fact in facts:
            if isinstance(fact, f.FileFound):
                self.records[fact.did] = begin_file(fact)
            elif isinstance(fact, f.FileFact):
                self.records[fact.did] = advance(self.records[fact.did], fact)
            if isinstance(fact, f.FileVerified):
                self._has_good_replicas(fact.did, "when it became VERIFIED")
            elif isinstance(fact, f.FileGone):
                self._is_gone(fact.did)
            elif isinstance(fact, f.SourceFreed) and not self.records[fact.did].generated:
                self._was_seen_to_go(fact.did)

    def _has_good_replicas(self, did: DID, when: str) -> None:
        record = self.records[did]
        good = {rse for rse in self.lake.rses if self._is_good(record, rse)}
        for rse in set(record.replicas) - good:
            self.broken.append(f"{did} has no good replica at {rse} {when}")
        for rule in self.world.campaign.rules:
            if len(good.intersection(self.lake.resolve(rule.rse_expression))) < rule.copies:
                self.broken.append(f"{did} is not at {rule.rse_expression} {when}")

    def _is_good(self, record: FileRecord, rse: str) -> bool:
        if (record.did, rse) in self.spoiled_now:
            return True
        content = self.lake.content(record.did, rse)
        return content is not None and measured(content) == record.measure

    def _is_gone(self, did: DID) -> None:
        known = self.lake.files[did].replicas if did in self.lake.files else {}
        for rse in known:
            self.broken.append(f"{did} is said to be gone and is in the catalogue at {rse}")
        for rse in self.records[did].replicas:
            if self.lake.content(did, rse) is not None and (rse, did) not in self.theirs:
                self.broken.append(f"{did} is said to be gone and is at {rse}")

    def _was_seen_to_go(self, did: DID) -> None:
        if did.name in self.sources:
            self.broken.append(f"{did} is said to be freed, and its source is there")

    def unlink(self, path: Path, *, missing_ok: bool = False) -> None:
        """Stands for `Path.unlink` while we run. The process may end just after."""
        if path.parent != self.inbox or not path.exists():
            REMOVE(path, missing_ok=missing_ok)
            return
        did = DID(SCOPE, path.name)
        record = self.records[did]
        if measured(path.read_bytes()) != record.measure:
            self.broken.append(f"{path.name} was removed, and is not what was injected")
        if record.state is not FileState.VERIFIED:
            self.broken.append(f"{path.name} was removed while it is {record.state}")
        self._has_good_replicas(did, "when its source was removed")
        with self.lake.call("unlink"):
            REMOVE(path)
            self.freed.add(did)
            del self.sources[path.name]

    def end_rule(self, rule_id: str) -> None:
        """A rule is about to be ended by us."""
        rule = self.lake.rules.get(rule_id)
        if rule is None:
            return
        if rule_id in self.their_rules:
            self.broken.append(f"rule {rule_id} of others is ended")
        for did in () if rule.did in self.raced else self.lake.files_of(rule.did):
            record = self.records.get(did)
            if record is None or any(did == theirs for _, theirs in self.theirs):
                self.broken.append(f"a rule of {rule.did} is ended, which holds {did} of others")
            elif record.state not in {FileState.VERIFIED, FileState.EXPIRING, FileState.GONE}:
                self.broken.append(f"a rule is ended that keeps {did}, which is {record.state}")
            if did in self.freed:
                self.broken.append(f"a rule is ended that keeps {did}, whose source we freed")

    def add_files(self, rse: str, files: Sequence[NewFile]) -> None:
        """Files are about to be registered by us."""
        for new in files:
            known = self.lake.files.get(new.did)
            if new.did in self.registered and known is not None and rse in known.replicas:
                self.broken.append(f"{new.did} is registered twice")
            self.registered.add(new.did)

    def expire_collection(self, did: DID) -> None:
        """A dataset or container is about to be ended by us."""
        if did in self.their_collections:
            self.broken.append(f"{did} of others is ended")

    def look(self) -> None:
        """After every step: what others have is as they left it, and the ledger tells the story."""
        self.registered.intersection_update(self.lake.files)
        there = {path.name: path.read_bytes() for path in self.inbox.iterdir()}
        if there != self.sources:
            self.broken.append(f"sources changed by another way: {there} for {self.sources}")
        for (rse, did), content in self.theirs.items():
            if self.lake.rses[rse].bytes.get(pfn_of(rse, did)) != content:
                self.broken.append(f"{did} of others at {rse} is not what they stored")
        for rule_id in self.their_rules - set(self.lake.rules):
            self.broken.append(f"rule {rule_id} of others has vanished")
        for did in self.their_collections - set(self.lake.collections):
            self.broken.append(f"{did} of others has vanished")
        for record in self.world.files():
            if record != self.records[record.did]:
                self.broken.append(f"{record} is on record, for {self.records[record.did]}")
            if record.state is FileState.QUARANTINED:
                failure = record.failure
                if not (failure and failure.code and failure.reason):
                    self.broken.append(f"{record.did} was set aside without a reason")


class WatchedLedger(MemoryLedger):
    """A ledger whose every record a judge hears of."""

    def __init__(self, shelf: Shelf, judge: Judge | None) -> None:
        super().__init__(shelf)
        self._judge = judge

    def record(self, facts: Sequence[f.Fact]) -> None:
        """See the port."""
        super().record(facts)
        if self._judge is not None:
            self._judge.on_record(facts)


@dataclass
class WatchedWorld(World):
    """A world whose runs a judge looks on at."""

    judge: Judge | None = None

    def ledger(self) -> WatchedLedger:
        """The campaign's ledger, to be opened."""
        return WatchedLedger(self.shelf, self.judge)
