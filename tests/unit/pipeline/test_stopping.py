"""Stopped or killed anywhere, and run again: the same end, nothing lost, nothing done twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.injection_world import MOCK, NAMES, World, telescope_files

from rucio_inject.domain import facts as f
from rucio_inject.domain.errors import CatalogueUnavailable, Interrupted
from rucio_inject.testing.memory_lake import Crash

# A whole run makes fewer checks and calls than these; the tests see to it that they are enough.
CHECKS, CALLS = 75, 165


def undisturbed(folder: Path) -> World:
    """A world whose campaign has come to its end without a stop."""
    world = World(folder)
    world.run()
    world.assert_all_is_gone()
    return world


def test_the_numbers_cover_a_whole_run(tmp_path: Path) -> None:
    world = undisturbed(tmp_path)
    assert world.clock.checks <= CHECKS
    assert world.lake.calls <= CALLS


@pytest.mark.parametrize("first", range(0, CHECKS, 15))
def test_stopped_at_any_check(tmp_path: Path, first: int) -> None:
    for checks in range(first, first + 15):
        world = World(tmp_path / str(checks))
        world.clock.stop_after_checks(checks)
        stopped = False
        try:
            world.run()
        except Interrupted:
            stopped = True
        world.clock.go_on()
        assert stopped or checks >= 20, "the run was not stopped at all"
        world.run()
        world.assert_all_is_gone()


@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_stopped_again_and_again(tmp_path: Path, step: int) -> None:
    world = World(tmp_path, {"source": {**MOCK, "runs": 2, "subruns": 1}})
    allowed = 0
    while True:
        allowed += step
        world.clock.stop_after_checks(allowed)
        try:
            world.run()
        except Interrupted:
            world.clock.go_on()
        else:
            break
    world.clock.go_on()
    world.run()
    world.assert_all_is_gone()


@pytest.mark.parametrize("first", range(1, CALLS, 25))
def test_killed_after_any_call(tmp_path: Path, first: int) -> None:
    """After a call's effect and before it is on record; after a record and before the next."""
    for number in range(first, first + 25):
        world = World(tmp_path / str(number))
        killed_after(world, number)
        world.run_to_the_end()
        world.assert_all_is_gone()


@pytest.mark.parametrize("first", range(60, CALLS, 33))
def test_killed_and_back_after_the_lifetime(tmp_path: Path, first: int) -> None:
    """Rules end by themselves while nobody watches."""
    for number in range(first, first + 33, 3):
        world = World(tmp_path / str(number))
        killed_after(world, number)
        for _ in range(8):
            world.clock.advance(10)
        world.run_to_the_end()
        world.assert_all_is_gone()


@pytest.mark.parametrize("rules", [1, 2, 3, 4])
def test_killed_between_rules_that_are_to_end(tmp_path: Path, rules: int) -> None:
    """What is on its way to its end is not brought back: that would be a transfer for nothing."""
    world = World(tmp_path)
    world.lake.crash_after(rules, "end_rule")
    with pytest.raises(Crash):
        world.run()
    world.lake.no_crash()
    for _ in range(8):
        world.clock.advance(10)
    world.run()
    world.assert_all_is_gone()
    assert len(world.facts(f.RuleMade)) == 4


def killed_after(world: World, number: int) -> None:
    """Run, and end the process after a call; a run may be over before."""
    world.lake.crash_after(number)
    try:
        world.run()
    except Crash:
        pass
    finally:
        world.lake.no_crash()


@pytest.mark.parametrize("first", [40, 60])
def test_killed_while_real_files_are_freed(tmp_path: Path, first: int) -> None:
    for number in range(first, first + 20):
        world = World(tmp_path / str(number), {"end": None})
        inbox = world.folder / "inbox"
        telescope_files(inbox, NAMES[:2])
        world.changes["source"] = {"kind": "directory", "path": str(inbox), "free": True}
        killed_after(world, number)
        world.run()
        assert set(world.states().values()) == {"VERIFIED"}
        assert {str(record.source) for record in world.files()} == {"FREED"}
        assert list(inbox.iterdir()) == []
        assert world.broken() == []


def test_a_catalogue_that_goes_away_in_the_middle(tmp_path: Path) -> None:
    world = World(tmp_path)
    passes = 0

    def down_for_a_while() -> None:
        nonlocal passes
        passes += 1
        world.lake.down = "connection refused" if passes == 2 else None

    world.clock.on_passing(down_for_a_while)
    with pytest.raises(CatalogueUnavailable):
        world.run()
    world.lake.down = None
    world.run()
    world.assert_all_is_gone()


def test_a_resume_measures_nothing_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.lake.rses["LAPP-FAST"].hangs = True
    world.run()
    world.lake.heal("LAPP-FAST")
    world.run()
    assert len(world.facts(f.FileMeasured)) == 2
    assert len(world.facts(f.UploadBegun)) == 2
    assert len(world.facts(f.FileRegistered)) == 2
    assert len(world.facts(f.RuleMade)) == 4


def test_a_late_file_while_its_siblings_end(tmp_path: Path) -> None:
    """Its rules are taken back for it; what the siblings still have then is not lost sight of."""
    world = World(tmp_path)
    inbox = world.folder / "inbox"
    telescope_files(inbox, NAMES[:1])
    world.changes["source"] = {"kind": "directory", "path": str(inbox)}
    world.lake.rses["PIC-DCACHE"].refuses_deletion = True
    world.run()
    assert world.states() == {NAMES[0]: "EXPIRING"}
    telescope_files(inbox, NAMES[:2])
    world.lake.rses["PIC-DCACHE"].refuses_deletion = False
    world.lake.rses["PIC-DCACHE"].bytes.clear()
    world.run()
    assert set(world.states().values()) == {"GONE"}
    assert world.broken() == []
    assert (world.lake.files, world.lake.rules, world.lake.collections) == ({}, {}, {})
