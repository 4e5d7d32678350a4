"""The one place where time is read and waited for."""

from __future__ import annotations

import os
import select
import time
from datetime import UTC, datetime

from rucio_inject.domain.errors import Interrupted


class SystemClock:
    """Implements `ports.Clock` with the machine's time; `stop` ends every wait at once."""

    def __init__(self) -> None:
        self._stopped = False
        # A pipe wakes a sleeper from inside a signal handler; a lock, as threading.Event takes
        # one, may be held by the very code that the handler interrupted.
        self._wake, self._waker = os.pipe()

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

    def wait(self, seconds: float) -> None:
        """See the port."""
        select.select([self._wake], [], [], max(seconds, 0.0))
        self.check()

    def check(self) -> None:
        """See the port."""
        if self._stopped:
            raise Interrupted(
                "stopped as you asked; everything done so far is on record",
                hint="run the same command again to go on",
            )
