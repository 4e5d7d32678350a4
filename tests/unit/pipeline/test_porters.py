"""Many small files, which porters bring together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.injection_world import MOCK, SCOPE, World, telescope_files

from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.injection import FileRecord
from rucio_inject.ports import Porters, Stored
from rucio_inject.steps.upload import MANY, SMALL, TOGETHER, UploadFiles
from rucio_inject.testing import memory_storage
from rucio_inject.testing.memory_daemons import pfn_of
from rucio_inject.testing.memory_storage import MemoryStorage

FILES = [f"20200203_M1_05089063.{n:03}_Y_CrabNebula-W0.40_035.root" for n in range(MANY + 20)]


@pytest.fixture
def carried(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the files that porters were given, call by call."""
    calls: list[list[str]] = []
    carry = memory_storage._MemoryPorters.carry

    def told(self: memory_storage._MemoryPorters, files: Sequence[tuple[Path, DID]]) -> object:
        calls.append([did.name for _, did in files])
        return carry(self, files)

    monkeypatch.setattr(memory_storage._MemoryPorters, "carry", told)
    return calls


def when_begun(patch: pytest.MonkeyPatch, act: Callable[[Sequence[FileRecord]], object]) -> None:
    """Have something happen as soon as it is on record that some uploads are begun."""
    begin = UploadFiles._begin

    def begun(self: UploadFiles, files: Sequence[FileRecord]) -> None:
        begin(self, files)
        act(files)

    patch.setattr(UploadFiles, "_begin", begun)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Real files, and a campaign that takes them."""
    world = World(tmp_path)
    inbox = world.folder / "inbox"
    telescope_files(inbox, FILES)
    world.changes |= {
        "source": {"kind": "directory", "path": str(inbox)},
        "end": None,
    }
    return world


def names(calls: list[list[str]]) -> list[str]:
    """All that were carried."""
    return sorted(name for call in calls for name in call)


def test_small_files_are_brought_together(world: World, carried: list[list[str]]) -> None:
    world.run()
    assert set(world.states().values()) == {"VERIFIED"}
    assert names(carried) == FILES
    assert max(map(len, carried)) == TOGETHER
    # With the same evidence as of any file.
    assert len(world.facts(f.FileUploaded)) == len(world.facts(f.FileMeasured)) == len(FILES)
    assert world.broken() == []


def test_large_ones_go_alone(world: World, carried: list[list[str]]) -> None:
    (world.folder / "inbox" / FILES[7]).write_bytes(b"x" * (SMALL + 1))
    world.run()
    assert set(world.states().values()) == {"VERIFIED"}
    assert names(carried) == [name for name in FILES if name != FILES[7]]


def test_few_files_need_none(world: World, carried: list[list[str]]) -> None:
    for name in FILES[MANY - 1 :]:
        (world.folder / "inbox" / name).unlink()
    world.run()
    assert set(world.states().values()) == {"VERIFIED"}
    assert carried == []


def test_a_rate_is_not_passed_by(world: World, carried: list[list[str]]) -> None:
    world.changes["limits"] = {"rate": "1GB/s"}
    world.run()
    assert set(world.states().values()) == {"VERIFIED"}
    assert carried == []


def test_what_they_cannot_bring_is_told_as_of_any_file(
    world: World, carried: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing, other, same = FILES[3], FILES[40], FILES[41]
    upload_rse = world.lake.rses["PIC-INJECT"].bytes
    upload_rse[pfn_of("PIC-INJECT", DID(SCOPE, other))] = b"somebody's"
    content = (world.folder / "inbox" / same).read_bytes()
    upload_rse[pfn_of("PIC-INJECT", DID(SCOPE, same))] = content
    source = world.folder / "inbox" / missing
    when_begun(monkeypatch, lambda _: source.unlink(missing_ok=True))
    world.run()
    states = world.states()
    assert states.pop(missing) == states.pop(other) == "QUARANTINED"
    assert set(states.values()) == {"VERIFIED"}
    failures = {failed.did.name: failed.code for failed in world.facts(f.FileFailed)}
    assert failures == {missing: "source-unreadable", other: "place-taken"}
    assert upload_rse[pfn_of("PIC-INJECT", DID(SCOPE, other))] == b"somebody's"


def test_a_file_that_is_not_what_was_measured_is_taken_back(
    world: World, carried: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mock files are measured when they are made."""
    world.changes["source"] = {**MOCK, "subruns": MANY}
    tampered: list[DID] = []

    def tamper(files: Sequence[FileRecord]) -> None:
        if not tampered:
            tampered.append(files[0].did)
            Path(files[0].path).write_bytes(b"another one")

    when_begun(monkeypatch, tamper)
    world.run()
    states = world.states()
    assert states.pop(tampered[0].name) == "QUARANTINED"
    assert set(states.values()) == {"VERIFIED"}
    assert tampered[0].name in names(carried)
    assert pfn_of("PIC-INJECT", tampered[0]) not in world.lake.rses["PIC-INJECT"].bytes
    assert [failed.code for failed in world.facts(f.FileFailed)] == ["source-changed"]


def test_what_arrived_is_compared_with_what_was_sent(
    world: World, carried: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A storage may change what it was given."""
    put, bad = MemoryStorage.put, FILES[9]

    def spoils(self: MemoryStorage, rse: str, path: Path, did: DID) -> Stored:
        stored = put(self, rse, path, did)
        if did.name == bad:
            world.lake.rses[rse].bytes[stored.pfn] = b"something else"
        return stored

    monkeypatch.setattr(MemoryStorage, "put", spoils)
    world.run()
    states = world.states()
    assert bad in names(carried)
    assert states.pop(bad) == "QUARANTINED"
    assert set(states.values()) == {"VERIFIED"}
    assert pfn_of("PIC-INJECT", DID(SCOPE, bad)) not in world.lake.rses["PIC-INJECT"].bytes
    assert [failed.code for failed in world.facts(f.FileFailed)] == ["source-changed"]


def test_a_made_file_that_vanishes_is_made_again(
    world: World, carried: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is another one then, as its bytes depend on when it is made."""
    world.changes["source"] = {**MOCK, "subruns": MANY}
    upload_all, gone = UploadFiles._upload_all, list[str]()

    def vanishes(self: UploadFiles, porters: Porters | None, files: Sequence[FileRecord]) -> object:
        if not gone:
            gone.append(files[0].did.name)
            Path(files[0].path).unlink()
        return upload_all(self, porters, files)

    monkeypatch.setattr(UploadFiles, "_upload_all", vanishes)
    world.run()
    assert set(world.states().values()) == {"VERIFIED"}
    assert gone[0] not in names(carried)


def test_a_source_that_became_a_link_is_not_given_to_them(
    world: World, carried: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, odd = world.folder / "secret", world.folder / "inbox" / FILES[5]
    secret.write_bytes(b"secret")

    def link(_: object) -> None:
        odd.unlink(missing_ok=True)
        odd.symlink_to(secret)

    when_begun(monkeypatch, link)
    world.run()
    states = world.states()
    assert FILES[5] not in names(carried)
    assert states.pop(FILES[5]) == "QUARANTINED"
    assert set(states.values()) == {"VERIFIED"}


def test_small_rounds_need_none(world: World, carried: list[list[str]]) -> None:
    world.changes["limits"] = {"files_in_flight": MANY - 1}
    world.run()
    assert set(world.states().values()) == {"VERIFIED"}
    assert carried == []
