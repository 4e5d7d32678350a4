"""One campaign of the service: when its next run is due, and what became of the last one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from rucio_inject.campaign.schema import Campaign
from rucio_inject.domain.errors import LedgerError
from rucio_inject.domain.facts import Fact, RunBegun, RunEnded
from rucio_inject.monitor.numbers import Tally
from rucio_inject.monitor.series import Series
from rucio_inject.notify.notifier import Notifier
from rucio_inject.ports import Clock
from rucio_inject.ports.board import LastRun, Phase, Posted
from rucio_inject.service.history import History, Record
from rucio_inject.service.timetable import Timetable
from rucio_inject.service.worker import Worker

LATER = 5
"""The exit code of a run that may succeed soon: Rucio is away, say."""
AGAIN = (30.0, 60.0, 120.0, 300.0, 600.0)
"""Seconds until such a run is begun again, each time; if its next tick does not come first."""
LOOK_AGAIN = 10.0
"""Seconds between two looks at a ledger that cannot be read, or that somebody else holds."""
_INTERRUPTED = 130
_LONGEST_WORDS = 300


class Surround(Protocol):
    """What a post needs of the service and the world."""

    def hire(self, told: Callable[[Sequence[Fact]], None]) -> Worker:
        """Begin a run. OSError if there is no room for another process."""
        ...

    def record(self) -> Record | None:
        """What the ledger tells of the campaign's runs; None as long as it has not answered, and
        the next step looks again. LedgerError if it cannot be asked now."""
        ...


@dataclass(slots=True)
class _Run:
    worker: Worker
    begun_at: datetime
    begun: float
    late: bool = False


@dataclass(frozen=True, slots=True)
class _Wait:
    """For a run that is due and cannot begin: its tick, and the next one after that was seen."""

    tick: datetime
    following: datetime


class Post:
    """Begins the runs of a campaign in time, one at a time.

    Ticks that were missed, while a run went on, the service was down or the clock was put forward,
    become one run. A clock that was put back delays the next run by no more than a tick. Not for
    several threads at once, but for what is told.
    """

    def __init__(
        self,
        campaign: Campaign,
        surround: Surround,
        clock: Clock,
        tell: Callable[[Sequence[Fact]], None],
        notifier: Notifier | None = None,
    ) -> None:
        """`tell` is shown all facts of the campaign's runs, from whichever thread."""
        assert campaign.schedule is not None
        self.campaign = campaign
        self._series = campaign.output_folder / "counts.jsonl"
        self.tally = Tally(campaign.campaign, Series(self._series).last)
        self.notifier = notifier
        self.trouble: str | None = None
        """Why nothing can be begun now, if it cannot."""
        self.missed: str | None = None
        """Which run could not begin before the next one was due, and why."""
        self._timetable = Timetable(campaign.schedule)
        self._surround = surround
        self._clock = clock
        self._tell = tell
        # Ticks after this moment are due; None until the ledger could be asked.
        self._since: datetime | None = None
        self._made_at = clock.now()
        self._wait: _Wait | None = None
        self._begun_at: datetime | None = None
        self._again: float | None = None
        self._failures = 0
        self._look_at = clock.monotonic()
        self._elsewhere = False
        self._draining = False
        self._run: _Run | None = None
        self._ended: RunEnded | None = None
        self._last: LastRun | None = None

    @property
    def busy(self) -> bool:
        """Whether a run goes on."""
        return self._run is not None

    @property
    def asked(self) -> bool:
        """Whether the ledger was asked, and has answered or is known to be away."""
        return self._since is not None or self.trouble is not None

    @property
    def next_tick(self) -> datetime | None:
        """When the next run is due; None if that is not known, or none will be begun."""
        if self._since is None or self._draining:
            return None
        tick = self._timetable.after(max(self._since, self._clock.now()))
        if self._again is None or self.busy:
            return tick
        left = max(self._again - self._clock.monotonic(), 0.0)
        soon = datetime.fromtimestamp(self._clock.now().timestamp() + left, tz=tick.tzinfo)
        return min(tick, soon)

    @property
    def waiting_since(self) -> float:
        """Since when no run of it has been begun, in seconds since 1970; 0 if none ever was."""
        return self._begun_at.timestamp() if self._begun_at is not None else 0.0

    def posted(self) -> Posted:
        """As it stands on the board."""
        campaign = self.campaign
        assert campaign.schedule is not None
        return Posted(
            name=campaign.campaign,
            ledger=campaign.ledger_place,
            series=self._series,
            highlight=campaign.monitor.highlight,
            phase=self._phase(),
            schedule=campaign.schedule.in_words(),
            next_tick=self.next_tick,
            last_run=self._last,
        )

    def _phase(self) -> Phase:
        if self._draining:
            return Phase.DRAINING
        if self.busy:
            return Phase.RUNNING
        return Phase.ELSEWHERE if self._elsewhere else Phase.WAITING

    def ring(self) -> None:
        """Rucio told something that the run may wait for."""
        run = self._run
        if run is not None:
            run.worker.ring()

    def drain(self) -> None:
        """Begin no more, and let the run come to a safe stop."""
        if not self._draining and self._run is not None:
            self._run.worker.stop()
        self._draining = True

    def kill(self) -> None:
        """End the run at once."""
        if self._run is not None:
            self._run.worker.kill()

    def step(self, *, room: bool) -> None:
        """Do what is due; `room`: whether another run may be begun now."""
        if self._run is not None:
            self._watch(self._run)
        elif not self._draining:
            due = self._is_due()
            if due and room:
                self._begin()
            self._look_whether_missed(due=due, room=room)

    def _is_due(self) -> bool:
        if self._since is None:
            self._learn()
        now = self._clock.now()
        if self._since is None:
            return False
        # A clock that was put back: what is due is counted from now on.
        self._since = min(self._since, now)
        again = self._again is not None and self._clock.monotonic() >= self._again
        return again or self._timetable.after(self._since) <= now

    def _look_whether_missed(self, *, due: bool, room: bool) -> None:
        """Tell people, once an outage, if what is due has not begun when the next tick comes."""
        now = self._clock.now()
        # As long as the ledger never answered, what comes after the start of the service is due.
        tick = self._timetable.after(min(self._since or self._made_at, now))
        if self.busy or not (due or (self._since is None and tick <= now)):
            self._wait, self.missed = None, None
            return
        # Counted from when it is seen: what was missed before, while nobody looked, is one run.
        following = self._timetable.after(now)
        if self._wait is None:
            self._wait = _Wait(min(tick, now), following)
        elif now >= self._wait.following and self.missed is None:
            why = self.trouble or "its ledger has not answered yet"
            if not room:
                why = "as many runs go on as may at a time"
            due_at = f"{self._wait.tick:%Y-%m-%dT%H:%M:%SZ}"
            self.missed = f"the run due at {due_at} could not begin: {why}"
            if self.notifier is not None:
                self.notifier.late(self.missed)
        elif following < self._wait.following and self.missed is None:
            # The clock was put back.
            self._wait = _Wait(min(self._wait.tick, now), following)

    def _learn(self) -> None:
        """Ask the ledger when the last run was."""
        if self._clock.monotonic() < self._look_at:
            return
        found = self._record()
        if found is None:
            return
        self.trouble = None
        now, last = self._clock.now(), found.last
        self._since, self._begun_at = last.begun_at or now, last.begun_at
        if last.begun_at is not None:
            self.tally.know_run(last.begun_at, last.ended)
            if (ended := last.ended) is not None:
                self._last = _last_run(last.begun_at, ended)
        schedule = self.campaign.schedule
        # One that never ran begins at once, unless it is to run at certain hours.
        first = last.begun_at is None and schedule is not None and schedule.every is not None
        # In an older ledger the last run may have been cut off, too: nobody knows before the next.
        if first or last.cut_off or found.older:
            self._again = self._clock.monotonic()

    def _record(self) -> Record | None:
        """What is on record of its runs; None if that is not known yet, or, with the reason in
        `trouble`, cannot be known now."""
        try:
            found = self._surround.record()
        except LedgerError as error:
            self.trouble, found = error.message, None
        else:
            if found is None:
                return None
        self._look_at = self._clock.monotonic() + LOOK_AGAIN
        return found

    def _begin(self) -> None:
        if self._clock.monotonic() < self._look_at and (self._elsewhere or self.trouble):
            return
        found = self._record()
        if found is None:
            return
        self._elsewhere = found.holder is not None
        if found.holder is not None:
            self.trouble = f"its ledger is held by {found.holder}"
            return
        if self._began_elsewhere(found.last):
            return
        now = self._clock.now()
        since, self._since, self._ended = self._since, now, None
        try:
            worker = self._surround.hire(self._told)
        except OSError as error:
            self._since = since
            self.trouble = f"a run cannot be begun: {error.strerror or error}"
            return
        self.trouble, self._again = None, None
        self._run = _Run(worker, now, self._clock.monotonic())
        self._begun_at = now

    def _began_elsewhere(self, last: History) -> bool:
        """Whether another service, or a person, was quicker: then the tick is theirs."""
        assert self._since is not None
        theirs = last.begun_at
        # One from the future began before somebody put the clock back.
        if theirs is None or not self._since < theirs <= self._clock.now() or last.cut_off:
            return False
        self._since, self._begun_at, self._again = theirs, theirs, None
        return True

    def _told(self, facts: Sequence[Fact]) -> None:
        for fact in facts:
            if isinstance(fact, RunEnded):
                self._ended = fact
            elif isinstance(fact, RunBegun):
                # As it is on record: a later one there is somebody else's.
                self._since = fact.at
        self._show(facts)

    def _show(self, facts: Sequence[Fact]) -> None:
        self.tally.record(facts)
        self._tell(facts)

    def _watch(self, run: _Run) -> None:
        code = run.worker.poll()
        if code is not None:
            self._end(run, code)
            return
        now = self._clock.now()
        tick = self._timetable.after(min(run.begun_at, now))
        if tick <= now and not run.late:
            run.late = True
            if self.notifier is not None:
                self.notifier.late(
                    f"the run that began at {run.begun_at:%Y-%m-%dT%H:%M:%SZ} goes on still, and "
                    f"the next one was due at {tick:%Y-%m-%dT%H:%M:%SZ}"
                )

    def _end(self, run: _Run, code: int) -> None:
        ended = self._ended or self._found_dead(run, code)
        self._run = None
        # Who ended by a signal has no exit code of its own; a shell tells 128 more.
        shown = code if code >= 0 else 128 - code
        now = self._clock.now()
        self._last = LastRun(run.begun_at, now, shown, ended.words[:_LONGEST_WORDS])
        if code == LATER or code < 0:
            pause = AGAIN[min(self._failures, len(AGAIN) - 1)]
            self._failures += 1
            self._again = self._clock.monotonic() + pause
        else:
            self._failures = 0

    def _found_dead(self, run: _Run, code: int) -> RunEnded:
        """The end of a run that could not tell it: it was killed, or could not begin."""
        words = run.worker.last_words() or "it said nothing"
        if code < 0:
            words = f"the run was killed by signal {-code}"
        seconds = round(self._clock.monotonic() - run.begun, 3)
        shown = code if code >= 0 else 128 - code
        ended = RunEnded(at=self._clock.now(), code=shown, words=words, seconds=seconds)
        self._show([ended])
        if self.notifier is not None and code not in {0, _INTERRUPTED} and not self._draining:
            self.notifier.record([ended])
        return ended


def _last_run(begun_at: datetime, ended: RunEnded) -> LastRun:
    return LastRun(begun_at, ended.at, ended.code, ended.words[:_LONGEST_WORDS])
