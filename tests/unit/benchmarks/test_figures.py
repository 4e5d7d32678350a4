"""From tries to figures, tables and targets."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pytest
from benchmarks.injection import figures, scaling
from benchmarks.injection.contest import DOWNLOAD, OURS, SEED, UPLOAD, Try, order
from benchmarks.injection.figures import Spread
from benchmarks.injection.job import Done
from benchmarks.injection.table import case_table, number, shown, stage_table, target_table
from benchmarks.injection.targets import TARGETS
from rich.console import Console
from rich.table import Table

CASE = "1000x100kB"


def tried(
    contestant: str,
    rate: float,
    repetition: int = 0,
    *,
    problem: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> Try:
    """A try with 100 files of 10 bytes, and 20 calls."""
    done = Done(100, 1000, 100 / rate, 20, calls_in_all=50, details=details or {})
    return Try(contestant, CASE, repetition, 0.1, done, problem, ok_seconds=30.0)


def printed(table: Table) -> str:
    out = io.StringIO()
    Console(file=out, width=300).print(table)
    return out.getvalue()


def test_a_spread_is_lowest_median_and_highest() -> None:
    assert Spread.of([3.0, 1.0, 2.0, 10.0]) == Spread(1.0, 2.5, 10.0, 4)
    assert Spread.of([]) is None


def test_ratios_are_taken_within_a_repetition() -> None:
    tries = [tried(OURS, 100, 0), tried(OURS, 300, 1), tried(OURS, 900, 2)]
    tries += [tried(UPLOAD, 10, 0), tried(UPLOAD, 10, 1)]
    rate = figures.files_a_second
    found = figures.ratio(tries, CASE, (OURS, rate), (UPLOAD, rate))
    assert found is not None
    assert (round(found.low), round(found.high), found.tries) == (10, 30, 2)


def test_who_did_not_do_the_work_has_no_figure() -> None:
    broken = Try(OURS, CASE, 1, 0.1, None, "it broke")
    wrong = tried(OURS, 1000, problem="holds 3 files")
    assert figures.spread([wrong, broken], CASE, OURS, figures.files_a_second) is None
    rate = figures.files_a_second
    tries = [wrong, tried(SEED, 3)]
    assert figures.ratio(tries, CASE, (OURS, rate), (SEED, rate)) is None
    text = printed(case_table([wrong, broken], CASE))
    assert "try 1 of rucio-inject has no figure: holds 3 files" in text
    assert "try 2 of rucio-inject has no figure: it broke" in text
    assert "1,000" not in text


def test_calls_and_bytes_are_told_a_file_and_a_second() -> None:
    one = tried(OURS, 50)
    assert figures.calls_a_file(one) == pytest.approx(0.2)
    assert figures.calls_a_file_in_all(one) == pytest.approx(0.5)
    assert figures.bytes_a_second(one) == pytest.approx(500)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234.5, "1,234"), (17.04, "17.0"), (3.14159, "3.14"), (0.0123456, "0.0123")],
)
def test_figures_have_the_digits_that_tell_something(value: float, text: str) -> None:
    assert number(value) == text


def test_a_spread_is_shown_only_if_there_is_one() -> None:
    assert shown(Spread(2, 2, 2, 1)) == "2.00"
    assert shown(Spread(1, 2, 3, 3)) == "2.00 (1.00 to 3.00)"
    assert shown(None) == "-"


def test_targets_stand_beside_what_was_measured() -> None:
    read = {"read_replicas": 300, "read_seconds": 3.0}
    tries = [tried(OURS, 500, details=read), tried(UPLOAD, 5), tried(SEED, 4), tried(DOWNLOAD, 20)]
    met = {target.what: target.met(tries) for target in TARGETS}
    assert met == {
        "times the files/s of UploadClient": True,
        "times the files/s of the seed's sequence": False,
        "REST calls a file while injecting": False,
        "of a plain copy with checksums": None,
        "times the files/s of DownloadClient, read back": False,
        "seconds until all rules are OK at two destinations": False,
    }
    lines = [line for line in printed(target_table(tries)).splitlines() if "│" in line]
    upload, plain = lines[0], next(line for line in lines if "plain copy" in line)
    assert "≥ 100" in upload
    assert "yes" in upload
    assert "not measured" in plain


def test_stages_tell_what_each_took_after_the_one_before() -> None:
    facts = {
        "FileFound": {"first": 0.1, "last": 0.5},
        "FileUploaded": {"first": 0.2, "last": 2.0},
        "FileOrganised": {"first": 1.0, "last": 3.25},
    }
    text = printed(stage_table([tried(OURS, 1, details={"facts": facts})], [CASE]))
    assert "2.00 (+1.50)" in text
    assert "3.25" in text


def test_another_contestant_begins_each_repetition() -> None:
    names = ["a", "b", "c"]
    assert [order(names, n) for n in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


def test_the_exponent_is_that_of_the_cost() -> None:
    square = [(n, 0.5 * n**2) for n in (10, 100, 1000)]
    assert scaling.exponent(square) == pytest.approx(2)
    assert scaling.exponent(square[:1]) is None


def test_curves_take_the_quickest_try_of_each_case() -> None:
    details = {"replicated_seconds": 9.0, "read_seconds": 2.0}
    tries = [tried(OURS, 100, n, details=details) for n in range(2)]
    tries.append(tried(OURS, 200, 2, details=details))
    tries.append(tried(OURS, 900, 3, details=details, problem="holds 3 files"))
    assert scaling.curves(tries) == {
        "injected": [(100, 0.5)],
        "all rules OK": [(100, 9.0)],
        "read back": [(100, 2.0)],
    }


def test_the_summary_has_every_figure_with_its_spread() -> None:
    read = {"read_replicas": 300, "read_seconds": 3.0}
    tries = [tried(OURS, 50, details=read), tried(UPLOAD, 5), tried(DOWNLOAD, 20)]
    tries.append(tried(SEED, 1, problem="holds 3 files"))
    rows = {row["contestant"]: row for row in figures.summary(tries)}
    assert rows[UPLOAD]["ours_over_theirs"]["median"] == pytest.approx(10)
    assert rows[DOWNLOAD]["ours_over_theirs"]["median"] == pytest.approx(5)
    assert rows[OURS]["replicas_read_a_second"]["tries"] == 1
    assert rows[SEED]["files_a_second"] is None
