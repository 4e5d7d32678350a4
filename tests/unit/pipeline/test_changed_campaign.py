"""A campaign file that was changed while files are on record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.injection_world import World, telescope_files

from rucio_inject.domain.errors import UsageError
from rucio_inject.domain.injection import FileState


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A campaign of real files that was stopped while the lake replicates them."""
    world = World(tmp_path)
    telescope_files(tmp_path / "inbox")
    source = {"kind": "directory", "path": str(tmp_path / "inbox")}
    world.changes |= {"source": source, "end": None, "replication": {"deadline": "1s"}}
    world.lake.daemons_run = False
    world.run()
    world.lake.daemons_run = True
    world.changes["replication"] = {"deadline": "60s"}
    return world


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"scope": "OTHER"}, "scope has changed .* it was MAGIC, and is OTHER"),
        ({"upload": {"rse": "PIC-DCACHE"}}, "upload.rse has changed .* PIC-INJECT, and is PIC-D"),
        ({"naming": {"dataset": "run-{run}"}}, "naming.dataset has changed .* is MAGIC:run-050"),
        ({"naming": {"containers": ["{night}"]}}, "naming.containers has changed .* is MAGIC:2020"),
        ({"source": {"kind": "mock"}}, "source.kind has changed .* made for the lake"),
    ],
)
def test_what_decides_where_files_are_may_not_change(
    world: World, changes: dict[str, Any], says: str
) -> None:
    before, rules = world.files(), dict(world.lake.rules)
    good = dict(world.changes)
    world.changes |= changes
    with pytest.raises(UsageError, match=says) as refused:
        world.run()
    assert "may change" in str(refused.value.hint)
    world.changes = good
    assert world.files() == before
    assert world.lake.rules == rules
    assert set(world.lake.scopes) == {"MAGIC"}
    assert dict(world.run().by_state) == {FileState.VERIFIED: 3}


@pytest.mark.parametrize(
    "changes",
    [
        {"rules": [{"rse_expression": "PIC-DCACHE"}]},
        {"rules": [{"rse_expression": "QOS=FAST"}, {"rse_expression": "site=PIC", "copies": 2}]},
        {"end": {"lifetime": "1s", "deadline": "9s"}},
        {"retry": {"attempts": 1}, "access": {"workers": 9}, "monitor": {"interval": 9}},
        {"rse_attributes": {"PIC-INJECT": {"greedyDeletion": False}}},
    ],
)
def test_how_they_are_treated_may(world: World, changes: dict[str, Any]) -> None:
    world.changes |= changes
    states = set(world.run().by_state)
    assert states == {FileState.GONE if "end" in changes else FileState.VERIFIED}


def test_a_finished_campaign_may_upload_elsewhere(world: World) -> None:
    world.run()
    world.changes["upload"] = {"rse": "PIC-DCACHE"}
    assert set(world.run().by_state) == {FileState.VERIFIED}
