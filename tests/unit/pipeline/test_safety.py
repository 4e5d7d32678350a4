"""What must never be given up, overwritten or ended, whatever was asked for in between."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.injection_world import HOLDERS, NAMES, SCOPE, Witness, World, blind, telescope_files

from rucio_inject.cli.exit_codes import ExitCode, of_outcome
from rucio_inject.domain import facts as f
from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID, DIDType
from rucio_inject.domain.errors import (
    CatalogueRefused,
    QuotaExceeded,
    StorageRefused,
    UsageError,
)
from rucio_inject.domain.injection import FileState, SourceCopy
from rucio_inject.domain.replica import ReplicaState
from rucio_inject.domain.rule import Lock, LockState, RuleRequest
from rucio_inject.measuring import Seen, measure_seen
from rucio_inject.ports import NewFile
from rucio_inject.steps.locks import Held
from rucio_inject.steps.proofs import Proofs
from rucio_inject.testing.contracts.world import measured
from rucio_inject.testing.memory_catalogue import MemoryCatalogue
from rucio_inject.testing.memory_daemons import end_rule_now
from rucio_inject.testing.memory_lake import Crash

CRAB, SIBLING, OTHER_RUN = (DID(SCOPE, name) for name in NAMES)
RUN = DID(SCOPE, "05089063")
END = {"lifetime": "5s", "deadline": "60s"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def inbox(world: World) -> Path:
    """Real files, and a campaign that takes them and knows no end."""
    folder = world.folder / "inbox"
    telescope_files(folder)
    world.changes |= {"end": None, "source": {"kind": "directory", "path": str(folder)}}
    return folder


def forget_locks(monkeypatch: pytest.MonkeyPatch, did: DID) -> None:
    """No rule has a lock on a file from now on."""
    locks = MemoryCatalogue.locks

    def others(self: MemoryCatalogue, rule_id: str) -> Sequence[Lock]:
        return [lock for lock in locks(self, rule_id) if lock.did != did]

    monkeypatch.setattr(MemoryCatalogue, "locks", others)


def free(world: World) -> None:
    """From now on the campaign gives up its sources."""
    world.changes["source"] = {**world.changes["source"], "free": True}


def failure_codes(world: World) -> dict[str, str]:
    """Why files were set aside, by name."""
    return {r.did.name: r.failure.code for r in world.files() if r.failure}


def stop_after(world: World, doing: str, calls: int = 1) -> None:
    """Run until a call has had its effect, and end there as `kill -9` does."""
    world.lake.crash_after(calls, doing)
    with pytest.raises(Crash):
        world.run()
    world.lake.no_crash()


def killed(*_: Any, **__: Any) -> None:
    """Where a run is killed."""
    raise Crash


class TestRealSources:
    """The last copy is never given up."""

    def test_not_after_the_replicas_were_ended(self, world: World, inbox: Path) -> None:
        world.changes["end"] = END
        world.run()
        world.changes["end"] = None
        free(world)
        world.run()
        assert sorted(path.name for path in inbox.iterdir()) == sorted(NAMES)

    def test_not_while_the_replicas_end(self, world: World, inbox: Path) -> None:
        world.changes["end"] = END
        stop_after(world, "end_rule")
        world.changes["end"] = None
        free(world)
        world.run()
        assert (inbox / NAMES[0]).exists()
        assert (inbox / NAMES[1]).exists()

    def test_replicas_whose_sources_are_freed_are_not_ended(
        self, world: World, inbox: Path
    ) -> None:
        free(world)
        world.run()
        assert list(inbox.iterdir()) == []
        world.changes["source"] = {"kind": "directory", "path": str(inbox)}
        world.changes["end"] = END
        outcome = world.run()
        assert set(outcome.kept) == {RUN, DID(SCOPE, "05089064")}
        assert "only copies" in outcome.kept[RUN]
        assert all(rule.expires_at is None for rule in world.lake.rules.values())
        assert all(world.lake.content(CRAB, rse) for rse in HOLDERS)

    def test_one_that_was_written_anew_stays(self, world: World, inbox: Path) -> None:
        world.run()
        (inbox / NAMES[0]).write_bytes(b"a new observation")
        free(world)
        world.run()
        assert [path.name for path in inbox.iterdir()] == [NAMES[0]]
        assert failure_codes(world) == {NAMES[0]: "source-changed"}

    def test_one_that_is_written_anew_while_others_are_read_stays(
        self, world: World, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.run()

        def read(path: Path) -> tuple[Measure, Seen]:
            if path == inbox / NAMES[1]:
                # As long as before, and with its old time.
                old = (inbox / NAMES[0]).stat()
                (inbox / NAMES[0]).write_bytes(b"n" * old.st_size)
                os.utime(inbox / NAMES[0], ns=(old.st_atime_ns, old.st_mtime_ns))
            return measure_seen(path)

        monkeypatch.setattr("rucio_inject.steps.free.measure_seen", read)
        free(world)
        world.run()
        assert [path.name for path in inbox.iterdir()] == [NAMES[0]]
        assert failure_codes(world) == {NAMES[0]: "source-changed"}
        assert [r.source for r in world.files() if r.did == CRAB] == [SourceCopy.KEPT]

    @pytest.mark.parametrize("gone_before", [False, True])
    def test_one_that_is_written_anew_at_the_last_moment_stays(
        self, world: World, inbox: Path, monkeypatch: pytest.MonkeyPatch, gone_before: bool
    ) -> None:
        world.run()
        if gone_before:
            (inbox / NAMES[0]).unlink()
        told = Witness.record

        def record(self: Witness, facts: Sequence[f.Fact]) -> None:
            told(self, facts)
            if any(isinstance(fact, f.SourceFreeing) and fact.did == CRAB for fact in facts):
                (inbox / NAMES[0]).write_bytes(b"a new observation")

        monkeypatch.setattr(Witness, "record", record)
        free(world)
        world.run()
        assert (inbox / NAMES[0]).read_bytes() == b"a new observation"
        assert [path.name for path in inbox.iterdir()] == [NAMES[0]]
        assert failure_codes(world) == {NAMES[0]: "source-changed"}

    @pytest.mark.parametrize("bound", ["PORTION_BYTES", "PORTION_FILES"])
    def test_one_whose_replica_vanishes_while_others_are_removed_stays(
        self, world: World, inbox: Path, monkeypatch: pytest.MonkeyPatch, bound: str
    ) -> None:
        """Large files, and many, are asked about in small portions."""
        world.run()
        monkeypatch.setattr(f"rucio_inject.steps.free.{bound}", 1)
        told = Witness.record

        def record(self: Witness, facts: Sequence[f.Fact]) -> None:
            told(self, facts)
            if any(isinstance(fact, f.SourceFreed) and fact.did == CRAB for fact in facts):
                world.lake.files[SIBLING].replicas["PIC-DCACHE"].state = ReplicaState.BAD

        monkeypatch.setattr(Witness, "record", record)
        free(world)
        world.run()
        assert [path.name for path in inbox.iterdir()] == [NAMES[1]]
        assert failure_codes(world) == {NAMES[1]: "replica-missing"}

    def test_many_small_ones_are_asked_about_at_once(
        self, world: World, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        free(world)
        asked: list[str] = []
        locks = Proofs._locks

        def count(
            self: Proofs, datasets: Collection[DID], without: str | None
        ) -> dict[DID, list[Held]]:
            asked.extend(sorted(map(str, datasets)))
            return locks(self, datasets, without)

        monkeypatch.setattr(Proofs, "_locks", count)
        world.run()
        assert list(inbox.iterdir()) == []
        assert asked == ["MAGIC:05089063", "MAGIC:05089064"]

    def test_one_that_a_rule_does_not_hold_stays(
        self, world: World, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its replicas are all there, and may be deleted at any moment."""
        world.run()
        forget_locks(monkeypatch, CRAB)
        free(world)
        world.run()
        assert [path.name for path in inbox.iterdir()] == [NAMES[0]]
        assert failure_codes(world) == {NAMES[0]: "replica-missing"}

    def test_one_that_was_taken_out_of_its_dataset_is_put_back_first(
        self, world: World, inbox: Path
    ) -> None:
        world.run()
        del world.lake.collections[RUN].contents[CRAB]
        free(world)
        assert dict(world.run().by_state) == {FileState.VERIFIED: 3}
        assert CRAB in world.lake.collections[RUN].contents
        assert list(inbox.iterdir()) == []

    def test_one_whose_replica_has_vanished_stays(self, world: World, inbox: Path) -> None:
        world.run()
        del world.lake.files[CRAB].replicas["LAPP-FAST"]
        world.lake.files[SIBLING].replicas["PIC-DCACHE"].state = ReplicaState.BAD
        free(world)
        world.run()
        assert sorted(path.name for path in inbox.iterdir()) == sorted(NAMES[:2])
        assert failure_codes(world) == dict.fromkeys(NAMES[:2], "replica-missing")

    def test_one_that_cannot_be_looked_at_holds_up_no_other(
        self, world: World, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.run()
        free(world)
        with monkeypatch.context() as patch:
            blind(patch, NAMES[0])
            world.run()
        assert [path.name for path in inbox.iterdir()] == [NAMES[0]]
        assert failure_codes(world) == {NAMES[0]: "source-unreadable"}
        world.run()
        assert {record.source for record in world.files()} == {SourceCopy.FREED}

    def test_whether_one_is_there_is_asked_of_that_file_alone(
        self, world: World, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.run()
        free(world)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", killed)
            with pytest.raises(Crash):
                world.run()
        # Files whose removal was begun, and their datasets are erased meanwhile.
        world.lake.files.clear()
        world.lake.collections.clear()
        world.lake.rules.clear()
        for known in world.lake.rses.values():
            known.bytes.clear()
        with monkeypatch.context() as patch:
            blind(patch, NAMES[0])
            world.plan()
            world.run()
        assert failure_codes(world) == {NAMES[0]: "source-unreadable"}
        world.run()
        assert failure_codes(world) == {}
        assert {record.source for record in world.files()} == {SourceCopy.FREED}

    def test_a_link_is_not_taken_for_one(self, world: World, inbox: Path) -> None:
        for name in NAMES[1:]:
            (inbox / name).rename(world.folder / name)
            (inbox / name).symlink_to(world.folder / name)
        free(world)
        outcome = world.run()
        assert of_outcome(outcome) is ExitCode.FILES_FAILED
        assert world.states() == {NAMES[0]: "VERIFIED"}
        assert sorted(path.name for path in inbox.iterdir()) == list(NAMES[1:])

    def test_only_what_makes_room_counts_as_room(self, world: World, inbox: Path) -> None:
        used = sum(path.stat().st_size for path in inbox.iterdir())
        # Removed, it is there still: its room is had by the next one.
        os.link(inbox / NAMES[0], world.folder / "also")
        marks = {"high": 0.9, "low": 0.7, "capacity": used}
        world.changes["source"] = {**world.changes["source"], "free": True, "watermark": marks}
        world.run()
        assert [path.name for path in inbox.iterdir()] == [NAMES[2]]
        assert world.broken() == []

    def test_one_that_cannot_be_removed_holds_up_no_other(
        self, world: World, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.run()
        free(world)
        remove = Path.unlink

        def unlink(path: Path, **options: Any) -> None:
            if path == inbox / NAMES[0]:
                raise PermissionError(13, "Permission denied")
            remove(path, **options)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", unlink)
            with pytest.raises(StorageRefused, match=NAMES[0]):
                world.run()
        assert [path.name for path in inbox.iterdir()] == [NAMES[0]]
        world.run()
        assert {record.source for record in world.files()} == {SourceCopy.FREED}

    def test_they_go_after_a_kill_in_the_middle_of_their_removal(
        self, world: World, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.run()
        free(world)
        remove = Path.unlink

        def unlink(path: Path, **options: Any) -> None:
            if path == inbox / NAMES[1]:
                raise Crash
            remove(path, **options)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", unlink)
            with pytest.raises(Crash):
                world.run()
        assert sorted(path.name for path in inbox.iterdir()) == sorted(NAMES[1:])
        # What may have gone is on record as that.
        assert {record.source for record in world.files()} == {SourceCopy.FREEING}
        world.run()
        assert list(inbox.iterdir()) == []
        assert {record.source for record in world.files()} == {SourceCopy.FREED}
        assert world.broken() == []

    def test_none_lies_in_the_folder_of_our_work(self, world: World, inbox: Path) -> None:
        inside = world.folder / "out" / "read-back"
        telescope_files(inside)
        for path in (inside, world.folder, world.folder / "out"):
            world.changes["source"] = {"kind": "directory", "path": str(path)}
            with pytest.raises(UsageError, match="one in the other"):
                world.run()
        assert world.lake.scopes == {}

    def test_what_others_keep_among_our_copies_stays(self, world: World, inbox: Path) -> None:
        theirs = [
            world.folder / "out" / "read-back" / "notes.txt",
            world.folder / "out" / "read-back" / "PIC-DCACHE" / "thesis.root",
        ]
        left_over = theirs[1].with_name(NAMES[0])
        for path in (*theirs, left_over):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("years of work")
        world.run()
        assert [path for path in theirs if not path.exists()] == []
        assert not left_over.exists()


class TestWhatOthersHave:
    """Replicas, rules and files that were in the lake before us, or came meanwhile."""

    def register(self, world: World, did: DID, content: bytes, state: ReplicaState) -> None:
        """Somebody else's replica at the upload RSE."""
        world.lake.scopes[did.scope] = world.lake.account
        path = world.folder / "theirs"
        path.write_bytes(content)
        world.storage.put("PIC-INJECT", path, did)
        world.catalogue.add_files("PIC-INJECT", [NewFile(did, measured(content))])
        world.lake.replica(did, "PIC-INJECT").state = state

    @pytest.mark.parametrize("state", [s for s in ReplicaState if s is not ReplicaState.AVAILABLE])
    def test_a_replica_that_somebody_is_at_is_left_alone(
        self, world: World, inbox: Path, state: ReplicaState
    ) -> None:
        content = (inbox / NAMES[0]).read_bytes()
        self.register(world, CRAB, content, state)
        world.lake.rses["PIC-INJECT"].bytes[world.lake.replica(CRAB, "PIC-INJECT").pfn] = b"half"
        world.run()
        assert failure_codes(world) == {NAMES[0]: "replica-state"}
        (crab,) = [r for r in world.files() if r.did == CRAB]
        assert crab.failure is not None
        assert str(state) in crab.failure.reason
        assert world.lake.content(CRAB, "PIC-INJECT") == b"half"
        assert world.lake.replica(CRAB, "PIC-INJECT").state is state
        # When it is done, the same command goes on.
        world.lake.replica(CRAB, "PIC-INJECT").state = ReplicaState.AVAILABLE
        world.lake.rses["PIC-INJECT"].bytes[world.lake.replica(CRAB, "PIC-INJECT").pfn] = content
        assert dict(world.run().by_state) == {FileState.VERIFIED: 3}

    def test_a_file_that_nobody_registered_is_not_overwritten(
        self, world: World, inbox: Path
    ) -> None:
        path = world.folder / "theirs"
        path.write_bytes(b"nobody knows whose")
        pfn = world.storage.put("PIC-INJECT", path, CRAB).pfn
        for _ in range(2):
            world.run()
            assert failure_codes(world) == {NAMES[0]: "place-taken"}
            assert world.lake.content(CRAB, "PIC-INJECT") == b"nobody knows whose"
        world.storage.remove("PIC-INJECT", pfn)
        assert dict(world.run().by_state) == {FileState.VERIFIED: 3}

    def test_the_same_bytes_that_nobody_registered_are_taken(
        self, world: World, inbox: Path
    ) -> None:
        """An upload of ours whose answer was lost looks like this, too."""
        world.storage.put("PIC-INJECT", inbox / NAMES[0], CRAB)
        assert dict(world.run().by_state) == {FileState.VERIFIED: 3}

    def test_an_upload_that_failed_overwrites_nothing_later(
        self, world: World, inbox: Path
    ) -> None:
        world.lake.rses["PIC-INJECT"].offline = True
        world.run()
        assert set(failure_codes(world).values()) == {"storage-unavailable"}
        world.lake.rses["PIC-INJECT"].offline = False
        path = world.folder / "theirs"
        path.write_bytes(b"nobody knows whose")
        world.storage.put("PIC-INJECT", path, CRAB)
        world.run()
        assert failure_codes(world) == {NAMES[0]: "place-taken"}
        assert world.lake.content(CRAB, "PIC-INJECT") == b"nobody knows whose"

    def test_what_a_killed_upload_left_is_taken(self, world: World, inbox: Path) -> None:
        stop_after(world, "put", 2)
        assert dict(world.run().by_state) == {FileState.VERIFIED: 3}
        assert world.facts(f.FileFailed) == []

    def test_what_came_while_we_were_dead_is_not_overwritten(
        self, world: World, inbox: Path
    ) -> None:
        """An upload shows its final name when it is whole: what has other bytes is not ours."""
        stop_after(world, "find")
        self.test_a_file_that_nobody_registered_is_not_overwritten(world, inbox)

    def test_one_that_was_registered_meanwhile_is_taken_as_it_is(
        self, world: World, inbox: Path
    ) -> None:
        """Between our first look and our upload somebody else brings the same file."""
        stop_after(world, "find")
        self.register(world, CRAB, (inbox / NAMES[0]).read_bytes(), ReplicaState.AVAILABLE)
        world.run()
        (crab,) = [record for record in world.files() if record.did == CRAB]
        assert (crab.state, crab.adopted) == (FileState.VERIFIED, True)

    def test_replicas_that_were_there_do_not_end(self, world: World, inbox: Path) -> None:
        self.register(world, CRAB, (inbox / NAMES[0]).read_bytes(), ReplicaState.AVAILABLE)
        world.changes["end"] = END
        outcome = world.run()
        assert "before this campaign" in outcome.kept[RUN]
        assert world.states()[NAMES[2]] == "GONE"
        assert world.lake.content(CRAB, "PIC-INJECT") is not None

    def test_rules_that_were_there_do_not_end(self, world: World, inbox: Path) -> None:
        world.lake.scopes[SCOPE] = world.lake.account
        world.catalogue.add_collections({RUN: DIDType.DATASET})
        theirs = world.catalogue.add_rules([RUN], RuleRequest("QOS=FAST"), world.lake.account)[RUN]
        world.changes["end"] = END
        outcome = world.run()
        assert "rules that were there" in outcome.kept[RUN]
        assert world.lake.rules[theirs].expires_at is None
        assert world.states()[NAMES[2]] == "GONE"

    @pytest.mark.parametrize("number", range(1, 5))
    def test_rules_that_were_there_are_not_ours_after_a_crash(
        self, world: World, inbox: Path, number: int
    ) -> None:
        world.lake.scopes[SCOPE] = world.lake.account
        world.catalogue.add_collections({RUN: DIDType.DATASET})
        request = RuleRequest("QOS=FAST")
        theirs = world.catalogue.add_rules([RUN], request, world.lake.account)[RUN]
        world.changes["end"] = END
        stop_after(world, "add_rules", number)
        assert "rules that were there" in world.run().kept[RUN]
        assert world.lake.rules[theirs].expires_at is None

    def test_a_rule_made_by_hand_where_ours_was_refused_is_not_ours(
        self, world: World, inbox: Path
    ) -> None:
        asked = world.catalogue.add_rules

        def add_rules(dids: Sequence[DID], request: RuleRequest, account: str) -> Mapping[DID, str]:
            if request.rse_expression == "QOS=FAST":
                raise QuotaExceeded("account magic has no quota left")
            return asked(dids, request, account)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world.catalogue, "add_rules", add_rules)
            world.run()
        request = RuleRequest("QOS=FAST")
        theirs = world.catalogue.add_rules([RUN], request, world.lake.account)[RUN]
        world.changes["end"] = END
        assert "rules that were there" in world.run().kept[RUN]
        assert world.lake.rules[theirs].expires_at is None

    @pytest.mark.parametrize("number", range(1, 5))
    def test_rules_whose_answer_was_lost_are_ours(self, world: World, number: int) -> None:
        stop_after(world, "add_rules", number)
        world.run()
        world.assert_all_is_gone()

    def test_metadata_of_what_was_there_stays(self, world: World, inbox: Path) -> None:
        self.register(world, CRAB, (inbox / NAMES[0]).read_bytes(), ReplicaState.AVAILABLE)
        world.lake.files[CRAB].metadata["night"] = "theirs"
        world.run()
        assert world.lake.files[CRAB].metadata == {"night": "theirs"}
        assert world.lake.files[SIBLING].metadata["night"] == "2020_02_03"


class TestWhatVanished:
    """Somebody takes away what was proved; the others go on, and what can be brought is."""

    def test_a_cycle_that_had_ended_is_open_again(self, world: World, inbox: Path) -> None:
        ended = []
        for hangs in (False, True, False):
            world.lake.rses["LAPP-FAST"].hangs = hangs
            world.run()
            ended.append(world.shelf.pages.ended)
            if not hangs:
                self.erase(world, RUN)
                del world.lake.files[CRAB].replicas["LAPP-FAST"]
        assert ended == [True, False, True]

    def test_a_file_that_rucio_has_not_evaluated_is_told(
        self, world: World, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        forget_locks(monkeypatch, CRAB)
        outcome = world.run()
        (waiting,) = outcome.waiting
        assert waiting.did == CRAB
        assert "has no lock for it" in str(waiting.waits_for)
        assert {view.state for view in outcome.not_ok} == set()

    def test_a_dataset_that_ended_though_the_answer_was_lost(
        self, world: World, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expire = MemoryCatalogue.expire_collection

        def lost(self: MemoryCatalogue, collection: DID, lifetime: int) -> None:
            expire(self, collection, lifetime)
            world.clock.advance(60)
            expire(self, collection, lifetime)

        monkeypatch.setattr(MemoryCatalogue, "expire_collection", lost)
        world.changes["end"] = END
        assert dict(world.run().by_state) == {FileState.GONE: 3}
        assert world.lake.collections == {}

    def test_locks_seen_in_the_middle_of_a_change_are_looked_at_again(
        self, world: World, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The rules say the same before and after."""
        locks, looks = MemoryCatalogue.locks, [0]

        def first_replicating(self: MemoryCatalogue, rule_id: str) -> Sequence[Lock]:
            looks[0] += 1
            state = LockState.REPLICATING if looks[0] == 1 else LockState.OK
            return [replace(lock, state=state) for lock in locks(self, rule_id)]

        monkeypatch.setattr(MemoryCatalogue, "locks", first_replicating)
        assert dict(world.run().by_state) == {FileState.VERIFIED: 3}

    def test_a_file_that_was_reaped_before_it_had_a_rule(self, world: World, inbox: Path) -> None:
        world.lake.scopes[SCOPE] = world.lake.account
        for did, name in ((CRAB, NAMES[0]), (SIBLING, NAMES[1])):
            world.storage.put("PIC-INJECT", inbox / name, did)
            known = NewFile(did, measured((inbox / name).read_bytes()))
            world.catalogue.add_files("PIC-INJECT", [known])
        stop_after(world, "add_collections")
        assert sorted(world.states().values())[1:] == ["REGISTERED", "REGISTERED"]
        world.lake.files.pop(CRAB)
        world.lake.rses["PIC-INJECT"].bytes.clear()
        world.lake.files[SIBLING].replicas.clear()
        assert dict(world.run().by_state) == {FileState.VERIFIED: 3}
        back = {fact.did: fact.state for fact in world.facts(f.FileSetBack)}
        assert (back[CRAB], back[SIBLING]) == (FileState.MEASURED, FileState.MEASURED)
        assert world.broken() == []

    def test_an_upload_that_was_cleaned_away(self, world: World, inbox: Path) -> None:
        stop_after(world, "place_files")
        # As if the call had never come: only the bytes are there, and then they are not.
        world.lake.files.clear()
        world.lake.collections[RUN].contents.clear()
        del world.lake.rses["PIC-INJECT"].bytes[f"memory://PIC-INJECT/{SCOPE}/{NAMES[0]}"]
        torn = f"memory://PIC-INJECT/{SCOPE}/{NAMES[1]}"
        world.lake.rses["PIC-INJECT"].bytes[torn] = b"torn by a power cut"
        assert dict(world.run().by_state) == {FileState.VERIFIED: 3}
        assert len(world.facts(f.FileSetBack)) == 2
        assert world.lake.content(SIBLING, "PIC-INJECT") == (inbox / NAMES[1]).read_bytes()

    def test_a_dataset_that_was_erased(self, world: World, inbox: Path) -> None:
        world.lake.rses["LAPP-FAST"].hangs = True
        world.run()
        self.erase(world, RUN)
        world.lake.heal("LAPP-FAST")
        assert dict(world.run().by_state) == {FileState.VERIFIED: 3}
        assert set(world.lake.collections[RUN].contents) == {CRAB, SIBLING}
        assert world.broken() == []

    def test_a_dataset_that_was_erased_after_it_was_verified(
        self, world: World, inbox: Path
    ) -> None:
        world.run()
        self.erase(world, RUN)
        assert dict(world.run().by_state) == {FileState.VERIFIED: 3}
        assert len([fact for fact in world.facts(f.FileVerified) if fact.did == CRAB]) == 2

    def test_a_file_that_is_nowhere_any_more_is_told(self, world: World, inbox: Path) -> None:
        free(world)
        world.run()
        self.erase(world, RUN)
        world.lake.files.pop(CRAB)
        world.run()
        assert failure_codes(world) == {NAMES[0]: "replica-missing"}
        assert world.states()[NAMES[1]] == "VERIFIED"

    def erase(self, world: World, dataset: DID) -> None:
        """Somebody erases a dataset; its rules go with it, and the replicas stay for now."""
        del world.lake.collections[dataset]
        world.lake.rules = {k: r for k, r in world.lake.rules.items() if r.did != dataset}

    def test_a_dataset_that_is_refused_holds_up_no_other(self, world: World, inbox: Path) -> None:
        world.lake.scopes[SCOPE] = world.lake.account
        world.catalogue.add_collections({RUN: DIDType.CONTAINER})
        outcome = world.run()
        assert failure_codes(world) == dict.fromkeys(NAMES[:2], "catalogue-refused")
        assert world.states()[NAMES[2]] == "VERIFIED"
        assert outcome.failed

    def test_a_dataset_that_vanishes_before_its_end(self, world: World, inbox: Path) -> None:
        world.run()
        world.changes["end"] = END
        find = world.catalogue.contents

        def contents(collection: DID) -> tuple[DID, ...]:
            return find(DID(SCOPE, "no such dataset") if collection == RUN else collection)

        world.catalogue.contents = contents  # type: ignore[method-assign]
        outcome = world.run()
        assert "not in the catalogue" in outcome.kept[RUN]
        assert world.states()[NAMES[2]] == "GONE"

    def test_a_file_that_was_taken_out_of_its_dataset(self, world: World, inbox: Path) -> None:
        world.lake.daemons_run = False
        world.run()
        del world.lake.collections[RUN].contents[CRAB]
        world.lake.daemons_run = True
        assert dict(world.run().by_state) == {FileState.VERIFIED: 3}
        (back,) = world.facts(f.FileSetBack)
        assert (back.did, back.state) == (CRAB, FileState.REGISTERED)

    def test_one_rse_that_takes_no_rule_keeps_no_other_from_its_files(
        self, world: World, inbox: Path
    ) -> None:
        """As Rucio answers for an RSE that is blocked for writing."""
        asked = world.catalogue.add_rules

        def add_rules(dids: Sequence[DID], request: RuleRequest, account: str) -> Mapping[DID, str]:
            if request.rse_expression == "PIC-DCACHE":
                raise CatalogueRefused("RSE PIC-DCACHE is blocked for writing")
            return asked(dids, request, account)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world.catalogue, "add_rules", add_rules)
            world.run()
        assert failure_codes(world) == dict.fromkeys(NAMES, "catalogue-refused")
        for _ in range(2):
            world.clock.advance(1)
        brought = {rse for rse in HOLDERS if world.lake.content(CRAB, rse)}
        assert brought == {*HOLDERS} - {"PIC-DCACHE"}
        assert dict(world.run().by_state) == {FileState.VERIFIED: 3}

    def test_a_rule_dropped_from_the_campaign_and_deleted(self, world: World) -> None:
        world.lake.rses["LAPP-FAST"].hangs = True
        world.run()
        world.changes["rules"] = [{"rse_expression": e} for e in ("PIC-DCACHE", "INFN-NA-DPM")]
        for rule_id, rule in list(world.lake.rules.items()):
            if rule.request.rse_expression == "QOS=FAST":
                rule.purge = True
                end_rule_now(world.lake, rule_id)
        assert dict(world.run().by_state) == {FileState.GONE: 2}

    def test_a_rule_that_vanishes_is_told_and_not_waited_for(self, world: World) -> None:
        world.lake.rses["LAPP-FAST"].hangs = True
        vanish_at = world.clock.monotonic() + 5

        def vanish() -> None:
            if world.clock.monotonic() >= vanish_at:
                world.lake.rules = {
                    key: rule
                    for key, rule in world.lake.rules.items()
                    if rule.request.rse_expression != "QOS=FAST"
                }

        world.clock.on_passing(vanish)
        outcome = world.run()
        assert world.clock.monotonic() < vanish_at + 30
        assert all("asks for it again" in str(r.waits_for) for r in outcome.waiting)
        assert len(outcome.waiting) == 2

    def test_a_rule_that_finds_no_quota_tells_its_files(self, world: World) -> None:
        # Room for the rule as it is asked for, on the empty dataset, and none for the files.
        world.changes["rules"] = [{"rse_expression": "QOS=FAST"}]
        asked = world.catalogue.add_rules

        def add_rules(dids: Sequence[DID], request: RuleRequest, account: str) -> Mapping[DID, str]:
            made = asked(dids, request, account)
            world.lake.rses["LAPP-FAST"].limits["magic"] = 1
            return made

        world.catalogue.add_rules = add_rules  # type: ignore[method-assign]
        outcome = world.run()
        assert len(outcome.waiting) == 2
        assert all("quota" in str(record.waits_for) for record in outcome.waiting)


def test_a_bad_replica_that_rucio_makes_elsewhere(world: World, inbox: Path) -> None:
    """The rule may move the copy: what is read back is where the locks are now."""
    world.changes["rules"] = [{"rse_expression": "LAPP-FAST|INFN-NA-DPM"}]
    stop_after(world, "locks", 2)
    (rse,) = {rse for rse in ("LAPP-FAST", "INFN-NA-DPM") if world.lake.content(CRAB, rse)}
    other = next(o for o in ("LAPP-FAST", "INFN-NA-DPM") if o != rse)
    world.lake.corrupt(CRAB, rse)
    world.run()
    assert failure_codes(world) == {NAMES[0]: "checksum-mismatch"}
    for rule in world.lake.rules.values():
        if (lock := rule.locks.pop((CRAB, rse), None)) is not None:
            rule.locks[CRAB, other] = lock
    world.lake.files[CRAB].replicas[other] = world.lake.files[CRAB].replicas.pop(rse)
    world.lake.files[CRAB].replicas[other].pfn = f"memory://{other}/{SCOPE}/{CRAB.name}"
    content = (inbox / CRAB.name).read_bytes()
    world.lake.rses[other].bytes[f"memory://{other}/{SCOPE}/{CRAB.name}"] = content
    world.run()
    (crab,) = [record for record in world.files() if record.did == CRAB]
    assert (crab.state, set(crab.replicas)) == (FileState.VERIFIED, {"PIC-INJECT", other})


class TestWhatTheCrashMachineFound:
    """Each found by `tests/property/test_crash_machine.py`, or while it was written."""

    @pytest.fixture
    def inbox(self, inbox: Path) -> Path:
        """One real file."""
        for name in NAMES[1:]:
            (inbox / name).unlink()
        return inbox

    def until_upload_begun(self, world: World) -> None:
        """Kill one run after the other until the intent to upload is on record."""
        while not (world.files() and world.files()[0].upload_begun_at):
            stop_after(world, "told")

    def test_a_removal_that_is_not_on_record_is_one(self, world: World, inbox: Path) -> None:
        world.run()
        free(world)
        remove = Path.unlink

        def unlink(path: Path, *, missing_ok: bool = False) -> None:
            remove(path, missing_ok=missing_ok)
            if path.parent == inbox:
                raise Crash("just after the removal")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "unlink", unlink)
            with pytest.raises(Crash):
                world.run()
        world.changes["source"] = {**world.changes["source"], "free": False}
        world.changes["end"] = END
        assert "only copies" in world.run().kept[RUN]
        assert world.lake.content(CRAB, "PIC-DCACHE")
        world.changes["end"] = None
        free(world)
        world.run()
        assert [record.source for record in world.files()] == [SourceCopy.FREED]

    def test_what_was_proved_by_an_earlier_run_is_read_again(
        self, world: World, inbox: Path
    ) -> None:
        world.run()
        world.clock.advance(86_400)
        for rse in HOLDERS:
            world.lake.corrupt(CRAB, rse)
        free(world)
        world.run()
        assert (inbox / NAMES[0]).exists()
        assert failure_codes(world) == {NAMES[0]: "checksum-mismatch"}

    def test_a_rule_that_is_added_is_waited_for(self, world: World, inbox: Path) -> None:
        world.changes["rules"] = [{"rse_expression": "PIC-DCACHE"}]
        world.run()
        free(world)
        both = [{"rse_expression": e} for e in ("PIC-DCACHE", "INFN-NA-DPM")]
        world.changes["rules"] = both
        world.lake.rses["INFN-NA-DPM"].hangs = True
        world.run()
        assert (inbox / NAMES[0]).exists()
        world.lake.heal("INFN-NA-DPM")
        world.run()
        assert not (inbox / NAMES[0]).exists()
        assert {*world.files()[0].replicas} == {"PIC-INJECT", "PIC-DCACHE", "INFN-NA-DPM"}

    @pytest.mark.parametrize("calls", [1, 2])
    def test_a_rule_that_is_added_is_waited_for_after_a_crash(
        self, world: World, inbox: Path, calls: int
    ) -> None:
        world.changes["rules"] = [{"rse_expression": "PIC-DCACHE"}]
        world.run()
        more = ("PIC-DCACHE", "INFN-NA-DPM", "QOS=FAST")
        world.changes["rules"] = [{"rse_expression": e} for e in more]
        stop_after(world, "add_rules", calls)
        world.run()
        assert {*world.files()[0].replicas} == {*HOLDERS}

    def test_bytes_of_others_are_seen_before_an_upload_is_begun(
        self, world: World, inbox: Path
    ) -> None:
        theirs = world.folder / "theirs"
        theirs.write_bytes(b"nobody knows whose")
        world.storage.put("PIC-INJECT", theirs, CRAB)
        for number in range(1, 40):
            world.lake.crash_after(number)
            with contextlib.suppress(Crash):
                world.run()
            world.lake.no_crash()
            assert world.lake.content(CRAB, "PIC-INJECT") == b"nobody knows whose"
        assert failure_codes(world) == {NAMES[0]: "place-taken"}

    def test_a_replica_of_others_that_came_after_a_crash_does_not_end(
        self, world: World, inbox: Path
    ) -> None:
        content = (inbox / NAMES[0]).read_bytes()
        self.until_upload_begun(world)
        world.storage.put("PIC-INJECT", inbox / NAMES[0], CRAB)
        world.catalogue.add_files("PIC-INJECT", [NewFile(CRAB, measured(content))])
        world.changes["end"] = END
        world.run()
        assert world.lake.content(CRAB, "PIC-INJECT") == content

    def test_a_file_whose_source_is_gone_is_tried_again(self, world: World, inbox: Path) -> None:
        world.lake.rses["LAPP-FAST"].offline = True
        world.run()
        world.lake.rses["LAPP-FAST"].offline = False
        (inbox / NAMES[0]).unlink()
        world.run()
        assert world.states() == {NAMES[0]: "VERIFIED"}

    def test_a_file_is_not_gone_while_a_forgotten_replica_is_there(
        self, world: World, inbox: Path
    ) -> None:
        world.run()
        del world.lake.collections[RUN]
        world.lake.rules.clear()
        world.changes |= {"end": END, "rules": [{"rse_expression": "PIC-DCACHE"}]}
        outcome = world.run()
        assert CRAB in world.lake.files
        assert [record.did for record in outcome.still_there] == [CRAB]

    def test_a_late_file_of_an_ended_dataset_has_its_rules_kept(
        self, world: World, inbox: Path
    ) -> None:
        world.changes["end"] = END
        world.run()
        world.changes["end"] = None
        telescope_files(inbox, NAMES[1:2])
        world.lake.rses["LAPP-FAST"].hangs = True
        world.run()
        for rule_id, rule in list(world.lake.rules.items()):
            if rule.request.rse_expression == "QOS=FAST":
                end_rule_now(world.lake, rule_id)
        world.lake.heal("LAPP-FAST")
        world.run()
        assert world.states() == {NAMES[0]: "GONE", NAMES[1]: "VERIFIED"}
        assert world.lake.content(SIBLING, "LAPP-FAST")
