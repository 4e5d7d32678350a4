"""Reading ROOT files and counting what is in them, file by file. Needs the extra [science].

A file is read in pieces of bounded size, and never written to.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import uproot
from numpy.typing import NDArray

from rucio_inject.domain.errors import AnalysisFailed
from rucio_inject.science.cuts import CUTS, EDGES, Cuts

Array: TypeAlias = NDArray[Any]
Branches: TypeAlias = dict[str, Array]

HADRONNESS = "MHadronness.fHadronness"
ENERGY = "MEnergyEst.fEnergy"
THETA2 = "MStereoParDisp.fTheta2"
CHARGE = "MCerPhotEvt.fPixels.fPhot"

STEP = "32 MB"  # of arrays in memory at a time

# What uproot lets through when a file's bytes make no sense; damaged bytes in a few thousand files
# were tried to find them. ImportError: a compression that needs a package which is not there.
DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    MemoryError,
    ImportError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    uproot.deserialization.DeserializationError,
)


class Level(StrEnum):
    """What kind of events a file holds, told by its branches."""

    MELIBEA = "melibea"
    """Reconstructed stereo events."""

    CALIBRATED = "calibrated"
    """Camera images."""


NEEDED = {
    Level.MELIBEA: (HADRONNESS, ENERGY, THETA2),
    Level.CALIBRATED: (CHARGE,),
}


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of one or more files; two tallies add up to the tally of both.

    `histograms` are by the names of `EDGES`; `pixel_sum` is the charge of each pixel summed over
    `images` events (photo-electrons, one entry a pixel), None without camera images. `not_finite`
    are events with a number that is none (NaN or infinite): in `events` and nowhere else.
    """

    events: dict[Level, int] = field(default_factory=lambda: dict.fromkeys(Level, 0))
    not_finite: int = 0
    n_on: int = 0
    n_off: int = 0
    histograms: dict[str, NDArray[np.int64]] = field(
        default_factory=lambda: {
            name: np.zeros(len(edges) - 1, dtype=np.int64) for name, edges in EDGES.items()
        }
    )
    images: int = 0
    pixel_sum: NDArray[np.float64] | None = None

    def plus(self, path: Path, other: Tally) -> Tally:
        """Both together, `other` being of the file `path`; AnalysisFailed if they do not go."""
        mine, its = self.pixel_sum, other.pixel_sum
        if mine is not None and its is not None and mine.shape != its.shape:
            raise AnalysisFailed(
                f"{path.name} is of a camera of {its.size} pixels, files before it of {mine.size}",
                hint="analyse files of different cameras apart",
            )
        return Tally(
            events={level: self.events[level] + other.events[level] for level in Level},
            not_finite=self.not_finite + other.not_finite,
            n_on=self.n_on + other.n_on,
            n_off=self.n_off + other.n_off,
            histograms={name: self.histograms[name] + other.histograms[name] for name in EDGES},
            images=self.images + other.images,
            pixel_sum=its if mine is None else mine if its is None else mine + its,
        )

    @property
    def reconstructed(self) -> int:
        """Events of the level melibea."""
        return self.events[Level.MELIBEA]

    @property
    def pixel_means(self) -> NDArray[np.float64] | None:
        """Mean charge of each pixel, in photo-electrons an event; None without camera images."""
        return None if self.pixel_sum is None or not self.images else self.pixel_sum / self.images

    @property
    def all_events(self) -> int:
        """Events of every level."""
        return sum(self.events.values())


def tally_file(path: Path, cuts: Cuts = CUTS) -> Tally:
    """Count one file. AnalysisFailed, naming the file and the reason, if that cannot be done."""
    try:
        # An open file and not a path: uproot takes a colon in a path for the name of an object.
        with path.open("rb") as file, uproot.open(file) as root:
            return _tally_root(path, root, cuts)
    except DAMAGE as error:
        reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
        raise AnalysisFailed(
            f"{path.name} cannot be read as a ROOT file: {reason}",
            hint="compare its checksum with the one at its injection; then read it back again",
        ) from error


def _tally_root(path: Path, root: Any, cuts: Cuts) -> Tally:
    """`root` is an open file of uproot, which has no types."""
    names = root.keys(recursive=False, cycle=False)
    if "Events" not in names:
        raise AnalysisFailed(
            f"{path.name} holds no tree called Events, only: {', '.join(names) or 'nothing'}",
            hint="only MAGIC files with an Events tree can be analysed",
        )
    tree = root["Events"]
    level = _level(path, frozenset(tree.keys()))
    count = {Level.MELIBEA: _tally_melibea, Level.CALIBRATED: _tally_calibrated}[level]
    pieces = tree.iterate(list(NEEDED[level]), step_size=STEP, library="np")
    total = Tally()
    for piece in pieces:
        _check_numbers(path, piece)
        total = total.plus(path, count(piece, cuts))
    if total.all_events != tree.num_entries:
        raise AnalysisFailed(
            f"{path.name} should hold {tree.num_entries} events, but {total.all_events} came out",
            hint="read the file back again",
        )
    return total


def _level(path: Path, branches: frozenset[str]) -> Level:
    for level, needed in NEEDED.items():
        if branches.issuperset(needed):
            return level
    wanted = "; or ".join(", ".join(needed) for needed in NEEDED.values())
    raise AnalysisFailed(
        f"the Events tree of {path.name} has not the branches that an analysis needs",
        hint=f"it needs {wanted}",
    )


def _check_numbers(path: Path, piece: Branches) -> None:
    for name, data in piece.items():
        if data.dtype.kind not in "fiu":
            raise AnalysisFailed(
                f"the branch {name} of {path.name} does not hold plain numbers",
                hint="only numbers and fixed-size arrays of numbers can be analysed",
            )


def _tally_melibea(piece: Branches, cuts: Cuts) -> Tally:
    hadronness, energy, theta2 = (piece[name] for name in NEEDED[Level.MELIBEA])
    finite = np.isfinite(hadronness) & np.isfinite(energy) & np.isfinite(theta2)
    like_gamma = finite & (hadronness < cuts.hadronness_max)
    energetic = like_gamma & (energy >= cuts.energy_min)
    on = (theta2 >= 0) & (theta2 < cuts.on_max)
    off = (theta2 >= cuts.off_min) & (theta2 < cuts.off_max)
    return Tally(
        events={Level.MELIBEA: len(energy), Level.CALIBRATED: 0},
        not_finite=int(np.count_nonzero(~finite)),
        n_on=int(np.count_nonzero(energetic & on)),
        n_off=int(np.count_nonzero(energetic & off)),
        histograms={
            **Tally().histograms,
            "theta2": _histogram("theta2", theta2[energetic]),
            "energy_on": _histogram("energy_on", energy[like_gamma & on]),
            "energy_off": _histogram("energy_off", energy[like_gamma & off]),
        },
    )


def _tally_calibrated(piece: Branches, _: Cuts) -> Tally:
    charge = piece[CHARGE].reshape(len(piece[CHARGE]), -1)
    finite = np.isfinite(charge).all(axis=1)
    good = charge[finite]
    return Tally(
        events={Level.MELIBEA: 0, Level.CALIBRATED: len(charge)},
        not_finite=int(np.count_nonzero(~finite)),
        histograms={**Tally().histograms, "charge": _histogram("charge", good)},
        images=len(good),
        pixel_sum=good.sum(axis=0, dtype=np.float64),
    )


def _histogram(name: str, values: Array) -> NDArray[np.int64]:
    counts, _ = np.histogram(values, bins=np.asarray(EDGES[name], dtype=np.float64))
    return counts.astype(np.int64)
