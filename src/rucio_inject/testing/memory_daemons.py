"""What Rucio's daemons do to an in-memory lake between two calls from outside."""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.replica import ReplicaState
from rucio_inject.domain.rule import LockState, RuleState
from rucio_inject.testing.lake_values import LakeLock, LakeReplica, LakeRule

if TYPE_CHECKING:
    # The lake runs its daemons, and they work on the lake.
    from rucio_inject.testing.memory_lake import MemoryLake


def pfn_of(rse: str, did: DID) -> str:
    """Where an RSE keeps a DID."""
    return f"memory://{rse}/{did.scope}/{did.name}"


def measure_bytes(content: bytes) -> Measure:
    """Size and checksums of bytes."""
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return Measure(len(content), f"{zlib.adler32(content):08x}", digest)


def one_pass(lake: MemoryLake) -> None:
    """Every daemon once. What one leaves to another waits for the next pass."""
    reaper(lake)
    conveyor(lake)
    judge_evaluator(lake)
    judge_cleaner(lake)
    undertaker(lake)


def judge_evaluator(lake: MemoryLake) -> None:
    """Gives rules the locks that their datasets' files still lack."""
    for rule in lake.rules.values():
        evaluate(lake, rule)


def evaluate(lake: MemoryLake, rule: LakeRule) -> None:
    """Make the locks that a rule lacks; without enough quota it is stuck as a whole."""
    rule.error = None
    for did in lake.files_of(rule.did):
        held = {rse for locked, rse in rule.locks if locked == did}
        for rse in _chosen(lake, rule, did, held):
            _lock(lake, rule, did, rse)


def _chosen(lake: MemoryLake, rule: LakeRule, did: DID, held: set[str]) -> list[str]:
    """RSEs for the copies that a file still lacks: where siblings are, then where it is."""
    lacking = rule.request.copies - len(held)
    if lacking <= 0:
        return []
    size = lake.files[did].measure.size
    rooms = {rse: lake.room(rule.account, rse) for rse in lake.resolve(rule.request.rse_expression)}
    roomy = [rse for rse, room in rooms.items() if room is None or room > size]
    fitting = [rse for rse in roomy if rse not in held]
    if len(fitting) < lacking:
        rule.error = "InsufficientAccountLimit: there is insufficient quota on any of the RSEs"
        return []
    siblings = {rse for _, rse in rule.locks}
    replicas = lake.files[did].replicas
    fitting.sort(key=lambda rse: (rse not in siblings, rse not in replicas, rse))
    return fitting[:lacking]


def _lock(lake: MemoryLake, rule: LakeRule, did: DID, rse: str) -> None:
    replicas = lake.files[did].replicas
    replica = replicas.get(rse)
    if replica is None:
        coming = ReplicaState.COPYING if rule.brings else ReplicaState.UNAVAILABLE
        replica = replicas[rse] = LakeReplica(pfn_of(rse, did), coming)
    replica.tombstone = None
    there = replica.state is ReplicaState.AVAILABLE
    waits = LockState.REPLICATING if rule.brings else LockState.STUCK
    rule.locks[did, rse] = LakeLock(LockState.OK if there else waits)


def conveyor(lake: MemoryLake) -> None:
    """Does the transfers that wait, and notes for each why it failed."""
    for rule in lake.rules.values():
        for (did, rse), lock in rule.locks.items():
            if lock.state is LockState.REPLICATING and not lake.rses[rse].hangs:
                _transfer(lake, did, rse, lock)


def _transfer(lake: MemoryLake, did: DID, rse: str, lock: LakeLock) -> None:
    file, destination = lake.files[did], lake.rses[rse]
    replica = file.replicas[rse]
    if replica.state is ReplicaState.AVAILABLE:
        # Another rule's transfer brought it.
        lock.state, lock.reason = LockState.OK, None
        return
    lock.attempts += 1
    found = destination.fails_transfers or _source(lake, did, rse)
    if isinstance(found, str):
        lock.state, lock.reason = LockState.STUCK, found
        return
    destination.bytes[replica.pfn] = found
    replica.state = ReplicaState.AVAILABLE
    lock.state, lock.reason = LockState.OK, None


def _source(lake: MemoryLake, did: DID, to: str) -> bytes | str:
    """Good bytes from another RSE, or why there are none."""
    reason = "NO_SOURCES"
    for rse, replica in lake.files[did].replicas.items():
        if rse == to or replica.state is not ReplicaState.AVAILABLE or lake.rses[rse].offline:
            continue
        content = lake.rses[rse].bytes.get(replica.pfn)
        if content is None:
            reason = f"FAILED: {replica.pfn} is not there"
        elif measure_bytes(content).differences(lake.files[did].measure):
            reason = f"FAILED: checksum of {replica.pfn} is not the catalogue's"
        else:
            return content
    return reason


def judge_cleaner(lake: MemoryLake) -> None:
    """Ends rules whose time has passed, but no parent of a child that is not OK."""
    now = lake.clock.now()
    for rule_id, rule in list(lake.rules.items()):
        if rule.state() is RuleState.OK:
            release_parents(lake, rule_id)
    for rule_id, rule in list(lake.rules.items()):
        due = rule.expires_at is not None and rule.expires_at <= now
        if due and rule.child_rule_id is None:
            end_rule_now(lake, rule_id)


def release_parents(lake: MemoryLake, child: str, *, deleted: bool = False) -> None:
    """Undo the links to a rule that is OK or deleted; with a deleted one goes its parents' end."""
    for rule in lake.rules.values():
        if rule.child_rule_id == child:
            rule.child_rule_id = None
            rule.expires_at = None if deleted else rule.expires_at


def end_rule_now(lake: MemoryLake, rule_id: str) -> None:
    """Take a rule away; replicas that no lock holds any more may go, if it was to purge them."""
    rule = lake.rules.pop(rule_id)
    release_parents(lake, rule_id, deleted=True)
    held = {key for other in lake.rules.values() for key in other.locks}
    for did, rse in rule.locks:
        if rule.purge and (did, rse) not in held:
            lake.files[did].replicas[rse].tombstone = lake.clock.now()


def undertaker(lake: MemoryLake) -> None:
    """Takes away datasets and containers whose lifetime has passed, with their rules."""
    now = lake.clock.now()
    for did, collection in list(lake.collections.items()):
        if collection.expired_at is None or collection.expired_at > now:
            continue
        for rule_id in [key for key, rule in lake.rules.items() if rule.did == did]:
            end_rule_now(lake, rule_id)
        del lake.collections[did]
        for parent in lake.collections.values():
            parent.contents.pop(did, None)


def reaper(lake: MemoryLake) -> None:
    """Deletes replicas that may go; a file's DID leaves the catalogue with its last replica."""
    for did, file in list(lake.files.items()):
        for rse, replica in list(file.replicas.items()):
            if replica.tombstone is None or lake.rses[rse].unreaped:
                continue
            if not lake.rses[rse].refuses_deletion:
                lake.rses[rse].bytes.pop(replica.pfn, None)
            del file.replicas[rse]
        if not file.replicas:
            del lake.files[did]
            for parent in lake.collections.values():
                parent.contents.pop(did, None)
