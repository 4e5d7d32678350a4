"""What ledgers say, worked out: on both databases."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from tests.ledger_databases import Location, location
from tests.unit.readings.made import NAME, looked_at, record

from rucio_inject.clock import SystemClock
from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import UsageError
from rucio_inject.domain.injection import FileState
from rucio_inject.domain.rule import RuleRequest
from rucio_inject.domain.usage import Room
from rucio_inject.ledger.look import looking
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.readings.funnel import funnels
from rucio_inject.readings.report import Chosen, report_of
from rucio_inject.readings.report_json import report_object
from rucio_inject.readings.rules import rules_of
from rucio_inject.readings.search import Wanted, search
from rucio_inject.readings.stories import story_of
from rucio_inject.readings.transfers import passage
from rucio_inject.testing.scenes import START, STUCK_REASON, UPLOAD, Scene, month

__all__ = ["location"]

S = FileState
HOUR = timedelta(hours=1)


def test_a_funnel_counts_how_far_files_came(location: Location) -> None:
    whole = Scene(1, files=12)
    troubled = Scene(2, START + HOUR, files=12, stuck=3, failed=2)
    with looked_at(location, whole, troubled) as look:
        second, first = funnels(look)
    assert {count for _, count in first.steps()} == {12}
    assert (first.begun_at, first.ended_at) == (whole.begun, whole.at(61))
    assert (first.furthest, first.quarantined) == (S.GONE, 0)
    # Of the two that failed one was never uploaded, and one came back with other bytes.
    assert dict(second.steps()) == {
        S.FOUND: 12,
        S.MEASURED: 12,
        S.UPLOADED: 11,
        S.REGISTERED: 11,
        S.REPLICATING: 11,
        S.REPLICATED: 8,
        S.VERIFIED: 7,
        S.EXPIRING: 7,
        S.GONE: 7,
    }
    assert dict(second.fell_out) == {S.MEASURED: 1, S.REPLICATED: 1}
    assert (second.ended_at, second.files) == (None, 12)
    assert second.bytes == sum(troubled.measure(number).size for number in range(12))


def test_files_that_a_sample_leaves_out_were_not_read_back(location: Location) -> None:
    sampled = Scene(1, files=12, sampled=9)
    troubled = Scene(2, START + HOUR, files=12, stuck=3, failed=2, sampled=4, ends=False)
    with looked_at(location, sampled, troubled) as look:
        report = report_of(look, Chosen(), SystemClock().now())
    second, first = report.cycles
    assert (first.that_reached(S.VERIFIED), first.sampled, first.read_back) == (12, 9, 3)
    assert (second.that_reached(S.VERIFIED), second.sampled, second.read_back) == (7, 4, 3)
    assert [(day.read_back, day.told) for day in report.days] == [(6, 13)]
    told = report_object(report)["total"]
    assert (told["reached"]["VERIFIED"], told["read_back"], told["sampled"]) == (19, 6, 13)


def test_the_matrix_tells_success_latency_and_pace(location: Location) -> None:
    scene = Scene(files=12, stuck=3)
    with looked_at(location, scene) as look:
        way = passage(look.ledger.all_files(cycle=1))
    assert way.destinations[0] == UPLOAD
    upload, slow = way.link(UPLOAD, UPLOAD), way.link(UPLOAD, "INFN-NA-DPM")
    assert upload is not None
    assert slow is not None
    assert (upload.arrived, upload.success, upload.is_upload) == (12, 1.0, True)
    assert upload.latency is not None
    assert (upload.latency.p50, upload.latency.longest) == (0.3, 0.3)
    assert (slow.arrived, slow.waiting, slow.success) == (9, 3, 0.75)
    assert slow.reasons == {STUCK_REASON: 3}
    # File n is there 5.1 (1 + n / 10) s after it was organised, 0.1 s after its registration.
    assert slow.latency is not None
    assert slow.latency.p50 == pytest.approx(0.1 + 5.1 * 1.4)
    assert slow.latency.p95 == slow.latency.longest == pytest.approx(0.1 + 5.1 * 1.8)
    span = 0.25 * 8 + 0.1 + 5.1 * 1.8
    assert slow.files_per_second == pytest.approx(9 / span)
    assert slow.bytes_per_second == pytest.approx(slow.bytes / span)
    assert way.link("A", "B") is None
    assert way.phases["proof"].count == 9
    assert way.phases["end"].p50 == pytest.approx(33 - 12.3 - 0, abs=1.5)


def test_rules_by_where_they_stand_and_what_files_wait_for(location: Location) -> None:
    with looked_at(location, Scene(files=60, stuck=4)) as look:
        rules = rules_of(look, 1)
        none = rules_of(look, 9)
    standing = {promise.rse_expression: promise.by_state for promise in rules.promises}
    assert standing == {"PIC-DCACHE": {"OK": 2}, "INFN-NA-DPM": {"STUCK": 2}, "QOS=FAST": {"OK": 2}}
    assert rules.states == ["OK", "STUCK"]
    (waiting,) = rules.waiting
    assert (waiting.rse, waiting.reason, waiting.files) == ("INFN-NA-DPM", STUCK_REASON, 4)
    assert (none.promises, none.waiting, none.silent) == ([], [], 0)


def test_a_story_tells_the_rules_of_a_dataset_and_of_the_file_alone(location: Location) -> None:
    scene = Scene(files=2, ends=False)
    own: dict[str, Any] = {"dataset": scene.did(0), "request": RuleRequest(UPLOAD)}
    record(location, [scene])
    with SqlLedger(location, NAME, clock=SystemClock()) as ledger:
        ledger.record([f.RuleAsked(at=scene.at(90), **own)])
        ledger.record([f.RuleMade(at=scene.at(91), rule_id="f" * 32, adopted=False, **own)])
    with looking(location, NAME, SystemClock()) as look:
        held, other = (story_of(look, scene.did(number)) for number in range(2))
    of_dataset = [rule for rule, _ in other.rules]
    assert {rule.dataset for rule in of_dataset} == {scene.dataset(0)}
    (rule, told) = held.rules[-1]
    assert [*of_dataset, rule] == [rule for rule, _ in held.rules]
    assert (rule.dataset, rule.rule_id) == (scene.did(0), "f" * 32)
    assert [type(stored.fact) for stored in told] == [f.RuleMade]


class TestSearch:
    def test_by_what_is_in_names_and_datasets(self, location: Location) -> None:
        scene = Scene(files=60)
        with looked_at(location, scene) as look:
            assert search(look, Wanted("36001001")).total == 10
            assert search(look, Wanted("d_1es1959")).total == 60
            assert search(look, Wanted(str(scene.did(3)))).total == 1
            assert search(look, Wanted("100%")).total == search(look, Wanted("M1__36")).total == 0
            assert search(look, Wanted("\x00\udcff")).total == 0

    def test_by_state_cycle_and_code(self, location: Location) -> None:
        with looked_at(location, *month(2, files=6, trouble=(2,))) as look:
            assert search(look, Wanted(cycle=1)).total == 6
            assert search(look, Wanted(state=S.QUARANTINED)).total == 2
            assert search(look, Wanted(code="storage-refused")).total == 1
            assert search(look, Wanted(state=S.QUARANTINED, cycle=1)).total == 0

    def test_in_pages(self, location: Location) -> None:
        seen: list[DID] = []
        with looked_at(location, Scene(files=10)) as look:
            after = None
            for _ in range(3):
                found = search(look, Wanted(), after=after, page=4)
                assert found.total == 10
                seen += [record.did for record in found.records]
                after = found.after
        assert after is None
        assert seen == [Scene(files=10).did(number) for number in reversed(range(10))]


class TestReport:
    def test_all_of_some_cycles(self, location: Location) -> None:
        scenes = list(month(30, files=6, trouble=(2, 26)))
        with looked_at(location, *scenes) as look:
            report = report_of(look, Chosen(), SystemClock().now())
        assert report.total.files == 180
        assert report.total.that_reached(S.VERIFIED) == 180 - 8
        assert (report.begun_at, report.ended_at) == (START, scenes[-1].at(61))
        assert {one.code for one in report.troubles} == {"storage-refused", "checksum-mismatch"}
        assert [one.files for one in report.troubles] == [2, 2]
        assert report.troubles[0].last_at > scenes[25].begun
        assert [(one.rse, one.files) for one in report.held] == [("INFN-NA-DPM", 4)]
        assert [(day.day, day.cycles, day.ended) for day in report.days] == [
            (date(2026, 10, 26), 13, 12),
            (date(2026, 10, 27), 17, 16),
        ]
        assert report.rules == {"OK": 88, "STUCK": 2}

    def test_one_cycle_or_a_month(self, location: Location) -> None:
        begun = START.replace(day=31, hour=22)
        with looked_at(location, *month(4, files=2, begun=begun)) as look:
            now = SystemClock().now()
            october = report_of(look, Chosen(month=date(2026, 10, 1)), now)
            assert [one.cycle for one in october.cycles] == [2, 1]
            assert report_of(look, Chosen(cycle=3), now).total.files == 2
            for nothing in (Chosen(cycle=9), Chosen(month=date(2026, 9, 1))):
                with pytest.raises(UsageError, match="nothing to report"):
                    report_of(look, nothing, now)

    def test_analyses_are_those_of_the_cycles(self, location: Location) -> None:
        begun = START.replace(day=31, hour=22)
        scenes = list(month(4, files=2, begun=begun))
        record(location, scenes)
        with SqlLedger(location, NAME, clock=SystemClock()) as ledger:
            for scene in scenes:
                words = f"of cycle {scene.cycle}"
                at = scene.at(70)
                ledger.record([f.AnalysisMade(at=at, files=1, events=1, headline=words, paths=())])
        with looking(location, NAME, SystemClock()) as look:

            def headlines(chosen: Chosen) -> list[str]:
                report = report_of(look, chosen, SystemClock().now())
                return [made.headline for made in report.analyses]

            assert headlines(Chosen(month=date(2026, 10, 1))) == ["of cycle 1", "of cycle 2"]
            assert headlines(Chosen(month=date(2026, 11, 1))) == ["of cycle 3", "of cycle 4"]
            assert headlines(Chosen(cycle=3)) == ["of cycle 3"]
            assert len(headlines(Chosen())) == 4

    def test_the_room_at_the_origin_is_that_of_the_last_run_that_knew(
        self, location: Location
    ) -> None:
        scenes = list(month(3, files=2, begun=START.replace(day=1)))
        record(location, scenes)
        rooms = [Room(100, 90), Room(100, 40), None]
        with SqlLedger(location, NAME, clock=SystemClock()) as ledger:
            for scene, room in zip(scenes, rooms, strict=True):
                at = scene.at(70)
                ledger.record([f.RunEnded(at=at, code=0, words="", seconds=1, origin=room)])
        with looking(location, NAME, SystemClock()) as look:

            def origin(chosen: Chosen) -> dict[str, int] | None:
                report = report_of(look, chosen, SystemClock().now())
                told: dict[str, int] | None = report_object(report)["origin"]
                return told

            assert origin(Chosen()) == {"total": 100, "used": 40, "free": 60}
            assert origin(Chosen(cycle=1)) == {"total": 100, "used": 90, "free": 10}
            assert origin(Chosen(cycle=3)) is None

    def test_as_an_object(self, location: Location) -> None:
        with looked_at(location, Scene(files=6, stuck=1, failed=2)) as look:
            told: dict[str, Any] = report_object(report_of(look, Chosen(), SystemClock().now()))
        assert told["schema"] == 1
        assert told["total"]["reached"]["GONE"] == 3
        assert told["total"]["set_aside"] == {"MEASURED": 1, "REPLICATED": 1}
        assert {link["to"]: link["held_up"] for link in told["links"]}["INFN-NA-DPM"] == 1
        assert told["begun_at"] == "2026-10-26T11:00:00Z"
        assert told["set_aside"][0]["hint"]
