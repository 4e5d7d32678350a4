"""What is sent from threads of its own: no failure of one ends it."""

from __future__ import annotations

import errno
import threading

import pytest

from rucio_inject.service import outlets
from rucio_inject.service.outlets import PULSE, Outlets
from rucio_inject.testing.fake_clock import FakeClock


class Hiccup:
    """An outlet whose disk is away at its first two looks."""

    def __init__(self) -> None:
        self.looks = 0
        self.well = threading.Event()

    def pump(self, *, last: bool = False) -> None:
        """See `Outlet`."""
        self.looks += not last
        if self.looks <= 2:
            raise OSError(errno.ESTALE, "Stale file handle")
        self.well.set()


def test_an_outlet_outlives_what_nobody_foresaw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlets, "PULSE", 0.01)
    clock, hiccup, told = FakeClock(), Hiccup(), list[str]()
    going = threading.Event()

    def pass_time() -> None:
        while not going.wait(0.01):
            clock.advance(PULSE)

    passing = threading.Thread(target=pass_time, daemon=True)
    passing.start()
    with Outlets([], [hiccup], clock, told.append):
        came = hiccup.well.wait(300)
    going.set()
    passing.join()
    assert came
    assert told == ["not sent: OSError: [Errno 116] Stale file handle; it is tried again"]
