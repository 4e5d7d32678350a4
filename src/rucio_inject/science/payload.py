"""Mock files that are real ROOT files: an `Events` tree with MAGIC's branch names and a signal.

Same arguments, same arrays. The bytes may differ from one making to the next, because a ROOT file
holds its time of making and an identifier: a checksum is of a file, not of a seed.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from pathlib import Path

from rucio_inject.domain.errors import UsageError
from rucio_inject.science.extra import science_extra
from rucio_inject.whole_files import replacing

NIGHT = date(2020, 10, 26)
RUN = 5_089_063
GAMMA_FRACTION = 0.04
_MJD_OF_ORDINAL_0 = -678_576  # modified Julian day of date.fromordinal(n) is n + this


class PayloadKind(StrEnum):
    """What a mock ROOT file holds."""

    MELIBEA = "melibea"
    """Reconstructed stereo events (type letter Q): energy, hadronness, θ²."""

    CALIBRATED = "calibrated"
    """Camera images of one telescope (type letter Y): photo-electrons of each pixel."""


DEFAULT_EVENTS = {PayloadKind.MELIBEA: 5_000, PayloadKind.CALIBRATED: 200}


def make_root_payload(
    kind: PayloadKind | str, path: Path, *, events: int | None = None, seed: int
) -> None:
    """Make a mock ROOT file of a kind at `path`; `events` None is the kind's usual number.

    UsageError for an unknown kind, and as the function for the kind raises it.
    """
    try:
        known = PayloadKind(kind)
    except ValueError as error:
        kinds = ", ".join(PayloadKind)
        raise UsageError(
            f"there is no mock ROOT file of the kind {kind!r}", hint=f"the kinds are: {kinds}"
        ) from error
    count = DEFAULT_EVENTS[known] if events is None else events
    if known is PayloadKind.MELIBEA:
        write_melibea(path, events=count, seed=seed)
    else:
        write_calibrated(path, events=count, seed=seed)


def write_melibea(
    path: Path,
    *,
    events: int = DEFAULT_EVENTS[PayloadKind.MELIBEA],
    seed: int,
    gamma_fraction: float = GAMMA_FRACTION,
    run: int = RUN,
    night: date = NIGHT,
) -> None:
    """Write reconstructed stereo events of a Crab-like source to `path`.

    A part `gamma_fraction` (0 to 1) of the events are gamma rays, the others hadronic background.
    The file appears under its name when it is whole. UsageError for values that make no file and
    for a missing extra; OSError when the file system refuses.
    """
    _check(path, events, seed)
    if not 0 <= gamma_fraction <= 1:
        raise UsageError(
            f"cannot make {path.name}: gamma_fraction {gamma_fraction} is no fraction",
            hint="give the part of the events that are gamma rays, from 0 to 1",
        )
    with science_extra("make a mock ROOT file"):
        from rucio_inject.science import draw, rootfile  # noqa: PLC0415 - an optional extra
    mjd = night.toordinal() + _MJD_OF_ORDINAL_0
    chunks = draw.melibea(events, seed=seed, gamma_fraction=gamma_fraction, mjd=mjd)
    with replacing(path) as part:
        rootfile.write_trees(part, chunks, {"MRawRunHeader_1.fRunNumber": run})


def write_calibrated(
    path: Path,
    *,
    events: int = DEFAULT_EVENTS[PayloadKind.CALIBRATED],
    seed: int,
    run: int = RUN,
    night: date = NIGHT,
) -> None:
    """Write calibrated camera images of one telescope, 1039 pixels each, to `path`.

    The file appears under its name when it is whole. UsageError for values that make no file and
    for a missing extra; OSError when the file system refuses.
    """
    _check(path, events, seed)
    with science_extra("make a mock ROOT file"):
        from rucio_inject.science import draw, rootfile  # noqa: PLC0415 - an optional extra
    mjd = night.toordinal() + _MJD_OF_ORDINAL_0
    chunks = draw.calibrated(events, seed=seed, mjd=mjd)
    with replacing(path) as part:
        rootfile.write_trees(part, chunks, {"MRawRunHeader.fRunNumber": run})


def _check(path: Path, events: int, seed: int) -> None:
    if events < 1 or seed < 0:
        raise UsageError(
            f"cannot make {path.name}: {events} events from seed {seed}",
            hint="give at least 1 event and a seed of 0 or more",
        )
