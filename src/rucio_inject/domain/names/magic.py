"""MAGIC's file names: science files and the auxiliary files beside them.

Science: `<night>_[<telescope>_]<run>[.<subrun>]_<letter>_<source>[<wobble>]<extension>`, as in
`20200204_M1_05089063.001_Y_Mrk501-W0.40+270.root`. Auxiliary: `<kind><run>[.<subrun>][_<telescope>]
.root`, as in `ssignal05089063.001_M1.root`; the night is that of the folder.

Where a catalogue refuses `+`, names were sanitised: `_` stands for `+`, in the source (which is
left as written, since a source may hold a real `_`) as in the wobble (which is understood).

The level of a science file follows from its letter where that can only mean one: Y Calibrated,
I Star, S SuperStar, Q Melibea. D, P, C, B, L, N and J are RAW in a `.raw.gz`. In a `.root`, the
folder says whether they are RAW or Calibrated; without such a folder they are Calibrated, the
level at which D is found as `.root`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import lru_cache
from typing import ClassVar

from rucio_inject.domain.errors import NameRefused
from rucio_inject.domain.names.base import (
    FileName,
    Level,
    Telescope,
    calendar_date,
    digits_misfit,
    shown,
)

SOURCE_LENGTH = 12
"""The data acquisition cuts a source's name at this many characters."""
EXTENSIONS = (".raw.gz", ".root")


class Letter(StrEnum):
    """The type letter of a science file."""

    D = "D"
    """Data."""
    Y = "Y"
    """Calibrated data."""
    P = "P"
    """Pedestal."""
    C = "C"
    """Calibration."""
    B = "B"
    """Seen together with P, on bright stars."""
    I = "I"  # noqa: E741  (the letter is what it is)
    """Star: image parameters."""
    S = "S"
    """Superstar: both telescopes put together."""
    Q = "Q"
    """Melibea: energy, direction, hadronness."""
    L = "L"
    """Allowed in production; not in the lists seen."""
    N = "N"
    """Allowed in production; not in the lists seen."""
    J = "J"
    """Allowed in production; not in the lists seen."""


class AuxiliaryKind(StrEnum):
    """What an auxiliary file is; each is written by the program that writes the level's files."""

    SSIGNAL = "ssignal"
    """Signals of a calibration, one telescope."""
    SCALIB = "scalib"
    """The calibration of a run, one telescope."""
    STAR = "star"
    """The log of star, one telescope."""
    SUPERSTAR = "superstar"
    """The log of superstar, both telescopes."""
    MELIBEA = "melibea"
    """The log of melibea, both telescopes."""


_WOBBLE = (
    r"-W[0-9]\.[0-9]{2}[+_-][0-9]{3}"
    r"|-O[+_-][0-9]\.[0-9][+_-]W[0-9]\.[0-9]{2}(?:[+_-][0-9]{3})?"
)
_WOBBLE_PARTS = re.compile(
    r"-(?:O([+_-][0-9]\.[0-9])([+_-]))?W([0-9]\.[0-9]{2})([+_-][0-9]{3})?",
)
_SCIENCE = re.compile(
    r"([0-9]{8})_(?:(M[12])_)?([0-9]{8})(?:\.([0-9]{3}))?_([DYPCBISQLNJ])_"
    rf"((?!{_WOBBLE})[!-.0-~]{{1,{SOURCE_LENGTH}}}?)({_WOBBLE})?(\.raw\.gz|\.root)"
)
_AUXILIARY = re.compile(
    r"(ssignal|scalib|star|superstar|melibea)([0-9]{8})(?:\.([0-9]{3}))?(?:_(M[12]))?(\.root)"
)
_NIGHT_FOLDER = re.compile(r"(?:^|/)(20[0-9]{2})([_/])([0-9]{2})\2([0-9]{2})(?=/|$)")
_LEVEL_FOLDER = re.compile(r"(?:^|/)(RAW|Calibrated)(?:_(?:M1|M2|ST))?(?=/|$)")

_TELESCOPES = {None: Telescope.ST, "M1": Telescope.M1, "M2": Telescope.M2}
_LETTERS = {letter.value: letter for letter in Letter}
_SURE_LEVELS = {
    Letter.Y: Level.CALIBRATED,
    Letter.I: Level.STAR,
    Letter.S: Level.SUPERSTAR,
    Letter.Q: Level.MELIBEA,
}
_AUXILIARY_LEVELS = {
    AuxiliaryKind.SSIGNAL: Level.CALIBRATED,
    AuxiliaryKind.SCALIB: Level.CALIBRATED,
    AuxiliaryKind.STAR: Level.STAR,
    AuxiliaryKind.SUPERSTAR: Level.SUPERSTAR,
    AuxiliaryKind.MELIBEA: Level.MELIBEA,
}
_STEREO = frozenset({AuxiliaryKind.SUPERSTAR, AuxiliaryKind.MELIBEA})


@dataclass(frozen=True, slots=True)
class Wobble:
    """How far, and in which direction, the telescope points beside the source.

    All as written, degrees: `offset` as `0.40`, `angle` with its sign as `+270`. The other form
    that production allows, `-O+0.1+W0.40`, also has `shift` (`+0.1`) and `joint` (the sign before
    W), and may have no angle. A sign may be `_`, which stands for `+`.
    """

    offset: str
    angle: str | None
    shift: str | None = None
    joint: str | None = None

    def __str__(self) -> str:
        before = "-" if self.shift is None else f"-O{self.shift}{self.joint}"
        return f"{before}W{self.offset}{self.angle or ''}"

    @property
    def offset_degrees(self) -> float:
        """The offset as a number."""
        return float(self.offset)

    @property
    def angle_degrees(self) -> int | None:
        """The angle as a number, from -999 to 999."""
        return None if self.angle is None else int(self.angle.replace("_", "+"))

    @property
    def angle_digits(self) -> str | None:
        """The angle's three digits, with their sign only if it is a minus."""
        return None if self.angle is None else self.angle.lstrip("+_")

    @classmethod
    def parse(cls, text: str) -> Wobble:
        """Read `-W0.40+270` or `-O+0.1+W0.40`; NameRefused for anything else."""
        if not re.fullmatch(_WOBBLE, text):
            raise NameRefused(f"wobble {shown(text)} is not of the form -W0.40+270")
        return _wobble(text)


@lru_cache(maxsize=1024)
def _wobble(text: str) -> Wobble:
    match = _WOBBLE_PARTS.fullmatch(text)
    assert match is not None
    shift, joint, offset, angle = match.groups()
    return Wobble(offset, angle, shift, joint)


@dataclass(frozen=True, slots=True)
class MagicScience(FileName):
    """A MAGIC science file. Parsed, or made with `make`, which checks it."""

    experiment: ClassVar[str] = "MAGIC"

    night: date
    source: str
    letter: Letter
    wobble: Wobble | None = None

    def render(self) -> str:
        """The file name, without folders."""
        night = self.night.isoformat().replace("-", "")
        telescope = "" if self.telescope is Telescope.ST else f"{self.telescope}_"
        subrun = "" if self.subrun is None else f".{self.subrun}"
        target = f"{self.source}{self.wobble or ''}{self.extension}"
        return f"{night}_{telescope}{self.run}{subrun}_{self.letter.value}_{target}"

    def own_fields(self) -> dict[str, str | None]:
        """Letter, wobble (offset in degrees) and angle (degrees)."""
        if self.wobble is None:
            return {"letter": self.letter.value}
        wobble, angle = self.wobble.offset, self.wobble.angle_digits
        return {"letter": self.letter.value, "wobble": wobble, "angle": angle}

    @classmethod
    def make(
        cls,
        *,
        night: date,
        run: str,
        letter: Letter,
        source: str,
        telescope: Telescope = Telescope.ST,
        subrun: str | None = None,
        wobble: Wobble | None = None,
        extension: str = ".root",
    ) -> MagicScience:
        """A new name of these parts. NameRefused if it would not be read back as the same."""
        level = science_level(letter, extension, "")
        made = cls(
            night, run, subrun, telescope, level, source, extension, letter=letter, wobble=wobble
        )
        name = made.render()
        again = _match_science(name, "")
        if again is None:
            raise NameRefused(f"{shown(name)}: {explain(name)}")
        if again != made:
            raise NameRefused(
                f"{shown(name)} would be read with source {again.source!r}, not {source!r}",
                hint="a source must not end in what reads as a wobble",
            )
        return made


@dataclass(frozen=True, slots=True)
class MagicAuxiliary(FileName):
    """A file that a MAGIC program writes beside its science files; it tells no source."""

    experiment: ClassVar[str] = "MAGIC"

    kind: AuxiliaryKind

    def render(self) -> str:
        """The file name, without folders."""
        telescope = "" if self.telescope is Telescope.ST else f"_{self.telescope}"
        subrun = "" if self.subrun is None else f".{self.subrun}"
        return f"{self.kind.value}{self.run}{subrun}{telescope}{self.extension}"

    def own_fields(self) -> dict[str, str | None]:
        """The kind of auxiliary file."""
        return {"kind": self.kind.value}


def science_level(letter: Letter, extension: str, folder: str) -> Level:
    """The level of a science file, by the rule in this module's docstring."""
    sure = _SURE_LEVELS.get(letter)
    if sure is not None:
        return sure
    return Level.RAW if extension == ".raw.gz" else _folder_level(folder)


@lru_cache(maxsize=1024)
def _folder_level(folder: str) -> Level:
    told = _LEVEL_FOLDER.findall(folder)
    return Level(told[-1]) if told else Level.CALIBRATED


@lru_cache(maxsize=1024)
def folder_night(folder: str) -> date | None:
    """The night that a folder `YYYY_MM_DD` or `YYYY/MM/DD` tells, the innermost if several do.

    Folders of 8 digits are runs (PIC keeps a folder a run), and tell no night.
    """
    told = _NIGHT_FOLDER.findall(folder)
    if not told:
        return None
    year, _, month, day = told[-1]
    return calendar_date(year + month + day, "the folder's night")


def match(name: str, folder: str) -> FileName | None:
    """A MAGIC name understood, or None if it is none. NoSuchDayError if its night is no date."""
    return _match_science(name, folder) or _match_auxiliary(name, folder)


def _match_science(name: str, folder: str) -> MagicScience | None:
    found = _SCIENCE.fullmatch(name)
    if found is None:
        return None
    night, telescope, run, subrun, letter_text, source, wobble, extension = found.groups()
    letter = _LETTERS[letter_text]
    return MagicScience(
        calendar_date(night, "night"),
        run,
        subrun,
        _TELESCOPES[telescope],
        science_level(letter, extension, folder),
        source,
        extension,
        letter,
        None if wobble is None else _wobble(wobble),
    )


def _match_auxiliary(name: str, folder: str) -> MagicAuxiliary | None:
    found = _AUXILIARY.fullmatch(name)
    if found is None:
        return None
    word, run, subrun, telescope, extension = found.groups()
    kind = AuxiliaryKind(word)
    if (telescope is None) is not (kind in _STEREO):
        return None
    level = _AUXILIARY_LEVELS[kind]
    night = folder_night(folder)
    return MagicAuxiliary(night, run, subrun, _TELESCOPES[telescope], level, None, extension, kind)


def explain(name: str) -> str | None:
    """Which part keeps a name from being MAGIC's; None if it does not look like MAGIC's at all."""
    if name[:1].isascii() and name[:1].isdigit():
        return _explain_science(name)
    kind = re.match(r"(ssignal|scalib|star|superstar|melibea)(?=[0-9])", name)
    return None if kind is None else _explain_auxiliary(AuxiliaryKind(kind[1]), name[kind.end() :])


def _explain_science(name: str) -> str:
    night, *parts = name.split("_")
    misfit = digits_misfit("night", night, 8)
    if misfit:
        return misfit
    if parts and parts[0].startswith("M"):
        telescope = parts.pop(0)
        if telescope not in _TELESCOPES:
            return f"telescope {shown(telescope)} is neither M1 nor M2"
    misfit = _explain_run(parts.pop(0) if parts else "")
    if misfit:
        return misfit
    if not parts:
        return "type letter and source are missing after the run"
    letter = parts.pop(0)
    if letter not in _LETTERS:
        return f"type letter {shown(letter)} is none of {' '.join(_LETTERS)}"
    return _explain_target("_".join(parts))


def _explain_run(text: str) -> str | None:
    run, dot, subrun = text.partition(".")
    return digits_misfit("run", run, 8) or (digits_misfit("subrun", subrun, 3) if dot else None)


def _explain_target(text: str) -> str:
    extension = next((end for end in EXTENSIONS if text.endswith(end)), None)
    if extension is None:
        return f"{shown(text)} does not end in .raw.gz or .root"
    target = text.removesuffix(extension)
    if not target:
        return "the source is missing"
    odd = re.search(r"[^!-.0-~]", target)
    if odd:
        return f"source {shown(target)} holds {odd[0]!r}"
    wobble = re.search(rf"(?:{_WOBBLE})\Z", target)
    if wobble:
        target = target[: wobble.start()]
        if not target:
            return "the source is missing"
    elif wobble := re.search(r"-(?:W[0-9]|O[+_-][0-9])[0-9.W+_-]*\Z", target):
        return f"wobble {shown(wobble[0])} is not of the form -W0.40+270"
    return f"source {shown(target)} has {len(target)} characters, {SOURCE_LENGTH} at most are used"


def _explain_auxiliary(kind: AuxiliaryKind, rest: str) -> str:
    if not rest.endswith(".root"):
        return f"{shown(rest)} does not end in .root"
    number, line, telescope = rest.removesuffix(".root").partition("_")
    misfit = _explain_run(number)
    if misfit:
        return misfit
    if kind in _STEREO:
        return f"a {kind.value} file is of both telescopes, and names none: {shown(telescope)}"
    if not line:
        return f"telescope is missing: a {kind.value} file is of M1 or of M2"
    return f"telescope {shown(telescope)} is neither M1 nor M2"
