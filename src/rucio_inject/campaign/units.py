"""Numbers, durations, sizes, dates and paths as people write them in a campaign file."""

from __future__ import annotations

import re
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, FiniteFloat, Strict

_DURATION = re.compile(r"\s*(\d{1,12}(?:\.\d{1,12})?)\s*(s|m|h|d)?\s*\Z", re.ASCII)
_SECONDS = {None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE = re.compile(
    r"\s*(\d{1,15}(?:\.\d{1,12})?)\s*(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)?\s*\Z", re.ASCII
)
_BYTES = {
    None: 1,
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_SHARE = re.compile(r"\s*(\d{1,3}(?:\.\d{1,6})?)\s*%\s*\Z", re.ASCII)
# What no RSE expression has, in any version of Rucio: an operator without a term on one side of it.
_OPERATOR = r"[|&\\]"
_LACKS_TERM = re.compile(
    rf"\A{_OPERATOR}|{_OPERATOR}\Z|{_OPERATOR}{_OPERATOR}|\({_OPERATOR}|{_OPERATOR}\)|\(\)"
)
_NIGHT = re.compile(r"\d{4}-\d\d-\d\d\Z", re.ASCII)
_SHOWN = 60  # characters of a text that somebody else wrote
LONGEST = 100 * 366 * 86_400  # seconds: beyond a century Rucio's dates may end
INT64 = 2**63 - 1


def shown(text: str, length: int = _SHOWN) -> str:
    """A text as it can be told in one line: cut, and without what a terminal would obey."""
    printable = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[:length]
    )
    return printable + "…" * (len(text) > length)


def parse_duration(value: object) -> object:
    """Seconds from `90`, `90s`, `1.5m`, `2h` or `7d`; anything else is left for pydantic."""
    if not isinstance(value, str):
        return value
    if not (match := _DURATION.match(value)):
        raise ValueError(
            f"{shown(repr(value))} is no duration: write a number and s, m, h or d, as in 90s"
        )
    return round(float(match[1]) * _SECONDS[match[2]])


def parse_size(value: object) -> object:
    """Bytes from `500`, `100kB`, `1.5GB` or `1GiB`; anything else is left for pydantic."""
    if not isinstance(value, str):
        return value
    if not (match := _SIZE.match(value)):
        raise ValueError(
            f"{shown(repr(value))} is no size: write a number and kB, MB or GB, as in 100kB"
        )
    return round(float(match[1]) * _BYTES[match[2]])


def parse_share(value: object) -> object:
    """A share of a whole from `10%` or `0.1`; anything else is left for pydantic."""
    if not isinstance(value, str):
        return value
    if not (match := _SHARE.match(value)):
        raise ValueError(f"{shown(repr(value))} is no share: write it as in 80%")
    return float(match[1]) / 100


def parse_sample(value: object) -> object:
    """How many files from `5`, or which share of them from `10%`."""
    told = "must be a number of files, or a share of them: write it as 5 or 10%"
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(told)  # noqa: TRY004 -- pydantic takes no other
    sample = parse_share(value) if isinstance(value, str) else value
    if not (isinstance(sample, int) and 0 < sample <= INT64) and not (
        isinstance(sample, float) and 0 < sample <= 1
    ):
        raise ValueError(told)
    return sample


def parse_rate(value: object) -> object:
    """Bytes a second from `500MB/s`; anything else is left for pydantic."""
    if not isinstance(value, str):
        return value
    size, slash, second = value.rpartition("/")
    if not slash or second.strip() != "s":
        raise ValueError(f"{shown(repr(value))} is no rate: write a size a second, as in 500MB/s")
    return parse_size(size)


def parse_night(value: object) -> object:
    """A date from `2020-02-03`, in quotes or not. Numbers and times of day are refused."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if isinstance(value, str) and _NIGHT.match(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise ValueError(f"the calendar has no {value}") from None
    raise ValueError(f"{shown(str(value))} is no date: write it as in 2020-02-03")


def parse_attribute(value: object) -> object:
    """What an RSE attribute may be: true, false, a whole number or text."""
    if _is_text(value) or (isinstance(value, int) and abs(value) <= INT64):
        return value
    raise ValueError("must be true, false, a whole number or text: put it into quotes")


def parse_parameter(value: object) -> object:
    """What a parameter of a query may be: a number or text."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= INT64:
        return value
    if _is_text(value):
        return value
    raise ValueError("must be a number or text: put it into quotes")


def _is_text(value: object) -> bool:
    """Whether it is text, without halves of characters."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def parse_expression(value: str) -> str:
    """An RSE expression as it is. ValueError for what Rucio could not read, whatever its RSEs."""
    if any(letter.isspace() for letter in value):
        raise ValueError("must be an RSE expression: without blanks")
    if _LACKS_TERM.search(value):
        raise ValueError("must be an RSE expression: an RSE or KEY=VALUE on both sides of | & \\")
    depth = 0
    for letter in value:
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            break
    if depth:
        raise ValueError("must be an RSE expression: its parentheses do not match")
    return value


def straight(path: Path) -> Path:
    """The same place without a `..` on the way."""
    return path.resolve() if ".." in path.parts else path


def parse_path(value: object) -> object:
    """A path with `~` replaced; anything but text is left for pydantic."""
    if not isinstance(value, str):
        return value
    if not value or "\0" in value:
        raise ValueError("must be a path")
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise ValueError(f"{shown(value)} cannot be: there is no such user's home") from None


def parse_ledger(value: object) -> object:
    """A database's URL as it is, or a path."""
    if not isinstance(value, str | Path):
        raise ValueError("must be a path, or a database's URL, as text: put it into quotes")  # noqa: TRY004 -- pydantic takes no other
    return value if isinstance(value, str) and "://" in value else parse_path(value)


Whole = Annotated[int, Strict()]
Number = Annotated[FiniteFloat, Strict()]
Seconds = Annotated[int, Strict(), BeforeValidator(parse_duration), Field(le=LONGEST)]
Bytes = Annotated[int, Strict(), BeforeValidator(parse_size), Field(le=INT64)]
Share = Annotated[FiniteFloat, Strict(), BeforeValidator(parse_share), Field(gt=0, le=1)]
SampleSize = Annotated[
    int | Annotated[float, Field(gt=0, le=1)], BeforeValidator(parse_sample), Field(gt=0)
]
Rate = Annotated[int, Strict(), BeforeValidator(parse_rate), Field(le=INT64)]
Seed = Annotated[int, Strict(), Field(ge=0, le=INT64)]
Night = Annotated[date, BeforeValidator(parse_night)]
Attribute = Annotated[bool | int | str, BeforeValidator(parse_attribute)]
Parameter = Annotated[str | Whole | Number, BeforeValidator(parse_parameter)]
LocalPath = Annotated[Path, BeforeValidator(parse_path)]
LedgerPlace = Annotated[str | Path, BeforeValidator(parse_ledger)]
