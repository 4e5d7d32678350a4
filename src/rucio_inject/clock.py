"""The one place where time is read and waited for."""

from __future__ import annotations

import os
import select
import time
import weakref
from contextlib import suppress
from datetime import UTC, datetime

from rucio_inject.domain.errors import Interrupted
from rucio_inject.ports import Bell

# Milliseconds that the system lets a process wait at once.
_LONGEST = 2**31 - 1


class SystemClock:
    """Implements `ports.Clock` with the machine's time; `stop` ends every wait at once."""

    def __init__(self) -> None:
        self._stopped = False
        # A pipe wakes a sleeper from inside a signal handler; a lock, as threading.Event takes
        # one, may be held by the very code that the handler interrupted.
        self._wake, self._waker = os.pipe()
        # Not at the process's end: a signal may still come then.
        weakref.finalize(self, _close, self._wake, self._waker).atexit = False

    def stop(self) -> None:
        """Ask everybody who looks at this clock to stop; safe in a signal handler, and again."""
        if not self._stopped:
            self._stopped = True
            os.write(self._waker, b".")

    def now(self) -> datetime:
        """See the port."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """See the port."""
        return time.monotonic()

    def wait(self, seconds: float, bell: Bell | None = None) -> None:
        """See the port."""
        # Not select(), which takes no descriptor above 1023.
        ears = select.poll()
        ears.register(self._wake, select.POLLIN)
        if bell and bell.audible:
            ears.register(bell.fileno(), select.POLLIN)
        ears.poll(min(max(seconds, 0.0) * 1000, _LONGEST))
        self.check()

    def check(self) -> None:
        """See the port."""
        if self._stopped:
            raise Interrupted(
                "stopped as you asked; everything done so far is on record",
                hint="run the same command again to go on",
            )


class PipeBell:
    """Implements `ports.Bell` with a pipe, whose other end may be in another process."""

    def __init__(self, descriptor: int | None = None) -> None:
        """`descriptor`: the end that is read, of somebody who rings by writing a byte."""
        self._ringer: int | None = None
        if descriptor is None:
            descriptor, self._ringer = os.pipe()
            os.set_blocking(self._ringer, False)
        os.set_blocking(descriptor, False)
        self._ear = descriptor
        self.audible = True

    def ring(self) -> None:
        """Ring it, from any thread."""
        if self._ringer is not None:
            # A pipe that is full of rings needs no more of them.
            with suppress(BlockingIOError):
                os.write(self._ringer, b".")

    def fileno(self) -> int:
        """See the port."""
        return self._ear

    def clear(self) -> bool:
        """See the port."""
        rung = False
        while self.audible:
            try:
                heard = os.read(self._ear, 4096)
            except BlockingIOError:
                break
            # Whoever rang it is gone: it would ring for ever.
            self.audible = bool(heard)
            rung |= self.audible
        return rung

    def close(self) -> None:
        """Give the pipe back."""
        self.audible = False
        os.close(self._ear)
        if self._ringer is not None:
            os.close(self._ringer)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
