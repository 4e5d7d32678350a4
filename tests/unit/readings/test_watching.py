"""What is kept of a campaign that is looked at again and again, and what is told of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.readings.made import NAME, record

from rucio_inject.clock import SystemClock
from rucio_inject.domain.errors import LedgerError, LedgerUnavailable, UsageError
from rucio_inject.domain.facts import Fact, FileGone, RSECounted
from rucio_inject.domain.injection import FileState
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.monitor.series import Series
from rucio_inject.ports.board import Posted
from rucio_inject.readings.ledger_board import LedgerBoard, Tail
from rucio_inject.readings.window import Window
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.testing.scenes import START, Scene


@pytest.fixture
def posted(tmp_path: Path) -> Posted:
    return Posted(NAME, tmp_path / "magic.db", tmp_path / "counts.jsonl")


def window(posted: Posted) -> Window:
    return Window(posted.name, posted.ledger, posted.series, FakeClock())


class TestWindow:
    def test_a_ledger_may_come_later(self, posted: Posted) -> None:
        seen = window(posted)
        with pytest.raises(LedgerError, match="there is no ledger"):
            seen.funnels()
        record(posted.ledger, [Scene(files=3)])
        assert [funnel.files for funnel in seen.funnels()] == [3]
        seen.close()

    def test_what_was_worked_out_is_kept_until_something_happens(self, posted: Posted) -> None:
        record(posted.ledger, [Scene(files=3)])
        seen = window(posted)
        way, known = seen.passage(1), seen.funnels()
        assert seen.passage(1) is way
        assert seen.funnels() is known
        record(posted.ledger, [Scene(2, START.replace(hour=13), files=2)])
        assert [funnel.files for funnel in seen.funnels()] == [2, 3]
        assert seen.passage(2).files == 2
        seen.close()

    def test_another_ledger_in_its_place_is_opened(self, posted: Posted) -> None:
        record(posted.ledger, [Scene(files=3)])
        seen = window(posted)
        assert seen.passage(1).files == 3
        Path(posted.ledger).unlink()
        record(posted.ledger, [Scene(files=5)])
        assert seen.passage(1).files == 5
        seen.close()

    def test_counts_are_read_on(self, posted: Posted) -> None:
        seen = window(posted)
        with seen.curves() as curves:
            assert curves.span is None
        Series(posted.series).append(list(Scene(files=4).counts()))
        with seen.curves() as curves:
            assert curves.latest["PIC-DCACHE"][0] == 0


class TestTail:
    def test_it_tells_what_is_added(self, posted: Posted) -> None:
        tail = Tail(posted, SystemClock())
        assert tail.fresh() == []
        record(posted.ledger, [Scene(files=2)])
        Series(posted.series).append(list(Scene(files=2).counts(until=1)))
        told = tail.fresh()
        assert sum(isinstance(fact, FileGone) for fact in told) == 2
        assert sum(isinstance(fact, RSECounted) for fact in told) == 8
        assert tail.fresh() == []

    def test_what_was_there_is_no_news(self, posted: Posted) -> None:
        record(posted.ledger, [Scene(files=2)])
        assert Tail(posted, SystemClock()).fresh() == []

    def test_what_is_left_of_counts_that_were_thinned_is_no_news(self, posted: Posted) -> None:
        counts = list(Scene(files=2).counts())
        later = [replace(count, at=count.at + timedelta(days=1)) for count in counts]
        series = Series(posted.series)
        series.append(counts)
        tail = Tail(posted, FakeClock(counts[-1].at))
        assert tail.fresh() == []
        series.append(later[:4])
        assert tail.fresh() == later[:4]
        series.thin(whole_since=later[0].at, since=counts[0].at)
        series.append(later[4:8])
        assert tail.fresh() == later[4:8]
        assert tail.fresh() == []

    def test_of_much_the_end(self, posted: Posted) -> None:
        tail = Tail(posted, SystemClock())
        tail.fresh()
        record(posted.ledger, [Scene(files=100)])
        told = tail.fresh()
        assert len(told) == 500
        assert isinstance(told[-2], FileGone)

    def test_a_ledger_that_cannot_be_read_tells_nothing(self, posted: Posted) -> None:
        Path(posted.ledger).write_bytes(b"no database" * 100)
        posted.series.write_text("no count\n")
        tail = Tail(posted, SystemClock())
        with posted.series.open("a") as file:
            file.write("nor this\n")
        assert tail.fresh() == []


class TestBoard:
    def test_listeners_are_told_until_they_leave(self, posted: Posted) -> None:
        told: list[tuple[str, Sequence[Fact]]] = []
        first = threading.Event()

        def listen(name: str, facts: Sequence[Fact]) -> None:
            told.append((name, facts))
            first.set()

        with LedgerBoard([posted], SystemClock()) as board:
            cancel = board.subscribe(listen)
            assert board._begun[NAME].wait(300)
            record(posted.ledger, [Scene(files=2)])
            assert first.wait(300)
            cancel()
            cancel()
            assert board.health().ok
            assert board.ready().ok
        assert told[0][0] == NAME
        assert not board.health().ok

    def test_a_ledger_that_never_answers_holds_up_no_other(self, posted: Posted) -> None:
        told = threading.Event()
        with socket.create_server(("127.0.0.1", 0)) as black_hole:
            place = f"postgresql://me@127.0.0.1:{black_hole.getsockname()[1]}/ledgers"
            away = Posted("away", place, posted.series.with_name("none"))
            with LedgerBoard([away, posted], SystemClock()) as board:
                board.subscribe(lambda name, _: told.set() if name == NAME else None)
                assert board._begun[NAME].wait(300)
                record(posted.ledger, [Scene(files=2)])
                assert told.wait(300)
                assert board.health().ok
            connection, _ = black_hole.accept()
            connection.close()

    def test_files_are_let_go_on(self, posted: Posted) -> None:
        scene = Scene(files=6, failed=4)
        record(posted.ledger, [scene])
        board = LedgerBoard([posted], SystemClock())
        assert board.retry(NAME, []) == 0
        assert board.retry(NAME, [scene.did(5), scene.did(4)]) == 2
        with SqlLedger(posted.ledger, NAME, clock=SystemClock(), reading=True) as ledger:
            assert ledger.counts()[FileState.QUARANTINED] == 2

    def test_all_or_none_of_them(self, posted: Posted) -> None:
        scene = Scene(files=6, failed=2)
        record(posted.ledger, [scene])
        board = LedgerBoard([posted], SystemClock())
        with pytest.raises(UsageError, match="only a file that is QUARANTINED"):
            board.retry(NAME, [scene.did(5), scene.did(0)])
        with pytest.raises(UsageError, match="no campaign"):
            board.retry("other", [scene.did(5)])
        with (
            SqlLedger(posted.ledger, NAME, clock=SystemClock()),
            pytest.raises(LedgerUnavailable),
        ):
            board.retry(NAME, [scene.did(5)])
        with SqlLedger(posted.ledger, NAME, clock=SystemClock(), reading=True) as ledger:
            assert ledger.counts()[FileState.QUARANTINED] == 2
