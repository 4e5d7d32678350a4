"""The catalogue of an in-memory lake, as its clients see it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from rucio_inject.domain.did import DID, DIDType
from rucio_inject.domain.errors import (
    CatalogueRefused,
    NotFound,
    NotPermitted,
    QuotaExceeded,
    SignInFailed,
)
from rucio_inject.domain.replica import ReplicaState
from rucio_inject.domain.rule import (
    Holder,
    Lock,
    LockState,
    RuleRequest,
    RuleState,
    RuleView,
    StuckFile,
)
from rucio_inject.domain.usage import Usage
from rucio_inject.ports import (
    AttributeValue,
    Identity,
    KnownCollection,
    KnownFile,
    KnownReplica,
    NewFile,
    Quota,
    Space,
)
from rucio_inject.testing.lake_values import (
    LakeCollection,
    LakeFile,
    LakeReplica,
    LakeRule,
)
from rucio_inject.testing.memory_daemons import evaluate, pfn_of
from rucio_inject.testing.memory_lake import MemoryLake


class MemoryCatalogue:
    """Implements `ports.Catalogue` on a `MemoryLake`."""

    def __init__(self, lake: MemoryLake) -> None:
        self._lake = lake

    def whoami(self) -> Identity:
        """See the port."""
        with self._lake.call("whoami"):
            if not self._lake.signed_in:
                raise SignInFailed("the token has expired", hint="sign in again")
            return Identity(self._lake.account, {"account": self._lake.account})

    def ensure_scope(self, scope: str, account: str) -> bool:
        """See the port."""
        with self._lake.call("ensure_scope"):
            made = scope not in self._lake.scopes
            owner = self._lake.scopes.setdefault(scope, account)
            if owner != account:
                raise NotPermitted(f"scope {scope} belongs to account {owner}, not to {account}")
            return made

    def scope_owner(self, scope: str) -> str | None:
        """See the port."""
        with self._lake.call("scope_owner"):
            return self._lake.scopes.get(scope)

    def resolve(self, rse_expression: str) -> tuple[str, ...]:
        """See the port."""
        with self._lake.call("resolve"):
            found = self._lake.resolve(rse_expression)
            if not found:
                raise NotFound(f"RSE expression {rse_expression!r} matches no RSE")
            return found

    def rse_attributes(self, rse: str) -> Mapping[str, AttributeValue]:
        """See the port."""
        with self._lake.call("rse_attributes"):
            return dict(self._lake.rse(rse).attributes)

    def set_rse_attribute(self, rse: str, key: str, value: AttributeValue) -> None:
        """See the port."""
        with self._lake.call("set_rse_attribute"):
            known = self._lake.rse(rse)
            if not known.frozen_attributes:
                # Rucio's table holds text; only truth values come back as what they were.
                known.attributes[key] = value if isinstance(value, bool) else str(value)

    def held_to_limits(self, account: str) -> bool:
        """See the port."""
        with self._lake.call("held_to_limits"):
            return any(account in rse.limits for rse in self._lake.rses.values())

    def quota(self, account: str, rse: str) -> Quota:
        """See the port."""
        with self._lake.call("quota"):
            limit = self._lake.rse(rse).limits.get(account)
            return Quota(rse, limit, self._lake.used(account, rse))

    def space(self, rse: str) -> Space:
        """See the port."""
        with self._lake.call("space"):
            known = self._lake.rse(rse)
            return Space(rse, not known.blocked, known.free)

    def find(self, dids: Sequence[DID]) -> Mapping[DID, KnownFile | KnownCollection]:
        """See the port."""
        with self._lake.call("find"):
            files = self._lake.files
            known = {did: _known(did, files[did]) for did in dids if did in files}
            return {**known, **self._collections(dids)}

    def look_up(self, dids: Sequence[DID]) -> Mapping[DID, KnownFile]:
        """See the port."""
        with self._lake.call("look_up"):
            files = self._lake.files
            return {did: _known(did, files[did]) for did in dids if did in files}

    def add_files(self, rse: str, files: Sequence[NewFile]) -> None:
        """See the port."""
        with self._lake.call("add_files"):
            self._lake.rse(rse)
            for new in files:
                self._check_new(new)
            for new in files:
                self._register(rse, new)

    def place_files(self, rse: str, contents: Mapping[DID, Sequence[NewFile]]) -> None:
        """See the port."""
        with self._lake.call("place_files"):
            self._lake.rse(rse)
            for dataset, files in contents.items():
                kind = self._open(dataset)
                for new in files:
                    self._check_new(new)
                    if kind is not DIDType.DATASET:
                        raise CatalogueRefused(f"a file cannot be put into {kind} {dataset}")
                    known = self._lake.files.get(new.did)
                    if known is not None and known.measure.differences(new.measure):
                        raise CatalogueRefused(f"mismatch for {new.did}")
            for dataset, files in contents.items():
                for new in files:
                    self._register(rse, new)
                held = self._lake.collections[dataset].contents
                held.update(dict.fromkeys(new.did for new in files))

    def restore_files(self, rse: str, files: Sequence[NewFile]) -> None:
        """See the port."""
        with self._lake.call("restore_files"):
            self._lake.rse(rse)
            for new in files:
                self._file(new.did)
            for new in files:
                self._register(rse, new)
                self._lake.arrived(new.did, rse)

    def _register(self, rse: str, new: NewFile) -> None:
        if new.did not in self._lake.files:
            self._lake.registrations.append(new.did)
        file = self._lake.files.setdefault(new.did, LakeFile(new.measure))
        pfn = new.pfn or pfn_of(rse, new.did)
        file.replicas.setdefault(rse, LakeReplica(pfn, ReplicaState.AVAILABLE))

    def _check_new(self, new: NewFile) -> None:
        if new.did.scope not in self._lake.scopes:
            raise NotFound(f"there is no scope {new.did.scope}")
        if new.did in self._lake.collections:
            raise CatalogueRefused(f"{new.did} is a {self._lake.collections[new.did].kind}")

    def set_metadata(self, metadata: Mapping[DID, Mapping[str, str | int]]) -> None:
        """See the port."""
        with self._lake.call("set_metadata"):
            for did, meta in metadata.items():
                self._file(did).metadata.update(meta)

    def add_collections(self, collections: Mapping[DID, DIDType]) -> frozenset[DID]:
        """See the port."""
        with self._lake.call("add_collections"):
            for did, kind in collections.items():
                there = self._type(did)
                if there not in {None, kind}:
                    raise CatalogueRefused(f"{did} is to be a {kind} and is a {there}")
            made = frozenset(did for did in collections if self._type(did) is None)
            for did in made:
                self._lake.collections[did] = LakeCollection(collections[did])
            return made

    def attach(self, contents: Mapping[DID, Sequence[DID]]) -> None:
        """See the port."""
        with self._lake.call("attach"):
            for parent, children in contents.items():
                kind = self._open(parent)
                for child in children:
                    self._check_fits(parent, kind, child)
            for parent, children in contents.items():
                self._lake.collections[parent].contents.update(dict.fromkeys(children))

    def _open(self, collection: DID) -> DIDType:
        """The kind of a collection that takes more."""
        kind = self._collection(collection).kind
        if collection in self._lake.closed:
            raise CatalogueRefused(f"{collection} is closed")
        return kind

    def _check_fits(self, parent: DID, kind: DIDType, child: DID) -> None:
        there = self._type(child)
        if there is None:
            raise NotFound(f"{child} is not in the catalogue")
        if (there is DIDType.FILE) != (kind is DIDType.DATASET):
            raise CatalogueRefused(f"a {there} cannot be put into {kind} {parent}")

    def contents(self, collection: DID) -> tuple[DID, ...]:
        """See the port."""
        with self._lake.call("contents"):
            return tuple(self._collection(collection).contents)

    def close(self, collection: DID) -> None:
        """See the port."""
        with self._lake.call("close"):
            self._collection(collection)
            self._lake.closed.add(collection)

    def expire_collection(self, collection: DID, lifetime: int) -> None:
        """See the port."""
        with self._lake.call("expire_collection"):
            end = self._lake.clock.now() + timedelta(seconds=lifetime)
            self._collection(collection).expired_at = end

    def missing(self, dids: Sequence[DID]) -> frozenset[DID]:
        """See the port."""
        with self._lake.call("missing"):
            return frozenset(did for did in dids if self._type(did) is None)

    def look_up_collections(self, dids: Sequence[DID]) -> Mapping[DID, KnownCollection]:
        """See the port."""
        with self._lake.call("look_up_collections"):
            return self._collections(dids)

    def _collections(self, dids: Sequence[DID]) -> dict[DID, KnownCollection]:
        known = {did: self._lake.collections[did] for did in dids if did in self._lake.collections}
        return {
            did: KnownCollection(did, held.kind, did not in self._lake.closed, held.expired_at)
            for did, held in known.items()
        }

    def mark_bad(self, rse: str, dids: Sequence[DID], reason: str) -> None:  # noqa: ARG002
        """See the port."""
        with self._lake.call("mark_bad"):
            if not self._lake.may_mark_bad:
                raise NotPermitted(f"account {self._lake.account} may not declare replicas bad")
            self._lake.rse(rse)
            files = self._lake.files
            there = [did for did in dids if did in files and rse in files[did].replicas]
            for did in there:
                self._lake.declare_bad(did, rse)
            if unknown := set(dids).difference(there):
                raise NotFound(f"no replicas at {rse}: {', '.join(map(str, sorted(unknown)))}")

    def add_rules(
        self, dids: Sequence[DID], request: RuleRequest, account: str
    ) -> Mapping[DID, str]:
        """See the port."""
        with self._lake.call("add_rules"):
            return self._made(dids, LakeRule(dids[0], request, account))

    def hold(self, files: Sequence[DID], rse: str, account: str) -> Mapping[DID, str]:
        """See the port."""
        with self._lake.call("hold"):
            return self._made(files, LakeRule(files[0], RuleRequest(rse), account, brings=False))

    def _made(self, dids: Sequence[DID], example: LakeRule) -> Mapping[DID, str]:
        """Rules as the example on each of some DIDs."""
        request, account = example.request, example.account
        if unknown := [str(did) for did in dids if self._type(did) is None]:
            raise NotFound(f"{', '.join(unknown)} is not in the catalogue")
        if len(self._lake.resolve(request.rse_expression)) < request.copies:
            raise CatalogueRefused(f"too few RSEs in {request.rse_expression!r}")
        there = {
            rule.did: rule_id
            for rule_id, rule in self._lake.rules.items()
            if any(_same(rule, did, request, account) for did in dids)
        }
        for rule_id in there.values():
            # It was about to end; the files in the dataset now still need it.
            self._lake.rules[rule_id].expires_at = None
        made = {did: replace(example, did=did, locks={}) for did in dids if did not in there}
        for rule in made.values():
            evaluate(self._lake, rule)
            if rule.error:
                raise QuotaExceeded(rule.error)
        new = {did: self._lake.new_rule_id() for did in made}
        self._lake.rules |= {new[did]: rule for did, rule in made.items()}
        return {**there, **new}

    def rules(self, dids: Sequence[DID], account: str) -> Sequence[RuleView]:
        """See the port."""
        with self._lake.call("rules"):
            return [
                _view(rule_id, rule)
                for rule_id, rule in self._lake.rules.items()
                if rule.did in set(dids) and rule.account == account
            ]

    def locks(self, rule_id: str) -> Sequence[Lock]:
        """See the port."""
        with self._lake.call("locks"):
            rule = self._lake.rules.get(rule_id)
            held = rule.locks.items() if rule else ()
            return [Lock(did, rse, lock.state) for (did, rse), lock in held]

    def stuck_files(self, rule_id: str) -> Sequence[StuckFile]:
        """See the port."""
        with self._lake.call("stuck_files"):
            rule = self._lake.rules.get(rule_id)
            held = rule.locks.items() if rule else ()
            return [
                StuckFile(did, rse, lock.reason or "no reason given", lock.attempts)
                for (did, rse), lock in held
                if lock.state is LockState.STUCK
            ]

    def holders(self, did: DID, rse: str, *, but: Collection[str] = ()) -> Sequence[Holder]:
        """See the port."""
        with self._lake.call("holders"):
            return [
                Holder(rule_id, rule.account, rule.request.rse_expression)
                for rule_id, rule in sorted(self._lake.rules.items())
                if (did, rse) in rule.locks and rule_id not in but
            ]

    def end_rule(self, rule_id: str, lifetime: int, child: str | None = None) -> None:
        """See the port."""
        with self._lake.call("end_rule"):
            rule = self._rule(rule_id)
            if child is not None and self._rule(child).did != rule.did:
                raise CatalogueRefused(f"rules {rule_id} and {child} are of different DIDs")
            rule.expires_at = self._lake.clock.now() + timedelta(seconds=lifetime)
            rule.purge = True
            if child is not None:
                self._lake.link(rule_id, child)

    def keep_rule(self, rule_id: str) -> None:
        """See the port."""
        with self._lake.call("keep_rule"):
            rule = self._rule(rule_id)
            rule.expires_at = rule.child_rule_id = None
            rule.purge = False

    def _rule(self, rule_id: str) -> LakeRule:
        if rule_id not in self._lake.rules:
            raise NotFound(f"there is no rule {rule_id}")
        return self._lake.rules[rule_id]

    def usage(self, rse: str) -> Usage:
        """See the port. Not a call that a crash counts: a thread of its own makes it."""
        with self._lake.lock:
            self._lake.rse(rse)
            sizes = [
                file.measure.size
                for file in self._lake.files.values()
                if rse in file.replicas and file.replicas[rse].state is ReplicaState.AVAILABLE
            ]
            return Usage(len(sizes), sum(sizes))

    def _type(self, did: DID) -> DIDType | None:
        if did in self._lake.files:
            return DIDType.FILE
        collection = self._lake.collections.get(did)
        return collection.kind if collection else None

    def _file(self, did: DID) -> LakeFile:
        if did not in self._lake.files:
            raise NotFound(f"{did} is not in the catalogue")
        return self._lake.files[did]

    def _collection(self, did: DID) -> LakeCollection:
        if did not in self._lake.collections:
            raise NotFound(f"{did} is not in the catalogue")
        return self._lake.collections[did]


def _known(did: DID, file: LakeFile) -> KnownFile:
    replicas = {
        rse: KnownReplica(replica.pfn, replica.state) for rse, replica in file.replicas.items()
    }
    return KnownFile(did, file.measure.size, file.measure.adler32, file.measure.md5, replicas)


def _same(rule: LakeRule, did: DID, request: RuleRequest, account: str) -> bool:
    theirs = (rule.did, rule.request.rse_expression, rule.request.copies, rule.account)
    return theirs == (did, request.rse_expression, request.copies, account)


def _view(rule_id: str, rule: LakeRule) -> RuleView:
    states = [lock.state for lock in rule.locks.values()]
    reasons = [lock.reason for lock in rule.locks.values() if lock.reason]
    state = rule.state()
    return RuleView(
        rule_id=rule_id,
        did=rule.did,
        rse_expression=rule.request.rse_expression,
        copies=rule.request.copies,
        state=state,
        locks_ok=states.count(LockState.OK),
        locks_replicating=states.count(LockState.REPLICATING),
        locks_stuck=states.count(LockState.STUCK),
        expires_at=rule.expires_at,
        error=(rule.error or next(iter(reasons), None)) if state is RuleState.STUCK else None,
        child_rule_id=rule.child_rule_id,
    )
