"""A report as one HTML file that needs nothing else: no script, no other file, no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from markupsafe import Markup

from rucio_inject.domain.facts import RSECounted
from rucio_inject.monitor.figure import build_figure_1
from rucio_inject.readings.report import Report
from rucio_inject.readings.transfers import PHASES
from rucio_inject.web.paint import STATIC, environment

MANY_CYCLES = 40
"""More than so many are told day by day."""
LARGEST_PLOT = 8_000_000  # bytes
_FONT = "vendor/inter-latin-wght-normal.woff2"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as a data URL, with what it shows in words."""

    url: str
    words: str


def report_html(report: Report, *, highlight: str | None, plots: Sequence[Path] = ()) -> str:
    """The report. `plots` are PNG files of the analysis; one that is not there is left out."""
    font = base64.b64encode((STATIC / _FONT).read_bytes()).decode()
    return (
        environment()
        .get_template("report.html")
        .render(
            report=report,
            phases=PHASES,
            figure=_figure(report.samples, _time(report), highlight),
            latest=_latest(report, highlight),
            plots=[picture for path in plots if (picture := _plot(path)) is not None],
            can_draw=find_spec("matplotlib") is not None,
            by_day=len(report.cycles) > MANY_CYCLES,
            style=Markup((STATIC / "report.css").read_text()),  # noqa: S704 -- a file of ours
            font=Markup(f"data:font/woff2;base64,{font}"),  # noqa: S704 -- base64
        )
    )


def _time(report: Report) -> str:
    """The time that a report is about, in words."""
    return " to ".join(
        f"{at:%Y-%m-%d %H:%M}" for at in (report.begun_at, report.ended_at or report.made_at) if at
    )


def _latest(report: Report, highlight: str | None) -> Picture | None:
    """The last cycle in detail, where the whole is too long for it to be seen."""
    if len(report.cycles) < 2:
        return None
    return _figure(report.latest, f"cycle {report.cycles[0].cycle}", highlight)


def _figure(
    samples: Sequence[RSECounted],
    time: str,
    highlight: str | None,
    events: Sequence[tuple[datetime, str]] = (),
) -> Picture | None:
    """Figure 1 as SVG: sharp on paper, too. None without counts, or without the extra to draw."""
    if not samples or find_spec("matplotlib") is None:
        return None
    drawn = build_figure_1(
        samples, title=f"Files and volume on the RSEs, {time}", highlight=highlight, events=events
    )
    out = io.BytesIO()
    drawn.savefig(out, format="svg", facecolor="white", metadata={"Date": None})
    rses = ", ".join(dict.fromkeys(sample.rse for sample in samples))
    return Picture(
        _data_url("image/svg+xml", out.getvalue()), f"Files and volume on {rses}; {time}"
    )


def _plot(path: Path) -> Picture | None:
    if path.suffix != ".png" or not path.is_file() or path.stat().st_size > LARGEST_PLOT:
        return None
    return Picture(_data_url("image/png", path.read_bytes()), f"Plots of the analysis, {path.name}")


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
