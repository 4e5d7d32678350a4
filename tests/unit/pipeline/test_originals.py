"""The lake's copies are not ended where they may be the last: a source is looked at just before."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.injection_world import NAMES, World, telescope_files
from tests.unit.pipeline.test_safety import stop_after

from rucio_inject.cli.exit_codes import ExitCode, of_outcome
from rucio_inject.domain.injection import FileState
from rucio_inject.outcome import Outcome
from rucio_inject.steps import expire
from rucio_inject.testing.memory_ledger import Shelf

END = {"lifetime": "5s", "deadline": "60s"}
ONLY_COPIES = "these replicas may be the only copies"


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    telescope_files(tmp_path / "inbox")
    return tmp_path / "inbox"


@pytest.fixture
def world(tmp_path: Path, inbox: Path) -> World:
    """Real files, verified; their end is asked for next."""
    world = World(tmp_path)
    world.changes |= {"end": None, "source": {"kind": "directory", "path": str(inbox)}}
    assert set(world.run().by_state) == {FileState.VERIFIED}
    world.changes["end"] = END
    return world


def contents(world: World) -> set[bytes]:
    """What can still be read at any RSE."""
    return {content for rse in world.lake.rses.values() for content in rse.bytes.values()}


def assert_kept(world: World, outcome: Outcome, names: list[str]) -> None:
    """The datasets of some files are left alone, are told of, and are still in the lake."""
    datasets = {r.dataset for r in world.files() if r.did.name in names}
    assert set(outcome.kept) == datasets
    assert all(ONLY_COPIES in why for why in outcome.kept.values())
    assert of_outcome(outcome) is ExitCode.FILES_FAILED
    for record in world.files():
        kept = record.dataset in datasets
        assert record.state is (FileState.VERIFIED if kept else FileState.GONE)
        assert (f"events of {record.did.name}".encode() in contents(world)) is kept
    assert world.broken() == []


class TestASourceThatIsNotThere:
    def test_all_were_removed_by_hand(self, world: World, inbox: Path) -> None:
        for path in inbox.iterdir():
            path.unlink()
        assert_kept(world, world.run(), list(NAMES))

    def test_one_was_removed(self, world: World, inbox: Path) -> None:
        (inbox / NAMES[0]).unlink()
        assert_kept(world, world.run(), [NAMES[0]])

    def test_one_is_another_file_by_now(self, world: World, inbox: Path) -> None:
        (inbox / NAMES[0]).write_bytes(b"reprocessed")
        assert_kept(world, world.run(), [NAMES[0]])

    @pytest.mark.parametrize("rewritten", [False, True])
    def test_it_goes_while_rucio_is_asked(
        self, world: World, inbox: Path, monkeypatch: pytest.MonkeyPatch, rewritten: bool
    ) -> None:
        real = expire.EndRules._strangers

        def strangers(*args: object) -> str | None:
            path = inbox / NAMES[0]
            content = path.read_bytes() if path.exists() else b""
            path.unlink(missing_ok=True)
            if rewritten:
                path.write_bytes(content[::-1])
            return real(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(expire.EndRules, "_strangers", strangers)
        assert_kept(world, world.run(), [NAMES[0]])

    def test_another_campaign_frees_them(self, world: World, inbox: Path, tmp_path: Path) -> None:
        exercise, changes = world.shelf, world.changes
        world.shelf = Shelf()
        frees = {**changes["source"], "free": True}
        world.changes = {
            **changes,
            "campaign": "archive",
            "output": str(tmp_path / "archive"),
            "end": None,
            "source": frees,
        }
        assert set(world.run().by_state) == {FileState.VERIFIED}
        assert list(inbox.iterdir()) == []
        world.shelf, world.changes = exercise, changes
        assert_kept(world, world.run(), list(NAMES))

    def test_an_end_that_was_asked_for_is_taken_back(self, world: World, inbox: Path) -> None:
        stop_after(world, "end_rule")
        ending = [rule for rule in world.lake.rules.values() if rule.expires_at is not None]
        assert ending
        for path in inbox.iterdir():
            path.unlink()
        assert_kept(world, world.run(), list(NAMES))
        assert [rule for rule in world.lake.rules.values() if rule.expires_at is not None] == []
        assert [rule for rule in world.ledger().rules() if rule.ending_at is not None] == []


class TestASourceThatIsThere:
    def test_its_replicas_end(self, world: World, inbox: Path) -> None:
        assert set(world.run().by_state) == {FileState.GONE}
        assert sorted(path.name for path in inbox.iterdir()) == sorted(NAMES)
        assert contents(world) == set()

    def test_what_was_kept_ends_once_it_is_there_again(self, world: World, inbox: Path) -> None:
        away = inbox.with_name("away")
        (inbox / NAMES[0]).rename(away)
        world.run()
        away.rename(inbox / NAMES[0])
        assert set(world.run().by_state) == {FileState.GONE}
