"""What the telescopes' data are for: a θ² plot and an energy histogram of files read back.

Figures and numbers are made of the bytes that came from the lake and of nothing else, so that they
prove that the data can be used. One damaged file does not stop the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rucio_inject.domain.errors import AnalysisFailed, UsageError
from rucio_inject.science.cuts import CUTS, EDGES
from rucio_inject.science.earlier import FORMAT_VERSION, Earlier
from rucio_inject.science.extra import science_extra
from rucio_inject.science.result import AnalysisResult
from rucio_inject.science.statistics import li_ma_significance
from rucio_inject.whole_files import replacing

if TYPE_CHECKING:
    from rucio_inject.science.tally import Tally

_UNITS = {
    "theta2": "deg²",
    "energy_on": "GeV",
    "energy_off": "GeV",
    "charge": "photo-electrons",
}


def analyse(
    files: Sequence[Path], out: Path, *, title: str | None = None, before: Earlier | None = None
) -> AnalysisResult:
    """Draw what ROOT files hold at `out` (.png or .svg), and write the numbers beside it (.json).

    The files, which are added to those of `before`, are only read. One that cannot be analysed is
    among the result's `failures` with the reason and adds nothing to the numbers; if that is all of
    them, there are numbers (the failures) and no figure, not even an older one. UsageError without
    files, for another ending of `out`, and for a missing extra; OSError if `out` cannot be written.
    """
    _check(files, out, before)
    with science_extra("analyse ROOT files"):
        from rucio_inject.science import plots, tally  # noqa: PLC0415 - an optional extra
    per_file: list[Mapping[str, Any]] = list(before.per_file) if before else []
    failures: list[tuple[Path, str]] = []
    total = before.total if before else tally.Tally()
    for path in files:
        try:
            _refuse_empty(path)
            one = tally.tally_file(path)
            total = total.plus(path, one)
        except AnalysisFailed as failure:
            failures.append((path, failure.message))
        else:
            per_file.append(_of_file(path, one))
    result = _result(total, out, len(per_file), tuple(failures))
    with replacing(result.numbers) as part:
        text = json.dumps(_numbers(result, total, per_file, title), indent=1, ensure_ascii=False)
        part.write_text(text + "\n", encoding="utf-8")
    if result.figure is None:
        out.unlink(missing_ok=True)
    else:
        with replacing(out) as part:
            plots.save(plots.build(result, total, title), part, out.suffix.removeprefix("."))
    return result


def _refuse_empty(path: Path) -> None:
    if path.exists() and not path.stat().st_size:
        raise AnalysisFailed(f"{path.name} is empty: it has no bytes", hint="leave it out")


def _check(files: Sequence[Path], out: Path, before: Earlier | None) -> None:
    if not files and before is None:
        raise UsageError("there are no ROOT files to analyse", hint="name at least one file")
    if out.suffix.lower() not in {".png", ".svg"}:
        raise UsageError(
            f"the figure {out.name} is neither .png nor .svg",
            hint="give a path that ends with .png or .svg",
        )
    if len(set(files)) != len(files):
        raise UsageError(
            "a file is named twice: its events would count twice", hint="name each file once"
        )


def _result(
    total: Tally, out: Path, files: int, failures: tuple[tuple[Path, str], ...]
) -> AnalysisResult:
    alpha = CUTS.alpha
    significance = None
    if total.reconstructed:
        significance = li_ma_significance(total.n_on, total.n_off, alpha)
    return AnalysisResult(
        numbers=out.with_suffix(".json"),
        figure=out if total.all_events else None,
        files=files,
        events=total.all_events,
        n_on=total.n_on,
        n_off=total.n_off,
        alpha=alpha,
        excess=total.n_on - alpha * total.n_off,
        significance=significance,
        failures=failures,
    )


def _numbers(
    result: AnalysisResult,
    total: Tally,
    per_file: Sequence[Mapping[str, Any]],
    title: str | None,
) -> dict[str, Any]:
    """Every number of the analysis, as JSON knows numbers; units are in names or beside."""
    return {
        "version": FORMAT_VERSION,
        "title": title,
        "files": result.files,
        "events": {level.value: count for level, count in total.events.items()},
        "events_with_a_number_that_is_not_finite": total.not_finite,
        "cuts": CUTS.as_json(),
        "n_on": result.n_on,
        "n_off": result.n_off,
        "alpha": result.alpha,
        "excess": result.excess,
        "significance_sigma": result.significance,
        "significance_by": "Li & Ma 1983, equation 17",
        "histograms": {
            name: {
                "edges": list(edges),
                "edges_unit": _UNITS[name],
                "counts": total.histograms[name].tolist(),
                "poisson_errors": [sqrt(count) for count in total.histograms[name].tolist()],
            }
            for name, edges in EDGES.items()
        },
        "camera": _camera(total),
        "per_file": list(per_file),
        "failures": [{"file": path.name, "reason": reason} for path, reason in result.failures],
    }


def _of_file(path: Path, one: Tally) -> Mapping[str, Any]:
    return {
        "file": path.name,
        "events": {level.value: count for level, count in one.events.items()},
        "n_on": one.n_on,
        "n_off": one.n_off,
    }


def _camera(total: Tally) -> dict[str, Any] | None:
    """The mean charge of each pixel and of them all; None without camera images."""
    means = total.pixel_means
    if means is None or total.pixel_sum is None:
        return None
    return {
        "unit": "photo-electrons per pixel and event",
        "mean": float(means.mean()),
        "mean_of_each_pixel": [round(float(mean), 4) for mean in means],
        "images": total.images,
        "sum_of_each_pixel": total.pixel_sum.tolist(),
    }
