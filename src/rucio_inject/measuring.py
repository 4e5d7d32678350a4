"""Size and checksums of a file, in one pass over its bytes."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import TypeAlias

from zlib_ng import zlib_ng

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.errors import SourceChanged, SourceUnreadable

BLOCK = 1 << 20
"""Bytes read at once: a smaller file comes in one read."""

Write: TypeAlias = Callable[[memoryview], object]
"""Takes a block of bytes, which is another one as soon as it returns."""

Seen: TypeAlias = tuple[int, ...]
"""What is another value as soon as a file is another one, or was written to."""

_EMPTY = zlib_ng.adler32(b"")


class _Buffer(threading.local):
    """A thread reads into the same memory again and again, whatever the size of its files."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(BLOCK))


_BUFFER = _Buffer()


def there(path: Path) -> bool:
    """Whether anything is at a path, a link's end for the link. SourceUnreadable if the system does
    not tell: what cannot be looked at may be there."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise unreadable(path, error.strerror) from error
    return True


def source_stat(path: Path) -> os.stat_result:
    """What the system tells of a source; SourceUnreadable if it is not there, or no file."""
    try:
        found = path.stat()
    except OSError as error:
        raise unreadable(path, error.strerror) from error
    if not stat.S_ISREG(found.st_mode):
        raise unreadable(path, "Is a directory" if stat.S_ISDIR(found.st_mode) else "is no file")
    return found


def readable_stat(path: Path) -> os.stat_result:
    """The same of a source that may be read, without reading it; SourceUnreadable otherwise."""
    found = source_stat(path)
    if not os.access(path, os.R_OK):
        raise unreadable(path, os.strerror(errno.EACCES))
    return found


def check_unchanged(path: Path, before: os.stat_result, after: os.stat_result) -> None:
    """SourceChanged if size or time of change of a source are not what they were."""
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise changed(path)


def measure_file(path: Path, write: Write | None = None) -> Measure:
    """Read a source once: its size, adler32 and md5; each block goes to `write` too.

    SourceUnreadable if it cannot be read, SourceChanged if it changed meanwhile. `write` raises
    errors of its own: an OSError is taken for the source's.
    """
    return measure_seen(path, write)[0]


def measure_seen(path: Path, write: Write | None = None) -> tuple[Measure, Seen]:
    """The same, with what shows later whether the file is the one that was read."""
    try:
        with path.open("rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            # A file that is being written to might never end.
            measure = measure_open(file, write, most=before.st_size)
            after = os.fstat(file.fileno())
    except OSError as error:
        raise unreadable(path, error.strerror) from error
    check_unchanged(path, before, after)
    if measure.size != after.st_size:
        raise changed(path)
    return measure, _seen(after)


def seen_now(path: Path) -> Seen | None:
    """What shows it now; None if nothing is there. SourceUnreadable if it cannot be opened: a
    network's file system may tell of old what it is only asked about."""
    try:
        with path.open("rb", buffering=0) as file:
            return _seen(os.fstat(file.fileno()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(path, error.strerror) from error


def seen_unopened(path: Path) -> Seen | None:
    """The same of a file that is not opened; None if the system tells nothing of it."""
    try:
        return _seen(path.stat())
    except OSError:
        return None


def measure_open(file: FileIO, write: Write | None = None, *, most: int | None = None) -> Measure:
    """Read an open file to its end, or to the first block beyond `most` bytes; each block goes to
    `write` too. OSError as the system raises it."""
    passing = Passing()
    for block in _blocks(file, most):
        if write is not None:
            write(block)
        passing.update(block)
    return passing.measure()


class Passing:
    """Measures bytes that pass by, block after block."""

    def __init__(self) -> None:
        self.size = 0
        self._adler32 = _EMPTY
        self._md5 = hashlib.md5(usedforsecurity=False)

    def update(self, block: memoryview | bytes) -> None:
        """Take the next block."""
        self._adler32 = zlib_ng.adler32(block, self._adler32)
        self._md5.update(block)
        self.size += len(block)

    def measure(self) -> Measure:
        """What passed by so far."""
        return Measure(self.size, f"{self._adler32:08x}", self._md5.hexdigest())


def checksum_open(file: FileIO) -> tuple[int, str]:
    """Size and adler32 of an open file, many times quicker than with md5. OSError as the system
    raises it."""
    adler32, size = _EMPTY, 0
    for block in _blocks(file):
        adler32 = zlib_ng.adler32(block, adler32)
        size += len(block)
    return size, f"{adler32:08x}"


def write_whole(file: FileIO, block: memoryview) -> None:
    """Write a block: the system may take it in parts. OSError as the system raises it."""
    while block:
        block = block[file.write(block) :]


def _blocks(file: FileIO, most: int | None = None) -> Iterator[memoryview]:
    buffer, size = _BUFFER.view, 0
    while (most is None or size <= most) and (read := file.readinto(buffer)):
        yield buffer[:read]
        size += read


def _seen(found: os.stat_result) -> Seen:
    """The time of change is set by the system alone: also where a writer sets that of its data."""
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def unreadable(path: Path, reason: str | None) -> SourceUnreadable:
    """The error of a source that cannot be read."""
    return SourceUnreadable(
        f"cannot read {path}: {reason}",
        hint="check that it is there and that you may read it",
    )


def changed(path: Path) -> SourceChanged:
    """The error of a source that is not what it was."""
    return SourceChanged(
        f"{path} changed while it was read",
        hint="is it still being written? inject it when it is complete",
    )
