"""Real data from an origin that fills up, or that is an RSE."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.injection_world import HOLDERS, NAMES, SCOPE, World, blind, telescope_files

from rucio_inject.cli.exit_codes import ExitCode, of_outcome
from rucio_inject.domain import facts as f
from rucio_inject.domain.checksum import Announced
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError, QuotaExceeded, UsageError
from rucio_inject.domain.injection import FileState, SourceCopy
from rucio_inject.domain.story import advance, begin_file
from rucio_inject.plan import Fate
from rucio_inject.ports import NewFile, SourceFile, Stored, StoredFile
from rucio_inject.sources.at_rse import RseSource, listed
from rucio_inject.testing.contracts.world import measured
from rucio_inject.testing.fake_clock import START
from rucio_inject.testing.memory_lake import Crash
from rucio_inject.testing.memory_storage import MemoryStorage

DIDS = [DID(SCOPE, name) for name in NAMES]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, {"end": None})


@pytest.fixture
def inbox(world: World) -> Path:
    """An origin, in which a file is complete when its checksum is there."""
    folder = world.folder / "inbox"
    folder.mkdir()
    source = {"kind": "inbox", "path": str(folder), "complete": {"stable": None}}
    world.changes["source"] = source
    return folder


def arrive(folder: Path, name: str, content: bytes, announced: bytes | None = None) -> Path:
    """A file arrives with its checksum."""
    path = folder / name
    path.write_bytes(content)
    digest = hashlib.md5(content if announced is None else announced).hexdigest()
    path.with_name(name + ".md5").write_text(f"{digest}  {name}\n")
    return path


class TestInbox:
    """Files are taken as they become complete."""

    def test_an_empty_origin_is_no_mistake(self, world: World, inbox: Path) -> None:
        outcome = world.run()
        assert of_outcome(outcome) is ExitCode.DONE
        assert world.files() == []

    def test_files_come_one_after_another(self, world: World, inbox: Path) -> None:
        arrive(inbox, NAMES[0], b"first")
        (inbox / NAMES[1]).write_bytes(b"half of the sec")
        outcome = world.run()
        assert world.states() == {NAMES[0]: "VERIFIED"}
        assert [left.where for left in outcome.not_yet] == [str(inbox / NAMES[1])]
        assert of_outcome(outcome) is ExitCode.DONE
        arrive(inbox, NAMES[1], b"half of the second and the rest")
        world.run()
        assert world.states() == {NAMES[0]: "VERIFIED", NAMES[1]: "VERIFIED"}
        assert not world.run().changed
        assert world.broken() == []

    def test_a_file_that_is_not_what_came_with_it_is_not_taken(
        self, world: World, inbox: Path
    ) -> None:
        arrive(inbox, NAMES[0], b"truncat", announced=b"truncated on its way")
        arrive(inbox, NAMES[1], b"whole")
        outcome = world.run()
        assert of_outcome(outcome) is ExitCode.CHECKSUM
        assert world.states() == {NAMES[0]: "QUARANTINED", NAMES[1]: "VERIFIED"}
        assert DIDS[0] not in world.lake.files
        assert world.lake.content(DIDS[0], "PIC-INJECT") is None
        assert (inbox / NAMES[0]).read_bytes() == b"truncat"
        # So whoever gives it up may forget it.
        (left,) = world.facts(f.UploadLeftNothing)
        assert (left.did, left.rse) == (DIDS[0], "PIC-INJECT")

    def test_what_others_have_made_a_replica_is_left_there(
        self, world: World, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arrive(inbox, NAMES[0], b"truncat", announced=b"truncated on its way")
        put = world.storage.put

        def registered(rse: str, path: Path, did: DID) -> Stored:
            stored = put(rse, path, did)
            world.catalogue.add_files(rse, [NewFile(did, stored.measure)])
            return stored

        monkeypatch.setattr(world.storage, "put", registered)
        world.run()
        assert world.states() == {NAMES[0]: "QUARANTINED"}
        assert world.lake.content(DIDS[0], "PIC-INJECT") == b"truncat"
        assert world.facts(f.UploadLeftNothing) == []

    def test_a_storage_that_is_away_does_not_hide_what_is_wrong_with_a_file(
        self, world: World, inbox: Path
    ) -> None:
        path = arrive(inbox, NAMES[0], b"first")
        world.lake.rses["PIC-INJECT"].offline = True
        world.run()
        path.unlink()
        world.run()
        assert [r.failure and r.failure.code for r in world.files()] == ["source-unreadable"]
        assert world.facts(f.UploadLeftNothing) == []

    def test_a_file_that_is_sent_again_goes_on(self, world: World, inbox: Path) -> None:
        arrive(inbox, NAMES[0], b"truncat", announced=b"truncated on its way")
        world.run()
        arrive(inbox, NAMES[0], b"sent again, and made anew")
        outcome = world.run()
        assert of_outcome(outcome) is ExitCode.DONE
        assert world.states() == {NAMES[0]: "VERIFIED"}
        assert len(world.facts(f.FileAnnounced)) == 1

    def test_a_file_that_is_written_anew_is_told_and_not_taken(
        self, world: World, inbox: Path
    ) -> None:
        path = arrive(inbox, NAMES[0], b"first")
        world.run()
        arrive(inbox, NAMES[0], b"another")
        late = START.timestamp() + 86400
        os.utime(path, (late, late))
        outcome = world.run()
        assert of_outcome(outcome) is ExitCode.FILES_FAILED
        (told,) = world.facts(f.NameSkipped)
        assert "was written anew" in told.reason
        assert world.lake.files[DIDS[0]].measure == measured(b"first")

    @pytest.mark.parametrize("kind", ["inbox", "directory", "paths"])
    def test_one_that_grows_is_told_whatever_the_clock_of_its_server(
        self, world: World, inbox: Path, kind: str
    ) -> None:
        source = {"kind": kind, "path": str(inbox)}
        if kind == "paths":
            source["list"] = str(world.folder / "list.txt")
            Path(source["list"]).write_text(f"{NAMES[0]}\n")
        world.changes["source"] = source
        # A server that is 90 seconds behind calls what it wrote this second as old as that.
        behind = world.clock.now().timestamp() - 90
        (inbox / NAMES[0]).write_bytes(b"first half, ")
        os.utime(inbox / NAMES[0], (behind, behind))
        world.run()
        assert world.states() == {NAMES[0]: "VERIFIED"}
        with (inbox / NAMES[0]).open("ab") as file:
            file.write(b"second half")
        os.utime(inbox / NAMES[0], (behind, behind))
        assert of_outcome(world.run()) is ExitCode.FILES_FAILED
        (told,) = world.facts(f.NameSkipped)
        assert "written anew" in told.reason
        assert "size: 12 != 23" in told.reason

    def test_a_file_that_is_only_touched_is_the_same(self, world: World, inbox: Path) -> None:
        path = arrive(inbox, NAMES[0], b"first")
        world.run()
        late = START.timestamp() + 86400
        os.utime(path, (late, late))
        assert not world.run().changed

    def test_one_name_twice(self, world: World, inbox: Path) -> None:
        for night in ("one", "two"):
            (inbox / night).mkdir()
            arrive(inbox / night, NAMES[0], night.encode())
        outcome = world.run()
        assert of_outcome(outcome) is ExitCode.FILES_FAILED
        assert world.lake.files[DIDS[0]].measure == measured(b"one")
        (told,) = world.facts(f.NameSkipped)
        assert told.path == str(inbox / "two" / NAMES[0])

    def test_a_file_that_vanishes_is_set_aside(self, world: World, inbox: Path) -> None:
        arrive(inbox, NAMES[0], b"first")
        world.lake.rses["PIC-INJECT"].refuses_writes = True
        world.run()
        (inbox / NAMES[0]).unlink()
        world.lake.rses["PIC-INJECT"].refuses_writes = False
        world.run()
        (record,) = world.files()
        assert record.failure is not None
        assert record.failure.code == "source-unreadable"
        assert record.nothing_left_at is not None

    def test_links_are_told_with_exit_code_3(self, world: World, inbox: Path) -> None:
        (inbox / NAMES[0]).symlink_to("/etc/passwd")
        assert of_outcome(world.run()) is ExitCode.FILES_FAILED
        assert world.lake.files == {}

    @pytest.mark.parametrize("kind", ["inbox", "directory", "paths"])
    def test_a_file_that_cannot_be_looked_at_holds_up_no_other(
        self, world: World, inbox: Path, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        telescope_files(inbox)
        if kind == "inbox":
            for name in NAMES:
                arrive(inbox, name, b"events")
        else:
            source = {"kind": kind, "path": str(inbox)}
            if kind == "paths":
                source["list"] = str(world.folder / "list.txt")
                Path(source["list"]).write_text("".join(f"{name}\n" for name in NAMES))
            world.changes["source"] = source
        with monkeypatch.context() as patch:
            blind(patch, NAMES[0])
            assert of_outcome(world.run()) is not ExitCode.DONE
        others = dict.fromkeys(NAMES[1:], "VERIFIED")
        assert {n: s for n, s in world.states().items() if n != NAMES[0]} == others
        assert of_outcome(world.run()) is ExitCode.DONE
        assert world.states() == dict.fromkeys(NAMES, "VERIFIED")

    def test_what_came_with_a_freed_file_goes_with_it(self, world: World, inbox: Path) -> None:
        complete = {"stable": None, "trigger": ".done"}
        world.changes["source"] |= {"free": True, "complete": complete}
        arrive(inbox, NAMES[0], b"first")
        others = [f"{NAMES[0]}.log", f"{NAMES[1]}.md5", f"{NAMES[1]}.done"]
        for name in (f"{NAMES[0]}.done", *others):
            (inbox / name).touch()
        (inbox / "MD5SUMS").write_text(f"{measured(b'first').md5}  {NAMES[0]}\n")
        world.run()
        assert {path.name for path in inbox.iterdir()} == {*others, "MD5SUMS"}
        assert not world.run().changed
        assert world.broken() == []

    def test_it_stays_with_a_file_that_is_not_freed(self, world: World, inbox: Path) -> None:
        world.changes["source"] |= {"free": True}
        arrive(inbox, NAMES[0], b"truncat", announced=b"truncated on its way")
        world.run()
        assert {path.name for path in inbox.iterdir()} == {NAMES[0], f"{NAMES[0]}.md5"}

    def test_it_goes_in_the_next_run_if_this_one_is_killed(
        self, world: World, inbox: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.changes["source"] |= {"free": True}
        path = arrive(inbox, NAMES[0], b"first")
        unlink = Path.unlink

        def killed(self: Path, *, missing_ok: bool = False) -> None:
            if self.suffix == ".md5":
                raise Crash
            unlink(self, missing_ok=missing_ok)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", killed)
            with pytest.raises(Crash):
                world.run()
        assert not path.exists()
        assert path.with_name(f"{NAMES[0]}.md5").exists()
        assert [record.source for record in world.files()] == [SourceCopy.FREEING]
        world.run()
        assert list(inbox.iterdir()) == []
        assert [record.source for record in world.files()] == [SourceCopy.FREED]


class TestSentAgain:
    """A file under the name of one whose source was freed."""

    @pytest.fixture
    def freed(self, world: World, inbox: Path) -> Path:
        """Where the source was."""
        world.changes["source"] = {**world.changes["source"], "free": True}
        arrive(inbox, NAMES[0], b"first")
        world.run()
        assert not (inbox / NAMES[0]).exists()
        return inbox / NAMES[0]

    @pytest.mark.parametrize("kind", ["inbox", "directory"])
    def test_other_bytes_are_told_each_time_and_stay(
        self, world: World, freed: Path, kind: str
    ) -> None:
        if kind == "directory":
            source = {"kind": kind, "path": str(freed.parent), "pattern": "*.root", "free": True}
            world.changes["source"] = source
        arrive(freed.parent, freed.name, b"other")
        # Whoever sent it has kept its time.
        os.utime(freed, (0, 0))
        for number in (1, 2):
            outcome = world.run()
            assert outcome.skipped == 1
            assert of_outcome(outcome) is ExitCode.FILES_FAILED
            told = world.facts(f.NameSkipped)
            assert [fact.code for fact in told] == ["source-changed"] * number
            assert freed.read_bytes() == b"other"
        assert told[0].hint is not None
        assert world.states() == {NAMES[0]: "VERIFIED"}
        assert world.lake.files[DIDS[0]].measure == measured(b"first")

    def test_the_same_bytes_are_freed_again(self, world: World, freed: Path) -> None:
        arrive(freed.parent, freed.name, b"first")
        assert of_outcome(world.run()) is ExitCode.DONE
        assert not freed.exists()
        assert len(world.facts(f.SourceSentAgain)) == 1
        assert [record.source for record in world.files()] == [SourceCopy.FREED]
        assert not world.run().changed
        assert world.broken() == []

    def test_the_same_bytes_bring_a_lost_file_back(self, world: World, freed: Path) -> None:
        del world.lake.files[DIDS[0]]
        world.lake.collections.clear()
        world.lake.rules.clear()
        world.run()
        assert world.states() == {NAMES[0]: "QUARANTINED"}
        arrive(freed.parent, freed.name, b"first")
        world.run()
        assert world.states() == {NAMES[0]: "VERIFIED"}

    def test_one_that_cannot_be_looked_at_is_told(
        self, world: World, freed: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = {"kind": "directory", "path": str(freed.parent), "pattern": "*.root", "free": True}
        world.changes["source"] = source
        arrive(freed.parent, freed.name, b"first")
        with monkeypatch.context() as patch:
            blind(patch, freed.name)
            assert of_outcome(world.run()) is ExitCode.FILES_FAILED
        (told,) = world.facts(f.NameSkipped)
        assert told.code == "source-unreadable"
        assert world.states() == {NAMES[0]: "VERIFIED"}
        world.run()
        assert not freed.exists()

    def test_elsewhere_it_is_told(self, world: World, freed: Path) -> None:
        (freed.parent / "again").mkdir()
        arrive(freed.parent / "again", freed.name, b"first")
        assert of_outcome(world.run()) is ExitCode.FILES_FAILED
        (told,) = world.facts(f.NameSkipped)
        assert str(freed) in told.reason
        assert [record.source for record in world.files()] == [SourceCopy.FREED]

    def test_a_list_that_names_it_still_is_no_mistake(self, world: World, freed: Path) -> None:
        listing = world.folder / "list.txt"
        listing.write_text(f"{freed}\n")
        folder = str(freed.parent)
        source = {"kind": "paths", "list": str(listing), "path": folder, "free": True}
        world.changes["source"] = source
        outcome = world.run()
        assert of_outcome(outcome) is ExitCode.DONE
        assert not outcome.changed

    def test_only_what_was_freed_is_sent_again(self, world: World, freed: Path) -> None:
        (record,) = world.files()
        assert record.measure is not None
        again = f.SourceSentAgain(at=START, did=record.did, measure=record.measure)
        kept = advance(record, again)
        assert (kept.source, kept.freed_at) == (SourceCopy.KEPT, None)
        with pytest.raises(LedgerError, match="no source copy"):
            advance(kept, again)
        with pytest.raises(LedgerError, match="no source copy"):
            advance(record, replace(again, measure=measured(b"other")))


def test_no_file_is_measured_as_another_than_was_announced() -> None:
    found = f.FileFound(
        at=START,
        did=DIDS[0],
        path="/x",
        dataset=DIDS[1],
        containers=(),
        cycle=1,
        generated=False,
        announced=Announced(md5=measured(b"right").md5),
    )
    record = begin_file(found)
    wrong = f.FileMeasured(at=START, did=DIDS[0], measure=measured(b"wrong"))
    with pytest.raises(LedgerError, match="is not what came with it says"):
        advance(record, wrong)
    right = advance(record, f.FileMeasured(at=START, did=DIDS[0], measure=measured(b"right")))
    assert right.state is FileState.MEASURED
    with pytest.raises(LedgerError, match="was measured"):
        advance(right, f.FileAnnounced(at=START, did=DIDS[0], announced=None))


class TestOriginRSE:
    """Files are registered where they are."""

    @pytest.fixture
    def origin(self, world: World) -> dict[str, bytes]:
        """Files at the upload RSE, under names that Rucio would not give them."""
        world.changes["source"] = {"kind": "rse", "folder": "raw"}
        contents = {name: f"events of {name}".encode() for name in NAMES}
        for name, content in contents.items():
            world.lake.rses["PIC-INJECT"].bytes[f"memory://PIC-INJECT/raw/{name}"] = content
        return contents

    def test_they_are_registered_with_their_own_pfns(
        self, world: World, origin: dict[str, bytes]
    ) -> None:
        outcome = world.run()
        assert of_outcome(outcome) is ExitCode.DONE
        assert set(world.states().values()) == {"VERIFIED"}
        for did in DIDS:
            file = world.lake.files[did]
            assert file.replicas["PIC-INJECT"].pfn == f"memory://PIC-INJECT/raw/{did.name}"
            for rse in HOLDERS[:3]:
                assert world.lake.content(did, rse) == origin[did.name]
            # Nothing is uploaded.
            assert world.lake.content(did, "PIC-INJECT") is None
        assert not world.run().changed

    def test_the_record_has_what_the_storage_tells(
        self, world: World, origin: dict[str, bytes]
    ) -> None:
        world.run()
        for record in world.files():
            assert record.in_place
            assert record.measure is not None
            assert record.measure.md5 is None
            assert record.measure.adler32 == measured(origin[record.did.name]).adler32
        world.changes["source"] = {**world.changes["source"], "read": True}
        world.lake.rses["PIC-INJECT"].bytes["memory://PIC-INJECT/raw/new"] = b""

    def test_read_gives_the_md5_too(self, world: World, origin: dict[str, bytes]) -> None:
        world.changes["source"] = {**world.changes["source"], "read": True}
        world.run()
        for record in world.files():
            assert record.measure == measured(origin[record.did.name])

    def test_a_list_of_pfns(self, world: World, origin: dict[str, bytes]) -> None:
        listing = world.folder / "pfns.txt"
        listing.write_text(f"# tonight\nmemory://PIC-INJECT/raw/{NAMES[0]}\n")
        world.changes["source"] = {"kind": "rse", "pfns": str(listing)}
        world.run()
        assert world.states() == {NAMES[0]: "VERIFIED"}

    @pytest.mark.parametrize("line", ["no pfn", "/a/path", "memory://PIC-INJECT/raw/../x"])
    def test_a_list_of_other_things(
        self, world: World, origin: dict[str, bytes], line: str
    ) -> None:
        listing = world.folder / "pfns.txt"
        listing.write_text(line)
        world.changes["source"] = {"kind": "rse", "pfns": str(listing)}
        with pytest.raises(UsageError, match="is no PFN"):
            world.run()

    @pytest.mark.parametrize(
        "limits",
        [{"bytes_in_flight": 100}, {"per_rse": {"LAPP-FAST": {"bytes_in_flight": "1kB"}}}],
    )
    def test_a_list_of_pfns_and_a_limit_of_bytes(
        self, world: World, limits: dict[str, object]
    ) -> None:
        source = {"kind": "rse", "pfns": str(world.folder / "pfns.txt")}
        world.changes |= {"source": source, "limits": {"files_in_flight": 1}}
        assert world.campaign.limits.files_in_flight == 1
        world.changes["limits"] = limits
        with pytest.raises(ValidationError, match="a list of PFNs tells no sizes"):
            _ = world.campaign

    def test_their_listed_size_counts_before_they_are_measured(
        self, world: World, origin: dict[str, bytes]
    ) -> None:
        size = len(origin[NAMES[0]])
        world.changes["limits"] = {"bytes_in_flight": size}
        world.lake.rses["LAPP-FAST"].hangs = True
        assert world.run().held_back == 2
        states = Counter(world.states().values())
        assert states == {"REPLICATING": 1, "FOUND": 2}

    def test_there_is_no_room_for_what_is_listed(
        self, world: World, origin: dict[str, bytes]
    ) -> None:
        world.lake.rses["LAPP-FAST"].limits[world.lake.account] = 60
        with pytest.raises(QuotaExceeded, match="LAPP-FAST: 60 bytes"):
            world.run()
        assert world.lake.files == {}

    def test_there_is_no_room_for_what_a_list_names(
        self, world: World, origin: dict[str, bytes]
    ) -> None:
        """A list tells no sizes: the storage does."""
        listing = world.folder / "pfns.txt"
        listing.write_text("\n".join(f"memory://PIC-INJECT/raw/{name}" for name in NAMES))
        world.changes["source"] = {"kind": "rse", "pfns": str(listing)}
        plan = world.plan()
        content = sum(map(len, origin.values()))
        assert (plan.files.bytes[Fate.NEW], plan.files.unsized) == (content, 0)
        world.lake.rses["LAPP-FAST"].limits[world.lake.account] = content
        with pytest.raises(QuotaExceeded, match=f"LAPP-FAST: {content} bytes"):
            world.run()
        assert world.lake.files == {}

    def test_one_that_a_list_names_and_that_is_not_there_is_foreseen(
        self, world: World, origin: dict[str, bytes]
    ) -> None:
        listing = world.folder / "pfns.txt"
        listing.write_text(f"memory://PIC-INJECT/raw/{NAMES[0]}\nmemory://PIC-INJECT/{NAMES[1]}")
        world.changes["source"] = {"kind": "rse", "pfns": str(listing)}
        plan = world.plan()
        assert plan.files.count == {Fate.NEW: 1, Fate.ASIDE: 1}
        (aside,) = plan.files.aside
        assert aside.reason == f"memory://PIC-INJECT/{NAMES[1]} is not at PIC-INJECT"

    def test_one_that_has_grown_since_it_was_listed_waits(
        self, world: World, origin: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pfn = f"memory://PIC-INJECT/raw/{NAMES[0]}"
        held, checksum = world.lake.rses["PIC-INJECT"].bytes, MemoryStorage.checksum

        def grown(self: MemoryStorage, rse: str, where: str) -> StoredFile:
            held[pfn] = b"events, and more of them than before"
            return checksum(self, rse, where)

        with monkeypatch.context() as patch:
            held[pfn] = b"events"
            patch.setattr(MemoryStorage, "checksum", grown)
            outcome = world.run()
        assert of_outcome(outcome) is ExitCode.FILES_FAILED
        assert DIDS[0] not in world.lake.files
        (failed,) = outcome.failed
        assert failed.failure is not None
        assert failed.failure.code == "source-changed"
        assert "is not what was listed any more (size: 6 != 36)" in failed.failure.reason
        assert of_outcome(world.run()) is ExitCode.DONE
        assert world.lake.files[DIDS[0]].measure.size == 36

    def test_a_listing_is_not_held(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        drawn = []

        def many(_self: MemoryStorage, rse: str, _folder: str) -> Iterator[StoredFile]:
            for number in range(1000):
                drawn.append(number)
                yield StoredFile(f"memory://{rse}/raw/{number}.root", number)

        monkeypatch.setattr(MemoryStorage, "files_below", many)
        shown = listed(world.storage, world.clock, "PIC-INJECT", "raw", pattern="*", stable=0)
        offered = list(islice(RseSource(world.clock, shown).files(), 5))
        assert [file.announced for file in offered if isinstance(file, SourceFile)] == [
            Announced(size=number) for number in range(5)
        ]
        assert len(drawn) == 5

    def test_a_storage_that_cannot_be_listed(self, world: World, origin: dict[str, bytes]) -> None:
        world.lake.unlistable.add("PIC-INJECT")
        with pytest.raises(UsageError, match="cannot be listed"):
            world.run()

    def test_what_is_still_written_waits(self, world: World, origin: dict[str, bytes]) -> None:
        pfn = f"memory://PIC-INJECT/raw/{NAMES[0]}"
        world.storage.modified[pfn] = world.clock.now()
        outcome = world.run()
        assert [left.where for left in outcome.not_yet] == [pfn]
        assert NAMES[0] not in world.states()

    def test_one_that_vanished_is_set_aside(self, world: World, origin: dict[str, bytes]) -> None:
        listing = world.folder / "pfns.txt"
        listing.write_text(
            f"memory://PIC-INJECT/raw/{NAMES[0]}\nmemory://PIC-INJECT/raw/gone_{NAMES[1]}"
        )
        world.changes["source"] = {"kind": "rse", "pfns": str(listing)}
        del world.lake.rses["PIC-INJECT"].bytes[f"memory://PIC-INJECT/raw/{NAMES[0]}"]
        world.run()
        (record,) = world.files()
        assert record.failure is not None
        assert record.failure.code == "replica-missing"
        assert "is not at PIC-INJECT any more" in record.failure.reason

    def test_nothing_at_the_origin_is_ever_touched(
        self, world: World, origin: dict[str, bytes]
    ) -> None:
        before = dict(world.lake.rses["PIC-INJECT"].bytes)
        world.lake.crash_after(30)
        for _ in range(4):
            with contextlib.suppress(Crash):
                world.run()
            assert world.lake.rses["PIC-INJECT"].bytes == before
            world.lake.crash_after(60)
        world.lake.no_crash()
        world.run()
        assert set(world.states().values()) == {"VERIFIED"}
        assert {record.source for record in world.files()} == {SourceCopy.KEPT}
        assert world.broken() == []

    def test_a_campaign_cannot_end_what_was_there_before(
        self, world: World, origin: dict[str, bytes]
    ) -> None:
        world.run()
        world.changes["end"] = {"lifetime": "5s"}
        with pytest.raises(ValidationError, match="where they were before us"):
            world.run()
        record = world.files()[0]
        with pytest.raises(LedgerError, match="where it was before us"):
            advance(record, f.FileExpiring(at=START, did=record.did))

    def test_nor_can_one_that_names_another_source_by_now(
        self, world: World, origin: dict[str, bytes]
    ) -> None:
        world.run()
        before = dict(world.lake.rses["PIC-INJECT"].bytes)
        self.ends_what_is_here(world)
        with pytest.raises(UsageError, match=r"source\.kind has changed .* lie at an RSE"):
            world.run()
        assert all(rule.expires_at is None for rule in world.lake.rules.values())
        assert world.lake.rses["PIC-INJECT"].bytes == before

    def test_their_rules_are_kept_when_others_speak_for_the_campaign(
        self, world: World, origin: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Only examples are looked at to see that a campaign has changed."""
        world.run()
        before = dict(world.lake.rses["PIC-INJECT"].bytes)
        self.ends_what_is_here(world)
        monkeypatch.setattr("rucio_inject.api.refuse_changes", lambda *_: None)
        outcome = world.run()
        assert set(outcome.kept) == {record.dataset for record in world.files() if record.in_place}
        assert set(outcome.kept.values()) == {"it holds files that lie where they were before us"}
        assert all(world.lake.content(did, rse) for did in DIDS for rse in HOLDERS[:3])
        assert world.lake.rses["PIC-INJECT"].bytes == before

    def test_no_rule_is_ended_before_all_its_files_may_be(
        self, world: World, origin: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.run()
        self.ends_what_is_here(world)
        monkeypatch.setattr("rucio_inject.api.refuse_changes", lambda *_: None)
        monkeypatch.setattr("rucio_inject.steps.expire._not_ours", lambda *_: None)
        with pytest.raises(LedgerError, match="where it was before us"):
            world.run()
        assert world.facts(f.RuleEnding) == []
        assert all(world.lake.content(did, rse) for did in DIDS for rse in HOLDERS[:3])

    def ends_what_is_here(self, world: World) -> None:
        """The campaign takes other files, from a folder, by now, and has an end."""
        folder = world.folder / "inbox"
        telescope_files(folder, ["20200204_M1_05089070.001_Y_Mrk501-W0.40_035.root"])
        source = {"kind": "directory", "path": str(folder)}
        world.changes |= {"source": source, "end": {"lifetime": "5s", "deadline": "60s"}}


def test_paths_and_metadata_from_a_database(world: World) -> None:
    import sqlite3

    folder = world.folder / "data"
    contents = telescope_files(folder)
    with sqlite3.connect(world.folder / "runs.db") as database:
        database.execute("CREATE TABLE files (name TEXT, md5 TEXT, zenith INT)")
        rows = [(name, measured(content).md5, 20) for name, content in contents.items()]
        rows[2] = (NAMES[2], "0" * 32, 30)
        database.executemany("INSERT INTO files VALUES (?, ?, ?)", rows)
    database.close()
    world.changes["source"] = {
        "kind": "sql",
        "url": f"sqlite:///{world.folder}/runs.db",
        "query": "SELECT name AS path, md5, zenith FROM files WHERE zenith < :most",
        "parameters": {"most": 90},
        "path": str(folder),
    }
    outcome = world.run()
    assert of_outcome(outcome) is ExitCode.CHECKSUM
    assert world.states() == {NAMES[0]: "VERIFIED", NAMES[1]: "VERIFIED", NAMES[2]: "QUARANTINED"}
    assert world.lake.files[DIDS[0]].metadata["zenith"] == 20
