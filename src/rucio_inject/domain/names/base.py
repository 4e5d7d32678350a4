"""What all file names have in common, whichever telescope wrote them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import lru_cache
from typing import ClassVar

_SHOWN = 120


class Level(StrEnum):
    """How far the data of a file were processed; becomes Rucio's `datatype`."""

    RAW = "RAW"
    """MAGIC: as the data acquisition wrote it."""
    CALIBRATED = "Calibrated"
    """MAGIC: charges in photo-electrons and arrival times, pixel by pixel."""
    STAR = "Star"
    """MAGIC: image parameters of one telescope."""
    SUPERSTAR = "SuperStar"
    """MAGIC: both telescopes put together."""
    MELIBEA = "Melibea"
    """MAGIC: energy, direction and hadronness of each event."""
    R0 = "R0"
    """LST-1: one of the camera's four streams, as the data acquisition wrote it."""
    DL1 = "DL1"
    """LST-1: charges and image parameters."""
    DL2 = "DL2"
    """LST-1: energy, direction and gammaness of each event."""
    DATACHECK_DL1 = "DatacheckDL1"
    """LST-1: figures and numbers to judge the quality of DL1 by."""
    MUONS = "Muons"
    """LST-1: muon rings, to calibrate with."""


class Telescope(StrEnum):
    """Whose data a file holds."""

    M1 = "M1"
    """The first MAGIC telescope."""
    M2 = "M2"
    """The second MAGIC telescope."""
    ST = "ST"
    """Both MAGIC telescopes: stereo. Names say so by naming neither."""
    LST1 = "LST-1"
    """The first Large-Sized Telescope of CTA."""


@dataclass(frozen=True, slots=True)
class FileName(ABC):
    """A file name that was understood. `str()` gives it back, byte for byte.

    `night` is None where neither the name nor its folders tell it, `source` where the name tells
    none. `run` and `subrun` are digits as written: leading zeros belong to them. `telescope` and
    `level` are a `Telescope` and a `Level` where this program knows the experiment.
    """

    experiment: ClassVar[str]

    night: date | None
    run: str
    subrun: str | None
    telescope: str
    level: str
    source: str | None
    extension: str

    @abstractmethod
    def render(self) -> str:
        """The file name, without folders."""

    @abstractmethod
    def own_fields(self) -> dict[str, str | None]:
        """What only names of this kind tell, by field; None for what this name does not tell."""

    @property
    def name(self) -> str:
        """The file name as it was written, without folders."""
        return self.render()

    def __str__(self) -> str:
        return self.render()

    def fields(self) -> dict[str, str]:
        """Everything that a template can use, and this name tells.

        The keys are those of `templates.FIELDS`; what the name does not tell is left out.
        """
        name = self.render()
        known: dict[str, str | None] = {
            "name": name,
            "stem": name.removesuffix(self.extension),
            "extension": self.extension,
            "experiment": self.experiment,
            "run": self.run,
            "subrun": self.subrun,
            "telescope": str(self.telescope),
            "level": str(self.level),
            "source": self.source,
            **self.own_fields(),
        }
        if self.night is not None:
            year, month, day = self.night.isoformat().split("-")
            known |= {"night": f"{year}_{month}_{day}", "date": year + month + day}
            known |= {"year": year, "month": month, "day": day}
        return {key: value for key, value in known.items() if value is not None}


def shown(text: str) -> str:
    """A text in quotes for a message: control characters escaped, and cut if it is very long."""
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")


class NoSuchDayError(ValueError):
    """Eight digits that are written like a night, and are no day of the calendar."""


@lru_cache(maxsize=1024)
def calendar_date(digits: str, what: str) -> date:
    """The day that 8 digits, YYYYMMDD, stand for. NoSuchDayError if there is none.

    `what` says in the message what the digits should have been.
    """
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError as error:
        raise NoSuchDayError(f"{what} {digits!r} is no day of the calendar ({error})") from error


def digits_misfit(what: str, text: str, count: int) -> str | None:
    """Why a text is not `count` digits; None if it is."""
    if not text:
        return f"{what} is missing: {count} digits are needed"
    if not (text.isascii() and text.isdigit()):
        return f"{what} {shown(text)} is not made of {count} digits alone"
    if len(text) != count:
        noun = "digit" if len(text) == 1 else "digits"
        return f"{what} {shown(text)} has {len(text)} {noun}, {count} are needed"
    return None
