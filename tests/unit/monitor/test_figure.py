"""Figure 1: the lines that should be there, in the units that they say, and only whole files."""

from __future__ import annotations

import math
import re
import struct
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rucio_inject.domain.errors import UsageError
from rucio_inject.domain.facts import RSECounted
from rucio_inject.domain.usage import Usage
from rucio_inject.monitor.figure import build_figure_1, draw_figure_1

START = datetime(2026, 11, 22, 19, 40, tzinfo=UTC)
RSES = ("PIC-INJECT", "PIC-DCACHE", "INFN-NA-DPM")


def samples(
    seconds: float = 20, count: int = 21, rses: tuple[str, ...] = RSES, size: int = 1_000_000
) -> list[RSECounted]:
    """Files go up by one a sample; the storage is one ahead of the catalogue."""
    return [
        RSECounted(
            at=START + timedelta(seconds=seconds * step / max(count - 1, 1)),
            rse=rse,
            catalogue=Usage(step, step * size),
            storage=Usage(step + 1, (step + 1) * size),
        )
        for step in range(count)
        for rse in rses
    ]


def lines(axes: Any) -> dict[str, Any]:
    """Curves by `RSE/witness`."""
    return {line.get_gid(): line for line in axes.get_lines() if line.get_gid()}


def test_every_rse_has_two_lines_in_one_hue_in_both_axes() -> None:
    figure = build_figure_1(samples(), title="t")
    upper, lower = figure.axes
    for axes in (upper, lower):
        found = lines(axes)
        assert set(found) == {f"{rse}/{who}" for rse in RSES for who in ("catalogue", "storage")}
        for rse in RSES:
            catalogue, storage = found[f"{rse}/catalogue"], found[f"{rse}/storage"]
            assert catalogue.get_color() == storage.get_color()
            assert (catalogue.get_linestyle(), storage.get_linestyle()) == ("-", ":")
        assert len({found[f"{rse}/storage"].get_marker() for rse in RSES}) == 3
        assert len({found[f"{rse}/storage"].get_color() for rse in RSES}) == 3


def test_the_lines_go_through_the_counts_in_order_of_time() -> None:
    upper, lower = build_figure_1(samples(count=5)[::-1], title="t").axes
    for rse in RSES:
        files, volume = lines(upper), lines(lower)
        assert list(files[f"{rse}/catalogue"].get_ydata()) == [0, 1, 2, 3, 4]
        assert list(files[f"{rse}/storage"].get_ydata()) == [1, 2, 3, 4, 5]
        assert list(volume[f"{rse}/storage"].get_ydata()) == [1, 2, 3, 4, 5]
        assert np.all(np.diff(files[f"{rse}/catalogue"].get_xdata()) > 0)
    assert "[MB]" in lower.get_ylabel()
    assert "UTC" in lower.get_xlabel()


@pytest.mark.parametrize(
    ("size", "unit"), [(1, "B"), (999, "kB"), (10**3, "kB"), (10**6, "MB"), (10**9, "GB")]
)
def test_the_unit_fits_the_highest_curve(size: int, unit: str) -> None:
    lower = build_figure_1(samples(size=size), title="t").axes[1]
    assert lower.get_ylabel().endswith(f"[{unit}]")


def test_a_witness_that_was_not_asked_leaves_a_gap_and_not_a_zero() -> None:
    counted = [
        RSECounted(at=START, rse="A", catalogue=Usage(3, 30), storage=None),
        RSECounted(at=START + timedelta(seconds=9), rse="A", catalogue=None, storage=Usage(2, 20)),
    ]
    found = lines(build_figure_1(counted, title="t").axes[0])
    catalogue, storage = (list(found[f"A/{who}"].get_ydata()) for who in ("catalogue", "storage"))
    assert catalogue[0] == 3
    assert math.isnan(catalogue[1])
    assert math.isnan(storage[0])
    assert storage[1] == 2


def test_rses_are_chosen_and_ordered_and_one_stands_out() -> None:
    figure = build_figure_1(
        samples(), title="t", rses=["INFN-NA-DPM", "PIC-DCACHE", "NEVER"], highlight="PIC-DCACHE"
    )
    found = lines(figure.axes[0])
    assert {gid.split("/")[0] for gid in found} == {"INFN-NA-DPM", "PIC-DCACHE"}
    widths = {rse: found[f"{rse}/catalogue"].get_linewidth() for rse in RSES[1:]}
    assert widths["PIC-DCACHE"] > 1.5 * widths["INFN-NA-DPM"]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[:2] == ["INFN-NA-DPM", "PIC-DCACHE"]
    assert legend[-2:] == ["catalogue", "storage"]


def test_events_within_the_time_shown_are_marked_with_their_words() -> None:
    events = [
        (START + timedelta(seconds=5), "up $loaded_"),
        (START + timedelta(seconds=5.5), "read back"),
        (START + timedelta(hours=5), "much later"),
    ]
    upper, lower = build_figure_1(samples(), title="t", events=events).axes
    words = [text.get_text() for text in upper.texts if text.get_text()]
    assert sorted(words) == ["read back", "up $loaded_"]
    curves = 2 * len(RSES)
    assert [len(axes.get_lines()) for axes in (upper, lower)] == [curves + 2, curves + 2]


@pytest.mark.parametrize(
    ("seconds", "count", "pattern"),
    [(0, 1, ":"), (20, 40, ":"), (3_000, 50, ":"), (86_400 * 20, 100, "-")],
)
def test_seconds_as_well_as_weeks_get_a_few_readable_ticks(
    seconds: float, count: int, pattern: str
) -> None:
    figure = build_figure_1(samples(seconds, count), title="t")
    figure.draw_without_rendering()
    labels = [tick.get_text() for tick in figure.axes[1].get_xticklabels() if tick.get_text()]
    assert 3 <= len(labels) <= 10
    assert all(pattern in label for label in labels)
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    ("seconds", "style"),
    [
        (3, r"\d\d:\d\d:\d\d"),
        (75, r"\d\d:\d\d:\d\d"),
        (150, r"\d\d:\d\d:\d\d"),
        (400, r"\d\d:\d\d"),
        (8000, r"\d\d:\d\d"),
        (86_400 * 20, r"\d\d-\d\d"),
        (86_400 * 200, r"\d{4}-\d\d"),
    ],
)
def test_all_ticks_are_written_in_one_style(seconds: float, style: str) -> None:
    figure = build_figure_1(samples(seconds, 80), title="t")
    figure.draw_without_rendering()
    labels = [tick.get_text() for tick in figure.axes[1].get_xticklabels()]
    assert [label for label in labels if not re.fullmatch(style, label)] == []


def test_a_png_is_written_in_a_sensible_size(tmp_path: Path) -> None:
    out = tmp_path / "reports" / "figure-1.png"
    draw_figure_1(samples(), out, title="a $title_ with ^ signs", events=[(START, "begun")])
    content = out.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    assert (width, height) == (1536, 960)
    assert content.endswith(b"IEND\xaeB`\x82")
    assert [path.name for path in out.parent.iterdir()] == ["figure-1.png"]


def test_an_svg_is_written_as_svg(tmp_path: Path) -> None:
    draw_figure_1(samples(), tmp_path / "figure-1.svg", title="t")
    assert b"<svg" in (tmp_path / "figure-1.svg").read_bytes()


def test_more_rses_than_hues_still_differ() -> None:
    rses = tuple(f"RSE-{number}" for number in range(30))
    found = lines(build_figure_1(samples(count=4, rses=rses), title="t").axes[0])
    looks = {
        (found[f"{rse}/storage"].get_color(), found[f"{rse}/storage"].get_marker()) for rse in rses
    }
    assert len(looks) == 30


def test_counts_of_zero_can_be_drawn(tmp_path: Path) -> None:
    zero = [RSECounted(at=START, rse="A", catalogue=Usage(0, 0), storage=None)]
    draw_figure_1(zero, tmp_path / "f.png", title="t")
    nothing = [RSECounted(at=START, rse="A", catalogue=None, storage=None)]
    draw_figure_1(nothing, tmp_path / "g.png", title="t")
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_to_draw_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="never counted"):
        draw_figure_1([], tmp_path / "f.png", title="t")
    with pytest.raises(UsageError, match="NEVER was never counted"):
        draw_figure_1(samples(), tmp_path / "f.png", title="t", rses=["NEVER"])
    with pytest.raises(UsageError, match=r"f\.pdf"):
        draw_figure_1(samples(), tmp_path / "f.pdf", title="t")
    assert list(tmp_path.iterdir()) == []


def test_a_figure_half_written_never_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(self: object, path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    (tmp_path / "f.png").write_bytes(b"of before")
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", breaks)
    with pytest.raises(OSError, match="No space"):
        draw_figure_1(samples(), tmp_path / "f.png", title="t")
    assert [path.name for path in tmp_path.iterdir()] == ["f.png"]
    assert (tmp_path / "f.png").read_bytes() == b"of before"


def test_without_the_extra_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match="not installed") as raised:
        draw_figure_1(samples(), tmp_path / "f.png", title="t")
    assert "rucio-inject[science]" in (raised.value.hint or "")
