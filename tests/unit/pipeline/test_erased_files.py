"""Files that somebody erases when all is done: the next run notices, without listing everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.injection_world import NAMES, SCOPE, World, telescope_files

from rucio_inject.domain.did import DID
from rucio_inject.domain.facts import FileSetBack
from rucio_inject.domain.injection import FileState

VICTIM = DID(SCOPE, NAMES[0])


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A campaign that keeps its files, and has come to its end."""
    telescope_files(tmp_path / "inbox")
    source = {"kind": "directory", "path": str(tmp_path / "inbox")}
    world = World(tmp_path, {"source": source, "end": None})
    world.run()
    with world.ledger() as ledger:
        assert ledger.cycle_ended
    return world


def erase(world: World, did: DID) -> None:
    """The file leaves the catalogue and every storage, with its locks; its dataset stays."""
    for rse, replica in world.lake.files[did].replicas.items():
        del world.lake.rses[rse].bytes[replica.pfn]
    del world.lake.files[did]
    for collection in world.lake.collections.values():
        collection.contents.pop(did, None)
    for rule in world.lake.rules.values():
        rule.locks = {key: lock for key, lock in rule.locks.items() if key[0] != did}


def test_an_erased_file_is_brought_again(world: World) -> None:
    erase(world, VICTIM)
    outcome = world.run()
    (told,) = world.facts(FileSetBack)
    assert (told.did, told.state) == (VICTIM, FileState.MEASURED)
    assert "is not in" in told.reason
    assert set(outcome.by_state) == {FileState.VERIFIED}
    assert outcome.changed
    assert VICTIM in world.lake.files
    assert world.broken() == []


def test_one_whose_source_is_gone_is_set_aside(world: World) -> None:
    erase(world, VICTIM)
    (world.folder / "inbox" / VICTIM.name).unlink()
    (failed,) = world.run().failed
    assert failed.did == VICTIM
    assert failed.failure is not None
    assert failed.failure.code == "source-unreadable"


def test_when_nothing_is_amiss_no_dataset_is_listed(world: World) -> None:
    calls: Counter[str] = Counter()
    call: Callable[[str], Any] = world.lake.call

    def counted(doing: str) -> Any:
        calls[doing] += 1
        return call(doing)

    world.lake.call = counted  # type: ignore[method-assign]
    assert not world.run().changed
    assert calls["contents"] == 0
    assert calls["look_up"] == 0
    # Once to see what they hold, and once to see that none is gone.
    assert calls["rules"] == 2
