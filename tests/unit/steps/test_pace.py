"""How long a lake is left alone between two questions."""

from __future__ import annotations

import pytest

from rucio_inject.steps.pace import FIRST, LONGEST, Pace
from rucio_inject.testing.fake_clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def waits(clock: FakeClock, pace: Pace, left: list[int]) -> list[float]:
    """Seconds waited each time that so much is left."""
    seconds = []
    for much in left:
        before = clock.monotonic()
        pace.wait(much)
        seconds.append(round(clock.monotonic() - before, 6))
    return seconds


def test_a_lake_that_does_nothing_is_asked_less_and_less_often(clock: FakeClock) -> None:
    seconds = waits(clock, Pace(clock, 1e6), [1000] * 60)
    assert seconds[0] == FIRST
    assert seconds == sorted(seconds)
    assert seconds[-1] == LONGEST


def test_the_end_is_noticed_after_a_tenth_more_of_the_time(clock: FakeClock) -> None:
    """Whenever it comes, and however little of it was to be seen."""
    pace, begun = Pace(clock, 1e6), clock.monotonic()
    for _ in range(45):
        asked = clock.monotonic() - begun
        pace.wait()
        assert clock.monotonic() - begun - asked <= max(FIRST, asked / 10) + 1e-9
    assert 60 < asked < 100


def test_who_hurries_asks_often_again(clock: FakeClock) -> None:
    pace = Pace(clock, 1e6)
    waits(clock, pace, [0] * 60)
    pace.hurry()
    assert waits(clock, pace, [0]) == [FIRST]


def test_nobody_waits_past_the_deadline(clock: FakeClock) -> None:
    pace = Pace(clock, 1.0)
    assert sum(waits(clock, pace, [1000] * 8)) == pytest.approx(1.0)
    assert pace.over()


def test_a_wait_is_half_of_what_the_rest_will_take(clock: FakeClock) -> None:
    """A hundred a second: the end is seen a moment after it has come, with few questions."""
    pace, begun = Pace(clock, 1e6), clock.monotonic()
    for _ in range(30):
        waits(clock, pace, [5000])  # nothing happens yet: the pauses grow
    begun, asked = clock.monotonic(), 0
    while (left := 5000 - round(100 * (clock.monotonic() - begun))) > 0:
        pace.wait(left)
        asked += 1
    assert clock.monotonic() - begun <= 50 + FIRST
    assert asked < 25


def test_what_gets_more_is_not_followed(clock: FakeClock) -> None:
    """Another run of the same dataset may bring files meanwhile."""
    seconds = waits(clock, Pace(clock, 1e6), [10, 20, 30, 40])
    assert seconds == sorted(seconds)
