"""How often to ask Rucio, and for how long."""

from __future__ import annotations

from rucio_inject.ports import Clock

FIRST = 0.3
GROWTH = 1.3
LONGEST = 10.0


class Pace:
    """Asks often at first and less often as the wait grows, so that a slow lake is not pressed."""

    def __init__(self, clock: Clock, deadline: float) -> None:
        """`deadline`: seconds from now."""
        self._clock = clock
        self._end = clock.monotonic() + deadline
        self._pause = FIRST

    def over(self) -> bool:
        """Whether the deadline has passed."""
        return self._clock.monotonic() >= self._end

    def hurry(self) -> None:
        """Ask often again: something new is waited for, until the same deadline."""
        self._pause = FIRST

    def wait(self) -> None:
        """Wait until it is time to ask again, at most until the deadline."""
        left = max(self._end - self._clock.monotonic(), 0.0)
        self._clock.wait(min(self._pause, left))
        self._pause = min(self._pause * GROWTH, LONGEST)
