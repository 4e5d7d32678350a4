"""Ctrl-C, for commands that have something to bring to a safe end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rucio_inject.clock import SystemClock


@contextmanager
def stoppable(clock: SystemClock) -> Iterator[None]:
    """Ctrl-C and SIGTERM stop safely; a second Ctrl-C does at once."""

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- a signal handler's
        clock.stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.write(2, b"\nstopping safely; Ctrl-C again stops at once\n")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
