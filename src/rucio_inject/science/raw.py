"""Cheap files of a given size, for when only the bytes matter and not what they mean.

Every seed gives other content, and so another checksum; the same seed gives the same bytes again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

from rucio_inject.domain.errors import UsageError
from rucio_inject.whole_files import replacing

BLOCK = 1 << 20  # bytes


def write_random(path: Path, *, size: int, seed: int) -> None:
    """Write `size` bytes of pseudo-random content to `path`, in constant memory.

    The file appears under its name when it is whole. UsageError for a negative size or seed;
    OSError when the file system refuses.
    """
    if size < 0 or seed < 0:
        raise UsageError(
            f"cannot make {path.name}: size {size} and seed {seed} must not be negative",
            hint="give a size in bytes and a seed, both 0 or more",
        )
    with replacing(path) as part, part.open("wb") as file:
        for block in _blocks(size, seed):
            file.write(block)


def _blocks(size: int, seed: int) -> Iterator[bytes]:
    """Blocks of `size` bytes in all.

    The first is drawn from the generator. Each later one is the first with its byte values
    exchanged by a fresh random permutation of all 256, which is several times faster than drawing
    it; blocks differ from each other, and no compressor finds one in another.
    """
    # A text as the seed: Random takes 1 and -1 for the same number, and this goes through SHA-512.
    random = Random(f"rucio-inject raw {seed}")  # noqa: S311 - content, not a secret
    first = random.randbytes(min(size, BLOCK))
    left = size - len(first)
    yield first
    values = list(range(256))
    while left > 0:
        random.shuffle(values)
        block = first.translate(bytes(values))
        yield block[:left]
        left -= len(block)
