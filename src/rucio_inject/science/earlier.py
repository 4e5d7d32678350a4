"""The numbers of an earlier analysis, so that more files can be added to them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rucio_inject.science.cuts import CUTS, EDGES
from rucio_inject.science.extra import science_extra

if TYPE_CHECKING:
    from rucio_inject.science.tally import Tally

FORMAT_VERSION = 2
"""Of the numbers: those of version 1 cannot be added to."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an analysis came to: the sums, and what is told of each file."""

    total: Tally
    per_file: Sequence[Mapping[str, Any]]

    @property
    def names(self) -> frozenset[str]:
        """The files in it, by their names; one that could not be analysed is to be tried again."""
        return frozenset(str(one["file"]) for one in self.per_file)


def read_earlier(figure: Path) -> Earlier | None:
    """The numbers beside a figure; None if there are none, or of another version or other cuts, or
    that are damaged: then all files are analysed anew."""
    try:
        numbers = json.loads(figure.with_suffix(".json").read_text(encoding="utf-8"))
        if numbers["version"] != FORMAT_VERSION or numbers["cuts"] != CUTS.as_json():
            return None
        if any(numbers["histograms"][name]["edges"] != list(EDGES[name]) for name in EDGES):
            return None
        return Earlier(_total(numbers), [dict(one) for one in numbers["per_file"]])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _total(numbers: Mapping[str, Any]) -> Tally:
    with science_extra("analyse ROOT files"):
        import numpy as np  # noqa: PLC0415 - an optional extra

        from rucio_inject.science.tally import Level, Tally  # noqa: PLC0415 - the same
    camera = numbers["camera"]
    return Tally(
        events={level: int(numbers["events"][level.value]) for level in Level},
        not_finite=int(numbers["events_with_a_number_that_is_not_finite"]),
        n_on=int(numbers["n_on"]),
        n_off=int(numbers["n_off"]),
        histograms={
            name: np.asarray(numbers["histograms"][name]["counts"], dtype=np.int64)
            for name in EDGES
        },
        images=int(camera["images"]) if camera else 0,
        pixel_sum=np.asarray(camera["sum_of_each_pixel"], dtype=np.float64) if camera else None,
    )
