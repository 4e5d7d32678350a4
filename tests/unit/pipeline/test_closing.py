"""A run that is complete is closed; what comes later goes to a place that is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.injection_world import NAMES, SCOPE, World, telescope_files

from rucio_inject.campaign.naming import Naming
from rucio_inject.cli.exit_codes import ExitCode, of_outcome
from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID, DIDType
from rucio_inject.domain.errors import CatalogueRefused, UsageError
from rucio_inject.steps.close import Run
from rucio_inject.terms import run_of
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


M2 = ("20200203_M2_05089063.001_Y_CrabNebula-W0.40_035.root",)


def test_a_run_goes_on_while_another_telescope_begins_it(tmp_path: Path) -> None:
    world = world_of(tmp_path, NAMES[:1] + M2, next_run=True)
    world.changes["naming"]["dataset"] = "{run}.{level}_{telescope}"
    world.run()
    assert world.lake.closed == set()
    telescope_files(tmp_path / "inbox", NAMES[:2])
    assert of_outcome(world.run()) is ExitCode.DONE
    assert world.lake.closed == set()
    telescope_files(tmp_path / "inbox", NAMES)
    world.run()
    assert world.lake.closed == {DID(SCOPE, "05089063.Calibrated_M1")}


def test_a_run_goes_on_when_an_earlier_one_comes_late(tmp_path: Path) -> None:
    world = world_of(tmp_path, NAMES[2:], next_run=True)
    world.run()
    telescope_files(tmp_path / "inbox", NAMES[:1])
    world.run()
    assert world.lake.closed == set()


def test_runs_at_an_rse_are_closed_as_well(tmp_path: Path) -> None:
    world = World(tmp_path, {"end": None, "naming": {"closing": {"next_run": True}}})
    world.changes["source"] = {"kind": "rse", "folder": "raw"}
    for name in NAMES:
        pfn = f"memory://PIC-INJECT/raw/{quote(name.replace('_035', '+035'))}"
        world.lake.rses["PIC-INJECT"].bytes[pfn] = name.encode()
    world.run()
    assert world.lake.closed == {FIRST}


def test_a_run_of_another_grammar_has_none_after_it(tmp_path: Path) -> None:
    world = world_of(tmp_path, next_run=True)
    world.run()
    own = {"name": "own", "experiment": "X", "pattern": "(?P<run>[0-9]+)", "example": "1"}
    told = run_of(Naming.model_validate({"grammars": [own]}))
    first, *_, last = map(told, world.files())
    assert not last.is_after(first)


@pytest.mark.parametrize(
    ("number", "other", "after"),
    [
        ("10", "9", True),
        ("9", "10", False),
        ("9", "09", False),
        ("b", "a", True),
        ("a", "a", False),
    ],
)
def test_which_run_is_later(number: str, other: str, after: bool) -> None:
    assert Run(("M1",), number).is_after(Run(("M1",), other)) is after
    assert not Run(("M2",), number).is_after(Run(("M1",), other))


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
