"""Cron expressions mean what cron means by them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from rucio_inject.campaign.cron import parse_cron
from rucio_inject.campaign.service_keys import Schedule
from rucio_inject.service.timetable import Timetable

START = datetime(2026, 2, 27, 23, 58, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "this one has 0"),
        ("* * * *", "this one has 4"),
        ("60 * * * *", "'60' is no minute: 0 to 59"),
        ("* 24 * * *", "'24' is no hour"),
        ("* * 0 * *", "'0' is no day of the month"),
        ("* * * 13 *", "'13' is no month"),
        ("* * * * 8", "'8' is no day of the week"),
        ("*/0 * * * *", "'*/0' is no minute"),
        ("5-1 * * * *", "'5-1' is no minute"),
        ("1,, * * * *", "'' is no minute"),
        ("* * * foo *", "'foo' is no month"),
        ("0 0 31 feb,apr *", "no month that it names has such a day"),
        ("@often", "this one has 1"),
        ("²  * * * *", "is no minute"),
    ],
)
def test_what_is_none(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"no |five") as caught:
        parse_cron(text)
    assert reason in str(caught.value)


def test_nicknames_names_and_sundays() -> None:
    assert parse_cron("@hourly") == parse_cron("0 * * * *")
    assert parse_cron("0 0 * jan-mar MON-fri").weekdays == (1, 2, 3, 4, 5)
    assert parse_cron("0 0 * * 7").weekdays == parse_cron("0 0 * * sun").weekdays == (0,)
    assert parse_cron("5/20 * * * *").minutes == (5, 25, 45)


def fields(low: int, high: int) -> st.SearchStrategy[str]:
    """A field of a cron expression."""
    number = st.integers(low, high)
    # croniter takes 0-0 for any day.
    pairs = st.tuples(number, number).filter(lambda both: both[0] < both[1])
    ranges = pairs.map(lambda both: f"{both[0]}-{both[1]}")
    steps = st.tuples(st.just("*") | ranges, st.integers(1, 7)).map(lambda p: f"{p[0]}/{p[1]}")
    parts = number.map(str) | ranges | steps
    return st.just("*") | st.lists(parts, min_size=1, max_size=3).map(",".join)


@settings(deadline=None)
@given(fields(0, 59), fields(0, 23), fields(1, 28), fields(1, 12), fields(0, 6))
def test_it_ticks_when_croniter_does(m: str, h: str, day: str, month: str, week: str) -> None:
    text = " ".join((m, h, day, month, week))
    table = Timetable(Schedule(cron=text))
    other = croniter(text, START, implement_cron_bug=True)
    at = START
    for _ in range(3):
        at = table.after(at)
        assert at == other.get_next(datetime), text


def test_an_interval_is_the_same_on_every_machine_and_after_a_restart() -> None:
    table = Timetable(Schedule(every=3600))
    assert table.after(START) == datetime(2026, 2, 28, 0, tzinfo=UTC)
    assert table.after(table.after(START)) == datetime(2026, 2, 28, 1, tzinfo=UTC)
    assert table.after(START + timedelta(microseconds=1)) == table.after(START)


def test_an_hour_that_a_clock_shows_twice_or_never() -> None:
    daily = Timetable(Schedule(cron="30 2 * * *", timezone="Europe/Madrid"))
    spring = daily.after(datetime(2026, 3, 28, 12, tzinfo=UTC))
    # There is no half past two on that day: the tick comes all the same.
    assert spring == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    autumn = daily.after(datetime(2026, 10, 24, 12, tzinfo=UTC))
    assert autumn == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert daily.after(autumn) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)
    hourly = Timetable(Schedule(cron="0 * * * *", timezone="Europe/Madrid"))
    at = datetime(2026, 10, 24, 23, 30, tzinfo=UTC)
    for hour in range(4):
        at = hourly.after(at)
        assert at == datetime(2026, 10, 25, hour, tzinfo=UTC)
