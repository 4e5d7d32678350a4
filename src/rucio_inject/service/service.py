"""The service: campaigns that are run by the clock until somebody ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

from rucio_inject.apart import Asked, Asking, apart
from rucio_inject.campaign.schema import Campaign
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import InjectError, UsageError
from rucio_inject.domain.facts import Fact
from rucio_inject.ledger.retry import retry_files
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.monitor import prometheus
from rucio_inject.ports import Bell, Clock
from rucio_inject.ports.board import Health, Listener, Posted
from rucio_inject.service.census import Census
from rucio_inject.service.history import Record, on_record
from rucio_inject.service.outlets import Outlets, make_notifier, make_service_outlets
from rucio_inject.service.post import Post
from rucio_inject.service.worker import Worker

Told = Callable[[Sequence[Fact]], None]
Hire = Callable[[Path, Campaign, Told], Worker]
PULSE = 0.5
"""Seconds between two looks at the clock and at what goes on."""
_RELOAD = 10.0
# Who does not look for so long has got stuck: a restart would help.
_ALIVE = 60.0
_ONE_WISH = 0.3


@dataclass(slots=True)
class _File:
    """A campaign file: what it was read as, or why it could not be."""

    path: Path
    changed: float | None = None
    post: Post | None = None
    outlets: Outlets | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What readers are shown: how things stood at the end of a step."""

    posted: Sequence[Posted] = ()
    checks: Mapping[str, str] = field(default_factory=dict)
    asked: bool = False


@dataclass(frozen=True, slots=True)
class _Surround:
    path: Path
    campaign: Campaign
    begin: Hire
    asked: Asked[Record]

    def hire(self, told: Told) -> Worker:
        return self.begin(self.path, self.campaign, told)

    def record(self) -> Record | None:
        return self.asked.answer()


class Service:
    """Runs campaigns when they are due, each in a process of its own; implements `ports.Board`.

    A campaign file that cannot be used, a ledger or a lake that is away concern that campaign
    alone. Files are read again when they have changed.

    One thread steps, and waits for nobody: each ledger is asked in a thread of its own.
    """

    def __init__(
        self,
        files: Sequence[Path],
        load: Callable[[Path], Campaign],
        hire: Hire,
        clock: Clock,
        *,
        at_once: int,
        complain: Callable[[str], None],
        asking: Asking = apart,
    ) -> None:
        """`load` raises InjectError for a file that is no campaign; `hire` begins a run; `at_once`:
        runs of several campaigns. `complain` is told what goes wrong with one of them; `asking` is
        how ledgers are asked."""
        self._files = [_File(path) for path in files]
        self._load = load
        self._hire = hire
        self._clock = clock
        self._at_once = at_once
        self._complain = complain
        self._asking = asking
        self._census = Census(clock, asking)
        self._listeners: Sequence[Listener] = ()
        self._listening = threading.Lock()
        self._snapshot = _Snapshot()
        self._reload_at = clock.monotonic()
        self._seen_at = clock.monotonic()
        self._stops = 0
        self._asked_at = -_ONE_WISH
        self._told: dict[str, str] = {}

    def ask_to_stop(self) -> None:
        """Drain; asked again, end what goes on at once. Safe in a signal handler."""
        now = self._clock.monotonic()
        # Some send a signal to a process and to its group: that is one wish.
        if now - self._asked_at >= _ONE_WISH:
            self._stops += 1
            self._asked_at = now

    @property
    def posts(self) -> Sequence[Post]:
        """The campaigns that can be run."""
        return [file.post for file in self._files if file.post is not None]

    def start(self) -> Self:
        """Read the campaign files. UsageError if none can be used."""
        self._read_files()
        self._publish()
        if not self.posts:
            problems = "; ".join(file.problem or "" for file in self._files)
            raise UsageError(f"no campaign can be run: {problems}")
        return self

    def close(self) -> None:
        """Send a last time what people and Graphite are to be told."""
        outlets = [file.outlets for file in self._files if file.outlets is not None]
        for outlet in outlets:
            outlet.end()
        for outlet in outlets:
            outlet.join()

    def run(self, bell: Bell) -> int:
        """Work until asked to stop, and until what goes on has come to its end; the number of runs
        that had to be killed. `bell` rings when somebody asks."""
        killed = 0
        while self.step():
            if self._stops > 1:
                killed += sum(post.busy for post in self.posts)
                for post in self.posts:
                    post.kill()
                self._stops = 1
            self._clock.wait(PULSE, bell)
            bell.clear()
        return killed

    def step(self) -> bool:
        """Do what is due; whether there is, or may be, more to do."""
        self._seen_at = self._clock.monotonic()
        if self._stops:
            for post in self.posts:
                post.drain()
        elif self._clock.monotonic() >= self._reload_at:
            self._read_files()
        # Who has waited longest comes first.
        posts = sorted(self.posts, key=lambda post: post.waiting_since)
        for post in posts:
            post.step(room=sum(other.busy for other in posts) < self._at_once)
            self._mention(post)
        self._publish()
        return not self._stops or any(post.busy for post in posts)

    def heard(self, scopes: frozenset[str]) -> None:
        """Rucio tells of events in some scopes."""
        for post in self.posts:
            if post.campaign.scope in scopes:
                post.ring()

    def campaigns(self) -> Sequence[Posted]:
        """See the port."""
        return self._snapshot.posted

    def health(self) -> Health:
        """See the port."""
        quiet = self._clock.monotonic() - self._seen_at
        checks = {"scheduler": "at work" if quiet < _ALIVE else f"silent for {quiet:.0f} s"}
        return Health(quiet < _ALIVE, {**checks, **self._snapshot.checks})

    def ready(self) -> Health:
        """See the port."""
        snapshot = self._snapshot
        return Health(snapshot.asked and not self._stops, snapshot.checks)

    def _publish(self) -> None:
        """Show readers how things stand now."""
        posts = self.posts
        posted = {post: post.posted() for post in posts}
        checks = {}
        for file in self._files:
            post = file.post
            if post is not None:
                words = file.problem or post.trouble or post.missed
                checks[post.campaign.campaign] = words or posted[post].phase.value
            else:
                checks[file.path.name] = file.problem or "not read"
        asked = all(post.asked for post in posts)
        self._snapshot = _Snapshot(tuple(posted.values()), checks, asked)

    def retry(self, campaign: str, dids: Sequence[DID]) -> int:
        """See the port."""
        post = next((post for post in self.posts if post.campaign.campaign == campaign), None)
        if post is None:
            raise UsageError(f"there is no campaign {campaign} here")
        if not dids:
            return 0
        place = post.campaign.ledger_place
        with SqlLedger(place, campaign, clock=self._clock) as ledger:
            return retry_files(ledger, dids, None, self._clock)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """See the port."""
        with self._listening:
            self._listeners = (*self._listeners, listener)

        def cancel() -> None:
            with self._listening, suppress(ValueError):
                left = list(self._listeners)
                left.remove(listener)
                self._listeners = tuple(left)

        return cancel

    def metrics(self) -> str:
        """See the port."""
        return prometheus.text(lambda: self._census.numbers(self.posts))

    def _mention(self, post: Post) -> None:
        """Complain once of each trouble of a campaign."""
        name, trouble = post.campaign.campaign, post.trouble or post.missed
        if trouble is None:
            self._told.pop(name, None)
        elif self._told.get(name) != trouble:
            self._told[name] = trouble
            self._complain(f"{name}: {trouble}")

    def _read_files(self) -> None:
        """Read the files that are new, or were changed; not those of campaigns that are at work."""
        self._reload_at = self._clock.monotonic() + _RELOAD
        for file in self._files:
            if file.post is not None and file.post.busy:
                continue
            try:
                changed = file.path.stat().st_mtime
            except OSError as error:
                # When it is there again it is read, also if it is as old as it was.
                file.changed = None
                self._problem(file, f"{file.path} cannot be read: {error.strerror}")
                continue
            if changed != file.changed:
                file.changed = changed
                self._read(file)

    def _read(self, file: _File) -> None:
        try:
            campaign = self._load(file.path)
            self._refuse(file, campaign)
        except InjectError as error:
            self._problem(file, _whole(error))
            return
        if file.post is None or file.post.campaign != campaign:
            try:
                self._take_up(file, campaign)
            except RuntimeError as error:
                # No thread can be begun now: as if it had changed it is read again.
                file.changed = None
                self._problem(file, f"{file.path} cannot be taken up now: {error}")
                return
        file.problem = None

    def _take_up(self, file: _File, campaign: Campaign) -> None:
        asked = Asked(partial(on_record, campaign, self._clock), self._clock, self._asking)
        surround = _Surround(file.path, campaign, self._hire, asked)

        def tell(facts: Sequence[Fact]) -> None:
            for listener in self._listeners:
                listener(campaign.campaign, facts)

        notifier = make_notifier(campaign, self._clock, self._complain)
        post = Post(campaign, surround, self._clock, tell, notifier)
        numbers = partial(self._census.numbers, [post])
        outlets = make_service_outlets(campaign, notifier, numbers, self._clock, self._complain)
        outlets.begin()
        if file.outlets is not None:
            # What they have to tell yet they send by themselves.
            file.outlets.end()
        file.post, file.outlets = post, outlets

    def _refuse(self, file: _File, campaign: Campaign) -> None:
        if campaign.schedule is None:
            raise UsageError(f"{file.path} has no schedule", hint="add schedule: 1h, or a cron one")
        others = [other for other in self._files if other is not file and other.post is not None]
        for other in others:
            assert other.post is not None
            if other.post.campaign.campaign == campaign.campaign:
                raise UsageError(f"{file.path} and {other.path} are one campaign, by their name")

    def _problem(self, file: _File, words: str) -> None:
        """A campaign that was read before goes on as it was."""
        if file.problem != words:
            file.problem = words
            went_on = "; it goes on as it was before" if file.post is not None else ""
            self._complain(f"{words}{went_on}")


def _whole(error: InjectError) -> str:
    problems = getattr(error, "problems", ())
    told = "; ".join(f"line {line}: {where}: {reason}" for line, where, reason in problems[:3])
    return f"{error.message}: {told}" if told else error.message
