"""Our cost against the number of files: a line with slope 1 costs the same for every file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import linear_regression

from benchmarks.injection.cases import Case
from benchmarks.injection.contest import OURS, Contest, Try
from benchmarks.injection.figures import counting
from benchmarks.injection.sources import make_sources

COUNTS = (100, 300, 1000, 3000, 10_000)
SIZE = 10_000
# More files are only injected: their transfers would take the lake the better part of an hour.
TRANSFERRED = 10_000
CURVES = {"injected": "o", "all rules OK": "s", "read back": "^"}


def run(contest: Contest, work: Path, counts: Sequence[int], repeat: int) -> Iterator[Try]:
    """Our tries at each number of files, all of one size."""
    for count in counts:
        case = Case(count, SIZE)
        folder, only_inject = make_sources(work, case), count > TRANSFERRED
        yield from contest.run(case, folder, [OURS], repeat, only_inject=only_inject)


def curves(tries: Sequence[Try]) -> Mapping[str, Sequence[tuple[int, float]]]:
    """Files, and the seconds of the quickest try, for each curve.

    *injected* and *all rules OK* count from the first file; *read back* only the reading.
    """
    points: dict[str, list[tuple[int, float]]] = {name: [] for name in CURVES}
    for case in dict.fromkeys(one.case for one in tries):
        done = [one.done for one in counting(tries, case, OURS) if one.done is not None]
        if not done:
            continue
        files = done[0].files
        points["injected"].append((files, min(one.seconds for one in done)))
        for name, key in (("all rules OK", "replicated_seconds"), ("read back", "read_seconds")):
            times = [one.details[key] for one in done if key in one.details]
            if times:
                points[name].append((files, min(times)))
    return points


def exponent(points: Sequence[tuple[int, float]]) -> float | None:
    """The e of seconds ~ files^e that fits best; None with less than two points."""
    if len(points) < 2:
        return None
    files, seconds = zip(*points, strict=True)
    fitted = linear_regression([math.log(n) for n in files], [math.log(s) for s in seconds])
    return fitted.slope


def draw(points: Mapping[str, Sequence[tuple[int, float]]], path: Path) -> None:
    """The curves, log-log, with a line of slope 1 through the last point of the first."""
    from matplotlib.figure import Figure  # noqa: PLC0415 -- only drawing needs it

    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.add_subplot()
    for name, marker in CURVES.items():
        fitted = exponent(points[name])
        if fitted is None:
            continue
        label = f"{name} (exponent {fitted:.2f})"
        axes.plot(*zip(*points[name], strict=True), marker=marker, label=label)
    files, seconds = points["injected"][-1]
    first = points["injected"][0][0]
    line = [seconds * first / files, seconds]
    axes.plot([first, files], line, color="0.5", linestyle="--", label="slope 1")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="files",
        ylabel="seconds",
        title=f"rucio-inject: cost against the number of files ({SIZE // 1000} kB each)",
    )
    axes.grid(which="both", alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
