"""Uploads held back to a rate, as a wrapper around storages."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, cast

from rucio_inject.domain.did import DID
from rucio_inject.ports import Clock, Storage, Stored

BURST = 1.0
"""Seconds of the rate that may go at once after a pause."""


class TokenBucket:
    """Lets so many bytes a second go, in the mean.

    Whoever comes when the bucket is not empty goes at once, whatever his size, and those who come
    after wait until it is filled again: a file is never larger than what can pass. So in any t
    seconds at most rate x (t + BURST) bytes begin, and one file more.
    """

    def __init__(self, rate: int, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._lock = Lock()
        self._level = rate * BURST
        self._at = clock.monotonic()

    def take(self, size: int) -> None:
        """Wait for one's turn. Interrupted if somebody asks us to stop."""
        with self._lock:
            now = self._clock.monotonic()
            filled = self._level + (now - self._at) * self._rate
            before, self._at = min(filled, self._rate * BURST), now
            self._level = before - size
        if before < 0:
            self._clock.wait(-before / self._rate)


def throttled(storage: Storage, bucket: TokenBucket) -> Storage:
    """The same storages; `put` waits for its turn."""
    return cast("Storage", _Throttled(storage, bucket))


class _Throttled:
    """Stands before storages."""

    def __init__(self, storage: Storage, bucket: TokenBucket) -> None:
        self._storage = storage
        self._bucket = bucket

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._storage, name)
        return partial(self._put, found) if name == "put" else found

    def porters(self, rse: str, most: int) -> None:
        """See the port: nobody is quicker than the rate."""

    def _put(self, put: Any, rse: str, path: Path, did: DID) -> Stored:
        size = 0
        with suppress(OSError):  # the storage tells that it cannot be read
            size = path.stat().st_size
        self._bucket.take(size)
        stored: Stored = put(rse, path, did)
        return stored
