"""Waiting for something to become true."""

from __future__ import annotations

from collections.abc import Callable

from rucio_inject.ports import Clock


def wait_until(
    condition: Callable[[], bool], *, clock: Clock, seconds: float, step: float = 0.02
) -> bool:
    """True as soon as `condition` holds; False when it did not within `seconds`."""
    deadline = clock.monotonic() + seconds
    while not condition():
        if clock.monotonic() >= deadline:
            return False
        clock.wait(step)
    return True
