"""When runs begin: missed ticks, overlaps, restarts, and clocks that somebody sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import cast

import pytest

from rucio_inject.campaign.schema import Campaign
from rucio_inject.domain.errors import LedgerError
from rucio_inject.domain.facts import Fact, RunBegun, RunEnded
from rucio_inject.notify.notifier import Notifier
from rucio_inject.ports.board import Phase
from rucio_inject.service.history import History, Record
from rucio_inject.service.post import AGAIN, Post
from rucio_inject.testing.fake_clock import FakeClock

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = 3600


class FakeRun:
    """A run that ends when the test says so."""

    def __init__(self, scene: Scene, told: Callable[[Sequence[Fact]], None]) -> None:
        self.scene = scene
        self.told = told
        self.code: int | None = None
        self.rings = self.stops = 0
        begun = RunBegun(at=scene.clock.now() + timedelta(seconds=1), process="p")
        scene.past = History(begun.at)
        told([begun])

    def ends(self, code: int, *, tells: bool = True) -> None:
        """It ends; a run that is killed tells nothing."""
        if tells:
            ended = RunEnded(at=self.scene.clock.now(), code=code, words="came out", seconds=1)
            self.scene.past = History(self.scene.past.begun_at, ended)
            self.told([ended])
        self.code = code

    def poll(self) -> int | None:
        """See `Worker`."""
        return self.code

    def last_words(self) -> str:
        """See `Worker`."""
        return "error: no such campaign"

    def ring(self) -> None:
        """See `Worker`."""
        self.rings += 1

    def stop(self) -> None:
        """See `Worker`."""
        self.stops += 1

    def kill(self) -> None:
        """See `Worker`."""
        self.ends(-9, tells=False)


class Scene:
    """A campaign at noon, its world, and the runs that were begun. Implements `Surround`."""

    def __init__(self, schedule: str, past: History | None = None) -> None:
        self.clock = FakeClock(NOON)
        self.past = past or History()
        self.held: str | None = None
        self.ledger_is_away = self.ledger_is_silent = False
        self.patience = 0.0
        self.asked = 0
        self.full = False
        self.runs: list[FakeRun] = []
        self.begun: list[datetime] = []
        self.facts: list[Fact] = []
        self.schedule = schedule
        self.post = self.restarted()

    def restarted(self) -> Post:
        """The post of a new service."""
        campaign = Campaign.model_validate(
            {
                "campaign": "magic",
                "scope": "magic",
                "source": {"kind": "mock"},
                "upload": {"rse": "A"},
                "rules": [{"rse_expression": "B"}],
                "schedule": self.schedule,
            }
        )
        return Post(campaign, self, self.clock, self.facts.extend)

    def notes(self) -> list[str]:
        """What people are told of runs that are late."""
        notes: list[str] = []
        self.post.notifier = cast("Notifier", SimpleNamespace(late=notes.append))
        return notes

    def hire(self, told: Callable[[Sequence[Fact]], None]) -> FakeRun:
        """See `Surround`."""
        if self.full:
            raise OSError(11, "no more processes")
        assert all(run.code is not None for run in self.runs), "one at a time"
        self.runs.append(FakeRun(self, told))
        self.begun.append(self.clock.now())
        return self.runs[-1]

    def record(self) -> Record | None:
        """See `Surround`."""
        self.asked += 1
        if self.ledger_is_away:
            self.clock.advance(self.patience)
            raise LedgerError("the ledger is away")
        return None if self.ledger_is_silent else Record(self.past, self.held)

    def steps(self, seconds: float, *, each: float = 5.0, room: bool = True) -> None:
        """Let time pass as the service does."""
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            self.clock.advance(each)
            self.post.step(room=room)

    def set_clock(self, seconds: float) -> None:
        """Somebody sets the clock; what counts seconds does not notice."""
        self.clock._start += timedelta(seconds=seconds)

    @property
    def hours(self) -> list[float]:
        """When runs were begun, in hours after noon."""
        return [round((at - NOON).total_seconds() / HOUR, 2) for at in self.begun]


def test_runs_begin_on_the_tick() -> None:
    scene = Scene("0 * * * *")
    for _ in range(3):
        scene.steps(HOUR)
        scene.runs[-1].ends(0)
    assert scene.hours == [1, 2, 3]
    assert scene.post.posted().last_run is not None
    assert scene.post.posted().schedule == "cron 0 * * * * (UTC)"


def test_an_interval_begins_at_once_and_then_on_the_hour() -> None:
    scene = Scene("1h")
    scene.steps(10)
    scene.runs[0].ends(0)
    scene.steps(2 * HOUR)
    assert scene.hours == [0, 1]


def test_a_run_that_takes_longer_is_followed_by_one_other() -> None:
    scene = Scene("0 * * * *")
    scene.steps(HOUR)
    scene.steps(3.5 * HOUR, each=60)
    assert scene.hours == [1]
    assert scene.post.busy
    scene.runs[0].ends(0)
    scene.steps(120)
    assert len(scene.runs) == 2, "what was missed is one run"
    scene.runs[1].ends(0)
    scene.steps(60)
    assert len(scene.runs) == 2
    scene.steps(HOUR)
    assert scene.hours[-1] == 5


def test_what_was_missed_while_the_service_was_down_is_one_run() -> None:
    ended = RunEnded(at=NOON, code=0, words="done", seconds=1)
    scene = Scene("0 * * * *", History(NOON - timedelta(hours=7), ended))
    scene.steps(10)
    assert len(scene.runs) == 1
    scene.runs[0].ends(0)
    scene.steps(HOUR)
    assert scene.hours == [0, 1]


def test_a_restart_within_the_hour_begins_nothing() -> None:
    scene = Scene("0 * * * *")
    scene.steps(HOUR + 60)
    scene.runs[0].ends(0)
    scene.steps(60)
    scene.post = scene.restarted()
    scene.steps(60)
    assert scene.hours == [1]


@pytest.mark.parametrize("code", [None, 130])
def test_a_run_that_was_cut_off_goes_on_at_once(code: int | None) -> None:
    ended = None if code is None else RunEnded(at=NOON, code=code, words="", seconds=1)
    scene = Scene("0 3 * * *", History(NOON - timedelta(minutes=5), ended))
    scene.steps(10)
    assert len(scene.runs) == 1


def test_another_service_that_was_quicker_has_the_tick() -> None:
    scene = Scene("0 * * * *")
    scene.steps(10)
    begun = NOON + timedelta(hours=1, seconds=-1)
    scene.past = History(begun, RunEnded(at=begun, code=0, words="", seconds=1))
    scene.steps(HOUR - 15)
    theirs = NOON + timedelta(hours=1, seconds=1)
    scene.past = History(theirs, RunEnded(at=theirs, code=0, words="", seconds=1))
    scene.clock.advance(60)
    scene.post = scene.restarted()
    scene.steps(60)
    assert scene.runs == []


def test_a_ledger_that_is_held_is_waited_for() -> None:
    scene = Scene("0 * * * *")
    scene.steps(60)
    scene.held = "process 7 on wn01"
    scene.steps(HOUR)
    assert scene.runs == []
    assert scene.post.posted().phase is Phase.ELSEWHERE
    assert scene.post.trouble == "its ledger is held by process 7 on wn01"
    scene.held = None
    scene.steps(30)
    assert len(scene.runs) == 1
    assert scene.post.trouble is None


def test_a_ledger_that_is_away_is_asked_again() -> None:
    scene = Scene("1h")
    scene.ledger_is_away = True
    scene.steps(60)
    assert scene.runs == []
    assert scene.post.asked
    assert scene.post.trouble == "the ledger is away"
    assert scene.post.next_tick is None
    scene.ledger_is_away = False
    scene.steps(30)
    assert len(scene.runs) == 1


def test_no_room_for_a_process() -> None:
    scene = Scene("1h")
    scene.full = True
    scene.steps(60)
    assert scene.post.trouble == "a run cannot be begun: no more processes"
    scene.full = False
    scene.steps(30)
    assert len(scene.runs) == 1


@pytest.mark.parametrize("code", [5, -9])
def test_what_may_succeed_soon_is_tried_again_ever_more_slowly(code: int) -> None:
    scene = Scene("0 12 * * *", History(NOON, RunEnded(at=NOON, code=0, words="", seconds=1)))
    scene.clock.advance(86_400)
    starts = []
    for _ in range(8):
        before = len(scene.runs)
        while len(scene.runs) == before:
            scene.steps(1)
        starts.append(scene.clock.monotonic())
        scene.runs[-1].ends(code, tells=code > 0)
        scene.steps(1)
    gaps = [later - before for before, later in pairwise(starts)]
    assert gaps == pytest.approx([*AGAIN, AGAIN[-1], AGAIN[-1]], abs=10)
    last = scene.post.posted().last_run
    assert last is not None
    assert (last.code, last.ok) == ((5, False) if code > 0 else (137, False))
    if code < 0:
        assert last.words == "the run was killed by signal 9"
        assert isinstance(scene.facts[-1], RunEnded)


@pytest.mark.parametrize("code", [1, 2, 3, 4, 6, 7])
def test_what_a_person_must_look_at_waits_for_the_next_tick(code: int) -> None:
    scene = Scene("0 * * * *")
    scene.steps(HOUR)
    scene.runs[0].ends(code, tells=code != 2)
    scene.steps(HOUR - 60)
    assert len(scene.runs) == 1
    last = scene.post.posted().last_run
    assert last is not None
    assert last.words == ("error: no such campaign" if code == 2 else "came out")
    scene.steps(120)
    assert len(scene.runs) == 2


def test_a_clock_that_is_put_forward_makes_one_run() -> None:
    scene = Scene("0 * * * *")
    scene.steps(60)
    scene.set_clock(5 * HOUR)
    scene.steps(60)
    assert len(scene.runs) == 1
    scene.runs[0].ends(0)
    scene.steps(600)
    assert len(scene.runs) == 1


def test_a_clock_that_is_put_back_stops_nothing() -> None:
    scene = Scene("0 * * * *")
    scene.steps(HOUR + 60)
    scene.runs[0].ends(0)
    scene.steps(60)
    scene.set_clock(-30 * 24 * HOUR)
    scene.steps(HOUR)
    assert len(scene.runs) == 2, "within an hour there is another one"
    scene.runs[1].ends(0)
    scene.steps(HOUR)
    assert len(scene.runs) == 3


def test_draining_begins_nothing_and_stops_what_goes_on_once() -> None:
    scene = Scene("1h")
    scene.steps(10)
    scene.post.ring()
    scene.post.drain()
    scene.post.drain()
    assert (scene.runs[0].stops, scene.runs[0].rings) == (1, 1)
    assert scene.post.posted().phase is Phase.DRAINING
    scene.runs[0].ends(130)
    scene.steps(3 * HOUR)
    assert len(scene.runs) == 1
    assert not scene.post.busy
    assert scene.post.next_tick is None


def test_a_killed_run_is_over() -> None:
    scene = Scene("1h")
    scene.steps(10)
    scene.post.kill()
    scene.steps(2)
    assert not scene.post.busy


def test_without_room_it_waits_its_turn() -> None:
    scene = Scene("1h")
    scene.steps(60, room=False)
    assert scene.runs == []
    scene.steps(2)
    assert len(scene.runs) == 1


LATE = {
    "held": "its ledger is held by process 7 on wn01",
    "ledger_is_away": "the ledger is away",
    "ledger_is_silent": "its ledger has not answered yet",
    "full": "a run cannot be begun: no more processes",
    "room": "as many runs go on as may at a time",
}


@pytest.mark.parametrize("what", LATE)
def test_people_are_told_once_of_an_outage_in_which_no_run_can_begin(what: str) -> None:
    scene = Scene("0 * * * *")
    notes = scene.notes()
    scene.steps(60)
    for due_at in ("2026-03-01T13:00:00Z", "2026-03-02T09:00:00Z"):
        if what != "room":
            setattr(scene, what, "process 7 on wn01" if what == "held" else True)
        begun, room = len(scene.begun), what != "room"
        scene.steps(2 * HOUR - 120, each=60, room=room)
        assert notes == []
        scene.steps(18 * HOUR + 60, each=60, room=room)
        assert len(scene.begun) == begun
        told = f"the run due at {due_at} could not begin: {LATE[what]}"
        assert [*notes, scene.post.missed] == [told, told]
        notes.clear()
        if what != "room":
            setattr(scene, what, None if what == "held" else False)
        scene.steps(60)
        assert len(scene.begun) == begun + 1
        assert scene.post.missed is None
        scene.runs[-1].ends(0)
        scene.steps(5)


def test_a_ledger_that_is_away_from_the_start_is_told_of() -> None:
    scene = Scene("0 * * * *")
    notes = scene.notes()
    scene.ledger_is_away = True
    scene.steps(2 * HOUR - 60, each=60)
    assert notes == []
    scene.steps(10 * HOUR, each=60)
    assert notes == ["the run due at 2026-03-01T13:00:00Z could not begin: the ledger is away"]


@pytest.mark.parametrize("silent", [False, True])
def test_what_was_missed_while_nobody_looked_is_not_told(silent: bool) -> None:
    past = History(NOON, RunEnded(at=NOON, code=0, words="", seconds=1))
    scene = Scene("0 * * * *", past)
    scene.clock.advance(30 * HOUR)
    scene.post = scene.restarted()
    notes = scene.notes()
    for _ in range(2):
        scene.ledger_is_silent = silent
        scene.steps(20)
        scene.ledger_is_silent = False
        scene.steps(20)
        assert scene.post.busy
        scene.runs[-1].ends(0)
        scene.steps(5)
        # A clock that is put forward.
        scene.set_clock(scene.clock.monotonic() + 50 * HOUR)
    assert notes == []


def test_the_board_tells_the_next_tick() -> None:
    scene = Scene("0 * * * *")
    scene.steps(1)
    assert scene.post.posted().next_tick == NOON + timedelta(hours=1)
    scene.steps(HOUR)
    scene.runs[0].ends(5)
    scene.steps(1)
    soon = scene.post.posted().next_tick
    assert soon is not None
    assert soon < NOON + timedelta(hours=1, minutes=2)


@pytest.mark.parametrize("known", [False, True])
def test_a_ledger_that_does_not_answer_leaves_others_their_turns(known: bool) -> None:
    scene = Scene("1h")
    if known:
        scene.steps(10)
        scene.runs[0].ends(0)
        scene.steps(10)
    scene.ledger_is_away, scene.patience = True, 10.0
    scene.clock.advance(HOUR)
    scene.asked = 0
    scene.steps(100, each=0.5)
    assert scene.asked <= 5, "half of the time is left"
    assert scene.post.trouble == "the ledger is away"
    scene.ledger_is_away = False
    scene.steps(15)
    assert len(scene.runs) == 1 + known


@pytest.mark.parametrize("known", [False, True])
def test_what_is_not_answered_yet_is_looked_for_at_each_step(known: bool) -> None:
    scene = Scene("1h")
    if known:
        scene.steps(10)
        scene.runs[0].ends(0)
        scene.steps(10)
    scene.ledger_is_silent = True
    scene.clock.advance(HOUR)
    scene.asked = 0
    scene.steps(5, each=0.5)
    assert scene.asked == 10
    assert (scene.post.busy, scene.post.trouble, scene.post.asked) == (False, None, known)
    scene.ledger_is_silent = False
    scene.steps(0.5, each=0.5)
    assert scene.post.busy
