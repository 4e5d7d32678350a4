"""A campaign from its files to their end, on the in-memory lake."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from tests.injection_world import HOLDERS, NAMES, SCOPE, World, telescope_files

from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID, DIDType
from rucio_inject.domain.errors import (
    CatalogueUnavailable,
    QuotaExceeded,
    SignInFailed,
    UsageError,
)
from rucio_inject.domain.injection import FileState, SourceCopy
from rucio_inject.domain.rule import RuleState
from rucio_inject.ledger.export import write_seed
from rucio_inject.ledger.seed_json import by_dataset
from rucio_inject.monitor.series import Series
from rucio_inject.ports import NewFile
from rucio_inject.testing.contracts.world import measured

CRAB = DID(SCOPE, NAMES[0])
SIBLING = DID(SCOPE, NAMES[1])
OTHER_RUN = DID(SCOPE, NAMES[2])


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def inbox(world: World) -> Path:
    """Real files, and a campaign that takes them."""
    folder = world.folder / "inbox"
    telescope_files(folder)
    world.changes["source"] = {"kind": "directory", "path": str(folder)}
    return folder


def register(world: World, did: DID, content: bytes, rse: str = "PIC-INJECT") -> None:
    """Somebody else's file in the lake."""
    world.lake.scopes[did.scope] = world.lake.account
    path = world.folder / "theirs"
    path.write_bytes(content)
    world.storage.put(rse, path, did)
    world.catalogue.add_files(rse, [NewFile(did, measured(content))])


def test_a_campaign_comes_to_its_end(world: World) -> None:
    outcome = world.run()
    assert dict(outcome.by_state) == {FileState.GONE: 2}
    assert (outcome.changed, outcome.skipped, list(outcome.still_there)) == (True, 0, [])
    world.assert_all_is_gone()
    assert {fact.rse for fact in world.facts(f.ReplicaRead)} == set(HOLDERS)
    assert all(not rule.adopted for rule in world.facts(f.RuleMade))


def test_the_same_again_changes_nothing(world: World) -> None:
    world.run()
    pages, calls = world.shelf.pages, world.lake.registrations[:]
    outcome = world.run()
    assert not outcome.changed
    assert world.shelf.pages == pages
    assert world.lake.registrations == calls
    told = world.witnesses[-1].facts
    assert [fact for fact in told if not isinstance(fact, f.RSECounted)] == []


@pytest.mark.parametrize(("listed", "files"), [("rse", 1), ("scope", 0), ("off", None)])
def test_as_much_of_a_storage_is_listed_as_the_campaign_says(
    world: World, listed: str, files: int | None
) -> None:
    register(world, DID("others", "a.root"), b"not ours", rse="PIC-DCACHE")
    world.changes["monitor"] = {"interval": 3600, "storage": listed}
    world.run()
    last = {count.rse: count for count in Series(world.folder / "out" / "counts.jsonl").read()}
    stored = last["PIC-DCACHE"].storage
    assert (stored.files if stored else None) == files


def test_a_new_cycle_has_new_files(world: World) -> None:
    world.run()
    first = {record.did for record in world.files()}
    outcome = world.run(new_cycle=True)
    assert outcome.cycle == 2
    assert dict(outcome.by_state) == {FileState.GONE: 2}
    assert first.isdisjoint(record.did for record in world.files())
    world.assert_all_is_gone()


def test_a_new_cycle_waits_for_the_last_one_to_end(world: World) -> None:
    world.lake.rses["LAPP-FAST"].hangs = True
    assert world.run(new_cycle=True).cycle == 1
    world.lake.heal("LAPP-FAST")
    outcome = world.run(new_cycle=True)
    assert outcome.cycle == 1
    assert dict(outcome.by_state) == {FileState.GONE: 2}


def test_without_an_end_everything_stays(world: World) -> None:
    world.changes["end"] = None
    outcome = world.run()
    assert dict(outcome.by_state) == {FileState.VERIFIED: 2}
    assert len(world.lake.files) == 2
    assert {rule.state() for rule in world.lake.rules.values()} == {RuleState.OK}
    assert not world.run().changed


def test_real_files_stay_at_their_source(world: World, inbox: Path) -> None:
    outcome = world.run()
    assert dict(outcome.by_state) == {FileState.GONE: 3}
    assert {record.source for record in world.files()} == {SourceCopy.KEPT}
    assert sorted(path.name for path in inbox.iterdir()) == sorted(NAMES)


def test_real_files_are_freed_when_asked_for(world: World, inbox: Path) -> None:
    world.changes |= {"end": None}
    world.changes["source"]["free"] = True
    world.run()
    assert {record.source for record in world.files()} == {SourceCopy.FREED}
    assert list(inbox.iterdir()) == []
    assert world.broken() == []
    assert all(world.lake.content(CRAB, rse) for rse in HOLDERS)


def test_a_drained_inbox_is_nothing_to_do(world: World, inbox: Path) -> None:
    world.changes |= {"end": None}
    world.changes["source"]["free"] = True
    world.run()
    outcome = world.run()
    assert not outcome.changed
    assert dict(outcome.by_state) == {FileState.VERIFIED: 3}


def test_a_late_file_goes_the_same_way(world: World, inbox: Path) -> None:
    world.run()
    late = "20200203_M1_05089063.003_Y_CrabNebula-W0.40_035.root"
    telescope_files(inbox, [late])
    outcome = world.run()
    assert outcome.cycle == 1
    assert dict(outcome.by_state) == {FileState.GONE: 4}
    assert len(world.lake.registrations) == 4
    assert (world.lake.files, world.lake.rules, world.lake.collections) == ({}, {}, {})
    assert world.broken() == []


def test_names_that_do_not_parse_are_skipped(world: World, inbox: Path) -> None:
    (inbox / "notes.txt").write_text("no data")
    outcome = world.run()
    assert outcome.skipped == 1
    assert dict(outcome.by_state) == {FileState.GONE: 3}


def test_a_name_that_is_no_text_is_skipped(world: World, inbox: Path) -> None:
    (inbox / b"\xff\xfe.root".decode("utf-8", "surrogateescape")).write_bytes(b"x")
    outcome = world.run()
    assert outcome.skipped == 1
    assert dict(outcome.by_state) == {FileState.GONE: 3}


def test_a_listing_gives_up_no_file_that_it_did_not_make(world: World) -> None:
    precious = world.folder / "precious" / NAMES[0]
    telescope_files(precious.parent, NAMES[:1])
    listing = world.folder / "names.txt"
    listing.write_text(f"/{precious}\n")
    payload = {"kind": "raw", "size": 10}
    world.changes["source"] = {"kind": "listing", "path": str(listing), "payload": payload}
    world.run()
    assert precious.exists()


def test_siblings_of_one_name_are_told_apart(world: World, inbox: Path) -> None:
    telescope_files(inbox / "copy", NAMES[:1])
    outcome = world.run()
    assert outcome.skipped == 1
    (skipped,) = world.facts(f.NameSkipped)
    assert NAMES[0] in skipped.reason
    assert dict(outcome.by_state) == {FileState.GONE: 3}


class TestWhatIsThereAlready:
    """Ask Rucio before anything is written."""

    def test_the_same_content_is_not_uploaded_again(self, world: World, inbox: Path) -> None:
        register(world, CRAB, (inbox / NAMES[0]).read_bytes())
        world.changes["end"] = None
        outcome = world.run()
        assert dict(outcome.by_state) == {FileState.VERIFIED: 3}
        (crab,) = [record for record in world.files() if record.did == CRAB]
        assert (crab.adopted, crab.uploaded_at) == (True, None)
        assert world.lake.registrations.count(CRAB) == 1

    def test_other_content_is_refused_and_untouched(self, world: World, inbox: Path) -> None:
        register(world, CRAB, b"somebody else's")
        outcome = world.run()
        assert world.states()[CRAB.name] == "QUARANTINED"
        assert world.states()[OTHER_RUN.name] == "GONE"
        (failed,) = outcome.failed
        assert failed.failure is not None
        assert failed.failure.code == "conflict"
        assert "md5" in failed.failure.reason
        assert world.lake.content(CRAB, "PIC-INJECT") == b"somebody else's"
        assert set(world.lake.files[CRAB].replicas) == {"PIC-INJECT"}

    def test_other_content_does_not_hold_up_its_siblings(self, world: World, inbox: Path) -> None:
        register(world, CRAB, b"somebody else's")
        world.run()
        assert world.states()[SIBLING.name] == "GONE"

    def test_content_elsewhere_is_still_brought(self, world: World, inbox: Path) -> None:
        register(world, CRAB, (inbox / NAMES[0]).read_bytes(), rse="PIC-DCACHE")
        world.changes["end"] = None
        outcome = world.run()
        assert dict(outcome.by_state) == {FileState.VERIFIED: 3}
        assert set(world.lake.files[CRAB].replicas) == set(HOLDERS)

    def test_a_dataset_of_a_files_name_holds_up_nobody_else(
        self, world: World, inbox: Path
    ) -> None:
        world.lake.scopes[SCOPE] = world.lake.account
        world.catalogue.add_collections({CRAB: DIDType.DATASET})
        outcome = world.run()
        assert world.states()[OTHER_RUN.name] == "GONE"
        assert [record.did for record in outcome.failed] == [CRAB]

    def test_a_stranger_in_a_dataset_keeps_its_rules(self, world: World, inbox: Path) -> None:
        stranger, run = DID(SCOPE, "stranger"), DID(SCOPE, "05089063")
        register(world, stranger, b"not ours")
        world.catalogue.add_collections({run: DIDType.DATASET})
        world.catalogue.attach({run: [stranger]})
        outcome = world.run()
        assert list(outcome.kept) == [run]
        assert "1 file" in outcome.kept[run]
        assert world.states() == {NAMES[0]: "VERIFIED", NAMES[1]: "VERIFIED", NAMES[2]: "GONE"}
        assert [v.expires_at for v in world.catalogue.rules([run], "magic")] == [None] * 4
        assert set(world.lake.files[stranger].replicas) == set(HOLDERS)

    def test_a_dataset_that_was_there_does_not_end(self, world: World, inbox: Path) -> None:
        run = DID(SCOPE, "05089063")
        world.lake.scopes[SCOPE] = world.lake.account
        world.catalogue.add_collections({run: DIDType.DATASET})
        outcome = world.run()
        assert dict(outcome.by_state) == {FileState.GONE: 3}
        assert run in world.lake.collections


class TestWhatGoesWrong:
    """One file's failure is its own, and nothing good is given up because of it."""

    def test_a_corrupt_replica(self, world: World, inbox: Path) -> None:
        self.stop_before_access(world)
        world.lake.corrupt(CRAB, "LAPP-FAST")
        outcome = world.run()
        assert world.states() == {
            NAMES[0]: "QUARANTINED",
            NAMES[1]: "VERIFIED",
            NAMES[2]: "GONE",
        }
        (failed,) = outcome.failed
        assert failed.failure is not None
        assert failed.failure.code == "checksum-mismatch"
        assert "LAPP-FAST" in failed.failure.reason
        run = DID(SCOPE, "05089063")
        assert [v.expires_at for v in world.catalogue.rules([run], "magic")] == [None] * 4
        assert list(outcome.kept) == [run]

    def test_a_corrupt_replica_is_mended_and_goes_on(self, world: World, inbox: Path) -> None:
        self.stop_before_access(world)
        world.lake.corrupt(CRAB, "LAPP-FAST")
        world.run()
        world.lake.declare_bad(CRAB, "LAPP-FAST")
        world.clock.advance(1)
        outcome = world.run()
        assert dict(outcome.by_state) == {FileState.GONE: 3}
        assert world.broken() == []

    def test_a_replica_deleted_behind_the_back(self, world: World, inbox: Path) -> None:
        self.stop_before_access(world)
        world.lake.lose(CRAB, "PIC-DCACHE")
        (failed,) = world.run().failed
        assert failed.did == CRAB
        assert failed.failure is not None
        assert failed.failure.code == "replica-missing"
        assert world.states()[OTHER_RUN.name] == "GONE"

    def stop_before_access(self, world: World) -> None:
        """Run until everything is replicated, with nothing read back."""
        offline = [world.lake.rses[rse] for rse in HOLDERS]
        world.changes["replication"] = {"deadline": "1s"}
        world.lake.daemons_run = False
        world.run()
        assert set(world.states().values()) == {"REPLICATING"}
        world.lake.daemons_run = True
        world.clock.advance(1)
        world.clock.advance(1)
        world.changes["replication"] = {"deadline": "60s"}
        assert all(not rse.offline for rse in offline)

    def test_a_stuck_rule_is_told_file_by_file_then_heals(self, world: World) -> None:
        world.lake.rses["LAPP-FAST"].fails_transfers = "TRANSFER [110] timeout"
        began = world.clock.monotonic()
        outcome = world.run()
        assert world.clock.monotonic() - began == pytest.approx(60, abs=1)
        assert dict(outcome.by_state) == {FileState.REPLICATING: 2}
        assert [rule.state for rule in outcome.not_ok] == [RuleState.STUCK]
        waits = [record.waits_for for record in outcome.waiting]
        assert waits == ["LAPP-FAST: TRANSFER [110] timeout"] * 2
        assert all(rule.expires_at is None for rule in world.lake.rules.values())
        world.lake.heal("LAPP-FAST")
        world.run()
        world.assert_all_is_gone()

    def test_a_rule_that_flaps_is_neither_believed_nor_given_up(self, world: World) -> None:
        """STUCK, REPLICATING, STUCK …, as Rucio's repairer and a bad link make it (issue 8743)."""
        turns = 0

        def flap() -> None:
            nonlocal turns
            turns += 1
            rse = world.lake.rses["LAPP-FAST"]
            if turns % 2 == 0 and rse.fails_transfers:
                world.lake.heal("LAPP-FAST")
                rse.fails_transfers = "TRANSFER [110] timeout" if turns < 8 else None

        world.clock.on_passing(flap)
        world.lake.rses["LAPP-FAST"].fails_transfers = "TRANSFER [110] timeout"
        outcome = world.run()
        assert dict(outcome.by_state) == {FileState.GONE: 2}
        states = [
            fact.view.state
            for fact in world.facts(f.RuleChanged)
            if fact.view.rse_expression == "QOS=FAST"
        ]
        assert states.count(RuleState.STUCK) > 1
        assert len(world.facts(f.FileWaits)) == 2
        world.assert_all_is_gone()

    def test_one_bad_rse_holds_up_its_dataset_only(self, world: World, inbox: Path) -> None:
        world.lake.rses["PIC-INJECT"].refuses_writes = True
        outcome = world.run()
        assert {r.failure.code for r in outcome.failed if r.failure} == {"storage-refused"}
        assert world.lake.files == {}
        world.lake.rses["PIC-INJECT"].refuses_writes = False
        assert dict(world.run().by_state) == {FileState.GONE: 3}

    def test_a_rule_deleted_behind_the_back_is_asked_for_again(self, world: World) -> None:
        world.lake.rses["LAPP-FAST"].hangs = True
        world.run()
        (fast,) = [k for k, r in world.lake.rules.items() if r.request.rse_expression == "QOS=FAST"]
        del world.lake.rules[fast]
        world.lake.heal("LAPP-FAST")
        world.run()
        world.assert_all_is_gone()
        assert fast in {fact.rule_id for fact in world.facts(f.RuleGone)}
        assert len(world.facts(f.RuleMade)) == 5

    def test_bytes_that_the_reaper_could_not_delete(self, world: World) -> None:
        world.lake.rses["PIC-DCACHE"].refuses_deletion = True
        outcome = world.run()
        assert len(outcome.still_there) == 2
        assert dict(outcome.by_state) == {FileState.EXPIRING: 2}
        world.lake.rses["PIC-DCACHE"].bytes.clear()
        world.run()
        world.assert_all_is_gone()

    def test_a_lake_that_is_down_stops_the_run(self, world: World) -> None:
        world.lake.down = "connection refused"
        with pytest.raises(CatalogueUnavailable):
            world.run()
        world.lake.down = None
        world.run()
        world.assert_all_is_gone()

    def test_a_lake_that_does_not_know_us(self, world: World) -> None:
        world.lake.signed_in = False
        with pytest.raises(SignInFailed):
            world.run()
        assert world.lake.scopes == {}

    def test_no_quota_and_nothing_is_touched(self, world: World) -> None:
        world.lake.rses["LAPP-FAST"].limits["magic"] = 100
        with pytest.raises(QuotaExceeded, match="LAPP-FAST: 100 bytes"):
            world.run()
        assert world.lake.files == {}
        assert all(known.bytes == {} for known in world.lake.rses.values())
        world.lake.rses["LAPP-FAST"].limits["magic"] = 200
        world.run()
        world.assert_all_is_gone()

    def test_a_quota_lowered_meanwhile_does_not_hold_up_the_end(self, world: World) -> None:
        world.lake.rses["LAPP-FAST"].hangs = True
        world.run()
        world.lake.heal("LAPP-FAST")
        world.lake.rses["PIC-DCACHE"].limits["magic"] = 1
        world.run()
        world.assert_all_is_gone()

    def test_an_output_folder_that_cannot_be_made(self, world: World) -> None:
        (world.folder / "file").write_text("")
        world.changes |= {
            "output": str(world.folder / "file" / "out"),
            "ledger": str(world.folder / "ledger.json"),
        }
        with pytest.raises(UsageError, match="output folder"):
            world.run()


def test_the_ledger_of_2020_tells_the_story(world: World) -> None:
    world.run()
    written = io.StringIO()
    with world.ledger() as ledger:
        write_seed(written, ledger.files(), by_dataset(ledger.rules()))
    seed = json.loads(written.getvalue())
    assert set(seed) == {record.did.name for record in world.files()}
    for entry in seed.values():
        assert entry["Scope"] == SCOPE
        places = entry["Replicated"]
        assert set(places) == {"Local", "QOS=FAST", *HOLDERS}
        md5 = places["Local"]["checksum"]
        assert {places[rse]["checksum"] for rse in HOLDERS} == {md5}
        assert set(places["QOS=FAST"]) == {"registered"}
