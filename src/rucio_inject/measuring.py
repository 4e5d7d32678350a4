"""Size and checksums of a file, in one pass over its bytes."""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.errors import SourceChanged, SourceUnreadable

BLOCK = 1 << 20


def measure_file(path: Path) -> Measure:
    """Read a file once: its size, adler32 and md5.

    SourceUnreadable if it cannot be read, SourceChanged if it changed meanwhile.
    """
    adler32, md5, size = zlib.adler32(b""), hashlib.md5(usedforsecurity=False), 0
    try:
        with path.open("rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            # A file that is being written to might never end.
            while size <= before.st_size and (block := file.read(BLOCK)):
                adler32 = zlib.adler32(block, adler32)
                md5.update(block)
                size += len(block)
            after = os.fstat(file.fileno())
    except OSError as error:
        raise SourceUnreadable(
            f"cannot read {path}: {error.strerror}",
            hint="check that it is there and that you may read it",
        ) from error
    same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    if not same or size != after.st_size:
        raise SourceChanged(
            f"{path} changed while it was read",
            hint="is it still being written? inject it when it is complete",
        )
    return Measure(size, f"{adler32:08x}", md5.hexdigest())
