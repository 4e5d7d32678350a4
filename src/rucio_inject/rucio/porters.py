"""Small files brought to folders of this machine by processes of their own.

Threads of one process take turns at Python, and each call to the system passes the turn on: of a
file of 100 kB, which takes some thirty such calls, four threads make half as much work again as one
thread, and all that the run does besides waits its turn among them.

A porter that hangs, as on a folder whose server is away, holds up the run as a thread would.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import RLock

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import InjectError
from rucio_inject.ports import Arrived
from rucio_inject.rucio.porter import Errand, access_for
from rucio_inject.rucio.uploading import Halves

# Who waits longer than that, in seconds, does it in a thread: the porters wait for a disk.
LONG = 0.1
# Seconds that one is given to end when it is told to.
GRACE = 5.0
_MODULE = "rucio_inject.rucio.porter"


class _Porter:
    """One process."""

    def __init__(self) -> None:
        """OSError if there can be none."""
        if not sys.executable:
            raise FileNotFoundError("nobody knows where Python is")
        reading, writing = os.pipe()
        self._answers = os.fdopen(reading, "rb")
        try:
            self._process = subprocess.Popen(
                # Its folder is that of the run, where anybody's modules may lie.
                [sys.executable, "-P", "-m", _MODULE, str(os.getpid()), str(writing)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[writing],
                env={**os.environ, "PYTHONPATH": _path()},
                # A Ctrl-C in the terminal is for the run.
                start_new_session=True,
            )
        except OSError:
            self._answers.close()
            raise
        finally:
            os.close(writing)

    def carry(self, errand: Errand) -> list[Arrived | None]:
        """Have it done. OSError if it has ended; ValueError or TypeError if it was ended amid an
        answer, or what it says makes no sense."""
        orders = self._process.stdin
        assert orders is not None
        orders.write(errand.line())
        orders.flush()
        told = json.loads(self._answers.readline())
        return [load.arrived(of_it) for load, of_it in zip(errand.loads, told, strict=True)]

    def end(self) -> None:
        """Let it go, and wait until it has."""
        with self._answers, self._process as process:
            with suppress(OSError):
                if process.stdin is not None:
                    process.stdin.close()
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()


def _path() -> str:
    """Where our modules are found, for another process; none of what depends on its folder."""
    # Somebody may have put a path there, and no text.
    entries = [str(entry) for entry in sys.path]
    whole = [e for e in entries if Path(e).is_absolute() and os.pathsep not in e]
    return os.pathsep.join(whole)


class PosixPorters:
    """Implements `ports.Porters` for the folder of an RSE."""

    def __init__(
        self,
        order: Callable[[Sequence[tuple[Path, DID]]], Errand | None],
        halves: Halves,
        most: int,
    ) -> None:
        """`order` says what is to be done for some files, None if nothing can be; `halves` removes
        what is left of those that do not arrive; `most`: processes at a time, but not more than
        half of the processors. OSError if there can be none."""
        self._order = order
        self._halves = halves
        # The other half is for Rucio, which may be on this machine, and for the rest of the run.
        self._most = min(most, max(len(os.sched_getaffinity(0)) // 2, 1))
        self._free: SimpleQueue[_Porter] = SimpleQueue()
        # The collector of garbage may close an iterator, and so us, in the midst of anything.
        self._lock = RLock()
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
        arrived = self._carried_by(porter, errand)
        for load, found in zip(errand.loads, arrived, strict=True):
            if found is None:
                # It may have been killed while it wrote it, or its storage have gone.
                self._halves.discard(access_for(errand, load), load.partial)
        return arrived

    def _carried_by(self, porter: _Porter, errand: Errand) -> Sequence[Arrived | None]:
        try:
            arrived = porter.carry(errand)
        except (OSError, ValueError, TypeError):
            # Killed, or never begun. What becomes of the files is decided by whoever asks next.
            self._lose(porter)
            return [None] * len(errand.loads)
        self._release(porter)
        return arrived

    def _porter(self) -> _Porter | None:
        """One that is free, or a new one, or one that is free soon; None if there is none."""
        with suppress(Empty):
            return self._free.get_nowait()
        with self._lock:
            if self._closed or not self._hired:
                return None
            another = self._hired < self._most
            self._hired += another
        if another:
            try:
                return _Porter()
            except OSError:
                with self._lock:
                    self._hired -= 1
        with suppress(Empty):
            return self._free.get(timeout=LONG)
        return None

    def _release(self, porter: _Porter) -> None:
        with self._lock:
            closed = self._closed
            if not closed:
                self._free.put(porter)
        if closed:
            porter.end()

    def _lose(self, porter: _Porter) -> None:
        """One has ended by itself. It gets no successor: what ended it, as a lack of memory, may
        end that, too."""
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
