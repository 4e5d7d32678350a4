"""What `--fix` does, what it leaves alone, and what it puts on record."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.injection_world import HOLDERS, NAMES, SCOPE
from tests.unit.audit.bench import (
    CRAB,
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

from rucio_inject.audit.findings import Finding, Kind, Repair, Repaired
from rucio_inject.audit.repair import MakeRepairs
from rucio_inject.domain.did import DID
from rucio_inject.domain.facts import FileSetBack, RepairAsked, RepairMade
from rucio_inject.domain.injection import FileState
from rucio_inject.domain.replica import ReplicaState
from rucio_inject.ports import NewFile
from rucio_inject.testing.contracts.world import measured
from rucio_inject.testing.memory_daemons import end_rule_now, pfn_of
from rucio_inject.testing.memory_lake import Crash


def errors(bench: Bench) -> list[str | None]:
    """Why repairs were not made; None for one that was."""
    return [outcome.error for outcome in bench.fix()]


def settled(bench: Bench) -> None:
    """After the daemons have worked an audit, also of checksums, finds nothing."""
    bench.lake.clock.advance(1)
    bench.lake.clock.advance(1)
    bench.checksums = True
    assert bench.look() == []


class TestMade:
    """A second audit after the repair, and after Rucio's work, is clean."""

    def test_a_lost_replica(self, bench: Bench) -> None:
        bench.lake.lose(CRAB, "PIC-DCACHE")
        bench.fixed()
        assert bench.one(Kind.AWAITED).did == CRAB
        settled(bench)

    def test_what_is_made_anew_is_read_back_by_the_next_run(self, bench: Bench) -> None:
        bench.lake.lose(CRAB, "PIC-DCACHE")
        bench.fixed()
        states = {record.did: record.state for record in bench.world.files()}
        assert states.pop(CRAB) is FileState.REPLICATING
        assert set(states.values()) == {FileState.VERIFIED}
        assert bench.report().looked.waiting == 1
        at = bench.lake.clock.now()
        assert set(bench.world.run().by_state) == {FileState.VERIFIED}
        read = bench.world.shelf.pages.files[CRAB].replicas["PIC-DCACHE"].read_back_at
        assert read is not None
        assert read > at
        settled(bench)

    def test_a_lost_upload(self, bench: Bench) -> None:
        bench.lake.lose(CRAB, "PIC-INJECT")
        bench.fixed()
        settled(bench)

    def test_a_corrupt_replica(self, bench: Bench) -> None:
        bench.checksums = True
        bench.lake.corrupt(CRAB, "LAPP-FAST")
        bench.fixed()
        settled(bench)

    def test_all_but_one(self, bench: Bench) -> None:
        bench.checksums = True
        bench.lake.lose(CRAB, "PIC-INJECT")
        bench.lake.lose(CRAB, "PIC-DCACHE")
        bench.lake.corrupt(CRAB, "INFN-NA-DPM")
        bench.fixed()
        settled(bench)

    def test_a_forgotten_replica(self, bench: Bench) -> None:
        del bench.lake.files[CRAB].replicas["PIC-INJECT"]
        bench.fixed()
        settled(bench)

    def test_a_forgotten_file(self, bench: Bench) -> None:
        metadata = dict(bench.lake.files[CRAB].metadata)
        assert metadata
        del bench.lake.files[CRAB]
        del bench.lake.collections[RUN].contents[CRAB]
        bench.fixed()
        assert bench.lake.files[CRAB].metadata == metadata
        settled(bench)

    def test_a_detached_file_and_dataset(self, bench: Bench) -> None:
        inner = bench.world.files()[0].containers[-1]
        del bench.lake.collections[RUN].contents[CRAB]
        del bench.lake.collections[inner].contents[RUN]
        bench.fixed()
        settled(bench)

    def test_a_rule_with_an_end(self, bench: Bench) -> None:
        ends = rule_id(bench, RUN, "PIC-DCACHE")
        bench.lake.rules[ends].expires_at = bench.lake.clock.now() + timedelta(hours=1)
        bench.fixed()
        assert bench.lake.rules[ends].expires_at is None
        settled(bench)

    def test_a_partial_file(self, bench: Bench) -> None:
        before = bench.stored()
        partial(bench)
        bench.fixed()
        assert bench.stored() == before
        settled(bench)

    def test_what_a_reaper_left_of_ours(self, bench: Bench) -> None:
        left_behind(bench)
        for known in bench.lake.rses.values():
            known.refuses_deletion = False
        bench.fixed()
        assert bench.lake.rses["PIC-INJECT"].bytes == {}
        left = {f.rse for f in bench.look() if f.kind is Kind.DARK}
        assert left == set(HOLDERS) - {"PIC-INJECT"}

    def test_the_next_run_asks_for_a_rule_again(self, bench: Bench) -> None:
        end_rule_now(bench.lake, rule_id(bench, RUN, "PIC-DCACHE"))
        assert bench.fix() == []
        assert set(bench.world.run().by_state) == {FileState.VERIFIED}
        settled(bench)


class TestRecord:
    """Intents before, outcomes after."""

    def test_a_repair_is_on_record(self, bench: Bench) -> None:
        bench.lake.lose(CRAB, "PIC-DCACHE")
        bench.fixed()
        asked, made, back = bench.facts
        assert isinstance(asked, RepairAsked)
        assert isinstance(made, RepairMade)
        about = ("lost", str(CRAB), "PIC-DCACHE", str(Repair.MARK_BAD))
        assert (asked.finding, asked.subject, asked.rse, asked.repair) == about
        assert (made.finding, made.subject, made.rse, made.repair) == about
        assert made.error is None
        assert isinstance(back, FileSetBack)
        assert (back.did, back.state) == (CRAB, FileState.REPLICATING)
        assert "PIC-DCACHE was lost" in back.reason

    def test_rules_are_kept_before_anything_is_attached(self, bench: Bench) -> None:
        """Where Rucio's evaluator meets a change of a rule it sets the dataset aside."""
        ends = rule_id(bench, RUN, "PIC-DCACHE")
        bench.lake.rules[ends].expires_at = bench.lake.clock.now() + timedelta(hours=1)
        del bench.lake.collections[RUN].contents[CRAB]
        bench.fixed()
        made = [fact.repair for fact in bench.facts if isinstance(fact, RepairMade)]
        assert made == [Repair.KEEP_RULE, Repair.ATTACH]

    def test_the_intent_is_there_before_the_effect(self, bench: Bench) -> None:
        bench.lake.lose(CRAB, "PIC-DCACHE")
        bench.lake.crash_after(1, "mark_bad")
        with pytest.raises(Crash):
            bench.fix()
        assert [type(fact) for fact in bench.facts] == [RepairAsked]

    def test_a_refusal_is_on_record(self, bench: Bench) -> None:
        bench.lake.may_mark_bad = False
        bench.lake.lose(CRAB, "PIC-DCACHE")
        bench.lake.lose(SIBLING, "PIC-DCACHE")
        for error in errors(bench):
            assert "may not declare replicas bad" in str(error)
            assert 'eval "$(rucio-inject lake env --account root)"' in str(error)
        made = [fact for fact in bench.facts if isinstance(fact, RepairMade)]
        assert [fact.error is None for fact in made] == [False, False]
        assert {f.kind for f in bench.look()} == {Kind.LOST}

    def test_one_that_is_refused_stops_no_other(self, bench: Bench) -> None:
        del bench.lake.files[CRAB]
        del bench.lake.files[SIBLING].replicas["PIC-INJECT"]
        bench.lake.collections[CRAB] = bench.lake.collections[RUN]
        assert bench.lake.files[SIBLING].replicas.keys() == set(HOLDERS) - {"PIC-INJECT"}
        told = {o.finding.did: o.error for o in bench.fix() if o.finding.rse == "PIC-INJECT"}
        assert told[SIBLING] is None
        assert "is a DATASET" in str(told[CRAB])


class TestNotMade:
    """What would not be safe."""

    def states(self, bench: Bench, did: DID) -> dict[str, ReplicaState]:
        """The catalogue's states of a file's replicas."""
        return {rse: replica.state for rse, replica in bench.lake.files[did].replicas.items()}

    def test_the_last_good_replica_is_never_marked_bad(self, bench: Bench) -> None:
        for rse in HOLDERS:
            bench.lake.lose(CRAB, rse)
        assert bench.fix() == []
        assert set(self.states(bench, CRAB).values()) == {ReplicaState.AVAILABLE}

    def test_nor_where_the_other_one_is_not_good(self, bench: Bench) -> None:
        """Without checksums nobody has read the others yet."""
        bench.lake.lose(CRAB, "PIC-DCACHE")
        for rse in set(HOLDERS) - {"PIC-DCACHE"}:
            bench.lake.corrupt(CRAB, rse)
        assert errors(bench) == [
            "no other replica could be read back and is good: it may be the last"
        ]
        assert set(self.states(bench, CRAB).values()) == {ReplicaState.AVAILABLE}

    def test_nor_where_the_others_cannot_be_read(self, bench: Bench) -> None:
        bench.lake.lose(CRAB, "PIC-DCACHE")
        for rse in set(HOLDERS) - {"PIC-DCACHE"}:
            bench.lake.rses[rse].offline = True
        bench.fix()
        assert self.states(bench, CRAB)["PIC-DCACHE"] is ReplicaState.AVAILABLE

    def test_nor_when_the_other_ones_go_while_it_is_looked_at(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.lake.lose(CRAB, "PIC-DCACHE")

        def others_go(repairs: MakeRepairs, repair: Repair, finding: Finding) -> Repaired:
            outcome = checked(repairs, repair, finding)
            for rse, replica in bench.lake.files[CRAB].replicas.items():
                if rse != "PIC-DCACHE":
                    replica.state = ReplicaState.BAD
            return outcome

        checked = MakeRepairs._checked
        monkeypatch.setattr(MakeRepairs, "_checked", others_go)
        assert errors(bench) == ["no other replica is AVAILABLE any more: it may be the last"]
        assert self.states(bench, CRAB)["PIC-DCACHE"] is ReplicaState.AVAILABLE

    def test_nor_while_another_one_is_bad_already(self, bench: Bench) -> None:
        bench.lake.lose(CRAB, "PIC-DCACHE")
        for rse in set(HOLDERS) - {"PIC-DCACHE"}:
            bench.lake.replica(CRAB, rse).state = ReplicaState.BAD
        bench.fix()
        assert self.states(bench, CRAB)["PIC-DCACHE"] is ReplicaState.AVAILABLE

    def test_nor_where_the_catalogue_has_other_content(self, bench: Bench) -> None:
        bench.lake.lose(CRAB, "PIC-DCACHE")
        bench.lake.files[CRAB].measure = measured(b"something else")
        bench.fix()
        assert self.states(bench, CRAB)["PIC-DCACHE"] is ReplicaState.AVAILABLE

    def test_nor_if_the_catalogue_has_it_by_now(self, bench: Bench) -> None:
        bench.lake.lose(CRAB, "PIC-DCACHE")
        report = bench.report()
        bench.lake.files[CRAB].measure = measured(b"something else")
        with bench.world.ledger() as ledger:
            (outcome,) = bench.audit(ledger).fix(report)
        assert "other content" in str(outcome.error)
        assert self.states(bench, CRAB)["PIC-DCACHE"] is ReplicaState.AVAILABLE

    def test_one_that_is_good_again(self, bench: Bench) -> None:
        content = bench.lake.content(CRAB, "PIC-DCACHE")
        assert content is not None
        bench.lake.lose(CRAB, "PIC-DCACHE")
        report = bench.report()
        bench.lake.rses["PIC-DCACHE"].bytes[pfn_of("PIC-DCACHE", CRAB)] = content
        with bench.world.ledger() as ledger:
            (outcome,) = bench.audit(ledger).fix(report)
        assert outcome.error == "the replica is good by now"
        assert self.states(bench, CRAB)["PIC-DCACHE"] is ReplicaState.AVAILABLE

    def test_wrong_bytes_are_not_registered(self, bench: Bench) -> None:
        bench.lake.corrupt(CRAB, "PIC-INJECT")
        del bench.lake.files[CRAB].replicas["PIC-INJECT"]
        (error,) = errors(bench)
        assert "its bytes are not those on record" in str(error)
        assert "PIC-INJECT" not in bench.lake.files[CRAB].replicas

    def test_a_closed_dataset_is_left_closed(self, bench: Bench) -> None:
        del bench.lake.collections[RUN].contents[CRAB]
        bench.lake.closed.add(RUN)
        assert errors(bench) == [f"{RUN} is closed"]
        assert RUN in bench.lake.closed

    def test_an_end_of_a_rule_of_others(self, bench: Bench) -> None:
        ends = rule_id(bench, RUN, "PIC-DCACHE")
        pages = bench.world.shelf.pages
        pages.rules[ends] = replace(pages.rules[ends], adopted=True)
        bench.lake.rules[ends].expires_at = bench.lake.clock.now() + timedelta(hours=1)
        assert bench.fix() == []
        assert bench.lake.rules[ends].expires_at is not None

    def test_a_left_over_that_became_a_replica(self, bench: Bench) -> None:
        left_behind(bench)
        report = bench.report()
        record = next(r for r in bench.world.files() if r.did == OTHER_RUN)
        assert record.measure is not None
        bench.world.catalogue.add_files("PIC-INJECT", [NewFile(OTHER_RUN, record.measure)])
        bench.lake.rses["PIC-INJECT"].refuses_deletion = False
        with bench.world.ledger() as ledger:
            list(bench.audit(ledger).fix(report))
        assert pfn_of("PIC-INJECT", OTHER_RUN) in bench.lake.rses["PIC-INJECT"].bytes
        assert pfn_of("PIC-INJECT", CRAB) not in bench.lake.rses["PIC-INJECT"].bytes

    def test_a_left_over_that_becomes_a_replica_while_others_are_read(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        left_behind(bench)
        report = bench.report()
        records = {record.did: record for record in bench.world.files()}
        bench.lake.rses["PIC-INJECT"].refuses_deletion = False

        def becomes_one(repairs: MakeRepairs, repair: Repair, finding: Finding) -> Repaired:
            outcome = checked(repairs, repair, finding)
            measure = records[CRAB].measure
            if finding.did == CRAB and repair is Repair.REMOVE and measure is not None:
                bench.world.catalogue.add_files("PIC-INJECT", [NewFile(CRAB, measure)])
            return outcome

        checked = MakeRepairs._checked
        monkeypatch.setattr(MakeRepairs, "_checked", becomes_one)
        with bench.world.ledger() as ledger:
            outcomes = list(bench.audit(ledger).fix(report))
        told = {outcome.finding.did: outcome.error for outcome in outcomes}
        assert told[CRAB] == "it is a replica by now"
        assert pfn_of("PIC-INJECT", CRAB) in bench.lake.rses["PIC-INJECT"].bytes
        assert told[OTHER_RUN] is None
        assert pfn_of("PIC-INJECT", OTHER_RUN) not in bench.lake.rses["PIC-INJECT"].bytes

    def test_a_left_over_whose_record_has_changed(self, bench: Bench) -> None:
        left_behind(bench)
        report, before = bench.report(), bench.stored()
        bench.lake.rses["PIC-INJECT"].refuses_deletion = False
        for record in bench.world.files():
            bench.rewrite(record.did, state=FileState.GONE)
        with bench.world.ledger() as ledger:
            outcomes = list(bench.audit(ledger).fix(report))
        assert outcomes
        assert all("somebody else's" in str(outcome.error) for outcome in outcomes)
        assert bench.stored() == before

    def test_what_others_put_where_one_of_ours_ends(self, bench: Bench) -> None:
        """Of the same size, so that only reading tells."""
        left_behind(bench)
        storage = bench.lake.rses["PIC-INJECT"]
        storage.refuses_deletion = False
        theirs = bytes(len(storage.bytes[pfn_of("PIC-INJECT", CRAB)]))
        storage.bytes[pfn_of("PIC-INJECT", CRAB)] = theirs
        told = {outcome.finding.did: outcome.error for outcome in bench.fix()}
        assert "its bytes are not those on record" in str(told.pop(CRAB))
        assert set(told.values()) == {None}
        assert storage.bytes == {pfn_of("PIC-INJECT", CRAB): theirs}

    def test_a_partial_file_whose_record_has_changed(self, bench: Bench) -> None:
        pfn = partial(bench)
        report = bench.report()
        bench.rewrite(CRAB, state=FileState.VERIFIED)
        with bench.world.ledger() as ledger:
            (outcome,) = bench.audit(ledger).fix(report)
        assert outcome.error == "the record has changed since"
        assert pfn in bench.lake.rses["PIC-INJECT"].bytes

    def test_replicas_on_a_storage_that_is_not_mounted(self, bench: Bench) -> None:
        unmounted(bench, "LAPP-FAST")
        assert bench.fix() == []
        assert self.states(bench, CRAB)["LAPP-FAST"] is ReplicaState.AVAILABLE

    def test_nor_if_it_has_gone_away_since(self, bench: Bench) -> None:
        bench.lake.lose(CRAB, "LAPP-FAST")
        report = bench.report()
        unmounted(bench, "LAPP-FAST")
        with bench.world.ledger() as ledger:
            (outcome,) = bench.audit(ledger).fix(report)
        assert "is it mounted?" in str(outcome.error)
        assert self.states(bench, CRAB)["LAPP-FAST"] is ReplicaState.AVAILABLE

    def test_nor_if_its_rule_has_gone_since(self, bench: Bench) -> None:
        bench.lake.lose(CRAB, "PIC-DCACHE")
        report = bench.report()
        end_rule_now(bench.lake, rule_id(bench, RUN, "PIC-DCACHE"))
        with bench.world.ledger() as ledger:
            (outcome,) = bench.audit(ledger).fix(report)
        assert "no rule of ours" in str(outcome.error)
        assert self.states(bench, CRAB)["PIC-DCACHE"] is ReplicaState.AVAILABLE

    def test_nothing_of_others_is_touched(self, bench: Bench) -> None:
        stranger = add_stranger(bench)
        theirs = {
            ("PIC-INJECT", pfn_of("PIC-INJECT", DID(SCOPE, "notes.txt"))),
            ("PIC-INJECT", pfn_of("PIC-INJECT", DID(SCOPE, NAMES[0] + ".rucio.upload"))),
            ("LAPP-FAST", pfn_of("LAPP-FAST", CRAB) + PARTIAL),
        }
        for rse, pfn in theirs:
            bench.lake.rses[rse].bytes[pfn] = b"theirs"
        bench.lake.lose(stranger, "PIC-DCACHE")
        before, rules = bench.stored(), set(bench.lake.rules)
        assert bench.fix() == []
        assert bench.stored() == before
        assert set(bench.lake.rules) == rules
        assert set(self.states(bench, stranger).values()) == {ReplicaState.AVAILABLE}

    def test_sources_are_never_touched(self, bench: Bench) -> None:
        (bench.inbox / NAMES[0]).write_bytes(b"changed")
        before = {path.name: path.read_bytes() for path in bench.inbox.iterdir()}
        for rse in HOLDERS:
            bench.lake.lose(CRAB, rse)
        bench.fix()
        assert {path.name: path.read_bytes() for path in bench.inbox.iterdir()} == before
