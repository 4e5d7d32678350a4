"""Figure 1: how many files and bytes each RSE holds as time goes by.

Two witnesses are drawn for every RSE in one hue: the catalogue as a solid step line, the storage as
dots and markers. Where they part, one of them knows of something that the other does not.

Made with Matplotlib's objects and not with pyplot, so that any thread may draw and no setting of
the process changes. Matplotlib comes with the optional extra [science].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import cycle
from math import ceil, isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rucio_inject.domain.errors import UsageError
from rucio_inject.domain.facts import RSECounted
from rucio_inject.domain.usage import Usage
from rucio_inject.whole_files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS_PER_INCH = 160
WIDTH, HEIGHT = 9.6, 6.0  # inches
INK = "#1f2933"
FAINT = "#9aa5b1"
# Neighbours differ in lightness too, for print in black and white.
HUES = ("#0b5394", "#e08a2c", "#2a9d74", "#8e1f63", "#8b95a1", "#4b3f9e", "#4aa3df", "#8a3b12")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
LABEL_ROWS = 4
LEADER = {"arrowstyle": "-", "color": INK, "lw": 0.7, "alpha": 0.6, "shrinkA": 0, "shrinkB": 0}
MARKERS_A_LINE = 22
FEW_DAYS, MANY_DAYS = 5, 120
SHORTEST = timedelta(seconds=4)  # a time axis shows at least this much

Event = tuple[datetime, str]


class Witness(StrEnum):
    """Who counted."""

    CATALOGUE = "catalogue"
    """Rucio's counters of the RSE."""

    STORAGE = "storage"
    """A listing of the storage itself."""


@dataclass(frozen=True, slots=True)
class _Look:
    """How one RSE is drawn."""

    hue: str
    marker: str
    width: float
    order: float
    place: int  # among all RSEs: equal curves set their markers at different samples


def draw_figure_1(
    samples: Sequence[RSECounted],
    out: Path,
    *,
    title: str,
    rses: Sequence[str] | None = None,
    events: Sequence[Event] = (),
    highlight: str | None = None,
) -> None:
    """Draw the samples to `out`, a .png or .svg, which appears when it is whole.

    `rses` chooses RSEs and their order (None: all, in order of appearance); `events` are moments to
    mark with a line and a few words; `highlight` is the RSE whose curve stands out. Times are UTC.
    UsageError when there is nothing to draw, for another ending of `out`, and for a missing extra;
    OSError if `out` cannot be written.
    """
    kind = out.suffix.lower().removeprefix(".")
    if kind not in {"png", "svg"}:
        raise UsageError(
            f"the figure {out.name} is neither .png nor .svg",
            hint="give a path that ends with .png or .svg",
        )
    figure = build_figure_1(samples, title=title, rses=rses, events=events, highlight=highlight)
    with replacing(out) as part:
        figure.savefig(part, format=kind, dpi=DOTS_PER_INCH, facecolor="white")


def build_figure_1(
    samples: Sequence[RSECounted],
    *,
    title: str,
    rses: Sequence[str] | None = None,
    events: Sequence[Event] = (),
    highlight: str | None = None,
) -> Figure:
    """The figure, not yet written: files above, bytes below. The arguments are draw_figure_1's."""
    chosen = _series(samples, rses)
    figure = _new_figure()
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    looks = _looks(list(chosen), highlight)
    scale, unit = _unit(_usages(chosen))
    for rse, series in chosen.items():
        _draw_rse(upper, series, looks[rse], len(looks), lambda usage: usage.files)
        _draw_rse(lower, series, looks[rse], len(looks), lambda usage: usage.bytes / scale)
    begin, end = _span([sample.at for series in chosen.values() for sample in series])
    marked = sorted((at, words) for at, words in events if begin <= at <= end)
    lower.set_xlim(_days(begin), _days(end))
    upper.set_ylabel("Files on the RSE")
    lower.set_ylabel(f"Volume on the RSE [{unit}]")
    for axes in (upper, lower):
        _dress(axes)
        for at, _ in marked:
            axes.axvline(_days(at), color=INK, lw=0.7, ls=(0, (4, 3)), alpha=0.6, zorder=0.5)
    rows = _label_events(upper, marked, begin, end)
    _time_axis(lower, begin, end)
    _legend(figure, looks)
    upper.set_title(
        title,
        loc="left",
        fontsize=12.5,
        fontweight="bold",
        color=INK,
        pad=10 + 13 * rows,
        parse_math=False,
    )
    return figure


def _new_figure() -> Figure:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - optional
        from matplotlib.figure import Figure  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        missing = error.name or str(error)
        raise UsageError(
            f"cannot draw a figure: the Python package {missing!r} is not installed",
            hint="install the optional packages: pip install 'rucio-inject[science]'",
        ) from error
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _series(
    samples: Sequence[RSECounted], rses: Sequence[str] | None
) -> dict[str, list[RSECounted]]:
    """Samples by RSE, in order of time. UsageError if there are none to draw."""
    by_rse: dict[str, list[RSECounted]] = {} if rses is None else {rse: [] for rse in rses}
    for sample in sorted(samples, key=lambda sample: sample.at):
        if rses is None:
            by_rse.setdefault(sample.rse, []).append(sample)
        elif sample.rse in by_rse:
            by_rse[sample.rse].append(sample)
    chosen = {rse: series for rse, series in by_rse.items() if series}
    if not chosen:
        asked = "any RSE" if rses is None else ", ".join(rses) or "no RSE"
        raise UsageError(
            f"there is no figure to draw: {asked} was never counted",
            hint="run a campaign first; its ledger keeps the counts",
        )
    return chosen


def _usages(chosen: Mapping[str, Sequence[RSECounted]]) -> list[Usage]:
    both = [(s.catalogue, s.storage) for series in chosen.values() for s in series]
    return [usage for pair in both for usage in pair if usage is not None]


def _unit(usages: Sequence[Usage]) -> tuple[float, str]:
    """Bytes in the unit, and its name: the largest that leaves the highest curve at 1 or more."""
    most = max((usage.bytes for usage in usages), default=0)
    return next(((size, unit) for size, unit in UNITS if most >= size), (1.0, "B"))


def _looks(rses: Sequence[str], highlight: str | None) -> dict[str, _Look]:
    """A hue and a marker for each RSE; the one that stands out has the first hue, and width."""
    ordered = sorted(rses, key=lambda rse: rse != highlight)  # a stable sort
    # Each is drawn over the one before it, and is thinner: equal curves all stay visible. Hues and
    # markers repeat, shifted against each other, so that the pairs repeat much later.
    hues = cycle(HUES)
    looks: dict[str, _Look] = {}
    for place, (rse, hue) in enumerate(zip(ordered, hues, strict=False)):
        stands_out = rse == highlight
        looks[rse] = _Look(
            hue=hue,
            marker=MARKERS[(place + place // len(HUES)) % len(MARKERS)],
            width=4.0 if stands_out else max(1.1, 2.6 - 0.5 * place),
            order=2.0 + place / len(ordered),
            place=place,
        )
    return {rse: looks[rse] for rse in rses}


def _draw_rse(
    axes: Axes,
    series: Sequence[RSECounted],
    look: _Look,
    curves: int,
    height: Callable[[Usage], float],
) -> None:
    """Two lines, of an RSE among `curves`; a witness that was not asked leaves a gap."""
    times = [_days(sample.at) for sample in series]
    catalogue = [nan if s.catalogue is None else height(s.catalogue) for s in series]
    storage = [nan if s.storage is None else height(s.storage) for s in series]
    axes.plot(
        times,
        catalogue,
        drawstyle="steps-post",
        color=look.hue,
        lw=look.width,
        zorder=look.order,
        solid_capstyle="butt",
        gid=f"{series[0].rse}/{Witness.CATALOGUE}",
    )
    spacing = max(min(curves, len(series)), len(series) // MARKERS_A_LINE)
    axes.plot(
        times,
        storage,
        drawstyle="steps-post",
        color=look.hue,
        ls=":",
        lw=1.1,
        marker=look.marker,
        ms=5.5,
        mfc="white",
        mew=1.2,
        markevery=(look.place * spacing // curves, spacing),
        zorder=look.order + 2,
        clip_on=False,
        gid=f"{series[0].rse}/{Witness.STORAGE}",
    )


def _days(at: datetime) -> float:
    """A moment as Matplotlib counts time."""
    return at.timestamp() / 86_400


def _span(times: Sequence[datetime]) -> tuple[datetime, datetime]:
    """What the time axis shows: all samples, and not less than SHORTEST."""
    begin, end = min(times), max(times)
    lacking = SHORTEST - (end - begin)
    margin = max(lacking / 2, (end - begin) * 0.015)
    return begin - margin, end + margin


def _label_events(axes: Axes, marked: Sequence[Event], begin: datetime, end: datetime) -> int:
    """Write the events above the axes, in as many rows as it takes; the number of rows.

    From the last to the first: a label that would run into a later one goes above it, and so no
    label's line runs through another label.
    """
    starts = [2.0] * LABEL_ROWS  # where the leftmost label of each row begins; 1 is the axes' end
    used = 0
    place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
    for at, words in reversed(marked):
        x = (at - begin) / (end - begin)
        reach = x + 0.0105 * len(words) + 0.015
        free = (row for row, start in enumerate(starts) if reach < start)
        row = next(free, LABEL_ROWS - 1)
        starts[: row + 1] = [x] * (row + 1)
        used = max(used, row + 1)
        top = 4 + 13 * row
        line = axes.annotate("", (x, 1.0), xytext=(0, top + 10), arrowprops=LEADER, **place)
        text = axes.annotate(words, (x, 1.0), xytext=(3, top), parse_math=False, **place)
        text.set(fontsize=8.5, color=INK, va="bottom")
        for mark in (line, text):
            # A label near the end may stand above the legend; the axes need not shrink for it.
            mark.set_in_layout(False)
            mark.set_annotation_clip(False)
    return used


def _time_axis(axes: Axes, begin: datetime, end: datetime) -> None:
    """Readable times for seconds as for weeks; what all of them share stands once, as ISO 8601."""
    from matplotlib.dates import (  # noqa: PLC0415 - an optional extra
        AutoDateLocator,
        ConciseDateFormatter,
        DateLocator,
        DayLocator,
    )

    days = (end - begin) / timedelta(days=1)
    locator: DateLocator
    if FEW_DAYS < days < MANY_DAYS:
        # Even steps: the automatic choice begins anew with every month.
        locator = DayLocator(interval=ceil(days / 8), tz=UTC)  # type: ignore[no-untyped-call]
    else:
        locator = AutoDateLocator(tz=UTC, minticks=4, maxticks=9)  # type: ignore[no-untyped-call]
    formatter = ConciseDateFormatter(  # type: ignore[no-untyped-call]
        locator,
        tz=UTC,
        formats=["%Y", "%Y-%m", "%m-%d", "%H:%M", "%H:%M", "%H:%M:%S"],
        zero_formats=["", "%Y-%m", "%m-%d", "%m-%d", "%H:%M", "%H:%M:%S"],
        offset_formats=["", "%Y", "%Y", "%Y-%m-%d", "%Y-%m-%d", "%Y-%m-%d"],
    )
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(formatter)
    axes.set_xlabel("Time (UTC)", fontsize=10, color=INK)


def _legend(figure: Figure, looks: Mapping[str, _Look]) -> None:
    """Beside the axes: what hue is which RSE, and which line is which witness."""
    from matplotlib.lines import Line2D  # noqa: PLC0415 - an optional extra

    def sample(hue: str, width: float, marker: str) -> Line2D:
        return Line2D([], [], color=hue, lw=width, marker=marker, mfc="white", mew=1.2, ms=5.5)

    entries = [(sample(look.hue, look.width, look.marker), rse) for rse, look in looks.items()]
    storage = sample(INK, 1.1, "o")
    storage.set_linestyle(":")
    witnesses = [(sample(INK, 1.3, ""), "catalogue"), (storage, "storage")]
    blank = (Line2D([], [], lw=0), " ")
    rows = [*entries, blank, *witnesses]
    legend = figure.legend(
        [line for line, _ in rows],
        [label for _, label in rows],
        loc="outside right center",
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        handlelength=2.8,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _dress(axes: Axes) -> None:
    """Only the lines that carry something, and counts from zero up."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter  # noqa: PLC0415 - an optional extra

    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.grid(axis="y", color=FAINT, alpha=0.3, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9)
    axes.yaxis.label.set(color=INK, fontsize=10)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    highest = axes.dataLim.ymax
    axes.set_ylim(0, 1.08 * max(highest, 1.0) if isfinite(highest) else 1.08)
