"""A campaign file that was changed while files are on record."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.injection_world import World, telescope_files

from rucio_inject.domain import facts as f
from rucio_inject.domain.errors import UsageError
from rucio_inject.domain.injection import FileRecord, FileState, SourceCopy
from rucio_inject.steps.unchanged import refuse_other_upload
from rucio_inject.testing.contracts.ledger import FILE, NOON, SIBLING, begun, found, life
from rucio_inject.testing.memory_ledger import MemoryLedger, Shelf


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
        (
            {"upload": {"rse": "PIC-DCACHE"}},
            "upload.rse has changed .* PIC-INJECT for MAGIC:.*, and is PIC-D",
        ),
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


def refused(world: World, changes: dict[str, Any]) -> UsageError:
    """The error of a run with these changes, which has changed nothing: neither lake nor record."""
    before, facts, rules = world.files(), len(told(world)), dict(world.lake.rules)
    good = dict(world.changes)
    attributes = {rse: dict(known.attributes) for rse, known in world.lake.rses.items()}
    world.changes |= changes
    with pytest.raises(UsageError) as error:
        world.run()
    world.changes = good
    assert world.files() == before
    assert len(told(world)) == facts
    assert world.lake.rules == rules
    assert {rse: known.attributes for rse, known in world.lake.rses.items()} == attributes
    return error.value


def told(world: World) -> list[f.Fact]:
    """Every fact of every run so far."""
    return [fact for witness in world.witnesses for fact in witness.facts]


def set_aside(world: World) -> None:
    """Let one file fail."""
    with world.ledger() as ledger:
        did = next(ledger.files()).did
        ledger.record([f.FileFailed(at=NOON, did=did, code="storage", reason="full", hint=None)])


@pytest.mark.parametrize(
    ("naming", "key"),
    [
        ({"dataset": "run-{run}"}, "naming.dataset"),
        ({"containers": ["{night}"]}, "naming.containers"),
        ({"grammars": ["lst1"]}, "naming has"),
    ],
)
def test_another_naming_is_refused_before_anything_is_done(
    world: World, naming: dict[str, Any], key: str
) -> None:
    set_aside(world)
    attributes = {"PIC-INJECT": {"greedyDeletion": False}}
    # It comes before those on record, and is new.
    telescope_files(world.folder / "inbox", ["20200203_M1_05080063.001_Y_Mrk501-W0.40_035.root"])
    error = refused(world, {"naming": naming, "rse_attributes": attributes})
    assert key in error.message


def test_a_new_cycle_may_be_named_otherwise(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.run_to_the_end()
    world.changes["naming"] = {"dataset": "run-{run}"}
    with pytest.raises(UsageError, match=r"naming\.dataset"):
        # The same cycle's names would be in another dataset.
        world.run()
    world.run(new_cycle=True)
    assert {record.dataset.name.partition("-")[0] for record in world.files()} == {"run"}


class TestAnotherFolder:
    """A `source.path` that has changed."""

    def moved(self, world: World, names: list[str]) -> dict[str, Any]:
        """Another folder with files of these names and other bytes."""
        folder = world.folder / "elsewhere"
        telescope_files(folder, names)
        for name in names:
            (folder / name).write_bytes(b"other events")
        return {"source": {"kind": "directory", "path": str(folder)}}

    def names(self, world: World) -> list[str]:
        """What is in the campaign's folder."""
        return sorted(path.name for path in (world.folder / "inbox").iterdir())

    def test_other_bytes_do_not_pass_for_injected(self, world: World) -> None:
        world.run()
        error = refused(world, self.moved(world, self.names(world)))
        assert error.message.startswith("source.path has changed")
        assert "inbox" in error.message
        assert "elsewhere" in error.message

    def test_other_names_may_be_added(self, world: World) -> None:
        world.run()
        new = "20200204_M1_05089070.001_Y_Mrk501-W0.40_035.root"
        world.changes |= self.moved(world, [new])
        assert dict(world.run().by_state) == {FileState.VERIFIED: 4}

    def test_a_link_to_the_same_folder_is_the_same(self, world: World) -> None:
        link = world.folder / "link"
        link.symlink_to(world.folder / "inbox")
        world.changes["source"] = {"kind": "directory", "path": str(link)}
        assert dict(world.run().by_state) == {FileState.VERIFIED: 3}


class TestAnotherUploadRSE:
    """An `upload.rse` that has changed, by what is on record."""

    def ledger(self, *facts: f.Fact) -> MemoryLedger:
        """A ledger with some files, and more facts about them."""
        ledger = MemoryLedger(Shelf())
        ledger.record([begun(), found(FILE), found(SIBLING), *facts])
        return ledger

    @pytest.mark.parametrize("length", range(2, 9))
    def test_set_aside_under_way(self, length: int) -> None:
        failed = f.FileFailed(at=NOON, did=FILE, code="storage", reason="full", hint=None)
        ledger = self.ledger(*life(FILE)[:length], failed)
        refuse_other_upload(ledger, "A")
        with pytest.raises(UsageError, match=r"upload\.rse has changed .* A for magic:a"):
            refuse_other_upload(ledger, "B")

    def test_not_the_first_one_of_its_state(self) -> None:
        begun_upload = f.UploadBegun(at=NOON, did=SIBLING, rse="A")
        ledger = self.ledger(life(FILE)[0], life(SIBLING)[0], begun_upload)
        with pytest.raises(UsageError, match=r"A for magic:b"):
            refuse_other_upload(ledger, "B")

    @pytest.mark.parametrize("length", [0, 1, 10, 12, 14])
    def test_what_is_not_under_way_may_be(self, length: int) -> None:
        ledger = self.ledger(*life(FILE)[:length])
        refuse_other_upload(ledger, "B")

    def test_set_aside_before_or_after_may_be(self) -> None:
        failed = f.FileFailed(at=NOON, did=FILE, code="storage", reason="full", hint=None)
        for length in (0, 1, 10):
            refuse_other_upload(self.ledger(*life(FILE)[:length], failed), "B")

    def test_files_at_their_end_are_not_read(self) -> None:
        ledger = self.ledger(*life(FILE), *(life(SIBLING)[:10]))
        asked: list[FileState] = []

        def files(
            states: Collection[FileState] = (), sources: Collection[SourceCopy] = ()
        ) -> Iterator[FileRecord]:
            asked.extend(states)
            assert states or set(sources) == {SourceCopy.FREEING}
            return ledger.files(states, sources=sources)

        spy: Any = SimpleNamespace(files=files, upload_rse="A")
        refuse_other_upload(spy, "B")
        assert asked
        assert not {FileState.GONE, FileState.VERIFIED} & set(asked)

    def test_no_file_is_read_while_the_rse_is_the_same(self) -> None:
        spy: Any = SimpleNamespace(files=lambda states: pytest.fail("read"), upload_rse="A")
        refuse_other_upload(spy, "A")

    def test_a_run_with_a_file_set_aside_is_refused(self, world: World) -> None:
        world.run()
        with world.ledger() as ledger:
            did = next(ledger.files()).did
            back = f.FileSetBack(at=NOON, did=did, state=FileState.REPLICATING, reason="rule")
            ledger.record([back])
        set_aside(world)
        error = refused(world, {"upload": {"rse": "PIC-DCACHE"}})
        assert error.message.startswith("upload.rse has changed")
        assert f"it was PIC-INJECT for {did}" in error.message
