"""Files that are there whole or not at all: a reader, or a power cut, never sees half of one."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def partial_name(path: Path) -> Path:
    """Where a file is written before it gets its name."""
    return path.with_name(f".{path.name}.part")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the path of a new file beside `path`, which becomes `path` when the block ends well.

    If the block raises, the new file is removed and whatever was at `path` stays. Missing folders
    are made. OSError from the file system goes through.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Always the same name, so that what a kill leaves behind is overwritten and does not pile up.
    part = partial_name(path)
    try:
        yield part
        part.replace(path)
    except BaseException:  # also an interrupt: what is half written goes, and the error goes on
        part.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_alone(path: Path) -> Iterator[Path]:
    """As `replacing`, where another process may write the same file at the same time: OSError
    (EBUSY) if one does, and its file is left alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = partial_name(path)
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(descriptor, part)
        with replacing(path):
            yield part
    finally:
        os.close(descriptor)


def _lock(descriptor: int, part: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it a moment ago may have given it its name: then it is no longer ours to fill.
        ours = part.exists() and os.path.samestat(os.fstat(descriptor), part.stat())
    except BlockingIOError:
        ours = False
    if not ours:
        raise OSError(errno.EBUSY, "another process is writing it", str(part))


@contextmanager
def replacing_durably(path: Path) -> Iterator[Path]:
    """As `replacing`; only its owner may read the file, and it is on the disk when the block has
    ended."""
    with replacing(path) as part:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        yield part
        _sync(part)
    _sync(path.parent)


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file, which only its owner may read; it is on the disk when this returns.

    OSError as the system raises it; then the old content is untouched.
    """
    with replacing_durably(path) as part:
        part.write_bytes(content)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
