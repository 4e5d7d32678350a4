"""Time that a test decides: it passes when somebody waits, and at no other moment."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from rucio_inject.domain.errors import Interrupted
from rucio_inject.ports import Bell

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


_STEP = 0.1


def _has_rung(bell: Bell) -> bool:
    return bell.audible and bool(select.select([bell.fileno()], [], [], 0)[0])


class FakeClock:
    """Implements `ports.Clock` with virtual time; can be told when to ask everybody to stop."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._seconds = 0.0
        self._lock = threading.RLock()
        self._listeners: list[Callable[[], None]] = []
        self._stopped = False
        self._stop_at: datetime | None = None
        self._stop_after: int | None = None
        self.checks = 0
        """How often somebody looked whether to stop."""

    def on_passing(self, listener: Callable[[], None]) -> None:
        """Call `listener` each time that time has passed."""
        self._listeners.append(listener)

    def now(self) -> datetime:
        """See the port."""
        with self._lock:
            return self._start + timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        """See the port."""
        with self._lock:
            return self._seconds

    def wait(self, seconds: float, bell: Bell | None = None) -> None:
        """See the port. With a bell time passes in small steps, so that it can ring meanwhile."""
        self.check()
        if bell is None:
            self.advance(seconds)
        else:
            end = self.monotonic() + seconds
            while (left := end - self.monotonic()) > 0 and not _has_rung(bell):
                self.advance(min(left, _STEP))
        self.check()

    def check(self) -> None:
        """See the port."""
        with self._lock:
            self.checks += 1
            due = self._stop_at is not None and self.now() >= self._stop_at
            counted = self._stop_after is not None and self.checks > self._stop_after
            if self._stopped or due or counted:
                self._stopped = True
                raise Interrupted("stopped as the test asked")

    def advance(self, seconds: float) -> None:
        """Let virtual time pass without looking whether to stop; `seconds` may be zero."""
        with self._lock:
            self._seconds += max(seconds, 0.0)
        for listener in self._listeners:
            listener()

    def stop(self) -> None:
        """Ask everybody to stop, from now on."""
        with self._lock:
            self._stopped = True

    def stop_at(self, moment: datetime) -> None:
        """Ask everybody to stop once this moment has come."""
        with self._lock:
            self._stop_at = moment

    def stop_after_checks(self, count: int) -> None:
        """Let this many more checks pass, and ask to stop at every later one."""
        with self._lock:
            self._stop_after = self.checks + count

    def go_on(self) -> None:
        """Forget every wish to stop."""
        with self._lock:
            self._stopped, self._stop_at, self._stop_after = False, None, None
