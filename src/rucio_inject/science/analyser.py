"""The analysis behind our port."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rucio_inject.domain.errors import AnalysisFailed
from rucio_inject.ports import Analysis
from rucio_inject.science.analysis import analyse

FIGURE = "physics.png"


class PhysicsAnalyser:
    """Implements `ports.Analyser`: a θ² plot, an energy histogram, and their numbers."""

    def analyse(self, files: Sequence[Path], out: Path) -> Analysis:
        """See the port."""
        result = analyse(files, out / FIGURE)
        return Analysis(
            headline=result.headline,
            files=result.files,
            events=result.events,
            paths=result.paths,
            failures=tuple((path, AnalysisFailed(why)) for path, why in result.failures),
        )
