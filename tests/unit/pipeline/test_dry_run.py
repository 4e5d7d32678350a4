"""A dry run: it foresees what the run then does, and changes nothing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import pytest
from tests.injection_world import NAMES, SCOPE, World, telescope_files
from tests.unit.pipeline.test_whole_pipeline import register

from rucio_inject import looking
from rucio_inject.api import Injector
from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID, DIDType
from rucio_inject.domain.errors import NotPermitted, QuotaExceeded, SignInFailed, UsageError
from rucio_inject.domain.injection import FileState
from rucio_inject.domain.replica import ReplicaState
from rucio_inject.domain.usage import Usage
from rucio_inject.factory import Ports
from rucio_inject.plan import Fate, Plan, ToMake
from rucio_inject.ports import Catalogue, Ledger, Source, Storage
from rucio_inject.testing.memory_daemons import end_rule_now
from rucio_inject.testing.memory_lake import Crash

CRAB = DID(SCOPE, NAMES[0])
SIBLING = DID(SCOPE, NAMES[1])
RUN = DID(SCOPE, "05089063")

EFFECTS: dict[type, set[str]] = {
    Catalogue: {
        "ensure_scope",
        "set_rse_attribute",
        "add_files",
        "place_files",
        "restore_files",
        "set_metadata",
        "add_collections",
        "attach",
        "close",
        "expire_collection",
        "mark_bad",
        "add_rules",
        "hold",
        "end_rule",
        "keep_rule",
    },
    # What is read back is written to a folder.
    Storage: {"put", "porters", "get", "remove"},
    Source: {"provide"},
    Ledger: {"record"},
}
READS: dict[type, frozenset[str]] = {
    Catalogue: looking.CATALOGUE_READS,
    Storage: looking.STORAGE_READS,
    Source: looking.SOURCE_READS,
    Ledger: looking.LEDGER_READS,
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def inbox(world: World) -> Path:
    """Real files, and a campaign that takes them."""
    folder = world.folder / "inbox"
    telescope_files(folder)
    world.changes["source"] = {"kind": "directory", "path": str(folder)}
    return folder


def snapshot(world: World) -> tuple[Any, ...]:
    """All that there is: in the lake, on record, and on the disk."""
    lake = world.lake
    held = (lake.scopes, lake.files, lake.collections, lake.rules, lake.rses, lake.registrations)
    tree = {
        path.relative_to(world.folder): (path.lstat().st_mtime_ns, path.is_dir())
        for path in sorted(world.folder.rglob("*"))
    }
    return deepcopy(held), deepcopy(world.shelf), tree


def planned(world: World) -> Plan:
    """A plan, after which all is as it was."""
    before = snapshot(world)
    plan = world.plan()
    assert snapshot(world) == before
    return plan


def fates(plan: Plan) -> dict[str, int]:
    return {str(fate): count for fate, count in plan.files.count.items()}


class Counted:
    """A port whose calls are counted by name."""

    def __init__(self, port: object, calls: Counter[str]) -> None:
        names = {name for name in dir(port) if not name.startswith("_")}
        self.port = cast("Any", looking.looked_through(port, names, calls))


def run_counted(world: World) -> Counter[str]:
    """Run, and count what was called."""
    calls: Counter[str] = Counter()
    catalogue, storage = world.catalogue, world.storage
    world.catalogue = Counted(catalogue, calls).port
    world.storage = Counted(storage, calls).port
    try:
        world.run()
    finally:
        world.catalogue, world.storage = catalogue, storage
    return calls


@pytest.mark.parametrize("port", list(EFFECTS))
def test_every_call_of_a_port_is_a_look_or_an_effect(port: type) -> None:
    inherited = {name for base in port.__mro__[1:] for name in vars(base)}
    names = {name for name in vars(port) if not name.startswith("_")} | (
        {"record"} if port is Ledger else set()
    )
    assert names - inherited.difference({"record"}) == EFFECTS[port] | READS[port]
    assert not EFFECTS[port] & READS[port]


@pytest.mark.parametrize("port", list(EFFECTS))
def test_a_dry_run_refuses_every_effect(world: World, port: type) -> None:
    glass = looking.looked_through(world.catalogue, READS[port])
    for name in EFFECTS[port]:
        with pytest.raises(looking.EffectRefused, match=name):
            getattr(glass, name)


def test_new_files_are_foreseen_with_all_that_follows(world: World, inbox: Path) -> None:
    plan = planned(world)
    content = sum(path.stat().st_size for path in inbox.iterdir())
    assert fates(plan) == {"new": 3}
    assert plan.files.brought == Usage(3, content)
    assert plan.files.moves == {
        name: Usage(3, content) for name in ("PIC-DCACHE", "INFN-NA-DPM", "QOS=FAST")
    }
    assert (plan.datasets, plan.rules) == (ToMake(2, 0), ToMake(8, 0))
    assert plan.containers.made > 0
    assert (plan.scope_owner, plan.expressions["QOS=FAST"]) == (None, ("LAPP-FAST",))
    assert plan.obstacles == ()
    assert not plan.nothing_to_do


def test_the_run_makes_the_calls_that_were_foreseen(world: World, inbox: Path) -> None:
    world.changes["rse_attributes"] = {"PIC-INJECT": {"greedyDeletion": False}}
    register(world, SIBLING, (inbox / NAMES[1]).read_bytes())
    plan, calls = planned(world), run_counted(world)
    assert plan.files.count == {Fate.NEW: 2, Fate.THERE: 1}
    assert calls["put"] == plan.calls["upload a file"]
    assert calls["add_rules"] == plan.calls["ask for rules"]
    assert calls["measure"] == plan.calls["read a replica back"]
    assert calls["set_rse_attribute"] == plan.calls["set an RSE attribute"] == 1
    assert calls["place_files"] >= plan.calls["register and attach files"]
    assert calls["set_metadata"] == plan.calls["set metadata"]
    assert calls["ensure_scope"] == 1
    assert "make the scope" not in plan.calls


@pytest.mark.parametrize("calls", range(1, 60, 4))
def test_what_is_left_after_a_crash_is_foreseen(tmp_path: Path, calls: int) -> None:
    world = World(tmp_path)
    world.lake.crash_after(calls)
    with pytest.raises(Crash):
        world.run()
    plan, done = planned(world), run_counted(world)
    assert done["put"] == plan.files.brought.files
    assert done["add_rules"] == plan.calls.get("ask for rules", 0)
    world.assert_all_is_gone()


def test_nothing_is_left_when_all_is_done(world: World) -> None:
    world.run_to_the_end()
    plan = planned(world)
    assert (fates(plan), plan.calls, plan.nothing_to_do) == ({"done": 2}, {}, True)
    assert world.plan(new_cycle=True).files.count == {Fate.NEW: 2}


def test_a_plan_may_be_made_while_a_run_goes_on(world: World) -> None:
    left: list[int] = []

    class Curious:
        """An onlooker who asks for a plan at every fact."""

        def record(self, facts: Sequence[f.Fact]) -> None:
            counts = world.plan().files.count
            left.append(sum(counts.values()) - counts[Fate.DONE])

    ports = Ports(world.catalogue, world.storage, None, world.clock)
    with world.ledger() as ledger:
        injector = Injector(world.campaign, ports, ledger, [Curious()])
        injector.run(injector.prepare())
    assert (left[0], left[-1]) == (2, 0)
    world.assert_all_is_gone()


def test_sizes_are_compared_where_checksums_are_not_known(world: World, inbox: Path) -> None:
    same = b"x" * len((inbox / NAMES[0]).read_bytes())
    register(world, CRAB, same)
    register(world, SIBLING, b"longer than the other one, by far and for all to see")
    plan = planned(world)
    assert plan.files.count == {Fate.THERE: 1, Fate.ASIDE: 1, Fate.NEW: 1}
    assert plan.files.by_size == 2
    (aside,) = plan.files.aside
    assert (aside.did, aside.code) == (SIBLING, "conflict")
    assert "size" in aside.reason


def test_checksums_are_compared_where_they_are_on_record(world: World, inbox: Path) -> None:
    register(world, SIBLING, b"x" * len((inbox / NAMES[1]).read_bytes()))
    # Has to read the file, to know that it is not the one in the catalogue.
    assert world.run().by_state[FileState.QUARANTINED] == 1
    plan = planned(world)
    assert plan.files.codes == {"conflict": 1}
    assert "adler32" in plan.files.aside[0].reason
    assert plan.files.by_size == 0


def test_whatever_would_set_a_file_aside_is_told(world: World, inbox: Path) -> None:
    register(world, CRAB, (inbox / NAMES[0]).read_bytes())
    world.lake.replica(CRAB, "PIC-INJECT").state = ReplicaState.COPYING
    world.catalogue.add_collections({SIBLING: DIDType.DATASET})
    (inbox / NAMES[2]).unlink()
    (inbox / NAMES[2]).symlink_to(inbox / "nothing")
    (inbox / "holiday.jpg").write_bytes(b"beach")
    plan = planned(world)
    codes = {"replica-state": 1, "conflict": 1}
    gone = plan.files.codes.get("source-unreadable", 0)
    assert {key: plan.files.codes[key] for key in codes} == codes
    assert gone + plan.files.skipped >= 1
    assert any("holiday.jpg" in skip.path for skip in plan.files.skips)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told(world: World, inbox: Path) -> None:
    (inbox / NAMES[0]).chmod(0)
    assert planned(world).files.codes == {"source-unreadable": 1}


def test_a_dataset_that_cannot_be_is_told(world: World, inbox: Path) -> None:
    world.lake.scopes[SCOPE] = world.lake.account
    world.catalogue.add_collections({RUN: DIDType.CONTAINER})
    plan = planned(world)
    assert plan.files.count == {Fate.ASIDE: 2, Fate.NEW: 1}
    assert "is to be a DATASET" in plan.files.aside[0].reason


def test_a_closed_dataset_is_told(world: World, inbox: Path) -> None:
    world.lake.scopes[SCOPE] = world.lake.account
    world.catalogue.add_collections({RUN: DIDType.DATASET})
    world.lake.closed.add(RUN)
    assert planned(world).files.codes == {"catalogue-refused": 2}


def test_a_name_that_is_offered_twice_counts_once(world: World, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join([*NAMES, f"again/{NAMES[0]}", NAMES[0]]))
    world.changes["source"] = {
        "kind": "listing",
        "path": str(names),
        "payload": {"kind": "raw", "size": "1kB"},
    }
    plan = planned(world)
    assert (plan.files.count, plan.files.skipped) == ({Fate.NEW: 3}, 2)
    assert plan.files.brought == Usage(3, 3000)


def test_files_that_are_made_have_no_size_before(world: World) -> None:
    world.changes["source"] = {
        "kind": "mock",
        "runs": 1,
        "subruns": 2,
        "telescopes": ["M1"],
        "types": ["D"],
        "payload": {"kind": "root", "events": 10},
    }
    plan = planned(world)
    assert (plan.files.unsized, plan.files.brought) == (2, Usage(2, 0))


def test_a_file_elsewhere_is_brought_to_the_upload_rse(world: World, inbox: Path) -> None:
    content = (inbox / NAMES[0]).read_bytes()
    register(world, CRAB, content, rse="PIC-DCACHE")
    plan = planned(world)
    assert plan.files.count == {Fate.ELSEWHERE: 1, Fate.NEW: 2}
    assert plan.files.brought.files == 3
    assert (plan.files.moves["PIC-DCACHE"].files, plan.files.moves["QOS=FAST"].files) == (2, 3)


def test_what_was_lost_would_be_brought_again(world: World, inbox: Path) -> None:
    world.changes["end"] = None
    world.run()
    world.lake.collections.pop(RUN)
    for rule in [key for key, rule in world.lake.rules.items() if rule.did == RUN]:
        end_rule_now(world.lake, rule)
    world.lake.files.pop(CRAB)
    plan, done = planned(world), run_counted(world)
    assert plan.files.count == {Fate.LOST: 2, Fate.DONE: 1}
    assert (plan.files.brought.files, plan.datasets) == (1, ToMake(1, 0))
    assert (done["put"], done["add_rules"]) == (1, plan.calls["ask for rules"])


def test_too_little_quota_is_told_as_the_run_tells_it(world: World, inbox: Path) -> None:
    world.lake.rses["LAPP-FAST"].limits[world.lake.account] = 10
    (obstacle,) = planned(world).obstacles
    with pytest.raises(QuotaExceeded) as caught:
        world.run()
    assert isinstance(obstacle, QuotaExceeded)
    assert obstacle.message == caught.value.message


def test_a_scope_of_others_is_told_as_the_run_tells_it(world: World, inbox: Path) -> None:
    world.lake.scopes[SCOPE] = "somebody"
    (obstacle,) = planned(world).obstacles
    assert isinstance(obstacle, NotPermitted)
    with pytest.raises(NotPermitted):
        world.run()


def test_room_that_is_wanting_is_told(world: World, inbox: Path) -> None:
    world.lake.rses["PIC-INJECT"].free = 5
    world.lake.rses["LAPP-FAST"].blocked = True
    assert [line.split()[0] for line in planned(world).cautions] == ["PIC-INJECT", "LAPP-FAST"]
    world.lake.rses["PIC-INJECT"].free = 10**6
    world.lake.rses["LAPP-FAST"].blocked = False
    assert planned(world).cautions == ()


def test_what_refuses_a_run_refuses_its_plan(world: World) -> None:
    world.lake.signed_in = False
    with pytest.raises(SignInFailed):
        planned(world)
    world.lake.signed_in = True
    world.changes["upload"] = {"rse": "NO-SUCH-RSE"}
    with pytest.raises(UsageError):
        planned(world)
