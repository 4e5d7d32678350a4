"""The contract of `ports.Ledger`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError
from rucio_inject.domain.injection import FileState, SourceCopy
from rucio_inject.domain.rule import RuleRequest, RuleState, RuleView
from rucio_inject.ports import Ledger
from rucio_inject.testing.contracts.world import measured

NOON = datetime(2026, 3, 1, 12, 0, 0, 250, tzinfo=UTC)
RUN = DID("magic", "05089063")
NIGHT = DID("magic", "2020_02_03")
FILE, SIBLING = DID("magic", "a.root"), DID("magic", "b.root")
MEASURE = measured(b"bytes")

OpenLedger = Callable[[], AbstractContextManager[Ledger]]


def found(did: DID, cycle: int = 1) -> f.FileFound:
    """The fact that a file of the run was found."""
    return f.FileFound(
        at=NOON,
        did=did,
        path=f"/data/{did.name}",
        dataset=RUN,
        containers=(NIGHT,),
        cycle=cycle,
        generated=True,
        metadata={"night": "2020_02_03", "run_number": 5089063},
    )


def life(did: DID, rse: str = "A") -> list[f.Fact]:
    """A file's facts after it was found, until its source is freed."""
    at, pfn = NOON + timedelta(seconds=1), f"file://localhost/{did.name}"
    return [
        f.FileMeasured(at=at, did=did, measure=MEASURE),
        f.UploadBegun(at=at, did=did, rse=rse),
        f.FileUploaded(at=at, did=did, rse=rse, pfn=pfn),
        f.FileRegistered(at=at, did=did, rse=rse, pfn=pfn),
        f.FileOrganised(at=at, did=did),
        f.FileWaits(at=at, did=did, rse=rse, reason="SUBMITTED"),
        f.ReplicaReady(at=at, did=did, rse=rse),
        f.FileReplicated(at=at, did=did, rses=(rse,)),
        f.ReplicaRead(at=at, did=did, rse=rse, pfn=pfn, measure=MEASURE),
        f.FileVerified(at=at, did=did),
        f.SourceFreed(at=at, did=did),
        f.FileExpiring(at=at, did=did),
        f.ReplicaGone(at=at, did=did, rse=rse),
        f.FileGone(at=at, did=did),
    ]


def rule_facts(rule_id: str = "r1") -> list[f.Fact]:
    """A rule's facts, from its being asked for to its end."""
    request = RuleRequest("QOS=FAST", 2, 60)
    view = RuleView(rule_id, RUN, "QOS=FAST", 2, RuleState.STUCK, 1, 0, 1, NOON, "NO_SOURCES")
    return [
        f.RuleAsked(at=NOON, dataset=RUN, request=request),
        f.RuleMade(at=NOON, dataset=RUN, rule_id=rule_id, request=request, adopted=False),
        f.RuleChanged(at=NOON, view=view),
        f.RuleEnding(at=NOON, rule_id=rule_id, lifetime=5),
        f.RuleGone(at=NOON, rule_id=rule_id),
    ]


def begun(cycle: int = 1) -> f.CycleBegun:
    """The fact that a cycle begins."""
    return f.CycleBegun(at=NOON, cycle=cycle)


class LedgerContract:
    """Every sentence of the port's docstrings. A subclass gives the fixture `open_ledger`, which
    opens the same ledger anew each time that it is called."""

    def after(self, open_ledger: OpenLedger, facts: Sequence[f.Fact]) -> None:
        """Record some facts and close the ledger."""
        with open_ledger() as ledger:
            ledger.record(facts)

    def test_a_new_ledger_is_empty(self, open_ledger: OpenLedger) -> None:
        with open_ledger() as ledger:
            assert (ledger.cycle, ledger.cycle_ended, ledger.analysed) == (0, False, False)
            assert list(ledger.files()) == []
            assert list(ledger.rules()) == []
            assert ledger.collections() == frozenset()
            assert ledger.file(FILE) is None
            assert ledger.upload_rse is None

    def test_the_end_of_a_rule_at_an_origin(self, open_ledger: OpenLedger) -> None:
        ending = f.RuleEnding(at=NOON, rule_id="r1", lifetime=9, at_origin=True)
        self.after(open_ledger, [begun(), *rule_facts()[:2], ending])
        with open_ledger() as ledger:
            (rule,) = ledger.rules()
            assert (rule.ending_at, rule.lifetime, rule.at_origin) == (NOON, 9, True)
            assert not rule.ends_dataset
        kept = f.RuleKept(at=NOON, rule_id="r1", reason="a copy was lost")
        self.after(open_ledger, [f.RuleGone(at=NOON, rule_id="r1"), kept])
        with open_ledger() as ledger:
            (rule,) = ledger.rules()
            assert (rule.ending_at, rule.gone_at, rule.at_origin) == (None, None, False)

    def test_the_upload_rse_that_was_chosen_last(self, open_ledger: OpenLedger) -> None:
        for rse in ("A", "B"):
            self.after(open_ledger, [f.UploadRSEChosen(at=NOON, rse=rse), begun(), found(FILE)])
        with open_ledger() as ledger:
            assert ledger.upload_rse == "B"

    def test_files_are_in_the_order_of_their_finding(self, open_ledger: OpenLedger) -> None:
        dids = [DID("magic", name) for name in ("z", "a", "m")]
        self.after(open_ledger, [begun(), *(found(did) for did in dids)])
        with open_ledger() as ledger:
            assert [record.did for record in ledger.files()] == dids

    def test_those_that_are_on_record_are_known(self, open_ledger: OpenLedger) -> None:
        others = [DID("magic", f"{number}.root") for number in range(1200)]
        same_name = DID("lst", FILE.name)
        self.after(open_ledger, [begun(), found(FILE), *life(FILE)[:1], *map(found, others)])
        self.after(open_ledger, [begun(2), found(SIBLING, 2)])
        with open_ledger() as ledger:
            known = ledger.known([*others, same_name, FILE, SIBLING, DID("magic", "no")])
            assert set(known) == {FILE, SIBLING, *others}
            assert known[FILE] == ledger.file(FILE)
            assert known[FILE].measure == MEASURE
            assert dict(ledger.known([])) == {}

    def test_files_by_state_and_dataset(self, open_ledger: OpenLedger) -> None:
        other_run = DID("magic", "05089064")
        elsewhere = replace(found(DID("magic", "c.root")), dataset=other_run)
        facts = [begun(), found(FILE), found(SIBLING), elsewhere, life(SIBLING)[0]]
        self.after(open_ledger, facts)
        with open_ledger() as ledger:
            both = {FileState.FOUND, FileState.MEASURED}
            assert [r.did.name for r in ledger.files(both)] == ["a.root", "b.root", "c.root"]
            assert [r.did.name for r in ledger.files({FileState.FOUND})] == ["a.root", "c.root"]
            assert [r.did.name for r in ledger.files(dataset=other_run)] == ["c.root"]
            assert list(ledger.files({FileState.MEASURED}, dataset=other_run)) == []
            assert ledger.counts() == {FileState.FOUND: 2, FileState.MEASURED: 1}
            assert ledger.counts(dataset=other_run) == {FileState.FOUND: 1}
            assert list(ledger.datasets(both)) == [RUN, other_run]
            assert list(ledger.datasets({FileState.MEASURED})) == [RUN]
            assert list(ledger.datasets({FileState.GONE})) == []

    def test_files_are_drawn_while_facts_are_recorded(self, open_ledger: OpenLedger) -> None:
        dids = [DID("magic", f"{number:04}") for number in range(1200)]
        self.after(open_ledger, [begun(), *(found(did) for did in dids)])
        with open_ledger() as ledger:
            drawn = []
            for record in ledger.files({FileState.FOUND}):
                drawn.append(record.did)
                if len(drawn) % 400 == 1:
                    moved = dids[len(drawn) - 1 : len(drawn) + 300 : 7]
                    ledger.record([life(did)[0] for did in moved])
            assert len(drawn) == len(set(drawn))
            assert set(drawn) >= {r.did for r in ledger.files({FileState.FOUND})}
            assert ledger.counts()[FileState.FOUND] < len(dids)

    def test_a_rule_asked_for_is_ours(self, open_ledger: OpenLedger) -> None:
        asked, made, *_ = rule_facts()
        with open_ledger() as ledger:
            ledger.record([begun()])
            assert not ledger.asked_for(RUN, "QOS=FAST")
            ledger.record([asked])
        with open_ledger() as ledger:
            assert ledger.asked_for(RUN, "QOS=FAST")
            assert not ledger.asked_for(RUN, "QOS=SAFE")
            assert not ledger.asked_for(NIGHT, "QOS=FAST")
            ledger.record([made])
            assert ledger.asked_for(RUN, "QOS=FAST")
            ledger.record([begun(2)])
            assert ledger.asked_for(RUN, "QOS=FAST")

    def test_a_rule_that_was_refused_is_not_ours(self, open_ledger: OpenLedger) -> None:
        asked, *_ = rule_facts()
        assert isinstance(asked, f.RuleAsked)
        refused = f.RuleRefused(at=NOON, dataset=RUN, request=asked.request, reason="no quota")
        self.after(open_ledger, [begun(), asked, refused])
        with open_ledger() as ledger:
            assert not ledger.asked_for(RUN, "QOS=FAST")
            ledger.record([asked])
            assert ledger.asked_for(RUN, "QOS=FAST")

    def test_a_rule_found_there_is_not_ours(self, open_ledger: OpenLedger) -> None:
        asked, made, *_ = rule_facts()
        assert isinstance(made, f.RuleMade)
        self.after(open_ledger, [begun(), asked, replace(made, adopted=True)])
        with open_ledger() as ledger:
            assert not ledger.asked_for(RUN, "QOS=FAST")

    @pytest.mark.parametrize("length", range(len(life(FILE)) + 1))
    def test_every_fact_of_a_file_survives(self, open_ledger: OpenLedger, length: int) -> None:
        with open_ledger() as ledger:
            ledger.record([begun(), found(FILE)])
            ledger.record(life(FILE)[:length])
            before = ledger.file(FILE)
        with open_ledger() as ledger:
            assert ledger.file(FILE) == before
            assert list(ledger.files()) == [before]

    def test_a_whole_life(self, open_ledger: OpenLedger) -> None:
        self.after(open_ledger, [begun(), found(FILE), *life(FILE)])
        with open_ledger() as ledger:
            record = ledger.file(FILE)
        assert record is not None
        assert (record.state, record.source) == (FileState.GONE, SourceCopy.FREED)
        assert record.replicas["A"].read_back == record.measure == MEASURE

    def test_a_failure_survives(self, open_ledger: OpenLedger) -> None:
        failed = f.FileFailed(at=NOON, did=FILE, code="name", reason="no", hint="mend it")
        self.after(open_ledger, [begun(), found(FILE), failed])
        with open_ledger() as ledger:
            record = ledger.file(FILE)
        assert record is not None
        assert record.failure is not None
        assert (record.failure.reason, record.failure.came_from) == ("no", FileState.FOUND)

    @pytest.mark.parametrize("length", range(2, 6))
    def test_every_fact_of_a_rule_survives(self, open_ledger: OpenLedger, length: int) -> None:
        with open_ledger() as ledger:
            ledger.record([begun(), *rule_facts()[:length]])
            before = list(ledger.rules())
        assert [rule.rule_id for rule in before] == ["r1"]
        with open_ledger() as ledger:
            assert list(ledger.rules()) == before

    def test_collections_are_ours_until_they_are_gone(self, open_ledger: OpenLedger) -> None:
        asked = [f.CollectionAsked(at=NOON, did=did) for did in (RUN, NIGHT)]
        self.after(open_ledger, asked)
        with open_ledger() as ledger:
            assert ledger.collections() == {RUN, NIGHT}
            ledger.record([f.CollectionGone(at=NOON, did=RUN)])
        with open_ledger() as ledger:
            assert ledger.collections() == {NIGHT}
            ledger.record([f.CollectionAsked(at=NOON, did=RUN)])
            assert ledger.collections() == {RUN, NIGHT}

    def test_a_cycle_shows_its_own(self, open_ledger: OpenLedger) -> None:
        analysis = f.AnalysisMade(at=NOON, files=1, events=2, headline="θ²", paths=())
        self.after(
            open_ledger,
            [begun(), found(FILE), *rule_facts(), analysis, f.CycleEnded(at=NOON, cycle=1)],
        )
        with open_ledger() as ledger:
            assert (ledger.cycle, ledger.cycle_ended, ledger.analysed) == (1, True, True)
            ledger.record([begun(2), found(SIBLING, cycle=2), *rule_facts("r2")])
        with open_ledger() as ledger:
            assert (ledger.cycle, ledger.cycle_ended, ledger.analysed) == (2, False, False)
            assert [record.did for record in ledger.files()] == [SIBLING]
            assert [rule.rule_id for rule in ledger.rules()] == ["r2"]
            assert ledger.file(FILE) is not None

    def test_skipped_names_and_counts_are_taken(self, open_ledger: OpenLedger) -> None:
        skipped = f.NameSkipped(at=NOON, path="/data/x", code="name", reason="no", hint=None)
        counted = f.RSECounted(at=NOON, rse="A", catalogue=None, storage=None)
        self.after(open_ledger, [skipped, counted])

    def test_a_skipped_name_may_be_any_that_a_disk_has(self, open_ledger: OpenLedger) -> None:
        path = b"/data/\xff\xe9.root".decode("utf-8", "surrogateescape")
        skipped = f.NameSkipped(at=NOON, path=path, code="name", reason=path, hint=None)
        self.after(open_ledger, [begun(), skipped, found(FILE)])
        with open_ledger() as ledger:
            assert ledger.file(FILE) is not None

    @pytest.mark.parametrize(
        "fact",
        [
            f.FileVerified(at=NOON, did=FILE),
            f.SourceFreed(at=NOON, did=FILE),
            f.FileGone(at=NOON, did=FILE),
            f.FileRetried(at=NOON, did=FILE),
        ],
    )
    def test_a_fact_that_contradicts_changes_nothing(
        self, open_ledger: OpenLedger, fact: f.Fact
    ) -> None:
        with open_ledger() as ledger:
            ledger.record([begun(), found(FILE)])
            with pytest.raises(LedgerError):
                ledger.record([found(SIBLING), fact])
            assert [record.did for record in ledger.files()] == [FILE]
        with open_ledger() as ledger:
            assert [record.did for record in ledger.files()] == [FILE]

    @pytest.mark.parametrize(
        "fact",
        [
            f.FileMeasured(at=NOON, did=FILE, measure=MEASURE),
            f.RuleGone(at=NOON, rule_id="unknown"),
            rule_facts("unknown")[2],
            f.CollectionGone(at=NOON, did=RUN),
        ],
    )
    def test_a_fact_of_something_unknown(self, open_ledger: OpenLedger, fact: f.Fact) -> None:
        with open_ledger() as ledger, pytest.raises(LedgerError):
            ledger.record([fact])

    def test_one_at_a_time(self, open_ledger: OpenLedger) -> None:
        with open_ledger(), pytest.raises(LedgerError, match="in use"), open_ledger():
            pass
