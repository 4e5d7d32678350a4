"""Files that are there whole or not at all: a reader, or a power cut, never sees half of one."""

from __future__ import annotations

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


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file, which only its owner may read; it is on the disk when this returns.

    OSError as the system raises it; then the old content is untouched.
    """
    with replacing(path) as part:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
