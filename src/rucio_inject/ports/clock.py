"""Time."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Time, so that tests can decide it."""

    def now(self) -> datetime:
        """This moment, UTC, with its time zone."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards, for durations and deadlines."""
        ...

    def wait(self, seconds: float) -> None:
        """Let time pass; raises Interrupted at once when somebody asks us to stop."""
        ...

    def check(self) -> None:
        """Raise Interrupted if somebody asked us to stop. Called between two units of work."""
        ...
