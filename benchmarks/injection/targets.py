"""What was aimed at, beside what was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.injection import figures
from benchmarks.injection.cases import Case
from benchmarks.injection.contest import COPY, DOWNLOAD, OURS, SEED, UPLOAD, Try
from benchmarks.injection.figures import Spread, ratio, spread

SMALL, LARGE = str(Case(1000, 100_000)), str(Case(4, 1 << 30))


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A bound for a figure at a case; the median of the tries is held against it.

    `at_least` or `at_most` is the bound, and the other is None.
    """

    what: str
    case: str
    at_least: float | None = None
    at_most: float | None = None
    measured: Callable[[Sequence[Try]], Spread | None]

    @property
    def bound(self) -> str:
        """The bound in signs."""
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"

    def met(self, tries: Sequence[Try]) -> bool | None:
        """Whether it is met; None if it was not measured."""
        found = self.measured(tries)
        if found is None:
            return None
        if self.at_least is not None:
            return found.median >= self.at_least
        return self.at_most is not None and found.median <= self.at_most


def _times(case: str, theirs: str) -> Callable[[Sequence[Try]], Spread | None]:
    rate = figures.files_a_second
    return lambda tries: ratio(tries, case, (OURS, rate), (theirs, rate))


def _read(tries: Sequence[Try]) -> Spread | None:
    ours = (OURS, figures.replicas_read_a_second)
    return ratio(tries, SMALL, ours, (DOWNLOAD, figures.files_a_second))


TARGETS = (
    Target(
        what="times the files/s of UploadClient",
        case=SMALL,
        at_least=100,
        measured=_times(SMALL, UPLOAD),
    ),
    Target(
        what="times the files/s of the seed's sequence",
        case=SMALL,
        at_least=250,
        measured=_times(SMALL, SEED),
    ),
    Target(
        what="REST calls a file while injecting",
        case=SMALL,
        at_most=0.02,
        measured=lambda tries: spread(tries, SMALL, OURS, figures.calls_a_file),
    ),
    Target(
        what="of a plain copy with checksums",
        case=LARGE,
        at_least=0.85,
        measured=_times(LARGE, COPY),
    ),
    Target(
        what="times the files/s of DownloadClient, read back",
        case=SMALL,
        at_least=10,
        measured=_read,
    ),
    Target(
        what="seconds until all rules are OK at two destinations",
        case=SMALL,
        at_most=20,
        measured=lambda tries: spread(tries, SMALL, OURS, figures.seconds_until_ok),
    ),
)
