"""Counts in time: what was cut off, and witnesses who say nothing."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from time import sleep
from types import SimpleNamespace
from typing import Any

import pytest

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError
from rucio_inject.domain.facts import RSECounted
from rucio_inject.domain.usage import Usage
from rucio_inject.monitor import series
from rucio_inject.monitor.series import (
    LONGEST_LINE,
    RECOVERY,
    SLOW,
    Listings,
    Sampler,
    Series,
)
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.testing.memory_catalogue import MemoryCatalogue
from rucio_inject.testing.memory_daemons import pfn_of
from rucio_inject.testing.memory_lake import MemoryLake
from rucio_inject.testing.memory_storage import MemoryStorage

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
COUNTS = [
    RSECounted(at=NOON + timedelta(seconds=n), rse="A", catalogue=Usage(n, 10 * n), storage=None)
    for n in range(3)
]


def at(minute: int) -> datetime:
    """So many minutes later."""
    return NOON + timedelta(minutes=minute)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "counts.jsonl"
    Series(path).append(COUNTS)
    return path


def test_counts_survive(path: Path) -> None:
    assert Series(path).read() == COUNTS
    assert Series(path).read(NOON + timedelta(seconds=1)) == COUNTS[1:]


def test_no_series_is_empty(tmp_path: Path) -> None:
    assert Series(tmp_path / "none").read() == []


@pytest.mark.parametrize("cut", [1, 2, 20, 60])
def test_a_last_line_that_was_cut_off_is_left_out(path: Path, cut: int) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    # A line that lacks nothing but its end is whole.
    assert Series(path).read() == (COUNTS if cut == 1 else COUNTS[:-1])


def test_counting_goes_on_after_a_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])
    for _ in range(2):
        Series(path).append(COUNTS[2:])
        assert COUNTS[2] in Series(path).read()


def test_the_last_counts_are_found_at_the_end(path: Path) -> None:
    assert Series(path.with_name("none")).last() == []
    assert Series(path).last() == [COUNTS[2]]
    other = RSECounted(at=NOON, rse="B", catalogue=None, storage=Usage(1, 1))
    Series(path).append([*COUNTS * 3000, other])
    assert Series(path).last() == [COUNTS[2], other]
    path.write_bytes(path.read_bytes()[:-1])
    assert Series(path).last() == [COUNTS[2], other], "it lacks nothing but its end"


def test_damage_in_the_middle_is_not_passed_over(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"{\n" + lines[2])
    with pytest.raises(LedgerError, match="damaged in line 2"):
        Series(path).read()


class TestMuch:
    """A watch counts for months: what is not asked for is not held."""

    @pytest.fixture
    def month(self, path: Path) -> Path:
        """Counts of two RSEs, one every minute."""
        Series(path).append(
            [
                RSECounted(at=at(minute), rse=rse, catalogue=Usage(minute, 1), storage=None)
                for minute in range(1, 5000)
                for rse in ("A", 'B "quoted"')
            ]
        )
        return path

    @pytest.fixture
    def built(self, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
        """Lines that a count is made of."""
        lines: list[bytes] = []
        real = series._COUNT

        def validate_json(line: bytes) -> RSECounted:
            lines.append(line)
            return real.validate_json(line)

        monkeypatch.setattr(series, "_COUNT", SimpleNamespace(validate_json=validate_json))
        return lines

    def test_what_is_older_is_passed_over(self, month: Path, built: list[bytes]) -> None:
        counts = Series(month).read(at(4990))
        assert [count.at for count in counts] == [at(m) for m in range(4990, 5000) for _ in "AB"]
        # And the last line, to see that it is whole.
        assert len(built) == 21

    def test_a_figure_is_given_as_many_as_it_shows(self, month: Path, built: list[bytes]) -> None:
        counts = Series(month).read(most=100)
        assert len(built) < 100 * LONGEST_LINE // 80 + 210, "beside those at the end of the file"
        assert sorted(counts, key=lambda count: count.at) == counts
        for rse in ("A", 'B "quoted"'):
            mine = [count.at for count in counts if count.rse == rse]
            assert 100 <= len(mine) <= 102
            assert mine[-1] == at(4999)
            gaps = [after - before for before, after in pairwise(mine)]
            assert max(gaps) <= timedelta(minutes=51)
        assert counts[0].at == NOON

    def test_of_a_few_none_is_left_out(self, path: Path) -> None:
        assert Series(path).read(most=100) == COUNTS
        assert Series(path).read(most=1) == [COUNTS[0], COUNTS[2]]
        assert Series(path).read(at(1), most=1) == []
        later = RSECounted(at=at(3), rse="B", catalogue=None, storage=None)
        Series(path).append([later])
        assert Series(path).read(most=1) == [COUNTS[0], COUNTS[2], later], "the last of each"
        assert Series(path.with_name("none")).read(most=1) == []

    def test_damage_that_is_not_passed_over(self, month: Path) -> None:
        with month.open("ab") as file:
            file.write(b'{"at":"2026-03-01T12:00:00Z","rse":"A",\n{"at":"x","rse":"A"}\n')
        Series(month).append(COUNTS[:1])
        # Of the first it shows only when it was.
        with pytest.raises(LedgerError, match="damaged in line 10003"):
            Series(month).read(at(9999))
        with pytest.raises(LedgerError, match="damaged in line 10002"):
            Series(month).read(most=2)
        with pytest.raises(LedgerError, match="damaged in line 10002"):
            Series(month).read()


class TestSampler:
    """Counts while a campaign runs."""

    @pytest.fixture
    def lake(self) -> MemoryLake:
        return MemoryLake(FakeClock())

    def sampler(
        self, lake: MemoryLake, path: Path, interval: float = 3600, **options: Any
    ) -> Sampler:
        return Sampler(
            MemoryCatalogue(lake),
            MemoryStorage(lake),
            lake.clock,
            rses=["PIC-INJECT", "LAPP-FAST"],
            interval=interval,
            series=Series(path),
            **options,
        )

    def test_first_and_last(self, lake: MemoryLake, tmp_path: Path) -> None:
        path = tmp_path / "c"
        with self.sampler(lake, path):
            while len(Series(path).read()) < 2:
                sleep(0.01)
            lake.rses["LAPP-FAST"].bytes["pfn"] = b"1234"
            lake.clock.advance(10)
        counts = Series(path).read()
        assert [count.rse for count in counts] == ["PIC-INJECT", "LAPP-FAST"] * 2
        assert [count.storage for count in counts if count.rse == "LAPP-FAST"] == [
            Usage(0, 0),
            Usage(1, 4),
        ]
        assert counts[-1].at - counts[0].at == timedelta(seconds=10)

    def test_a_witness_who_fails_says_nothing(self, lake: MemoryLake, tmp_path: Path) -> None:
        lake.rses["LAPP-FAST"].offline = True
        first, second = self.sampler(lake, tmp_path / "c").count()
        assert (first.catalogue, first.storage) == (Usage(0, 0), Usage(0, 0))
        assert (second.catalogue, second.storage) == (Usage(0, 0), None)

    def test_a_series_that_cannot_be_written_disturbs_nobody(
        self, lake: MemoryLake, tmp_path: Path
    ) -> None:
        sampler = self.sampler(lake, tmp_path / "no folder" / "c")
        with sampler:
            pass
        assert isinstance(sampler.failure, FileNotFoundError)

    def test_counting_stops_when_the_disk_is_full(
        self, lake: MemoryLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        full = OSError(28, "No space left on device")
        tried = threading.Event()

        def append(self: Series, counts: object) -> None:
            del self, counts
            tried.set()
            raise full

        with self.sampler(lake, tmp_path / "c", interval=0) as sampler:
            monkeypatch.setattr(Series, "append", append)
            tried.wait(300)
            sampler._thread.join(300)
        assert sampler.failure is full
        assert len(Series(tmp_path / "c").read()) % 2 == 0

    def test_what_nobody_expected_is_raised_at_the_end(
        self, lake: MemoryLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sampler = self.sampler(lake, tmp_path / "c", interval=0)
        done = []

        def block() -> None:
            with sampler:
                monkeypatch.setattr(MemoryStorage, "count", breaks)
                sampler._thread.join(300)
                done.append("the work of the block")

        def breaks(self: MemoryStorage, rse: str, breathe: object) -> None:
            del breathe
            raise KeyError(rse)

        with pytest.raises(KeyError):
            block()
        assert done
        assert isinstance(sampler.failure, KeyError)

    def test_an_exception_leaves_at_once(
        self, lake: MemoryLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        listing, go_on = threading.Event(), threading.Event()
        sampler = self.sampler(lake, tmp_path / "c", interval=0)

        def block() -> None:
            with sampler:
                monkeypatch.setattr(MemoryStorage, "count", slow)
                listing.wait(300)
                raise KeyboardInterrupt

        def slow(self: MemoryStorage, rse: str, breathe: object) -> None:
            del self, rse, breathe
            listing.set()
            go_on.wait(300)

        with pytest.raises(KeyboardInterrupt):
            block()
        assert sampler._thread.is_alive()
        go_on.set()
        sampler._thread.join(300)
        assert sampler.failure is None

    def test_a_slow_storage_is_left_in_peace(
        self, lake: MemoryLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def count(self: MemoryStorage, rse: str, breathe: object) -> Usage:
            del self, rse, breathe
            lake.clock.advance(20)
            return Usage(0, 0)

        sampler = self.sampler(lake, tmp_path / "c", interval=5)
        sampler.count()
        assert sampler.pause == 5
        monkeypatch.setattr(MemoryStorage, "count", count)
        sampler.count()
        assert sampler.pause == 400

    @pytest.mark.parametrize("scope", [None, "MAGIC"])
    def test_a_listing_rests_ten_times_as_long_as_it_works(
        self,
        lake: MemoryLake,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        scope: str | None,
    ) -> None:
        for number in range(1000):
            lake.rses["PIC-INJECT"].bytes[pfn_of("PIC-INJECT", DID("MAGIC", f"{number}"))] = b"1"
        moments = iter(range(100))
        monkeypatch.setattr(lake.clock, "monotonic", lambda: float(next(moments)))
        sampler = self.sampler(lake, tmp_path / "c", interval=0, scope=scope)
        rests: list[float] = []
        monkeypatch.setattr(sampler._ended, "wait", rests.append)
        first, _ = sampler.count()
        assert first.storage == Usage(1000, 1000)
        # Each look at the clock is a second later than the one before.
        assert rests == [RECOVERY] * 3
        assert 0 < sampler.pause < RECOVERY * sampler._listings.took

    def test_only_what_lies_below_a_scope(self, lake: MemoryLake, tmp_path: Path) -> None:
        for rse in ("PIC-INJECT", "LAPP-FAST"):
            for scope in ("MAGIC", "others"):
                lake.rses[rse].bytes[pfn_of(rse, DID(scope, "a.root"))] = b"1234"
        lake.unlistable.add("LAPP-FAST")
        first, second = self.sampler(lake, tmp_path / "c", scope="MAGIC").count()
        assert (first.storage, second.storage) == (Usage(1, 4), None)

    def test_no_storage_is_listed(self, lake: MemoryLake, tmp_path: Path) -> None:
        sampler = Sampler(
            MemoryCatalogue(lake),
            None,
            lake.clock,
            rses=["PIC-INJECT"],
            interval=3600,
            series=Series(tmp_path / "c"),
        )
        with sampler:
            pass
        assert {(c.catalogue, c.storage) for c in Series(tmp_path / "c").read()} == {
            (Usage(0, 0), None)
        }

    def test_a_storage_that_is_slow_is_not_listed_once_more_at_the_end(
        self, lake: MemoryLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        listed: list[str] = []

        def count(self: MemoryStorage, rse: str, breathe: object) -> Usage:
            del self, breathe
            listed.append(rse)
            lake.clock.advance(SLOW)
            return Usage(7, 7)

        monkeypatch.setattr(MemoryStorage, "count", count)
        listings = Listings()
        with self.sampler(lake, tmp_path / "c", listings=listings):
            while len(Series(tmp_path / "c").read()) < 2:
                sleep(0.01)
        counts = Series(tmp_path / "c").read()
        assert [count.storage for count in counts] == [Usage(7, 7)] * 2 + [None] * 2
        assert {count.catalogue for count in counts} == {Usage(0, 0)}
        # Nor at once in the next look of a watch.
        with self.sampler(lake, tmp_path / "next", listings=listings):
            pass
        assert [count.storage for count in Series(tmp_path / "next").read()] == [None] * 2
        assert len(listed) == 2
        lake.clock.advance(RECOVERY * listings.took)
        with self.sampler(lake, tmp_path / "later", listings=listings):
            while len(listed) < 4:
                sleep(0.01)

    def test_a_listing_that_takes_hours_holds_up_no_look(
        self, lake: MemoryLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun, go_on = threading.Event(), threading.Event()
        listed: list[str] = []

        def count(self: MemoryStorage, rse: str, breathe: object) -> Usage:
            del self, breathe
            listed.append(rse)
            begun.set()
            assert go_on.wait(300)
            return Usage(7, 7)

        monkeypatch.setattr(MemoryStorage, "count", count)
        monkeypatch.setattr(series, "SLOW", 0.01)
        listings = Listings()
        with self.sampler(lake, tmp_path / "c", listings=listings) as first:
            assert begun.wait(300)
        # It is not begun anew as long as it goes on, and is heard of no more.
        with self.sampler(lake, tmp_path / "c", listings=listings):
            while len(Series(tmp_path / "c").read()) < 4:
                sleep(0.01)
        assert listed == ["PIC-INJECT"]
        go_on.set()
        first._thread.join(300)
        assert {count.storage for count in Series(tmp_path / "c").read()} == {None}
        assert not listings.under_way
