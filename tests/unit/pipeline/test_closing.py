"""A run that is complete is closed; what comes later goes to a place that is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.injection_world import NAMES, SCOPE, World, telescope_files

from rucio_inject.cli.exit_codes import ExitCode, of_outcome
from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID, DIDType
from rucio_inject.domain.errors import CatalogueRefused, UsageError
from rucio_inject.testing.memory_catalogue import MemoryCatalogue

FIRST, SECOND = DID(SCOPE, "05089063"), DID(SCOPE, "05089064")
LATE = DID(SCOPE, "05089063.late")
NEW = "20200203_M1_05089063.003_Y_CrabNebula-W0.40_035.root"


def world_of(folder: Path, names: tuple[str, ...] = NAMES, **closing: Any) -> World:
    """A campaign that closes its datasets."""
    telescope_files(folder / "inbox", names)
    source = {"kind": "directory", "path": str(folder / "inbox")}
    return World(folder, {"end": None, "source": source, "naming": {"closing": closing}})


def test_a_run_is_closed_when_the_next_has_begun(tmp_path: Path) -> None:
    world = world_of(tmp_path, NAMES[:2], next_run=True)
    world.run()
    assert world.lake.closed == set()
    telescope_files(tmp_path / "inbox")
    outcome = world.run()
    assert world.lake.closed == {FIRST}
    assert of_outcome(outcome) is ExitCode.DONE
    assert not world.run().changed


def test_a_run_is_closed_when_it_is_quiet(tmp_path: Path) -> None:
    world = world_of(tmp_path, quiet="30m")
    world.run()
    assert world.lake.closed == set()
    world.clock.advance(1801)
    world.run()
    assert world.lake.closed == {FIRST, SECOND}


def test_a_run_is_closed_by_its_trigger(tmp_path: Path) -> None:
    world = world_of(tmp_path, trigger="{run}.complete")
    world.run()
    (tmp_path / "inbox" / "05089064.complete").write_text("")
    outcome = world.run()
    assert world.lake.closed == {SECOND}
    # The trigger is no data, and its name does not parse.
    assert outcome.skipped == 1


def test_a_run_with_an_unproved_file_stays_open(tmp_path: Path) -> None:
    world = world_of(tmp_path, next_run=True, quiet="1s")
    world.lake.rses["LAPP-FAST"].fails_transfers = "no route"
    world.run()
    world.clock.advance(10)
    assert world.lake.closed == set()
    world.lake.heal("LAPP-FAST")
    world.run()
    assert world.lake.closed == {FIRST, SECOND}


def test_a_late_file_goes_to_a_dataset_of_its_own(tmp_path: Path) -> None:
    world = world_of(tmp_path, next_run=True, late="{run}.late")
    world.run()
    telescope_files(tmp_path / "inbox", (NEW,))
    outcome = world.run()
    assert of_outcome(outcome) is ExitCode.DONE
    assert set(world.states().values()) == {"VERIFIED"}
    assert set(world.lake.collections[LATE].contents) == {DID(SCOPE, NEW)}
    assert len(world.lake.collections[FIRST].contents) == 2
    assert not world.run().changed
    # Where it is put is a part of the naming that holds still.
    world.changes["naming"] = {"closing": {"next_run": True, "late": "{run}.other"}}
    with pytest.raises(UsageError, match=r"naming\.dataset has changed"):
        world.run()


def test_a_late_file_without_a_place_is_set_aside(tmp_path: Path) -> None:
    world = world_of(tmp_path, next_run=True)
    world.run()
    telescope_files(tmp_path / "inbox", (NEW,))
    outcome = world.run()
    assert of_outcome(outcome) is ExitCode.FILES_FAILED
    (failed,) = outcome.failed
    assert failed.did.name == NEW
    assert failed.failure is not None
    assert "closed" in failed.failure.reason


def test_a_dataset_that_was_there_before_us_stays_open(tmp_path: Path) -> None:
    world = world_of(tmp_path, quiet="1s")
    world.lake.scopes[SCOPE] = world.lake.account
    world.catalogue.add_collections({FIRST: DIDType.DATASET})
    world.run()
    world.clock.advance(10)
    world.run()
    assert world.lake.closed == {SECOND}


def test_a_dataset_that_rucio_does_not_close_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = world_of(tmp_path, next_run=True)

    def refused(self: MemoryCatalogue, collection: DID) -> None:
        raise CatalogueRefused("the policy has other ideas")

    monkeypatch.setattr(MemoryCatalogue, "close", refused)
    outcome = world.run()
    assert outcome.not_closed == {FIRST: "the policy has other ideas"}
    assert of_outcome(outcome) is ExitCode.FILES_FAILED
    assert len(world.facts(f.CollectionClosing)) == 1
