"""How often to ask Rucio, and for how long."""

from __future__ import annotations

from math import inf

from rucio_inject.ports import Bell, Clock

FIRST = 0.3
LONGEST = 10.0
"""The shortest and the longest pause between two questions, in seconds."""
SHARE = 0.1
"""… and how long one is beside what was waited before it."""
SETTLE = 0.3
"""Seconds of silence after a bell: what happens to many files rings many times."""
ECHO = 1.0
"""The longest pause after a bell: Rucio tells that a transfer is done before its lock is OK."""


class Pace:
    """Asks often at first and less often as the wait grows, so that a slow lake is not pressed, and
    what comes to its end is noticed after a tenth more of the time that it took."""

    def __init__(self, clock: Clock, deadline: float, bell: Bell | None = None) -> None:
        """`deadline`: seconds from now. `bell`: rings when it may be worth asking at once."""
        self._clock = clock
        self._bell = bell
        self._begun = clock.monotonic()
        self._end = self._begun + deadline
        # When we asked last, and how much there was still to do.
        self._before: tuple[float, int] | None = None

    def over(self) -> bool:
        """Whether the deadline has passed."""
        return self._clock.monotonic() >= self._end

    def hurry(self) -> None:
        """Ask often again: something new is waited for, until the same deadline."""
        self._begun = self._clock.monotonic()

    def wait(self, left: int = 0) -> None:
        """Wait until it is time to ask again, at most until the deadline.

        `left`: how much the lake has still to do, if that is known. While it gets less, nobody
        waits longer than half of what the rest will take at that speed.
        """
        now = self._clock.monotonic()
        wish = min(SHARE * (now - self._begun), self._rest(now, left) / 2)
        pause = min(max(wish, FIRST), LONGEST, max(self._end - now, 0.0))
        self._clock.wait(pause, self._bell)
        if self._has_rung(now + pause):
            self._begun = max(self._begun, self._clock.monotonic() - ECHO / SHARE)

    def _has_rung(self, end: float) -> bool:
        """Whether the bell rang in a wait; until it is silent, or at most to the wait's end."""
        rung = False
        while self._bell and self._bell.clear():
            rung = True
            if (rest := end - self._clock.monotonic()) <= 0:
                break
            self._clock.wait(min(SETTLE, rest), self._bell)
        return rung

    def _rest(self, now: float, left: int) -> float:
        """Seconds until all is done, as it looks now; infinite if it does not get less."""
        before, self._before = self._before, (now, left)
        if before is None or not 0 < left < before[1]:
            return inf
        return left * (now - before[0]) / (before[1] - left)
