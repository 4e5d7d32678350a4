"""When a campaign's runs are due.

The triggers are APScheduler's; its scheduler reads the machine's clock and sleeps by itself, so
when a run begins is decided in `service.post`, by a clock that is given.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from rucio_inject.campaign.cron import WEEKDAYS, Cron, parse_cron
from rucio_inject.campaign.service_keys import Schedule

_HOURS = 24
# Where intervals are counted from: the same on every machine, and after a restart.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


class _Trigger(Protocol):
    def get_next_fire_time(
        self, previous_fire_time: datetime | None, now: datetime
    ) -> datetime | None: ...


class Timetable:
    """The ticks of a schedule."""

    def __init__(self, schedule: Schedule) -> None:
        self._trigger: _Trigger
        # It takes a millisecond, and is asked again and again for the same moment.
        self._known: tuple[datetime, datetime] | None = None
        self._at_hours = False
        if schedule.cron is not None:
            cron = parse_cron(schedule.cron)
            self._at_hours = len(cron.hours) < _HOURS
            self._trigger = _cron_trigger(cron, ZoneInfo(schedule.timezone))
        else:
            self._trigger = IntervalTrigger(seconds=schedule.every, start_date=_EPOCH, timezone=UTC)

    def after(self, moment: datetime) -> datetime:
        """The first tick after a moment, in UTC."""
        known = self._known
        if known is None or known[0] != moment:
            self._known = known = (moment, self._after(moment))
        return known[1]

    def _after(self, moment: datetime) -> datetime:
        while True:
            tick = self._trigger.get_next_fire_time(None, moment + timedelta(microseconds=1))
            # A trigger without an end, and of days that a calendar has, has always another tick.
            assert tick is not None
            moment = tick.astimezone(UTC)
            # In autumn clocks show an hour twice: what is done at that hour is done once.
            if not (self._at_hours and tick.fold):
                return moment


def _cron_trigger(cron: Cron, zone: ZoneInfo) -> _Trigger:
    days = ",".join(map(str, cron.days))
    # APScheduler counts the days of the week from Monday: by name there is no doubt.
    weekdays = ",".join(WEEKDAYS[day] for day in cron.weekdays)
    common = {
        "minute": ",".join(map(str, cron.minutes)),
        "hour": ",".join(map(str, cron.hours)),
        "month": ",".join(map(str, cron.months)),
        "timezone": zone,
    }
    if cron.either_day:
        trigger: _Trigger = OrTrigger(
            [CronTrigger(day=days, **common), CronTrigger(day_of_week=weekdays, **common)]
        )
        return trigger
    both: _Trigger = CronTrigger(day=days, day_of_week=weekdays, **common)
    return both
