"""How many files of which size are injected."""

from __future__ import annotations

import re
from dataclasses import dataclass

UNITS = {"B": 1, "kB": 1000, "MB": 1000**2, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_TEXT = re.compile(rf"([1-9]\d*)x([1-9]\d*)({'|'.join(UNITS)})")


@dataclass(frozen=True, slots=True)
class Case:
    """So many files of so many bytes each."""

    files: int
    size: int

    def __str__(self) -> str:
        return f"{self.files}x{_shown(self.size)}"

    @property
    def bytes(self) -> int:
        """Of all files."""
        return self.files * self.size


def _shown(size: int) -> str:
    unit = max((unit for unit in UNITS if size % UNITS[unit] == 0), key=UNITS.__getitem__)
    return f"{size // UNITS[unit]}{unit}"


def parse_case(text: str) -> Case:
    """A case from its text, as in 1000x100kB; ValueError if it is none."""
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text} is no case: write it as in 1000x100kB or 4x1GiB")
    return Case(int(found[1]), int(found[2]) * UNITS[found[3]])


DEFAULT = (Case(1000, 100_000), Case(10_000, 10_000), Case(4, 1 << 30))
QUICK = (Case(200, 100_000), Case(2, 100_000_000))
