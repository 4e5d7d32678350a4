"""What people, sites and Rucio's other users do to a campaign, between its runs and during them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from tests.injection_world import SCOPE
from tests.property.machine_judge import Judge, WatchedWorld

from rucio_inject.domain.did import DID, DIDType
from rucio_inject.domain.injection import FileState
from rucio_inject.domain.replica import ReplicaState
from rucio_inject.domain.rule import RuleRequest
from rucio_inject.ports import NewFile
from rucio_inject.testing.contracts.world import measured
from rucio_inject.testing.lake_values import LakeFile, LakeReplica
from rucio_inject.testing.memory_daemons import end_rule_now, pfn_of

UPLOAD = "PIC-INJECT"
THEIRS = b"nobody knows whose"


class Others:
    """Each action takes an RSE and a number that chooses what it is done to, and does nothing
    where there is nothing to do it to."""

    def __init__(self, world: WatchedWorld, judge: Judge) -> None:
        self.world = world
        self.lake = world.lake
        self.judge = judge
        self.spoiled: set[DID] = set()
        """Files that may never come to the goal, because of what others did to them."""
        self.doomed: set[DID] = set()
        """Datasets with a rule whose end takes what is in them by then."""
        self.strangers = 0
        self.running = False

    def offline(self, rse: str, number: int) -> None:
        """The storage of an RSE cannot be reached."""
        self.lake.rses[rse].offline = True

    def refuse_writes(self, rse: str, number: int) -> None:
        """The storage of an RSE is full."""
        self.lake.rses[rse].refuses_writes = True

    def refuse_deletion(self, rse: str, number: int) -> None:
        """The storage of an RSE deletes nothing, and says that it did."""
        self.lake.rses[rse].refuses_deletion = True

    def hang(self, rse: str, number: int) -> None:
        """Transfers to an RSE never end."""
        self.lake.rses[rse].hangs = True

    def fail_transfers(self, rse: str, number: int) -> None:
        """Transfers to an RSE fail."""
        self.lake.rses[rse].fails_transfers = "destination refused"

    def heal(self, rse: str, number: int) -> None:
        """The site mends its RSE."""
        known = self.lake.rses[rse]
        known.offline = known.refuses_writes = known.refuses_deletion = False
        self.lake.heal(rse)

    def quota(self, rse: str, number: int) -> None:
        """The account's limit is set: to little, or to enough for some files."""
        self.lake.rses[rse].limits["magic"] = number % 4 * 70

    def no_quota(self, rse: str, number: int) -> None:
        """The account's limit is lifted."""
        self.lake.rses[rse].limits.clear()

    def sign_out(self, rse: str, number: int) -> None:
        """The token expires."""
        self.lake.signed_in = False

    def sign_in(self, rse: str, number: int) -> None:
        """Somebody signs in."""
        self.lake.signed_in = True

    def stop_daemons(self, rse: str, number: int) -> None:
        """Rucio's daemons are stopped."""
        self.lake.daemons_run = False

    def start_daemons(self, rse: str, number: int) -> None:
        """Rucio's daemons go on."""
        self.lake.daemons_run = True

    def corrupt(self, rse: str, number: int) -> None:
        """A replica of ours is not what it was."""
        for did in self._readable(rse, number):
            self.lake.corrupt(did, rse)
            self._spoil(did, rse)

    def lose(self, rse: str, number: int) -> None:
        """A replica of ours is lost behind the catalogue's back."""
        for did in self._readable(rse, number):
            self.lake.lose(did, rse)
            self._spoil(did, rse)

    def declare_bad(self, rse: str, number: int) -> None:
        """A replica of ours is declared bad."""
        for did in self._readable(rse, number):
            self.lake.declare_bad(did, rse)
            self._spoil(did, rse)

    def _spoil(self, did: DID, rse: str) -> None:
        self.spoiled.add(did)
        self.judge.spoil(did, rse)

    def _readable(self, rse: str, number: int) -> list[DID]:
        return self._one(
            [
                did
                for did, file in self.lake.files.items()
                if (replica := file.replicas.get(rse)) is not None
                and replica.state is ReplicaState.AVAILABLE
                and self.lake.content(did, rse) is not None
                and not self._is_theirs(did)
            ],
            number,
        )

    def _is_theirs(self, did: DID) -> bool:
        return any(did == theirs for _, theirs in self.judge.theirs)

    def _one(self, found: list[DID], number: int) -> list[DID]:
        return [found[number % len(found)]] if found else []

    def delete_rule(self, rse: str, number: int) -> None:
        """A rule of ours is deleted; every other time its replicas go with it."""
        for rule_id in self._our_rules(number):
            rule = self.lake.rules[rule_id]
            rule.purge = rule.purge or number % 2 == 0
            if rule.purge:
                self._let_go(rule_id)
            end_rule_now(self.lake, rule_id)

    def expire_rule(self, rse: str, number: int) -> None:
        """A rule of ours is given an end."""
        for rule_id in self._our_rules(number):
            rule = self.lake.rules[rule_id]
            rule.purge = rule.purge or number % 2 == 0
            rule.expires_at = self.lake.clock.now() + timedelta(seconds=number % 5)
            if rule.purge:
                self._let_go(rule_id)

    def chain(self, rse: str, number: int) -> None:
        """An operator links a rule of ours to another one of its dataset, as its child."""
        for child in self._our_rules(number):
            dataset = self.lake.rules[child].did
            others = [k for k, r in self.lake.rules.items() if r.did == dataset and k != child]
            if others:
                self.lake.link(others[number % len(others)], child)

    def _our_rules(self, number: int) -> list[str]:
        ours = [rule_id for rule_id in self.lake.rules if rule_id not in self.judge.their_rules]
        return [ours[number % len(ours)]] if ours else []

    def _let_go(self, rule_id: str) -> None:
        """What the rule keeps may be reaped; that of others, too."""
        dataset = self.lake.rules[rule_id].did
        self.doomed.add(dataset)
        for did in self.lake.files_of(dataset):
            self._forget(did)

    def _forget(self, did: DID) -> None:
        self.spoiled.add(did)
        for rse in self.lake.rses:
            self.judge.theirs.pop((rse, did), None)
            self.judge.spoil(did, rse)

    def erase_dataset(self, rse: str, number: int) -> None:
        """A dataset of ours is erased, with its rules; the replicas stay for now."""
        ours = self._datasets()
        for dataset in self._one(ours, number):
            self.judge.raced.add(dataset)
            self.spoiled.update(self.lake.files_of(dataset))
            self.lake.rules = {k: r for k, r in self.lake.rules.items() if r.did != dataset}
            self.judge.their_rules.intersection_update(self.lake.rules)
            self.judge.their_collections.discard(dataset)
            del self.lake.collections[dataset]
            for parent in self.lake.collections.values():
                parent.contents.pop(dataset, None)

    def _datasets(self) -> list[DID]:
        collections = self.lake.collections.items()
        return [did for did, known in collections if known.kind is DIDType.DATASET]

    def detach(self, rse: str, number: int) -> None:
        """A file of ours is taken out of its dataset, and its locks with it."""
        inside = [(d, did) for d in self._datasets() for did in self.lake.collections[d].contents]
        inside = [(dataset, did) for dataset, did in inside if not self._is_theirs(did)]
        if inside:
            dataset, did = inside[number % len(inside)]
            del self.lake.collections[dataset].contents[did]
            self.spoiled.add(did)
            for rule in self.lake.rules.values():
                if rule.did == dataset:
                    rule.locks = {key: lock for key, lock in rule.locks.items() if key[0] != did}

    def attach_stranger(self, rse: str, number: int) -> None:
        """Somebody puts a file of theirs into a dataset of ours."""
        for dataset in self._one(self._datasets(), number):
            self.strangers += 1
            did = DID(SCOPE, f"stranger_{self.strangers}.root")
            self._register(did, f"stranger {self.strangers}".encode(), rse, ReplicaState.AVAILABLE)
            self.lake.collections[dataset].contents[did] = None
            if self.running:
                self.judge.raced.add(dataset)
            rules = [rule for rule in self.lake.rules.values() if rule.did == dataset]
            if any(rule.expires_at is not None for rule in rules):
                # They put it into what is about to end.
                self._forget(did)

    def register_same(self, rse: str, number: int) -> None:
        """Somebody registers a file of ours, with the same content, before us."""
        for did in self._one(self._unregistered(certain=True), number):
            content = self._source(did)
            if content is not None:
                self._register(did, content, UPLOAD, ReplicaState.AVAILABLE)

    def register_other(self, rse: str, number: int) -> None:
        """Somebody registers a DID of ours with other content."""
        for did in self._one(self._unregistered(certain=False), number):
            self.spoiled.add(did)
            self._register(did, b"another observation", UPLOAD, ReplicaState.AVAILABLE)

    def copying(self, rse: str, number: int) -> None:
        """Somebody begins to bring a file of ours; half of it is there."""
        for did in self._one(self._unregistered(certain=True), number):
            content = self._source(did)
            if content is not None:
                self.spoiled.add(did)
                self._register(did, content, UPLOAD, ReplicaState.COPYING)
                self._store(did, UPLOAD, content[: len(content) // 2])

    def copied(self, rse: str, number: int) -> None:
        """Somebody has brought what they began to bring."""
        for at, did in list(self.judge.theirs):
            known = self.lake.files.get(did)
            content = self._source(did)
            if known is None or content is None or known.measure != measured(content):
                continue
            if known.replicas[at].state is ReplicaState.COPYING:
                self._store(did, at, content)
                known.replicas[at].state = ReplicaState.AVAILABLE

    def unregistered_bytes(self, rse: str, number: int) -> None:
        """Bytes lie where a file of ours is to be; nobody knows whose."""
        for did in self._one(self._unregistered(certain=True), number):
            record = self.judge.records.get(did)
            begun = record is not None and record.upload_begun_at is not None
            if not begun and self.lake.content(did, UPLOAD) is None:
                self.spoiled.add(did)
                self._store(did, UPLOAD, THEIRS)

    def dataset_before_us(self, rse: str, number: int) -> None:
        """Somebody makes the dataset of a file of ours, and perhaps a rule on it, as ours."""
        for did in self._one(self._dids(), number):
            dataset = DID(SCOPE, did.name.split("_")[2][:8])
            if dataset in self.lake.collections or self._is_asked_for(dataset):
                continue
            self.lake.scopes.setdefault(SCOPE, self.lake.account)
            self.world.catalogue.add_collections({dataset: DIDType.DATASET})
            self.judge.their_collections.add(dataset)
            if number % 2:
                request = RuleRequest("PIC-DCACHE")
                made = self.world.catalogue.add_rules([dataset], request, self.lake.account)[
                    dataset
                ]
                self.judge.their_rules.add(made)

    def _is_asked_for(self, dataset: DID) -> bool:
        """Whether we began to make it: nobody can tell then who did."""
        with self.world.ledger() as ledger:
            asked = ledger.asked_for(dataset, "PIC-DCACHE")
            return asked or dataset in ledger.collections()

    def reap(self, rse: str, number: int) -> None:
        """A file of ours that no rule keeps is reaped."""
        locked = {did for rule in self.lake.rules.values() for did, _ in rule.locks}
        free = [did for did in self.lake.files if did not in locked and not self._is_theirs(did)]
        for did in self._one(free, number):
            for at, replica in self.lake.files[did].replicas.items():
                self.lake.rses[at].bytes.pop(replica.pfn, None)
                self.judge.spoil(did, at)
            record = self.judge.records.get(did)
            if record and record.state not in {FileState.UPLOADED, FileState.REGISTERED}:
                self.spoiled.add(did)
            del self.lake.files[did]
            for parent in self.lake.collections.values():
                parent.contents.pop(did, None)

    def reap_sources(self, rse: str, number: int) -> None:
        """The rule that keeps uploads where they are is ended, and the reaper takes them between
        two tries of their transfers: nothing is lost by it while their sources are there."""
        landing = [
            (rule_id, rule)
            for rule_id, rule in self.lake.rules.items()
            if rule.request.rse_expression == UPLOAD and rule_id not in self.judge.their_rules
        ]
        for rule_id, rule in landing[number % len(landing) :][:1] if landing else ():
            files = self.lake.files_of(rule.did)
            if not all(self._can_be_brought(did) for did in files):
                continue
            rule.purge = True
            end_rule_now(self.lake, rule_id)
            for did in files:
                self.judge.spoil(did, UPLOAD)

    def _can_be_brought(self, did: DID) -> bool:
        """Whether a file of ours may lose its replica at the upload RSE, and nothing be lost."""
        record = self.judge.records.get(did)
        if record is None or record.measure is None or self._is_theirs(did):
            return False
        if record.state in {FileState.EXPIRING, FileState.GONE}:
            return False
        path = Path(record.path)
        return path.exists() and measured(path.read_bytes()) == record.measure

    def _dids(self) -> list[DID]:
        real = [DID(SCOPE, name) for name in self.judge.sources if name.endswith(".root")]
        return list(dict.fromkeys([*real, *self.judge.records]))

    def _unregistered(self, *, certain: bool) -> list[DID]:
        """Files of ours that the catalogue does not have. `certain`: nor can it be that we asked
        for that, and the answer was lost."""
        found = [did for did in self._dids() if did not in self.lake.files]
        found = [did for did in found if not self._is_theirs(did)]
        return [did for did in found if not certain or self._never_asked(did)]

    def _never_asked(self, did: DID) -> bool:
        """Only what is UPLOADED is registered."""
        record = self.judge.records.get(did)
        state = record and (record.failure.came_from if record.failure else record.state)
        return state in {None, FileState.FOUND, FileState.MEASURED}

    def _source(self, did: DID) -> bytes | None:
        record = self.judge.records.get(did)
        content = self.judge.sources.get(did.name)
        good = content is not None and (not record or record.measure in {None, measured(content)})
        return content if good else None

    def _register(self, did: DID, content: bytes, rse: str, state: ReplicaState) -> None:
        self._store(did, rse, content)
        new = NewFile(did, measured(content))
        file = self.lake.files[did] = LakeFile(new.measure, {"night": "theirs"})
        file.replicas[rse] = LakeReplica(pfn_of(rse, did), state)

    def _store(self, did: DID, rse: str, content: bytes) -> None:
        self.lake.scopes.setdefault(SCOPE, self.lake.account)
        self.lake.rses[rse].bytes[pfn_of(rse, did)] = content
        self.judge.theirs[rse, did] = content


Action = Callable[[Others, str, int], None]
SITES: tuple[Action, ...] = (
    Others.offline,
    Others.refuse_writes,
    Others.refuse_deletion,
    Others.hang,
    Others.fail_transfers,
    Others.heal,
    Others.quota,
    Others.no_quota,
    Others.sign_out,
    Others.sign_in,
    Others.stop_daemons,
    Others.start_daemons,
)
SPOILERS: tuple[Action, ...] = (
    Others.corrupt,
    Others.lose,
    Others.declare_bad,
    Others.delete_rule,
    Others.expire_rule,
    Others.chain,
    Others.erase_dataset,
    Others.detach,
    Others.attach_stranger,
    Others.reap,
    Others.reap_sources,
)
OWNERS: tuple[Action, ...] = (
    Others.register_same,
    Others.register_other,
    Others.copying,
    Others.copied,
    Others.unregistered_bytes,
    Others.dataset_before_us,
)
