"""The checksum of a file while it passes by: adler32 as a rule, md5 where an RSE wants it."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass

from rucio_inject.domain.checksum import normalise_adler32, normalise_md5

ADLER32 = "ADLER32"
MD5 = "MD5"


@dataclass(frozen=True, slots=True)
class Expected:
    """The checksum that the asker knows: ADLER32 or MD5, and the normalised value, or None."""

    algorithm: str
    value: str | None


@dataclass(frozen=True, slots=True)
class Measured:
    """Size in bytes and checksum of one pass over a file."""

    size: int
    checksum: str


def parse_checksum(text: str | None) -> Expected:
    """Read FTS3's `ALGORITHM:value`; None and the empty text mean "adler32, value not known".

    ValueError if the algorithm is another one, or the value is none of it.
    """
    if not text:
        return Expected(ADLER32, None)
    name, _, value = text.partition(":")
    algorithm = name.strip().upper()
    if algorithm not in {ADLER32, MD5}:
        raise ValueError(f"checksum {text!r} is neither ADLER32 nor MD5")
    normalise = normalise_md5 if algorithm == MD5 else normalise_adler32
    return Expected(algorithm, normalise(value) if value.strip() else None)


class Digest:
    """Takes the blocks of one file in order."""

    def __init__(self, algorithm: str) -> None:
        """`algorithm` is ADLER32 or MD5."""
        self._size = 0
        self._adler32 = zlib.adler32(b"")
        self._md5 = hashlib.md5(usedforsecurity=False) if algorithm == MD5 else None

    def update(self, block: memoryview) -> None:
        """Take the next block."""
        self._size += len(block)
        if self._md5 is None:
            self._adler32 = zlib.adler32(block, self._adler32)
        else:
            self._md5.update(block)

    def measured(self) -> Measured:
        """The sum of all blocks so far."""
        if self._md5 is None:
            return Measured(self._size, f"{self._adler32:08x}")
        return Measured(self._size, self._md5.hexdigest())
