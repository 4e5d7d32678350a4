"""The file names of CTA's LST-1.

`LST-1.<stream>.Run<run>.<subrun>.fits.fz` for each of the camera's four streams (R0), and
`<kind>_LST-1.Run<run>[.<subrun>]<extension>` for what is made of them. The night is the folder
`YYYYMMDD`, the version of the processing the folder `v…` below it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import lru_cache
from typing import ClassVar

from rucio_inject.domain.names.base import (
    FileName,
    Level,
    Telescope,
    calendar_date,
    digits_misfit,
    shown,
)


class Lst1Kind(StrEnum):
    """What an LST-1 file is."""

    R0 = "r0"
    """A stream of the camera, one subrun."""
    DL1 = "dl1"
    """Charges and image parameters of a subrun."""
    DL2 = "dl2"
    """Energy, direction and gammaness of a subrun."""
    DATACHECK_DL1 = "datacheck_dl1"
    """Quality of DL1, of a subrun (h5) or of the whole run (h5 and pdf)."""
    MUONS = "muons"
    """Muon rings of a subrun."""


_R0 = re.compile(r"LST-1\.([1-4])\.Run([0-9]{5})\.([0-9]{4})(\.fits\.fz)")
_MADE = re.compile(
    r"(dl1|dl2|datacheck_dl1|muons)_LST-1\.Run([0-9]{5})(?:\.([0-9]{4}))?(\.h5|\.fits|\.pdf)"
)
_NIGHT_FOLDER = re.compile(r"(?:^|/)(20[0-9]{6})(?=/|$)")
_VERSION_FOLDER = re.compile(r"(?:^|/)(v[0-9][!-.0-~]*)(?=/|$)")

_LEVELS = {
    Lst1Kind.R0: Level.R0,
    Lst1Kind.DL1: Level.DL1,
    Lst1Kind.DL2: Level.DL2,
    Lst1Kind.DATACHECK_DL1: Level.DATACHECK_DL1,
    Lst1Kind.MUONS: Level.MUONS,
}
_KINDS = {kind.value: kind for kind in Lst1Kind}
# Extensions by kind: those of a subrun, and those of a whole run.
_EXTENSIONS: dict[Lst1Kind, tuple[tuple[str, ...], tuple[str, ...]]] = {
    Lst1Kind.DL1: ((".h5",), ()),
    Lst1Kind.DL2: ((".h5",), ()),
    Lst1Kind.DATACHECK_DL1: ((".h5",), (".h5", ".pdf")),
    Lst1Kind.MUONS: ((".fits",), ()),
}


@dataclass(frozen=True, slots=True)
class Lst1File(FileName):
    """An LST-1 file. `stream` (1 to 4) is of R0 only; `version` is that of the folders."""

    experiment: ClassVar[str] = "LST-1"

    kind: Lst1Kind
    stream: str | None = None
    version: str | None = None

    def render(self) -> str:
        """The file name, without folders."""
        subrun = "" if self.subrun is None else f".{self.subrun}"
        tail = f"Run{self.run}{subrun}{self.extension}"
        if self.kind is Lst1Kind.R0:
            return f"LST-1.{self.stream}.{tail}"
        return f"{self.kind.value}_LST-1.{tail}"

    def own_fields(self) -> dict[str, str | None]:
        """Kind, stream and version."""
        return {"kind": self.kind.value, "stream": self.stream, "version": self.version}


@lru_cache(maxsize=1024)
def _folder_tells(folder: str) -> tuple[date | None, str | None]:
    nights = _NIGHT_FOLDER.findall(folder)
    versions = _VERSION_FOLDER.findall(folder)
    night = calendar_date(nights[-1], "the folder's night") if nights else None
    return night, versions[-1] if versions else None


def match(name: str, folder: str) -> FileName | None:
    """An LST-1 name understood, or None if it is none. NoSuchDayError if its night is no date."""
    raw = _R0.fullmatch(name)
    if raw is not None:
        stream, run, subrun, extension = raw.groups()
        return _file(Lst1Kind.R0, run, subrun, extension, folder, stream)
    made = _MADE.fullmatch(name)
    if made is None:
        return None
    word, run, subrun, extension = made.groups()
    kind = _KINDS[word]
    if extension not in _EXTENSIONS[kind][subrun is None]:
        return None
    return _file(kind, run, subrun, extension, folder, None)


def _file(
    kind: Lst1Kind, run: str, subrun: str | None, extension: str, folder: str, stream: str | None
) -> Lst1File:
    night, version = _folder_tells(folder)
    level = _LEVELS[kind]
    return Lst1File(
        night, run, subrun, Telescope.LST1, level, None, extension, kind, stream, version
    )


def explain(name: str) -> str | None:
    """Which part keeps a name from being LST-1's; None if it does not look like LST-1's at all."""
    kind_text, telescope, rest = name.rpartition("LST-")
    if not telescope:
        return None
    number, dot, rest = rest.partition(".")
    if number != "1" or not dot:
        return f"telescope {shown('LST-' + number)} is not LST-1"
    if not kind_text:
        return _explain_r0(rest)
    kind = _KINDS.get(kind_text.removesuffix("_"))
    if kind is None or kind is Lst1Kind.R0 or not kind_text.endswith("_"):
        known = ", ".join(f"{kind.value}_" for kind in _EXTENSIONS)
        return f"{shown(kind_text)} before LST-1 is none of {known}"
    return _explain_run(rest, *_EXTENSIONS[kind])


def _explain_r0(rest: str) -> str:
    stream, _, rest = rest.partition(".")
    if not re.fullmatch(r"[1-4]", stream):
        return f"stream {shown(stream)} is none of 1 to 4"
    return _explain_run(rest, (".fits.fz",), ())


def _explain_run(rest: str, of_subrun: tuple[str, ...], of_run: tuple[str, ...]) -> str:
    extensions = tuple(dict.fromkeys(of_subrun + of_run))
    extension = next((end for end in extensions if rest.endswith(end)), None)
    if extension is None:
        return f"{shown(rest)} does not end in {' or '.join(extensions)}"
    word, dot, subrun = rest.removesuffix(extension).partition(".")
    if not word.startswith("Run"):
        return f"{shown(word)} is not the run, written as Run and 5 digits"
    misfit = digits_misfit("run", word.removeprefix("Run"), 5)
    if misfit:
        return misfit
    if not dot and extension not in of_run:
        return "subrun is missing: 4 digits are needed"
    misfit = digits_misfit("subrun", subrun, 4)
    return misfit or f"a {extension} file is of a whole run, and this one names subrun {subrun}"
