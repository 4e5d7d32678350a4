"""Numbers, sizes and times as people read them."""

from __future__ import annotations

import re

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
# Names of Rucio's enumerations, which its messages hold where words should be.
_ENUM = re.compile(r"\bRequest(?:ErrMsg|State|Type)\.([A-Z_]+)(:(?=\S))?")


def size(count: float) -> str:
    """Bytes with a decimal unit, as in 4.6 MB."""
    for unit in _UNITS:
        if abs(count) < 1000 or unit == _UNITS[-1]:
            digits = 0 if unit == "B" else 1
            return f"{count:.{digits}f} {unit}"
        count /= 1000
    raise AssertionError


def duration(seconds: float) -> str:
    """Seconds as in 4.2 s, 3 min 05 s or 2 h 10 min, or 5 days."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours = minutes // 60
    return f"{hours} h {minutes % 60:02d} min" if hours < 48 else plural(round(hours / 24), "day")


def plural(count: int, what: str) -> str:
    """A count with its noun, as in 1 file or 14 files."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def reason(text: str) -> str:
    """What somebody gave as a reason, to be read in a sentence of ours: no full stop at its end,
    and words instead of the names of Rucio's enumerations."""
    plain = _ENUM.sub(
        lambda found: found[1].lower().replace("_", " ") + (": " if found[2] else ""), text
    )
    return plain.strip().rstrip(".")
