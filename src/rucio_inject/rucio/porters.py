"""Small files brought to folders of this machine by processes of their own.

Threads of one process take turns at Python, and each call to the system passes the turn on: of a
file of 100 kB, which takes some thirty such calls, four threads make half as much work again as one
thread, and all that the run does besides waits its turn among them.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import InjectError
from rucio_inject.ports import Arrived
from rucio_inject.rucio.porter import Errand, Load

# Who waits longer than that, in seconds, does it in a thread: the porters wait for a disk.
LONG = 0.1
# Seconds that one is given to end when it is told to.
GRACE = 5.0


class _Porter:
    """One process. OSError, EOFError or UnpicklingError from `carry` if it has ended."""

    def __init__(self) -> None:
        # Found by what finds us, wherever that is; a Ctrl-C is ours to heed.
        path = os.pathsep.join(filter(None, sys.path))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rucio_inject.rucio.porter"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )

    def carry(self, errand: Errand) -> list[Arrived | None]:
        """Have it done."""
        orders, answers = self._process.stdin, self._process.stdout
        assert orders is not None
        assert answers is not None
        pickle.dump(errand, orders)
        orders.flush()
        arrived: list[Arrived | None] = pickle.load(answers)  # noqa: S301 -- our own process's
        return arrived

    def end(self) -> None:
        """Let it go, and wait until it has."""
        with self._process as process:
            with suppress(OSError):
                if process.stdin is not None:
                    process.stdin.close()
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()


class PosixPorters:
    """Implements `ports.Porters` for the folder of an RSE."""

    def __init__(
        self,
        order: Callable[[Sequence[tuple[Path, DID]]], Errand | None],
        discard: Callable[[Load], None],
        most: int,
    ) -> None:
        """`order` says what is to be done for some files, None if nothing can be; `discard` removes
        what was written of one that nobody brings to its end; `most`: processes at a time, but not
        more than half of the processors. OSError if there can be none."""
        self._order = order
        self._discard = discard
        # The other half is for Rucio, which may be on this machine, and for the rest of the run.
        self._most = min(most, max(len(os.sched_getaffinity(0)) // 2, 1))
        self._free: SimpleQueue[_Porter] = SimpleQueue()
        self._lock = Lock()
        self._closed = False
        self._hired = 1
        self._free.put(_Porter())

    def carry(self, files: Sequence[tuple[Path, DID]]) -> Sequence[Arrived | None]:
        """See the port."""
        try:
            errand = self._order(files)
        except InjectError:
            errand = None
        porter = None if errand is None else self._porter()
        if errand is None or porter is None:
            return [None] * len(files)
        try:
            arrived = porter.carry(errand)
        except (OSError, EOFError, pickle.UnpicklingError):
            # Killed, or never begun. What becomes of the files is decided by whoever asks next.
            self._lose(porter)
            for load in errand.loads:
                self._discard(load)
            return [None] * len(files)
        self._release(porter)
        return arrived

    def _porter(self) -> _Porter | None:
        """One that is free, or soon is, or a new one; None if there is none."""
        with suppress(Empty):
            return self._free.get_nowait()
        with self._lock:
            if self._closed or not self._hired:
                return None
            if self._hired < self._most:
                with suppress(OSError):
                    another = _Porter()
                    self._hired += 1
                    return another
        with suppress(Empty):
            return self._free.get(timeout=LONG)
        return None

    def _release(self, porter: _Porter) -> None:
        with self._lock:
            if not self._closed:
                self._free.put(porter)
                return
        porter.end()

    def _lose(self, porter: _Porter) -> None:
        """One has ended by itself; it gets no successor."""
        porter.end()
        with self._lock:
            self._hired -= 1
            self._most -= 1

    def close(self) -> None:
        """See the port."""
        with self._lock:
            self._closed = True
        with suppress(Empty):
            while True:
                self._free.get_nowait().end()
