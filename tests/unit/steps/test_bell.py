"""A wait ends early when somebody rings, and polling goes on when nobody does."""

from __future__ import annotations

import os
import threading
import time

import pytest

from rucio_inject.clock import PipeBell, SystemClock
from rucio_inject.domain.errors import Interrupted
from rucio_inject.steps.pace import ECHO, FIRST, LONGEST, SETTLE, SHARE, Pace
from rucio_inject.testing.fake_clock import FakeClock


def waits(pace: Pace, clock: FakeClock, count: int) -> list[float]:
    """How long some waits take."""
    found = []
    for _ in range(count):
        before = clock.monotonic()
        pace.wait()
        found.append(round(clock.monotonic() - before, 3))
    return found


def test_without_a_bell_it_waits_longer_each_time() -> None:
    clock = FakeClock()
    pauses = waits(Pace(clock, 1000), clock, 60)
    assert pauses[0] == FIRST
    assert pauses == sorted(pauses)
    assert max(pauses) == LONGEST


def test_a_silent_bell_changes_nothing() -> None:
    silent, alone = FakeClock(), FakeClock()
    bell = PipeBell()
    assert waits(Pace(silent, 100, bell), silent, 12) == waits(Pace(alone, 100), alone, 12)
    bell.close()


def test_a_ring_ends_a_wait_when_it_has_been_silent_for_a_moment() -> None:
    clock, bell = FakeClock(), PipeBell()
    pace = Pace(clock, 1000, bell)
    waits(pace, clock, 60)
    begun = clock.monotonic()
    rings = [begun + 1.0, begun + 1.2, begun + 1.4]

    def ring() -> None:
        while rings and clock.monotonic() >= rings[0]:
            rings.pop(0)
            bell.ring()

    clock.on_passing(ring)
    assert waits(pace, clock, 1)[0] == pytest.approx(1.4 + SETTLE, abs=0.2)
    # It rings once; what it told of may yet have to come through Rucio.
    assert waits(pace, clock, 2) == [ECHO, ECHO * (1 + SHARE)]
    assert waits(pace, clock, 30)[-1] == LONGEST
    bell.close()


def test_bells_without_end_do_not_put_a_look_off() -> None:
    clock, bell = FakeClock(), PipeBell()
    clock.on_passing(bell.ring)
    pauses = waits(Pace(clock, 1000, bell), clock, 60)
    assert pauses == sorted(pauses)
    assert max(pauses) == pytest.approx(ECHO)
    bell.close()


def test_a_ring_before_the_wait_counts() -> None:
    clock, bell = FakeClock(), PipeBell()
    pace = Pace(clock, 1000, bell)
    waits(pace, clock, 60)
    bell.ring()
    assert waits(pace, clock, 1)[0] <= SETTLE
    bell.close()


def test_a_real_clock_hears_a_bell_of_another_process() -> None:
    ear, ringer = os.pipe()
    bell, clock = PipeBell(ear), SystemClock()
    timer = threading.Timer(0.05, os.write, (ringer, b"."))
    timer.start()
    begun = time.monotonic()
    clock.wait(600, bell)
    assert time.monotonic() - begun < 300
    assert bell.clear()
    assert not bell.clear()
    timer.join()
    # Whoever could ring is gone: that is no ring, and does not make every wait a short one.
    os.close(ringer)
    clock.wait(600, bell)
    assert not bell.clear()
    assert not bell.audible
    begun = time.monotonic()
    clock.wait(0.1, bell)
    assert time.monotonic() - begun >= 0.1
    clock.stop()
    with pytest.raises(Interrupted):
        clock.wait(600, bell)
    bell.close()


def test_a_bell_that_nobody_hears_does_not_hold_up_who_rings() -> None:
    bell = PipeBell()
    for _ in range(100_000):
        bell.ring()
    assert bell.clear()
    bell.close()
