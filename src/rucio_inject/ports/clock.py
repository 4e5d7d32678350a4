"""Time."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Bell(Protocol):
    """Something that may ring while somebody waits: it is then worth looking again at once."""

    @property
    def audible(self) -> bool:
        """Whether it can ring still."""
        ...

    def fileno(self) -> int:
        """A descriptor that can be read from once it has rung."""
        ...

    def clear(self) -> bool:
        """Whether it has rung since this was asked last."""
        ...


class Clock(Protocol):
    """Time, so that tests can decide it."""

    def now(self) -> datetime:
        """This moment, UTC, with its time zone."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards, for durations and deadlines."""
        ...

    def wait(self, seconds: float, bell: Bell | None = None) -> None:
        """Let time pass, all of it unless the bell rings or has rung; raises Interrupted at once
        when somebody asks us to stop."""
        ...

    def check(self) -> None:
        """Raise Interrupted if somebody asked us to stop. Called between two units of work."""
        ...
