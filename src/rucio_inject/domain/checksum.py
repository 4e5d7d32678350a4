"""Checksums as Rucio keeps them: adler32 in 8 hex digits, md5 in 32."""

from __future__ import annotations

import re
from dataclasses import dataclass

_HEX = re.compile(r"[0-9a-f]+\Z")
ADLER32_DIGITS = 8
MD5_DIGITS = 32


def normalise_adler32(text: str) -> str:
    """An adler32 in lower case, padded with zeros to 8 digits.

    Old catalogues and some storages drop leading zeros (rucio issue 4127), so a comparison needs
    both sides in this form. ValueError if the text is no adler32.
    """
    digits = text.strip().lower().removeprefix("0x")
    if not _HEX.match(digits) or len(digits.lstrip("0")) > ADLER32_DIGITS:
        raise ValueError(f"{text!r} is not an adler32 checksum")
    return digits[-ADLER32_DIGITS:].rjust(ADLER32_DIGITS, "0")


def normalise_md5(text: str) -> str:
    """An md5 in lower case. ValueError if the text is not 32 hex digits."""
    digits = text.strip().lower()
    if not _HEX.match(digits) or len(digits) != MD5_DIGITS:
        raise ValueError(f"{text!r} is not an md5 checksum")
    return digits


@dataclass(frozen=True, slots=True)
class Measure:
    """What one pass over a file's bytes tells: size in bytes, adler32 and md5, normalised."""

    size: int
    adler32: str
    md5: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "adler32", normalise_adler32(self.adler32))
        object.__setattr__(self, "md5", normalise_md5(self.md5))

    def differences(self, other: Measure) -> tuple[str, ...]:
        """Where two measures differ, each as `what: mine != theirs`; empty if they are the same."""
        pairs = (
            ("size", self.size, other.size),
            ("adler32", self.adler32, other.adler32),
            ("md5", self.md5, other.md5),
        )
        return tuple(
            f"{what}: {mine} != {theirs}" for what, mine, theirs in pairs if mine != theirs
        )
