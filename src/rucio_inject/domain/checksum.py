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
    """What one pass over a file's bytes tells: size in bytes, adler32 and md5, normalised.

    `md5` is None where nobody read the bytes: a storage was asked, which keeps adler32 alone.
    """

    size: int
    adler32: str
    md5: str | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "adler32", normalise_adler32(self.adler32))
        if self.md5 is not None:
            object.__setattr__(self, "md5", normalise_md5(self.md5))

    def differences(self, other: Measure) -> tuple[str, ...]:
        """Where two measures differ, each as `what: mine != theirs`; empty if they are the same.

        An md5 that one of them does not have says nothing; size and adler32 always do.
        """
        pairs: tuple[tuple[str, object, object], ...] = (
            ("size", self.size, other.size),
            ("adler32", self.adler32, other.adler32),
            ("md5", self.md5 or other.md5, other.md5 or self.md5),
        )
        return tuple(
            f"{what}: {mine} != {theirs}" for what, mine, theirs in pairs if mine != theirs
        )


@dataclass(frozen=True, slots=True)
class Announced:
    """What came with a file about its content, in a list of checksums or a database; normalised.
    None is not told."""

    size: int | None = None
    adler32: str | None = None
    md5: str | None = None

    def __post_init__(self) -> None:
        if self.adler32 is not None:
            object.__setattr__(self, "adler32", normalise_adler32(self.adler32))
        if self.md5 is not None:
            object.__setattr__(self, "md5", normalise_md5(self.md5))

    def differences(self, measure: Measure) -> tuple[str, ...]:
        """Where a file is not what was announced, each as `what: announced != measured`."""
        pairs: tuple[tuple[str, object, object], ...] = (
            ("size", self.size, measure.size),
            ("adler32", self.adler32, measure.adler32),
            ("md5", self.md5, measure.md5),
        )
        return tuple(
            f"{what}: {told} != {is_}"
            for what, told, is_ in pairs
            if told is not None and is_ is not None and told != is_
        )
