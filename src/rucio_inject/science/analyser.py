"""The analysis behind our port."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rucio_inject.domain.errors import AnalysisFailed
from rucio_inject.ports import Analysis
from rucio_inject.science.analysis import analyse
from rucio_inject.science.earlier import read_earlier

FIGURE = "physics.png"


class PhysicsAnalyser:
    """Implements `ports.Analyser`: a θ² plot, an energy histogram, and their numbers."""

    def counted(self, out: Path) -> frozenset[str]:
        """See the port."""
        before = read_earlier(out / FIGURE)
        return before.names if before else frozenset()

    def analyse(self, files: Sequence[Path], out: Path, *, add: bool = False) -> Analysis:
        """See the port."""
        before = read_earlier(out / FIGURE) if add else None
        result = analyse(files, out / FIGURE, before=before)
        return Analysis(
            headline=result.headline,
            files=result.files,
            events=result.events,
            paths=result.paths,
            failures=tuple((path, AnalysisFailed(why)) for path, why in result.failures),
        )
