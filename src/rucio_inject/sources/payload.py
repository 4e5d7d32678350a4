"""What a generated file is filled with."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path
from typing import Protocol

from rucio_inject.domain.errors import DiskFull, SourceUnreadable


class Payload(Protocol):
    """Makes the content of files."""

    def check(self, path: Path) -> None:
        """UsageError if a file of this name cannot have this content."""
        ...

    def write(self, path: Path, seed: int) -> None:
        """Write a file that is there whole or not at all; the same seed, the same content."""
        ...


def make(path: Path, payload: Payload, seed: int) -> None:
    """Make a file, and its folders. DiskFull if it has no room, SourceUnreadable if the disk does
    not let us."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        payload.write(path, seed)
    except OSError as error:
        doing, again = f"cannot make {path}: {error.strerror}", "then run the same command again"
        if error.errno == errno.ENOSPC:
            raise DiskFull(
                doing, hint=f"make room, or name another output folder; {again}"
            ) from error
        raise SourceUnreadable(doing, hint=f"name another output folder; {again}") from error


def seed_of(seed: int, name: str) -> int:
    """A seed for one file: its own among its siblings, the same whenever it is made."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:6])
