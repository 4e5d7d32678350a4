"""From tries to figures: medians with their spread, and ratios."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from benchmarks.injection.contest import DOWNLOAD, OURS, Try
from benchmarks.injection.job import Done

Measured = Callable[[Try], float | None]


@dataclass(frozen=True, slots=True)
class Spread:
    """Lowest, median and highest of some tries."""

    low: float
    median: float
    high: float
    tries: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """None if there is nothing to tell of."""
        if not values:
            return None
        return cls(min(values), median(values), max(values), len(values))


def counting(tries: Sequence[Try], case: str, contestant: str) -> list[Try]:
    """The tries that count: a contestant that did not do the work has no figure."""
    mine = [one for one in tries if (one.case, one.contestant) == (case, contestant)]
    return [one for one in mine if one.done is not None and one.problem is None]


def spread(tries: Sequence[Try], case: str, contestant: str, measured: Measured) -> Spread | None:
    """What was measured in the tries of a contestant at a case."""
    values = [measured(one) for one in counting(tries, case, contestant)]
    return Spread.of([value for value in values if value is not None])


def ratio(
    tries: Sequence[Try], case: str, ours: tuple[str, Measured], theirs: tuple[str, Measured]
) -> Spread | None:
    """Ours over theirs, repetition by repetition: what slows the machine down slows both."""
    mine, others = (_by_repetition(tries, case, *who) for who in (ours, theirs))
    return Spread.of([mine[n] / others[n] for n in sorted(mine.keys() & others.keys())])


def _by_repetition(
    tries: Sequence[Try], case: str, contestant: str, measured: Measured
) -> Mapping[int, float]:
    values = {one.repetition: measured(one) for one in counting(tries, case, contestant)}
    return {number: value for number, value in values.items() if value}


def _of_done(measured: Callable[[Done], float | None]) -> Measured:
    def of_try(one: Try) -> float | None:
        return None if one.done is None else measured(one.done)

    return of_try


def _read_rate(done: Done) -> float | None:
    replicas, seconds = done.details.get("read_replicas"), done.details.get("read_seconds")
    return replicas / seconds if replicas and seconds else None


files_a_second = _of_done(lambda done: done.rate)
bytes_a_second = _of_done(lambda done: done.size / done.seconds)
calls_a_file = _of_done(lambda done: done.calls / done.files)
calls_a_file_in_all = _of_done(lambda done: done.calls_in_all / done.files)
peak_memory = _of_done(lambda done: float(done.peak_memory))
replicas_read_a_second = _of_done(_read_rate)


def seconds_until_ok(one: Try) -> float | None:
    """From the first file until every rule was OK."""
    return one.ok_seconds


def rate_beside(contestant: str) -> tuple[str, Measured]:
    """Our rate that a contestant's files/s are held against: bringing, or reading back."""
    return (OURS, replicas_read_a_second if contestant == DOWNLOAD else files_a_second)


FIGURES: Mapping[str, Measured] = {
    "files_a_second": files_a_second,
    "bytes_a_second": bytes_a_second,
    "calls_a_file": calls_a_file,
    "calls_a_file_in_all": calls_a_file_in_all,
    "peak_memory": peak_memory,
    "replicas_read_a_second": replicas_read_a_second,
    "seconds_until_ok": seconds_until_ok,
}


def summary(tries: Sequence[Try]) -> list[dict[str, Any]]:
    """All figures of every contestant at every case, for JSON; None where there is none."""
    rows: list[dict[str, Any]] = []
    for case, contestant in dict.fromkeys((one.case, one.contestant) for one in tries):
        found = {name: spread(tries, case, contestant, each) for name, each in FIGURES.items()}
        theirs = (contestant, files_a_second)
        found["ours_over_theirs"] = ratio(tries, case, rate_beside(contestant), theirs)
        told = {name: asdict(one) if one else None for name, one in found.items()}
        rows.append({"case": case, "contestant": contestant, **told})
    return rows
