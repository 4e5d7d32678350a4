"""Files whose every replica was taken while Rucio was to copy them (rucio issue 6513)."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from tests.injection_world import NAMES, SCOPE, World, telescope_files

from rucio_inject.domain.did import DID
from rucio_inject.domain.facts import FileWaits
from rucio_inject.domain.replica import ReplicaState
from rucio_inject.outcome import Outcome
from rucio_inject.testing.contracts.world import measured
from rucio_inject.testing.memory_daemons import end_rule_now
from rucio_inject.testing.memory_lake import Crash

UPLOAD, FAST = "PIC-INJECT", "LAPP-FAST"
VICTIM = DID(SCOPE, NAMES[0])


@pytest.fixture
def fresh(tmp_path: Path) -> World:
    """A campaign with one destination."""
    telescope_files(tmp_path / "inbox")
    source = {"kind": "directory", "path": str(tmp_path / "inbox")}
    rules = [{"rse_expression": "QOS=FAST"}]
    return World(tmp_path, {"source": source, "rules": rules, "end": None})


@pytest.fixture
def world(fresh: World) -> World:
    """The same, when its destination is away and all waits at the upload RSE."""
    fresh.lake.rses[FAST].fails_transfers = "TRANSFER [110] timeout"
    fresh.run()
    assert set(fresh.states().values()) == {"REPLICATING"}
    return fresh


def reap(world: World) -> None:
    """Somebody ends the rules that keep the uploads, and the reaper takes them."""
    for rule_id, rule in list(world.lake.rules.items()):
        if rule.request.rse_expression == UPLOAD:
            rule.purge = True
            end_rule_now(world.lake, rule_id)
    world.clock.advance(1)
    assert not any(replica_states(world, UPLOAD))
    # The rule that waits for them keeps the files in the catalogue.
    assert VICTIM in world.lake.files


def replica_states(world: World, rse: str) -> list[ReplicaState]:
    """Of what the catalogue has on an RSE."""
    files = world.lake.files.values()
    return [file.replicas[rse].state for file in files if rse in file.replicas]


def heal_and_run(world: World) -> Outcome:
    """The destination is mended, and Rucio tries again."""
    world.lake.heal(FAST)
    world.clock.advance(1)
    return world.run()


def assert_all_is_there(world: World) -> None:
    """Every file is verified, and has the bytes of its source."""
    assert set(world.states().values()) == {"VERIFIED"}
    for name in NAMES:
        wanted = measured((world.folder / "inbox" / name).read_bytes())
        for rse in (UPLOAD, FAST):
            content = world.lake.content(DID(SCOPE, name), rse)
            assert content is not None
            assert measured(content) == wanted


def test_files_that_are_nowhere_are_brought_again(world: World) -> None:
    reap(world)
    world.run()
    assert replica_states(world, UPLOAD) == [ReplicaState.AVAILABLE] * len(NAMES)
    told = [fact.did.name for fact in world.facts(FileWaits) if "brought here" in fact.reason]
    assert sorted(told) == sorted(NAMES)
    heal_and_run(world)
    assert_all_is_there(world)
    assert len(world.lake.registrations) == len(NAMES)


def test_also_when_the_rule_that_keeps_them_was_asked_for_anew_first(fresh: World) -> None:
    """Rucio then is to bring to the upload RSE what is nowhere."""
    world = fresh
    world.lake.rses[FAST].hangs = True
    world.run()
    assert {record.waits_for for record in world.files()} == {None}
    reap(world)
    world.run()
    assert set(replica_states(world, UPLOAD)) == {ReplicaState.COPYING}
    world.run()
    assert replica_states(world, UPLOAD) == [ReplicaState.AVAILABLE] * len(NAMES)
    heal_and_run(world)
    assert_all_is_there(world)


@pytest.mark.parametrize("doing", ["told", "put", "restore_files"])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_killed_while_they_are_brought_again(world: World, doing: str, times: int) -> None:
    reap(world)
    world.lake.crash_after(times, doing)
    with suppress(Crash):
        world.run()
    world.lake.no_crash()
    world.run()
    heal_and_run(world)
    assert_all_is_there(world)


def test_a_source_that_is_another_now_is_not_brought(world: World) -> None:
    reap(world)
    (world.folder / "inbox" / NAMES[0]).write_bytes(b"a new observation of the same name")
    (world.folder / "inbox" / NAMES[1]).unlink()
    failures = {str(r.did.name): r.failure for r in world.run().failed}
    assert set(failures) == set(NAMES[:2])
    changed, unreadable = failures[NAMES[0]], failures[NAMES[1]]
    assert changed is not None
    assert unreadable is not None
    assert (changed.code, unreadable.code) == ("source-changed", "source-unreadable")
    assert "on no RSE any more" in changed.reason
    assert world.lake.content(VICTIM, UPLOAD) is None


def test_what_is_left_of_them_on_the_storage_is_taken_for_them(world: World) -> None:
    reap(world)
    pfn = f"memory://{UPLOAD}/{SCOPE}/{NAMES[0]}"
    world.lake.rses[UPLOAD].bytes[pfn] = (world.folder / "inbox" / NAMES[0]).read_bytes()
    world.run()
    heal_and_run(world)
    assert_all_is_there(world)


def test_what_another_replica_is_left_of_is_left_to_rucio(world: World) -> None:
    reap(world)
    world.lake.arrived(VICTIM, FAST)
    before = world.storage.put
    asked: list[DID] = []

    def put(rse: str, path: Path, did: DID) -> object:
        asked.append(did)
        return before(rse, path, did)

    world.storage.put = put  # type: ignore[method-assign,assignment]
    world.run()
    assert sorted(did.name for did in asked) == sorted(NAMES[1:])
