"""Everything that an audit must find, one thing at a time, and nothing where all is well."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.injection_world import HOLDERS, NAMES, SCOPE, World
from tests.unit.audit.bench import (
    CRAB,
    OTHER,
    OTHER_RUN,
    PARTIAL,
    RUN,
    SIBLING,
    Bench,
    add_stranger,
    left_behind,
    partial,
    rule_id,
    unmounted,
)

from rucio_inject.audit import findings as found
from rucio_inject.audit.findings import Kind, Repair
from rucio_inject.audit.world import Unseen
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import CatalogueRefused, StorageRefused, StorageUnavailable
from rucio_inject.domain.facts import SourceFreed
from rucio_inject.domain.injection import Failure, FileState
from rucio_inject.domain.replica import ReplicaState
from rucio_inject.domain.rule import LockState, RuleRequest
from rucio_inject.ports import NewFile
from rucio_inject.testing.contracts.world import measured
from rucio_inject.testing.lake_values import LakeReplica
from rucio_inject.testing.memory_daemons import end_rule_now, pfn_of
from rucio_inject.testing.memory_lake import Crash


def kinds(bench: Bench) -> dict[Kind, int]:
    """How many findings there are of each kind."""
    return dict(bench.report().counts)


class TestNothing:
    """Where all is well nothing is found, and nothing is ever changed by looking."""

    @pytest.mark.parametrize("checksums", [False, True])
    def test_after_a_campaign(self, bench: Bench, checksums: bool) -> None:
        bench.checksums = checksums
        report = bench.report()
        assert report.counts == {}
        assert (report.looked.files, report.looked.replicas) == (3, 3 * len(HOLDERS))
        assert report.looked.not_listed == ()
        assert not list((bench.world.folder / "out").glob("audit-*"))

    def test_before_a_campaign(self, tmp_path: Path) -> None:
        bench = Bench(World(tmp_path), tmp_path)
        assert bench.look() == []

    def test_after_the_end(self, tmp_path: Path) -> None:
        world = World(tmp_path)
        world.run()
        assert Bench(world, tmp_path).look() == []

    @pytest.mark.parametrize("doing", ["end_rule", "place_files", "attach", "add_rules"])
    def test_of_files_that_a_stopped_run_left(self, tmp_path: Path, doing: str) -> None:
        world = World(tmp_path)
        world.lake.crash_after(1, doing)
        with pytest.raises(Crash):
            world.run()
        world.lake.no_crash()
        left = Bench(world, tmp_path).look()
        assert {finding.repair for finding in left} <= {None}
        assert not {Kind.LOST, Kind.CORRUPT, Kind.CONTENT, Kind.MISSING} & {f.kind for f in left}

    def test_looking_changes_nothing(self, bench: Bench) -> None:
        bench.lake.lose(CRAB, "LAPP-FAST")
        stored, pages = bench.stored(), bench.world.shelf.pages
        rules = {key: replace(rule) for key, rule in bench.lake.rules.items()}
        bench.look()
        assert bench.stored() == stored
        assert bench.world.shelf.pages == pages
        assert bench.lake.rules == rules

    def test_memory_is_bounded(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(found, "KEPT", 1)
        for did, rse in zip((CRAB, SIBLING, OTHER_RUN), HOLDERS[:3], strict=True):
            bench.lake.lose(did, rse)
        report = bench.report()
        assert report.counts == {Kind.LOST: 3}
        assert len(report.kept[Kind.LOST]) == 1


class TestReplicas:
    """Catalogue against storage."""

    def test_lost(self, bench: Bench) -> None:
        bench.lake.lose(CRAB, "PIC-DCACHE")
        finding = bench.one(Kind.LOST)
        assert (finding.did, finding.rse) == (CRAB, "PIC-DCACHE")
        assert finding.pfn == pfn_of("PIC-DCACHE", CRAB)
        assert finding.repair is Repair.MARK_BAD

    def test_another_size(self, bench: Bench) -> None:
        bench.lake.rses["LAPP-FAST"].bytes[pfn_of("LAPP-FAST", CRAB)] += b"!"
        finding = bench.one(Kind.CORRUPT)
        assert (finding.did, finding.rse) == (CRAB, "LAPP-FAST")
        assert (finding.there, finding.expected) == ("63 B", "62 B (as injected)")

    def test_other_bytes_are_found_by_reading_only(self, bench: Bench) -> None:
        bench.lake.corrupt(CRAB, "LAPP-FAST")
        assert bench.look() == []
        bench.checksums = True
        finding = bench.one(Kind.CORRUPT)
        assert (finding.did, finding.rse) == (CRAB, "LAPP-FAST")
        measure = bench.world.shelf.pages.files[CRAB].measure
        content = bench.lake.content(CRAB, "LAPP-FAST")
        assert measure is not None
        assert content is not None
        other = measured(content)
        assert finding.there == f"adler32 {other.adler32}, md5 {other.md5}"
        expected = f"adler32 {measure.adler32}, md5 {measure.md5} (as injected)"
        assert finding.expected == expected

    def test_one_that_went_from_the_catalogue_meanwhile_is_not_lost(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.lake.lose(CRAB, "PIC-DCACHE")
        look_up, calls = bench.world.catalogue.look_up, []

        def then_bad(dids: list[DID]) -> object:
            calls.append(dids)
            known = look_up(dids)
            bench.lake.replica(CRAB, "PIC-DCACHE").state = ReplicaState.BAD
            return known

        monkeypatch.setattr(bench.world.catalogue, "look_up", then_bad)
        assert Kind.LOST not in kinds(bench)
        assert len(calls) > 1

    def test_a_lost_replica_of_others_is_named_only(self, bench: Bench) -> None:
        bench.lake.rses["ELSEWHERE"] = replace(bench.lake.rses["LAPP-FAST"], bytes={})
        bench.lake.files[CRAB].replicas["ELSEWHERE"] = LakeReplica(
            pfn_of("ELSEWHERE", CRAB), ReplicaState.AVAILABLE
        )
        finding = bench.one(Kind.LOST)
        assert (finding.rse, finding.repair) == ("ELSEWHERE", None)

    def test_a_replica_that_was_there_before_us_is_named_only(self, bench: Bench) -> None:
        bench.rewrite(CRAB, adopted=True)
        bench.lake.lose(CRAB, "PIC-INJECT")
        assert bench.one(Kind.LOST).repair is None
        bench.lake.lose(CRAB, "LAPP-FAST")
        repairs = {finding.rse: finding.repair for finding in bench.look()}
        assert repairs == {"PIC-INJECT": None, "LAPP-FAST": Repair.MARK_BAD}

    def test_one_of_a_file_that_a_run_goes_on_with_is_not_told(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.lake.lose(CRAB, "PIC-DCACHE")
        look_up = bench.world.catalogue.look_up

        def meanwhile(dids: list[DID]) -> object:
            bench.rewrite(CRAB, state=FileState.EXPIRING)
            return look_up(dids)

        monkeypatch.setattr(bench.world.catalogue, "look_up", meanwhile)
        assert bench.look() == []

    def test_the_last_replica_is_told_with_its_source(self, bench: Bench) -> None:
        for rse in HOLDERS:
            bench.lake.lose(CRAB, rse)
        lost = bench.look()
        assert len(lost) == len(HOLDERS)
        assert {finding.repair for finding in lost} == {None}
        assert str(bench.inbox / NAMES[0]) in str(lost[0].hint)

    def test_other_content(self, bench: Bench) -> None:
        bench.lake.files[CRAB].measure = measured(b"something else")
        contents = [f for f in bench.look() if f.kind is Kind.CONTENT]
        assert [finding.did for finding in contents] == [CRAB]
        there, expected = contents[0].there, contents[0].expected
        assert (there, expected) == ("14 B", "62 B (as injected)")
        assert contents[0].repair is None

    def test_a_replica_that_nobody_brings(self, bench: Bench) -> None:
        end_rule_now(bench.lake, rule_id(bench, RUN, "QOS=FAST"))
        bench.lake.replica(CRAB, "LAPP-FAST").state = ReplicaState.UNAVAILABLE
        half = [f for f in bench.look() if f.kind is Kind.HALF_DECLARED]
        assert [(finding.did, finding.rse) for finding in half] == [(CRAB, "LAPP-FAST")]
        assert "UNAVAILABLE" in half[0].there

    def test_one_of_others_that_the_reaper_takes(self, bench: Bench) -> None:
        bench.lake.rses["ELSEWHERE"] = replace(bench.lake.rses["LAPP-FAST"], bytes={})
        replica = LakeReplica(pfn_of("ELSEWHERE", CRAB), ReplicaState.BEING_DELETED)
        bench.lake.files[CRAB].replicas["ELSEWHERE"] = replica
        assert bench.look() == []

    def test_one_that_a_rule_brings_is_awaited(self, bench: Bench) -> None:
        bench.lake.declare_bad(CRAB, "LAPP-FAST")
        finding = bench.one(Kind.AWAITED)
        assert (finding.did, finding.rse) == (CRAB, "LAPP-FAST")
        assert f"a rule of {RUN} is bringing it" in finding.evidence
        bench.lake.clock.advance(1)
        assert bench.look() == []

    def test_one_that_a_stuck_rule_does_not_bring(self, bench: Bench) -> None:
        bench.lake.declare_bad(CRAB, "LAPP-FAST")
        stuck = bench.lake.rules[rule_id(bench, RUN, "QOS=FAST")].locks[CRAB, "LAPP-FAST"]
        stuck.state = LockState.STUCK
        (finding,) = (f for f in bench.look() if f.kind is Kind.AWAITED)
        assert "its lock is STUCK" in finding.evidence
        assert "mend the reason" in str(finding.hint)

    def test_a_lost_one_that_no_rule_holds(self, bench: Bench) -> None:
        """Rucio would delete it, and make none."""
        end_rule_now(bench.lake, rule_id(bench, RUN, "PIC-DCACHE"))
        bench.lake.lose(CRAB, "PIC-DCACHE")
        (finding,) = (f for f in bench.look() if f.kind is Kind.LOST)
        assert finding.repair is None
        assert "no rule of account magic holds it there" in str(finding.hint)

    def test_a_half_declared_one_in_the_way_of_an_upload(self, bench: Bench) -> None:
        name = "20200203_M1_05089063.003_Y_CrabNebula-W0.40_035.root"
        (bench.inbox / name).write_bytes(b"new")
        did = DID(SCOPE, name)
        bench.world.catalogue.add_files("PIC-INJECT", [NewFile(did, measured(b"new"))])
        bench.lake.replica(did, "PIC-INJECT").state = ReplicaState.COPYING
        bench.world.run()
        finding = bench.one(Kind.HALF_DECLARED)
        assert (finding.did, finding.rse) == (did, "PIC-INJECT")

    def test_a_replica_that_the_catalogue_has_forgotten(self, bench: Bench) -> None:
        del bench.lake.files[CRAB].replicas["PIC-INJECT"]
        finding = bench.one(Kind.MISSING)
        assert (finding.did, finding.rse) == (CRAB, "PIC-INJECT")
        assert finding.repair is Repair.REGISTER
        bench.rewrite(CRAB, adopted=True)
        assert bench.one(Kind.MISSING).repair is None
        bench.lake.rses["PIC-INJECT"].bytes.clear()
        gone = [f for f in bench.look() if f.kind is Kind.MISSING]
        assert [(f.did, f.repair) for f in gone] == [(CRAB, None)]

    def test_a_file_that_the_catalogue_has_forgotten(self, bench: Bench) -> None:
        del bench.lake.files[CRAB]
        missing = [f for f in bench.look() if f.kind is Kind.MISSING]
        assert {f.rse for f in missing} == set(HOLDERS)
        assert {f.there for f in missing} == {"not in the catalogue"}


class TestStorages:
    """What lies there and nobody knows."""

    def test_a_partial_file_of_ours(self, bench: Bench) -> None:
        pfn = partial(bench)
        finding = bench.one(Kind.DARK)
        assert (finding.pfn, finding.repair) == (pfn, Repair.REMOVE)

    def test_one_that_is_written_to(self, bench: Bench) -> None:
        partial(bench, hours=0.9)
        finding = bench.one(Kind.DARK)
        assert finding.repair is None
        assert "perhaps it goes on" in finding.there

    def test_one_whose_age_is_not_told(self, bench: Bench) -> None:
        partial(bench)
        bench.world.storage.modified.clear()
        assert bench.one(Kind.DARK).repair is None

    @pytest.mark.parametrize(
        "state", sorted(set(FileState) - {FileState.FOUND, FileState.MEASURED})
    )
    def test_one_of_a_file_whose_upload_has_ended(self, bench: Bench, state: FileState) -> None:
        """Another campaign may be storing the same DID."""
        pfn = partial(bench)
        bench.rewrite(CRAB, state=state)
        (finding,) = (f for f in bench.look() if f.pfn == pfn)
        assert finding.repair is None
        assert "ours perhaps" in finding.there

    def test_one_of_an_upload_that_failed(self, bench: Bench) -> None:
        pfn = partial(bench)
        failure = Failure("X", "no", None, FileState.MEASURED, bench.lake.clock.now())
        bench.rewrite(CRAB, state=FileState.QUARANTINED, failure=failure)
        assert bench.one(Kind.DARK).pfn == pfn
        assert bench.one(Kind.DARK).repair is Repair.REMOVE

    def test_odd_names_spoil_nothing(self, bench: Bench) -> None:
        stored = bench.lake.rses["PIC-INJECT"].bytes
        names = ["*", "semi;colon", "with space é", "li\nne", "back\\slash", "a?", "a#", "\udcff"]
        for name in names:
            stored[pfn_of("PIC-INJECT", DID(SCOPE, name))] = b"theirs"
        bench.lake.lose(CRAB, "LAPP-FAST")
        told = bench.look()
        assert [f.did for f in told if f.kind is Kind.LOST] == [CRAB]
        dark = [(f.did, f.repair) for f in told if f.kind is Kind.DARK]
        assert dark == [(None, None)] * len(names)

    def test_one_that_rucio_refuses_spoils_nothing(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = [f"notes{number}.txt" for number in range(5)]
        for name in names:
            bench.lake.rses["PIC-INJECT"].bytes[pfn_of("PIC-INJECT", DID(SCOPE, name))] = b"x"
        look_up = bench.world.catalogue.look_up

        def picky(dids: list[DID]) -> object:
            if DID(SCOPE, names[2]) in dids:
                raise CatalogueRefused("it does not match")
            return look_up(dids)

        monkeypatch.setattr(bench.world.catalogue, "look_up", picky)
        told = {f.did: f.evidence for f in bench.look()}
        assert set(told) == {DID(SCOPE, name) for name in names}
        refused = [did for did, evidence in told.items() if "it does not match" in evidence]
        assert refused == [DID(SCOPE, names[2])]

    @pytest.mark.parametrize(
        ("rse", "name"),
        [
            ("PIC-INJECT", "notes.txt"),
            ("PIC-INJECT", "notes.txt" + PARTIAL),
            # Nobody of ours uploads to there.
            ("LAPP-FAST", NAMES[0] + PARTIAL),
            # As the official client leaves it.
            ("PIC-INJECT", NAMES[0] + ".rucio.upload"),
        ],
    )
    def test_files_of_others(self, bench: Bench, rse: str, name: str) -> None:
        pfn = pfn_of(rse, DID(SCOPE, name))
        bench.lake.rses[rse].bytes[pfn] = b"theirs"
        finding = bench.one(Kind.DARK)
        assert (finding.pfn, finding.rse, finding.repair) == (pfn, rse, None)

    def test_files_of_another_scope_are_not_looked_at(self, bench: Bench) -> None:
        bench.lake.rses["PIC-INJECT"].bytes[pfn_of("PIC-INJECT", DID("cta", "x"))] = b"theirs"
        assert bench.look() == []

    def test_an_upload_that_a_stopped_run_left(self, tmp_path: Path) -> None:
        world = World(tmp_path)
        world.lake.crash_after(1, "put")
        with pytest.raises(Crash):
            world.run()
        world.lake.no_crash()
        left = Bench(world, tmp_path).look()
        assert {finding.kind for finding in left} == {Kind.DARK}
        assert {finding.repair for finding in left} == {None}
        assert all("run the campaign again" in str(finding.hint) for finding in left)

    def test_one_that_was_stopped_before_it_was_measured(self, bench: Bench) -> None:
        """It has its name, and nobody has heard of it."""
        bench.rewrite(CRAB, state=FileState.FOUND)
        del bench.lake.files[CRAB].replicas["PIC-INJECT"]
        (finding,) = (f for f in bench.look() if f.kind is Kind.DARK)
        assert "run the campaign again" in str(finding.hint)

    def test_what_a_reaper_left_of_ours(self, bench: Bench) -> None:
        left_behind(bench)
        dark = [f for f in bench.look() if f.kind is Kind.DARK and f.did == CRAB]
        ours = {finding.rse: finding.repair for finding in dark}
        # Only to there did we write ourselves.
        assert ours == dict.fromkeys(HOLDERS) | {"PIC-INJECT": Repair.REMOVE}

    def test_what_others_put_where_one_of_ours_ends(self, bench: Bench) -> None:
        left_behind(bench)
        bench.lake.rses["PIC-INJECT"].bytes[pfn_of("PIC-INJECT", CRAB)] = b"x" * 47
        (finding,) = (f for f in bench.look() if (f.did, f.rse) == (CRAB, "PIC-INJECT"))
        assert finding.repair is None
        assert "(47 B)" in finding.there

    def test_what_others_put_where_a_file_of_ours_was(self, tmp_path: Path) -> None:
        world = World(tmp_path)
        world.run()
        gone = world.files()[0].did
        world.lake.rses["PIC-INJECT"].bytes[pfn_of("PIC-INJECT", gone)] = b"theirs"
        assert Bench(world, tmp_path).one(Kind.DARK).repair is None

    def test_what_others_put_where_a_replica_of_ours_had_gone(self, bench: Bench) -> None:
        left_behind(bench)
        known = bench.world.shelf.pages.files[CRAB].replicas
        gone = replace(known["PIC-INJECT"], gone_at=bench.lake.clock.now())
        bench.rewrite(CRAB, replicas={**known, "PIC-INJECT": gone})
        (finding,) = (f for f in bench.look() if (f.did, f.rse) == (CRAB, "PIC-INJECT"))
        assert finding.repair is None

    def test_a_storage_that_cannot_be_listed_is_named(self, bench: Bench) -> None:
        bench.lake.unlistable.add("LAPP-FAST")
        report = bench.report()
        assert report.counts == {}
        assert report.looked.not_listed == ("LAPP-FAST",)

    @pytest.mark.parametrize("checksums", [False, True])
    def test_one_that_is_not_mounted_has_lost_nothing(self, bench: Bench, checksums: bool) -> None:
        unmounted(bench, "LAPP-FAST")
        bench.checksums = checksums
        finding = bench.one(Kind.UNSEEN)
        assert (finding.rse, finding.repair) == ("LAPP-FAST", None)
        assert finding.there == "3 places that could not be looked at"
        assert "is it mounted?" in finding.evidence

    def test_nor_one_that_is_asked_in_parts(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("rucio_inject.batches.batches.__defaults__", (1,))
        unmounted(bench, "LAPP-FAST")
        assert bench.one(Kind.UNSEEN).there.startswith("3 places")

    def test_one_that_shows_a_file_later_has_lost_the_others(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("rucio_inject.batches.batches.__defaults__", (1,))
        bench.lake.lose(CRAB, "LAPP-FAST")
        bench.lake.lose(SIBLING, "LAPP-FAST")
        assert kinds(bench) == {Kind.LOST: 2}

    @pytest.mark.parametrize("batch", [1, 500])
    def test_one_with_too_many_is_not_asked_any_more(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, batch: int
    ) -> None:
        monkeypatch.setattr("rucio_inject.batches.batches.__defaults__", (batch,))
        monkeypatch.setattr("rucio_inject.audit.absent.KEPT", 2)
        unmounted(bench, "LAPP-FAST")
        assert bench.one(Kind.UNSEEN).there.startswith("3 places")

    def test_the_only_file_of_one_is_not_repaired(self, bench: Bench) -> None:
        for did in (SIBLING, OTHER_RUN):
            del bench.lake.files[did].replicas["LAPP-FAST"]
            bench.lake.rses["LAPP-FAST"].bytes.pop(pfn_of("LAPP-FAST", did))
        bench.lake.lose(CRAB, "LAPP-FAST")
        (finding,) = (f for f in bench.look() if f.kind is Kind.LOST)
        assert finding.repair is None
        assert "is it mounted?" in str(finding.hint)

    def test_one_that_is_away_is_not_asked_again(self) -> None:
        unseen = Unseen()
        unseen.add("RSE", StorageRefused("not this one"))
        assert unseen.away("RSE") is None
        away = StorageUnavailable("no answer")
        unseen.add("RSE", away)
        unseen.add("RSE", StorageRefused("nor this one"))
        assert unseen.away("RSE") is away
        assert unseen.away("OTHER") is None

    def test_one_that_is_away_is_told_once(self, bench: Bench) -> None:
        bench.lake.rses["LAPP-FAST"].offline = True
        finding = bench.one(Kind.UNSEEN)
        assert finding.rse == "LAPP-FAST"
        # Three replicas and a listing.
        assert finding.there.startswith("4 places")


class TestCollectionsAndRules:
    """What is organised."""

    def test_a_file_out_of_its_dataset(self, bench: Bench) -> None:
        del bench.lake.collections[RUN].contents[CRAB]
        finding = bench.one(Kind.DATASET)
        assert (finding.did, finding.parent) == (CRAB, RUN)
        assert finding.repair is Repair.ATTACH

    def test_a_dataset_out_of_its_container(self, bench: Bench) -> None:
        inner = bench.world.files()[0].containers[-1]
        del bench.lake.collections[inner].contents[RUN]
        finding = bench.one(Kind.DATASET)
        assert (finding.did, finding.parent, finding.repair) == (RUN, inner, Repair.ATTACH)

    def test_a_container_out_of_the_one_around_it_is_told_once(self, bench: Bench) -> None:
        outer, inner = bench.world.files()[0].containers[:2]
        del bench.lake.collections[outer].contents[inner]
        finding = bench.one(Kind.DATASET)
        assert (finding.did, finding.parent) == (inner, outer)

    def test_a_dataset_that_is_gone(self, bench: Bench) -> None:
        del bench.lake.collections[RUN]
        gone = [f for f in bench.look() if f.kind is Kind.DATASET]
        assert RUN in {finding.did for finding in gone}
        assert {finding.repair for finding in gone} == {None}

    def test_a_closed_dataset(self, bench: Bench) -> None:
        bench.lake.closed.add(RUN)
        finding = bench.one(Kind.DATASET)
        assert (finding.did, finding.there) == (RUN, "a closed dataset")

    def test_strangers_in_a_dataset_of_ours(self, bench: Bench) -> None:
        stranger = add_stranger(bench)
        finding = bench.one(Kind.DATASET)
        assert finding.did == RUN
        assert str(stranger) in finding.evidence

    def test_strangers_in_a_dataset_of_others_are_at_home(self, bench: Bench) -> None:
        add_stranger(bench)
        bench.world.shelf.pages.collections[RUN] = False
        assert bench.look() == []

    def test_a_rule_that_is_gone(self, bench: Bench) -> None:
        gone = rule_id(bench, RUN, "PIC-DCACHE")
        end_rule_now(bench.lake, gone)
        finding = bench.one(Kind.RULE)
        assert (finding.rule_id, finding.did, finding.repair) == (gone, RUN, None)
        assert "run the campaign again" in str(finding.hint)

    def test_a_rule_with_an_end(self, bench: Bench) -> None:
        ends = rule_id(bench, RUN, "PIC-DCACHE")
        bench.lake.rules[ends].expires_at = bench.lake.clock.now() + timedelta(hours=1)
        finding = bench.one(Kind.RULE)
        assert (finding.rule_id, finding.repair) == (ends, Repair.KEEP_RULE)

    def test_a_rule_with_more_copies(self, bench: Bench) -> None:
        changed = bench.lake.rules[rule_id(bench, RUN, "PIC-DCACHE")]
        changed.request = replace(changed.request, copies=2)
        finding = bench.one(Kind.RULE)
        assert (finding.there, finding.expected) == ("2 at PIC-DCACHE", "1 at PIC-DCACHE")

    def test_a_stuck_rule_with_its_reason(self, bench: Bench) -> None:
        stuck = rule_id(bench, OTHER, "QOS=FAST")
        (lock,) = bench.lake.rules[stuck].locks.values()
        lock.state, lock.reason = LockState.STUCK, "no route to host"
        finding = bench.one(Kind.RULE)
        assert finding.rule_id == stuck
        assert "no route to host" in finding.evidence
        assert str(OTHER_RUN) in finding.evidence

    def test_files_that_no_lock_of_a_rule_holds(self, bench: Bench) -> None:
        rule = rule_id(bench, RUN, "PIC-DCACHE")
        bench.lake.rules[rule].locks.clear()
        told = bench.look()
        assert {f.kind for f in told} == {Kind.AWAITED}
        bench.lake.daemons_run = False
        bench.lake.clock.advance(3600)
        told = bench.look()
        assert {f.kind for f in told} == {Kind.RULE}
        assert {f.did for f in told} == {CRAB, SIBLING}
        assert {f.there for f in told} == {f"no lock of rule {rule} on it"}

    def test_one_file_that_no_lock_holds(self, bench: Bench) -> None:
        rule = rule_id(bench, RUN, "PIC-DCACHE")
        bench.lake.daemons_run = False
        del bench.lake.rules[rule].locks[SIBLING, "PIC-DCACHE"]
        bench.lake.clock.advance(3600)
        finding = bench.one(Kind.RULE)
        assert finding.did == SIBLING

    def test_a_rule_that_ended_since_it_was_listed_holds_nothing_back(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        del bench.lake.rules[rule_id(bench, RUN, "PIC-DCACHE")].locks[CRAB, "PIC-DCACHE"]
        monkeypatch.setattr(bench.world.catalogue, "locks", lambda _: [])
        assert bench.look() == []

    def test_locks_are_asked_for_only_where_they_do_not_add_up(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def never(rule_id: str) -> object:
            raise AssertionError(rule_id)

        monkeypatch.setattr(bench.world.catalogue, "locks", never)
        assert bench.look() == []

    def test_a_file_out_of_its_dataset_is_told_as_such_alone(self, bench: Bench) -> None:
        del bench.lake.collections[RUN].contents[CRAB]
        for rule in bench.lake.rules.values():
            for rse in HOLDERS:
                rule.locks.pop((CRAB, rse), None)
        assert bench.one(Kind.DATASET).did == CRAB

    def test_a_rule_that_is_not_on_record(self, bench: Bench) -> None:
        request = RuleRequest("QOS=SAFE")
        extra = bench.world.catalogue.add_rules([RUN], request, bench.lake.account)[RUN]
        finding = bench.one(Kind.RULE)
        assert (finding.rule_id, finding.did, finding.repair) == (extra, RUN, None)

    def test_a_rule_that_is_not_on_record_of_a_dataset_of_others(self, bench: Bench) -> None:
        bench.world.catalogue.add_rules([RUN], RuleRequest("QOS=SAFE"), bench.lake.account)
        bench.world.shelf.pages.collections[RUN] = False
        assert bench.look() == []

    def test_a_rule_with_more_copies_and_an_end(self, bench: Bench) -> None:
        """To ask for it again would make another one."""
        changed = bench.lake.rules[rule_id(bench, RUN, "PIC-DCACHE")]
        changed.request = replace(changed.request, copies=2)
        changed.expires_at = bench.lake.clock.now() + timedelta(hours=1)
        assert [(f.kind, f.repair) for f in bench.look()] == [(Kind.RULE, None)] * 2

    def test_what_is_given_its_end_is_left_alone(self, bench: Bench) -> None:
        bench.world.changes["end"] = {"lifetime": "1h", "deadline": "1h"}
        bench.lake.crash_after(1, "end_rule")
        with pytest.raises(Crash):
            bench.world.run()
        bench.lake.no_crash()
        bench.lake.lose(CRAB, "LAPP-FAST")
        assert [f for f in bench.look() if f.did in {CRAB, RUN}] == []


class TestSources:
    """Files before they were injected."""

    def test_one_that_is_gone(self, bench: Bench) -> None:
        (bench.inbox / NAMES[0]).unlink()
        finding = bench.one(Kind.SOURCE)
        assert (finding.did, finding.there) == (CRAB, "no file")

    def test_one_of_another_size(self, bench: Bench) -> None:
        (bench.inbox / NAMES[0]).write_bytes(b"short")
        finding = bench.one(Kind.SOURCE)
        assert (finding.there, finding.expected) == ("5 B", "62 B (as injected)")

    def test_one_of_the_same_size_is_found_by_reading_only(self, bench: Bench) -> None:
        path = bench.inbox / NAMES[0]
        path.write_bytes(path.read_bytes().swapcase())
        assert bench.look() == []
        bench.checksums = True
        assert "md5" in bench.one(Kind.SOURCE).there

    def test_one_that_can_be_made_again(self, bench: Bench) -> None:
        bench.rewrite(CRAB, generated=True)
        (bench.inbox / NAMES[0]).unlink()
        assert bench.look() == []

    def test_one_that_cannot_be_looked_at(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        exists = Path.exists

        def forbidden(path: Path) -> bool:
            if path.name == NAMES[0]:
                raise PermissionError(13, "Permission denied")
            return exists(path)

        monkeypatch.setattr(Path, "exists", forbidden)
        assert "Permission denied" in bench.one(Kind.SOURCE).there

    def test_one_that_was_freed_and_is_there(self, bench: Bench) -> None:
        path = bench.inbox / NAMES[0]
        with bench.world.ledger() as ledger:
            ledger.record([SourceFreed(at=bench.lake.clock.now(), did=CRAB)])
        finding = bench.one(Kind.SOURCE)
        assert (finding.did, finding.repair) == (CRAB, None)
        bench.fix()
        assert path.exists()
