"""When each daemon of the lake is due, and how long to rest when none is.

A count of waiting work is asked of the database for each daemon before each round: a daemon with
nothing to do is not called, one whose work does not shrink is called less often.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

EVERYBODY_AFTER = 10.0
"""Seconds after which every daemon gets a pass, whatever the counts say."""

_RESTS = {"poller": 0.1, "hermes": 2.0, "necromancer": 1.0, "repairer": 5.0, "reaper": 1.0}
_OTHER_REST = 0.5
_SHORTEST_SLEEP = 0.02
_LONGEST_SLEEP = 0.25


class Pace:
    """Decides from counts and the time (seconds, monotonic) which daemons are due."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)
        self._seen = dict.fromkeys(self._names, 0)
        self._ran = dict.fromkeys(self._names, float("-inf"))
        self._everybody = float("-inf")
        self._sleep = _SHORTEST_SLEEP

    def due(self, backlog: Mapping[str, int], now: float) -> tuple[str, ...]:
        """The daemons to run now, in pipeline order; they count as run."""
        if now - self._everybody >= EVERYBODY_AFTER:
            self._everybody = now
            chosen = self._names
        else:
            chosen = tuple(name for name in self._names if self._is_due(name, backlog, now))
        for name in chosen:
            self._seen[name] = backlog.get(name, 0)
            self._ran[name] = now
        return chosen

    def _is_due(self, name: str, backlog: Mapping[str, int], now: float) -> bool:
        waiting = backlog.get(name, 0)
        if waiting == 0:
            self._seen[name] = 0
            return False
        rested = now - self._ran[name] >= _RESTS.get(name, _OTHER_REST)
        return rested or waiting != self._seen[name]

    def rest(self, *, worked: bool) -> float:
        """Seconds to sleep before the next round: none after work, growing while there is none."""
        if worked:
            self._sleep = _SHORTEST_SLEEP
            return 0.0
        sleep = self._sleep
        self._sleep = min(_LONGEST_SLEEP, sleep * 1.5)
        return sleep
