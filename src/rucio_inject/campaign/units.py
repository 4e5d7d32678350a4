"""Durations and sizes as people write them in a campaign file."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator

_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|d)?\s*\Z")
_SECONDS = {None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)?\s*\Z")
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


def parse_duration(value: object) -> object:
    """Seconds from `90`, `90s`, `1.5m`, `2h` or `7d`; anything else is left for pydantic."""
    if not isinstance(value, str):
        return value
    if not (match := _DURATION.match(value)):
        raise ValueError(f"{value!r} is no duration: write a number and s, m, h or d, as in 90s")
    return round(float(match[1]) * _SECONDS[match[2]])


def parse_size(value: object) -> object:
    """Bytes from `500`, `100kB`, `1.5GB` or `1GiB`; anything else is left for pydantic."""
    if not isinstance(value, str):
        return value
    if not (match := _SIZE.match(value)):
        raise ValueError(f"{value!r} is no size: write a number and kB, MB or GB, as in 100kB")
    return round(float(match[1]) * _BYTES[match[2]])


Seconds = Annotated[int, BeforeValidator(parse_duration)]
Bytes = Annotated[int, BeforeValidator(parse_size)]
