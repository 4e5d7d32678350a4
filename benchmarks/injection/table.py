"""The figures as tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from benchmarks.injection import figures
from benchmarks.injection.contest import (
    BULK,
    COPY,
    COPY_1,
    DOWNLOAD,
    OURS,
    SEED,
    UPLOAD,
    Try,
)
from benchmarks.injection.figures import Measured, Spread, ratio, spread
from benchmarks.injection.targets import TARGETS
from rich.markup import escape
from rich.table import Table

TITLES = {
    SEED: "the seed's sequence",
    UPLOAD: "UploadClient",
    OURS: "rucio-inject",
    DOWNLOAD: "DownloadClient (read back)",
    COPY: "alone: plain copy, checksums",
    COPY_1: "alone: the same, one thread",
    BULK: "alone: bare bulk calls",
}
# What a file goes through, and the fact that ends each part; each begins where the last ended.
STAGES = (
    ("found", "FileFound"),
    ("uploaded", "FileUploaded"),
    ("registered", "FileRegistered"),
    ("organised", "FileOrganised"),
    ("described", "FileDescribed"),
    ("all rules OK", "FileReplicated"),
    ("read back", "FileVerified"),
)


def number(value: float) -> str:
    """A figure with as many digits as tell something."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:,.{1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 4}f}"


def shown(found: Spread | None) -> str:
    """The median, and between which values it lies if there was more than one try."""
    if found is None:
        return "-"
    if found.tries == 1:
        return number(found.median)
    low, middle, high = map(number, (found.low, found.median, found.high))
    return f"{middle} ({low} to {high})"


def case_table(tries: Sequence[Try], case: str) -> Table:
    """A line a contestant at one case."""
    table = Table(title=f"{case}: medians (lowest to highest)")
    table.add_column("", no_wrap=True)
    for head in ("files", "files/s", "MB/s", "calls/file", "in all", "all OK, s", "peak MB"):
        table.add_column(head, justify="right")
    table.add_column("rucio-inject is, times", justify="right")
    for contestant, title in TITLES.items():
        mine = [one for one in tries if (one.case, one.contestant) == (case, contestant)]
        if not mine:
            continue
        valid = figures.counting(mine, case, contestant)
        files = valid[0].done.files if valid and valid[0].done else 0
        table.add_row(title, f"{files:,}", *_row(tries, case, contestant))
        for one in mine:
            if one.problem is not None:
                said = escape(f"try {one.repetition + 1} of {title} has no figure: {one.problem}")
                table.caption = f"{table.caption}\n{said}" if table.caption else said
    return table


def _row(tries: Sequence[Try], case: str, contestant: str) -> list[str]:
    def cell(measured: Measured) -> str:
        return shown(spread(tries, case, contestant, measured))

    def middle(measured: Measured, scale: float = 1) -> str:
        found = spread(tries, case, contestant, measured)
        return "-" if found is None else number(found.median / scale)

    theirs = (contestant, figures.files_a_second)
    times = ratio(tries, case, figures.rate_beside(contestant), theirs)
    return [
        cell(figures.files_a_second),
        middle(figures.bytes_a_second, 1e6),
        middle(figures.calls_a_file),
        middle(figures.calls_a_file_in_all),
        cell(figures.seconds_until_ok),
        middle(figures.peak_memory, 1e6),
        "" if contestant == OURS else shown(times),
    ]


def target_table(tries: Sequence[Try]) -> Table:
    """Targets beside what was measured."""
    table = Table(title="targets")
    for head in ("case", "rucio-inject", "target", "measured", "median meets it"):
        table.add_column(head)
    for target in TARGETS:
        met = target.met(tries)
        table.add_row(
            target.case,
            target.what,
            target.bound,
            shown(target.measured(tries)),
            "not measured" if met is None else "yes" if met else "no",
        )
    return table


def stage_table(tries: Sequence[Try], cases: Sequence[str]) -> Table:
    """Where our own time goes: when the last file came through each stage, and how much of that
    was after the stage before. Stages overlap."""
    table = Table(title="rucio-inject: seconds until the last file is … (after the stage before)")
    table.add_column("")
    for title, _ in STAGES:
        table.add_column(title, justify="right")
    for case in cases:
        done = [one.done for one in figures.counting(tries, case, OURS) if one.done]
        if not done:
            continue
        middle = sorted(done, key=lambda one: one.seconds)[len(done) // 2]
        facts = middle.details["facts"]
        ends = [facts[kind]["last"] if kind in facts else None for _, kind in STAGES]
        steps = [
            None,
            *(b - a if a is not None and b is not None else None for a, b in pairwise(ends)),
        ]
        cells = ["-" if end is None else f"{end:.2f}" for end in ends]
        after = ["" if step is None else f" ({step:+.2f})" for step in steps]
        table.add_row(case, *(a + b for a, b in zip(cells, after, strict=True)))
    return table
