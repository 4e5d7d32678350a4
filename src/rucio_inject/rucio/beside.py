"""What goes over a network is measured beside it, in another thread: md5 takes about as long as
sending or fetching does."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import Self

from rucio_inject.domain.checksum import Measure
from rucio_inject.measuring import Passing, changed, unreadable

BLOCK = 2 << 20
"""Bytes that go at once: threads change hands for each block, and of smaller ones too often."""
# Blocks that wait to be measured, at most.
_WAITING = 2


class Beside:
    """Measures blocks in their order; those of a file of one block without another thread."""

    def __init__(self, size: int) -> None:
        self._passing = Passing()
        self._thread = ThreadPoolExecutor(1) if size > BLOCK else None
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._thread.shutdown()

    def update(self, block: bytes) -> None:
        """Take the next block."""
        if self._thread is None:
            self._passing.update(block)
            return
        self._waiting.append(self._thread.submit(self._passing.update, block))
        self._wait(_WAITING)

    def measure(self) -> Measure:
        """What was taken so far."""
        self._wait(0)
        return self._passing.measure()

    def _wait(self, most: int) -> None:
        while len(self._waiting) > most:
            self._waiting.popleft().result()


def source_blocks(path: Path, size: int) -> Iterator[bytes]:
    """The bytes of a source of this size, and never more: whoever takes them was told how many
    come. SourceUnreadable if it cannot be read; at its end, SourceChanged if it is shorter or
    longer."""
    left = size
    try:
        with FileIO(path) as file:
            # A local file is read short at its end only.
            while left and (block := file.read(min(BLOCK, left))):
                left -= len(block)
                yield block
            whole = not left and not file.read(1)
    except OSError as error:
        raise unreadable(path, error.strerror) from error
    if not whole:
        raise changed(path)
