"""Counts in time: as few as tell the same, and as few points as show the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rucio_inject.domain.errors import LedgerError
from rucio_inject.domain.facts import RSECounted
from rucio_inject.domain.usage import Usage
from rucio_inject.monitor.curves import Curve, Curves, Reader
from rucio_inject.monitor.series import Series

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
START = NOON.timestamp()


def sample(second: float, files: int | None, rse: str = "A", stored: int | None = 0) -> RSECounted:
    return RSECounted(
        at=NOON + timedelta(seconds=second),
        rse=rse,
        catalogue=None if files is None else Usage(files, 10 * files),
        storage=None if stored is None else Usage(stored, 10 * stored),
    )


def curve_of(*files: int | None) -> Curve:
    curve = Curve("A")
    for second, count in enumerate(files):
        curve.add(sample(second, count))
    return curve


class TestCurve:
    def test_steps_are_kept_and_what_stays_is_not(self) -> None:
        points = curve_of(0, 0, 0, 3, 3, 1, 1).points(START, START + 6, 100)
        assert points is not None
        assert [at - START for at in points.times] == [0, 3, 5, 6]
        assert points.catalogue_files == [0, 3, 1, 1]
        assert points.catalogue_bytes == [0, 30, 10, 10]

    def test_what_nobody_knows_is_a_gap(self) -> None:
        points = curve_of(1, None, 1).points(START, START + 2, 100)
        assert points is not None
        assert points.catalogue_files == [1, None, 1, 1]

    def test_a_part_begins_with_what_was_before(self) -> None:
        points = curve_of(5, 6, 6, 6, 7).points(START + 2, START + 3, 100)
        assert points is not None
        assert [at - START for at in points.times] == [2, 3]
        assert points.catalogue_files == [6, 6]

    def test_outside_there_is_nothing(self) -> None:
        assert curve_of(1, 2).points(START + 5, START + 9, 100) is None
        assert curve_of(1, 2).points(START - 9, START - 5, 100) is None

    def test_a_clock_that_was_set_back_bends_nothing(self) -> None:
        curve = Curve("A")
        for second, count in ((10, 1), (4, 2), (11, 3)):
            curve.add(sample(second, count))
        points = curve.points(START, START + 20, 100)
        assert points is not None
        assert [at - START for at in points.times] == [10, 10, 11, 11]

    @given(st.lists(st.integers(0, 5), min_size=1, max_size=300), st.integers(1, 20))
    def test_no_dip_is_lost(self, files: list[int], buckets: int) -> None:
        end = START + len(files) - 1
        points = curve_of(*files).points(START, end, buckets)
        assert points is not None
        assert len(points.times) <= 10 * (buckets + 1) + 1
        assert list(points.times) == sorted(points.times)
        known = [count for count in points.catalogue_files if count is not None]
        assert (min(known), max(known)) == (min(files), max(files))
        assert (known[0], known[-1]) == (files[0], files[-1])

    def test_points_are_counts_again(self) -> None:
        points = curve_of(1, None).points(START, START + 1, 9)
        assert points is not None
        assert points.samples() == [sample(0, 1), sample(1, None), sample(1, None)]


class TestFile:
    def test_it_is_read_on(self, tmp_path: Path) -> None:
        path = tmp_path / "counts.jsonl"
        curves = Curves(path)
        curves.refresh()
        assert curves.latest == {}
        Series(path).append([sample(0, 1), sample(0, 2, "B")])
        curves.refresh()
        Series(path).append([sample(1, 4)])
        curves.refresh()
        assert curves.span == (START, START + 1)
        assert {rse: counts[0] for rse, counts in curves.latest.items()} == {"A": 4, "B": 2}
        assert [points.rse for points in curves.points(START, START + 1, 9)] == ["A", "B"]

    def test_a_line_that_is_not_whole_waits(self, tmp_path: Path) -> None:
        path = tmp_path / "counts.jsonl"
        Series(path).append([sample(0, 1)])
        whole = path.read_bytes()
        reader = Reader(path)
        path.write_bytes(whole + whole[:20])
        assert [c for counts in reader.fresh() for c in counts] == [sample(0, 1)]
        with path.open("ab") as file:
            file.write(whole[20:])
        assert [c for counts in reader.fresh() for c in counts] == [sample(0, 1)]

    def test_from_its_end_only_what_comes_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "counts.jsonl"
        Series(path).append([sample(0, 1)])
        reader = Reader(path, at_end=True)
        assert list(reader.fresh()) == []
        Series(path).append([sample(1, 2)])
        assert list(reader.fresh()) == [[sample(1, 2)]]

    def test_another_file_is_read_anew(self, tmp_path: Path) -> None:
        path = tmp_path / "counts.jsonl"
        Series(path).append([sample(0, 1), sample(1, 2)])
        curves = Curves(path)
        curves.refresh()
        path.unlink()
        Series(path).append([sample(9, 7, "B")])
        curves.refresh()
        assert list(curves.latest) == ["B"]
        path.unlink()
        curves.refresh()
        assert curves.span is None

    def test_another_file_is_known_by_what_is_in_it(self, tmp_path: Path) -> None:
        # As when counts were thinned, and the new file got the inode of one before it.
        path, other = tmp_path / "counts.jsonl", tmp_path / "other.jsonl"
        Series(path).append([sample(second, 100 + second % 7) for second in range(200)])
        curves, inode = Curves(path), path.stat().st_ino
        curves.refresh()
        Series(other).append([sample(second, 1, "long name") for second in range(0, 900, 3)])
        path.write_bytes(other.read_bytes())
        assert path.stat().st_ino == inode
        curves.refresh()
        assert {rse: counts[0] for rse, counts in curves.latest.items()} == {"long name": 1}
        Series(path).append([sample(900, 2, "long name")])
        curves.refresh()
        assert curves.latest["long name"][0] == 2
        assert curves.span == (START, START + 900)

    def test_of_many_lines_those_that_only_repeat_are_left_out(self, tmp_path: Path) -> None:
        path = tmp_path / "counts.jsonl"
        told = [sample(second, int(second >= 1500), rse) for second in range(2000) for rse in "AB"]
        Series(path).append(told)
        reader = Reader(path)
        read = [count for counts in reader.fresh() for count in counts]
        assert len(read) == 6
        whole, short = Curves(path), Curve("A")
        whole.refresh()
        for one in told:
            if one.rse == "A":
                short.add(one)
        assert whole.points(START, START + 2000, 50)[0] == short.points(START, START + 2000, 50)

    def test_damage_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "counts.jsonl"
        path.write_text('{"at": 1}\n')
        with pytest.raises(LedgerError, match="is no count"):
            Curves(path).refresh()
