"""The figure of an analysis. Needs the extra [science].

Made with Matplotlib's objects and not with pyplot, so that any thread may draw and no setting of
the process changes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from rucio_inject.science.cuts import CHARGE_EDGES, CUTS, ENERGY_EDGES, THETA2_EDGES
from rucio_inject.science.result import AnalysisResult
from rucio_inject.science.tally import Level, Tally

DOTS_PER_INCH = 150
INK = "#1f2933"
FAINT = "#9aa5b1"
ON = "#0b5394"
OFF = "#c2571a"
SMALL = 8.5  # points
ALPHA = "\N{GREEK SMALL LETTER ALPHA}"
SIGMA = "\N{GREEK SMALL LETTER SIGMA}"


def build(result: AnalysisResult, total: Tally, title: str | None) -> Figure:
    """One panel for each thing that there is: θ² and energy, and the charge of pixels."""
    panels = []
    if total.events[Level.MELIBEA]:
        panels += [_draw_theta2, _draw_energy]
    if total.images:
        panels += [_draw_charge]
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08)  # inches
    figure = Figure(figsize=(max(5.2 * len(panels), 6.4), 4.6), layout=layout)
    FigureCanvasAgg(figure)
    for number, draw in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), number)
        draw(axes, result, total)
        _plain(axes)
    files = "one file" if result.files == 1 else f"{result.files:,} files"
    text = title or f"{result.events:,} events of {files} read back"
    figure.suptitle(text, fontsize=12, fontweight="bold", color=INK, parse_math=False)
    return figure


def save(figure: Figure, path: Path, kind: str) -> None:
    """Write the figure as `png` or `svg`."""
    figure.savefig(path, format=kind.lower(), dpi=DOTS_PER_INCH, facecolor="white")


def _draw_theta2(axes: Axes, result: AnalysisResult, total: Tally) -> None:
    counts = total.histograms["theta2"]
    middles = _middles(THETA2_EDGES)
    width = THETA2_EDGES[1] - THETA2_EDGES[0]
    level = total.n_off * width / (CUTS.off_max - CUTS.off_min)
    axes.axvspan(CUTS.off_min, CUTS.off_max, color=OFF, alpha=0.10, lw=0, label="off region")
    axes.stairs(counts, np.asarray(THETA2_EDGES), fill=True, color=ON, alpha=0.18)
    axes.errorbar(
        middles, counts, yerr=np.sqrt(counts), fmt="o", ms=3.2, lw=1, color=ON, label="events"
    )
    axes.axhline(level, color=OFF, lw=1.6, ls="--", label="flat background")
    axes.axvline(CUTS.on_max, color=INK, lw=1, ls=":", label=f"θ² = {CUTS.on_max:g} deg²")
    axes.set(xlim=(0, THETA2_EDGES[-1]), xlabel="θ² [deg²]")
    axes.set_ylim(0, max(float((counts + np.sqrt(counts)).max()) * 1.08, 1.0))
    axes.set_ylabel(f"Events per {width:g} deg²")
    if result.significance is not None:
        _note(
            axes,
            f"On {result.n_on:,}   Off {result.n_off:,}   {ALPHA} = {result.alpha:g}\n"
            f"Excess {result.excess:,.1f}\n"
            f"Significance {result.significance:.1f} {SIGMA} (Li & Ma)\n"
            f"Hadronness < {CUTS.hadronness_max:g}, energy ≥ {CUTS.energy_min:g} GeV",
        )
    axes.legend(loc="upper right", bbox_to_anchor=(1, 0.70), frameon=False, fontsize=SMALL)


def _draw_energy(axes: Axes, _: AnalysisResult, total: Tally) -> None:
    edges = np.asarray(ENERGY_EDGES)
    on, off = total.histograms["energy_on"], total.histograms["energy_off"]
    scaled = CUTS.alpha * off
    axes.stairs(on, edges, color=ON, lw=1.4, baseline=None)
    seen = on > 0
    axes.errorbar(
        np.sqrt(edges[1:] * edges[:-1])[seen],
        on[seen],
        yerr=_down_to_axis(on[seen].astype(np.float64), np.sqrt(on[seen])),
        fmt="o",
        ms=3.2,
        lw=1,
        color=ON,
        label=f"on region, θ² < {CUTS.on_max:g} deg²",
    )
    axes.stairs(
        scaled, edges, color=OFF, lw=1.6, ls="--", label=f"{ALPHA} · off region", baseline=None
    )
    axes.axvline(CUTS.energy_min, color=INK, lw=1, ls=":", label=f"{CUTS.energy_min:g} GeV cut")
    axes.set_xscale("log")
    axes.set_yscale("log")
    highest = max(float(on.max()), float(scaled.max()), 1.0)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0.08, highest * 8))
    axes.set(xlabel="Estimated energy [GeV]", ylabel="Events per bin (5 bins a decade)")
    axes.legend(
        loc="upper right",
        frameon=False,
        fontsize=SMALL,
        title=f"Hadronness < {CUTS.hadronness_max:g}, no cut in energy",
        title_fontsize=SMALL,
    )


def _draw_charge(axes: Axes, _: AnalysisResult, total: Tally) -> None:
    edges = np.asarray(CHARGE_EDGES, dtype=np.float64)
    counts = total.histograms["charge"] / np.diff(edges)
    axes.stairs(counts, edges, fill=True, color=ON, alpha=0.18, baseline=1e-4)
    axes.stairs(counts, edges, color=ON, lw=1.4, baseline=1e-4)
    axes.set_yscale("log")
    above = counts[counts > 0]
    lowest, highest = (above.min(), above.max()) if above.size else (0.1, 1.0)
    last = edges[1:][counts > 0].max(initial=40.0)
    axes.set(xlim=(edges[0], last * 1.05), ylim=(lowest / 2, highest * 4))
    axes.set(xlabel="Charge [photo-electrons]", ylabel="Pixels per photo-electron")
    means = total.pixel_means
    if means is not None:
        _note(
            axes,
            f"{total.images:,} camera images of {means.size:,} pixels\n"
            f"Camera mean {means.mean():.3f} photo-electrons a pixel",
        )


def _down_to_axis(
    counts: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    errors: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Error bars (lower, upper) whose lower end stays above 0, which a log axis cannot show."""
    return np.stack([np.minimum(errors, counts * 0.999), errors])


def _middles(edges: tuple[float, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    array = np.asarray(edges, dtype=np.float64)
    return np.asarray((array[1:] + array[:-1]) / 2, dtype=np.float64)


def _note(axes: Axes, text: str) -> None:
    axes.text(
        0.97,
        0.96,
        text,
        transform=axes.transAxes,
        ha="right",
        va="top",
        fontsize=SMALL,
        color=INK,
        linespacing=1.5,
    )


def _plain(axes: Axes) -> None:
    """Only the lines that carry something."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(which="both", colors=INK, labelsize=SMALL)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=INK, fontsize=10)
