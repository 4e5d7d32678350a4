"""What a driver must do. One object serves all threads and all storages of its protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from rucio_inject.domain.checksum import Measure

# What is waited for however little there is to do, and how fast a storage is at the least.
BASE_SECONDS = 30
SLOWEST_RATE = 10_000_000


def patience(size: int) -> int:
    """Seconds after which a storage that works on so many bytes is taken to be stuck."""
    return BASE_SECONDS + size // SLOWEST_RATE


@dataclass(frozen=True, slots=True)
class Entry:
    """A file: its URL, its size in bytes, and when it was written to last, if that is told."""

    url: str
    size: int
    modified: datetime | None = None


def walk(top: str, inside: Callable[[str], Iterable[tuple[Entry, bool]]]) -> Iterator[Entry]:
    """Every file below a folder, as `Driver.walk` gives them; `inside` tells what is in one folder,
    and of each whether it is a folder itself."""
    top = top.rstrip("/")
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            for entry, is_folder in inside(folder):
                if is_folder:
                    waiting.append(entry.url)
                else:
                    yield entry
        except FileNotFoundError:
            if folder == top:
                raise


class Driver(Protocol):
    """Raises OSError with the errno that says it best: FileNotFoundError, PermissionError,
    FileExistsError, ConnectionError and TimeoutError are told apart, ENOSPC is a full storage.
    SignInFailed if what identifies us has expired.
    """

    def look(self, url: str) -> Entry | None:
        """A file as the storage shows it; None if there is none."""
        ...

    def send(self, source: Path, url: str, size: int) -> Measure:
        """Write a local file of this size to a place where nothing is (FileExistsError, from
        storages that can tell while they are written to), with the folders that it needs, and
        measure what was read. What `measure_file` raises goes through."""
        ...

    def fetch(self, url: str, size: int, write: Callable[[bytes], object]) -> None:
        """Read a file to its end; each block goes to `write`."""
        ...

    def adler32(self, url: str, size: int) -> str | None:
        """What the storage says that the adler32 is, of what it holds now; None if it does not
        tell."""
        ...

    def move(self, url: str, new: str) -> None:
        """Give a file another name on the same storage."""
        ...

    def remove(self, url: str) -> None:
        """Remove a file."""
        ...

    def walk(self, url: str) -> Iterator[Entry]:
        """Every file below a folder. FileNotFoundError if that is not there; what goes away
        meanwhile does not count."""
        ...
