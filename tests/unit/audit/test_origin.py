"""An audit of a campaign whose files lie at an origin RSE, before, while and after it is freed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.injection_world import NAMES, World
from tests.unit.audit.bench import CRAB, RUN, Bench

from rucio_inject.audit.findings import Kind
from rucio_inject.domain.injection import SourceCopy
from rucio_inject.domain.replica import ReplicaState

ORIGIN = "PIC-INJECT"


@pytest.fixture(params=[False, True], ids=["told", "read"])
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Bench:
    """Files at an origin RSE, which closes its datasets; their md5 is known if they are read."""
    source = {"kind": "rse", "folder": "raw", "read": request.param}
    closing = {"closing": {"quiet": "1s"}}
    world = World(tmp_path, {"end": None, "source": source, "naming": closing})
    held = world.lake.rses[ORIGIN].bytes
    held |= {f"memory://{ORIGIN}/raw/{name}": name.encode() for name in (*NAMES, ".keep")}
    world.run()
    let_pass(world)
    world.run()
    return Bench(world, tmp_path, closes=True)


def let_pass(world: World, seconds: int = 5) -> None:
    for _ in range(seconds):
        world.clock.advance(1)


def is_freed(bench: Bench, lifetime: str = "1s") -> None:
    """The campaign frees its origin from now on."""
    source = {"kind": "rse", "folder": "raw", "free": True, "lifetime": lifetime}
    bench.world.changes["source"] = source
    bench.world.run()


def test_what_lies_there_is_all_right(bench: Bench) -> None:
    assert bench.look() == []


def test_a_lost_one_is_told_as_a_replica(bench: Bench) -> None:
    del bench.lake.rses[ORIGIN].bytes[f"memory://{ORIGIN}/raw/{NAMES[0]}"]
    (finding,) = bench.look()
    assert (finding.kind, finding.did, finding.rse) == (Kind.LOST, CRAB, ORIGIN)


@pytest.mark.parametrize("now", [b"new events, of the same name", None])
def test_what_became_of_it_there_is_left_as_it_is(bench: Bench, now: bytes | None) -> None:
    held, pfn = bench.lake.rses[ORIGIN].bytes, f"memory://{ORIGIN}/raw/{NAMES[0]}"
    del held[pfn]
    if now is not None:
        held[pfn] = now
    (finding,) = bench.look()
    assert "write over what lies at its source" in str(finding.hint)
    assert bench.fix() == []
    let_pass(bench.world)
    assert held.get(pfn) == now
    assert bench.lake.replica(CRAB, ORIGIN).state is ReplicaState.AVAILABLE


def test_a_copy_of_it_is_made_anew(bench: Bench) -> None:
    bench.lake.corrupt(CRAB, "PIC-DCACHE")
    bench.checksums = True
    bench.fixed()
    let_pass(bench.world)
    assert bench.lake.content(CRAB, "PIC-DCACHE") == NAMES[0].encode()


def test_a_rule_that_ends_there_is_no_trouble(bench: Bench) -> None:
    is_freed(bench, "1h")
    assert bench.look() == []
    # In the hands of the reaper.
    bench.lake.replica(CRAB, ORIGIN).state = ReplicaState.BEING_DELETED
    assert bench.look() == []


def test_what_was_freed_is_missed_by_nobody(bench: Bench) -> None:
    is_freed(bench)
    let_pass(bench.world)
    bench.world.run()
    assert {record.source for record in bench.world.files()} == {SourceCopy.FREED}
    assert bench.look() == []
    # The other copies are looked at as before.
    bench.lake.lose(CRAB, "PIC-DCACHE")
    (finding,) = bench.look()
    assert (finding.kind, finding.rse) == (Kind.LOST, "PIC-DCACHE")


def test_the_rules_of_a_freed_dataset_are_looked_at(bench: Bench) -> None:
    is_freed(bench)
    let_pass(bench.world)
    bench.world.run()
    rules = bench.lake.rules.items()
    kept = next(key for key, rule in rules if rule.request.rse_expression == "PIC-DCACHE")
    dataset = bench.lake.rules[kept].did
    del bench.lake.rules[kept]
    (finding,) = bench.look()
    assert (finding.kind, finding.did, finding.there) == (Kind.RULE, dataset, "no such rule")


def test_who_closes_nothing_wonders_about_a_closed_dataset(bench: Bench) -> None:
    bench.closes = False
    assert RUN in {finding.did for finding in bench.look()}
