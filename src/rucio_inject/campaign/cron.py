"""Cron expressions as crontab(5) has them: five fields, names, ranges, lists, steps, nicknames."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
"""As cron counts them: 0 is Sunday. (Others, APScheduler among them, begin on Monday.)"""
_PART = re.compile(r"(\*|(\w+)(?:-(\w+))?)(?:/(\d{1,4}))?\Z", re.ASCII)
_MOST_DAYS = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()


_KINDS = (
    _Kind("minute", 0, 59),
    _Kind("hour", 0, 23),
    _Kind("day of the month", 1, 31),
    _Kind("month", 1, 12, MONTHS),
    _Kind("day of the week", 0, 7, WEEKDAYS),
)


@dataclass(frozen=True, slots=True)
class Cron:
    """When something is done: every number that each field allows.

    `any_day` and `any_weekday`: that field begins with `*`. If neither does, either may fit, as
    with cron itself; else both must.
    """

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    any_day: bool
    any_weekday: bool

    @property
    def either_day(self) -> bool:
        """Whether a day of the month or one of the week is enough."""
        return not (self.any_day or self.any_weekday)


def parse_cron(text: str) -> Cron:
    """The expression that a text is. ValueError, which names the field, if it is none, or if it
    stands for no day that a calendar has."""
    fields = _NICKNAMES.get(text.strip().lower(), text).split()
    if len(fields) != len(_KINDS):
        raise ValueError(
            f"a cron expression has five fields, or is {', '.join(_NICKNAMES)}; "
            f"this one has {len(fields)}"
        )
    minutes, hours, days, months, weekdays = map(_numbers, fields, _KINDS)
    cron = Cron(
        text=" ".join(fields),
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=tuple(sorted({day % 7 for day in weekdays})),
        any_day=fields[2].startswith("*"),
        any_weekday=fields[4].startswith("*"),
    )
    if not cron.either_day and min(days) > max(_MOST_DAYS.get(month, 31) for month in months):
        raise ValueError("no month that it names has such a day")
    return cron


def _numbers(field: str, kind: _Kind) -> tuple[int, ...]:
    numbers: set[int] = set()
    for part in field.split(","):
        found = _PART.match(part)
        if found is None:
            raise _bad(part, kind)
        everything, first, last, step = found[1], found[2], found[3], found[4]
        if everything == "*":
            low, high = kind.first, 6 if kind.last == 7 else kind.last
        else:
            low = _number(first, kind)
            high = _number(last, kind) if last else (kind.last if step else low)
        if low > high or step == "0" * len(step or "-"):
            raise _bad(part, kind)
        numbers.update(range(low, high + 1, int(step or 1)))
    return tuple(sorted(numbers))


def _number(text: str, kind: _Kind) -> int:
    if text.lower() in kind.names:
        return kind.names.index(text.lower()) + (1 if kind.names is MONTHS else 0)
    if not text.isdecimal() or not kind.first <= int(text) <= kind.last:
        raise _bad(text, kind)
    return int(text)


def _bad(part: str, kind: _Kind) -> ValueError:
    return ValueError(f"{part[:20]!r} is no {kind.name}: {kind.first} to {kind.last}")
