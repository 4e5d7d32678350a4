"""What an analysis came to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class AnalysisResult:
    """What came out: where it is, the headline numbers, and which files could not be analysed.

    `figure` is None when there was nothing to draw. Counts of events are of every level; `n_on`,
    `n_off`, `excess` (counts) and `significance` (standard deviations) are of reconstructed events,
    and `significance` is None when there were none of those.
    """

    numbers: Path
    figure: Path | None
    files: int
    events: int
    n_on: int
    n_off: int
    alpha: float
    excess: float
    significance: float | None
    failures: tuple[tuple[Path, str], ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that were made."""
        return (self.numbers,) if self.figure is None else (self.figure, self.numbers)

    @property
    def headline(self) -> str:
        """The result in one line."""
        parts = [f"{_count(self.events, 'event')} in {_count(self.files, 'file')}"]
        if self.significance is not None:
            parts.append(f"excess {self.excess:.1f}, significance {self.significance:.1f} sigma")
        if self.failures:
            parts.append(f"{_count(len(self.failures), 'file')} could not be analysed")
        return "; ".join(parts)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
