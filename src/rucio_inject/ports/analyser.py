"""What uses the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rucio_inject.domain.errors import InjectError


@dataclass(frozen=True, slots=True)
class Analysis:
    """What an application made of files read back: one line, the files written, and failures."""

    headline: str
    files: int
    events: int
    paths: tuple[Path, ...]
    failures: tuple[tuple[Path, InjectError], ...] = ()


class Analyser(Protocol):
    """An application that really uses the data."""

    def counted(self, out: Path) -> frozenset[str]:
        """Names of the files that are in what `analyse` wrote into `out` last, without those that
        it could not use; none if nothing can be added to that."""
        ...

    def analyse(self, files: Sequence[Path], out: Path, *, add: bool = False) -> Analysis:
        """Open every file and write figures and numbers into `out`; with `add`, those of the files
        that are `counted` and of these together.

        A file that cannot be used is named in `failures`; the others are used all the same.
        """
        ...
