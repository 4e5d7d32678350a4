"""A rule of ours that somebody has made the parent of another one: Rucio ends no parent before its
child is OK, and one whose child is deleted has no end any more (rucio issue 60)."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.injection_world import SCOPE, World

from rucio_inject.cli.troubles import troubles
from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.rule import RuleRequest
from rucio_inject.outcome import Outcome
from rucio_inject.testing.memory_daemons import end_rule_now
from rucio_inject.testing.memory_lake import Crash

END = {"lifetime": "5s", "deadline": "60s"}
# Seconds: the lifetime, and some passes of the daemons.
END_OF_THE_OTHER = 20


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A campaign whose file is verified, with a rule of its own and the landing rule."""
    world = World(tmp_path, {"rules": [{"rse_expression": "PIC-DCACHE"}], "end": None})
    world.run()
    assert set(world.states().values()) == {"VERIFIED"}
    world.changes["end"] = END
    return world


def dataset_of(world: World) -> DID:
    """The one dataset of the campaign."""
    return world.files()[0].dataset


def our_rule(world: World) -> str:
    """The rule that the campaign asked for."""
    with world.ledger() as ledger:
        return next(r.rule_id for r in ledger.rules() if r.rse_expression == "PIC-DCACHE")


def chained(world: World) -> str:
    """Link an operator's rule, whose transfers hang, to ours; its id."""
    world.lake.rses["LAPP-FAST"].hangs = True
    request = RuleRequest("LAPP-FAST")
    child = world.catalogue.add_rules([dataset_of(world)], request, "operator")[dataset_of(world)]
    world.lake.link(our_rule(world), child)
    return child


def timed(world: World) -> tuple[Outcome, float]:
    """A run, and how long it took by the world's clock."""
    begun = world.clock.monotonic()
    return world.run(), world.clock.monotonic() - begun


def test_a_dataset_is_kept_until_the_child_is_ok(world: World) -> None:
    child = chained(world)
    outcome, seconds = timed(world)
    assert seconds < 5
    assert set(outcome.by_state) == {"VERIFIED"}
    (why,) = outcome.kept.values()
    assert our_rule(world) in why
    assert child in why
    assert world.facts(f.RuleEnding) == []

    world.lake.heal("LAPP-FAST")
    world.clock.advance(1)
    world.lake.rules[child].purge = True
    end_rule_now(world.lake, child)
    assert world.run().kept == {}
    world.run_to_the_end()
    assert (world.lake.files, world.lake.rules) == ({}, {})


def test_a_child_that_came_after_the_end_was_given_is_not_waited_for(world: World) -> None:
    world.lake.crash_after(2, "end_rule")
    with pytest.raises(Crash):
        world.run()
    world.lake.no_crash()
    child = chained(world)
    outcome, seconds = timed(world)
    # The other rule is waited for until it has ended.
    assert seconds < END_OF_THE_OTHER
    assert set(outcome.by_state) == {"EXPIRING"}
    (why,) = outcome.endless.values()
    assert child in why
    assert any(f"does not end  {SCOPE}:" in line for line in troubles(outcome))
    with world.ledger() as ledger:
        told = {rule.rule_id: rule.error for rule in ledger.rules()}
    assert told[our_rule(world)] == why

    world.lake.rules[child].purge = True
    end_rule_now(world.lake, child)
    outcome, seconds = timed(world)
    assert seconds < 5
    (why,) = outcome.endless.values()
    assert "taken back" in why
    assert outcome.changed
    assert not world.run().changed

    # As the summary advises.
    world.catalogue.end_rule(our_rule(world), 1)
    world.run_to_the_end()
    assert (world.lake.files, world.lake.rules) == ({}, {})


def test_a_parent_whose_child_becomes_ok_ends(world: World) -> None:
    world.lake.crash_after(2, "end_rule")
    with pytest.raises(Crash):
        world.run()
    world.lake.no_crash()
    child = chained(world)
    assert world.run().endless
    world.lake.heal("LAPP-FAST")
    world.clock.advance(1)
    assert our_rule(world) not in world.lake.rules
    world.lake.rules[child].purge = True
    end_rule_now(world.lake, child)
    world.run_to_the_end()
    assert world.lake.files == {}
