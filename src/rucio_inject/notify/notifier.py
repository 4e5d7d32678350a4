"""Watches the facts of a campaign, and tells people what is wrong with it."""

from __future__ import annotations

import fcntl
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from rucio_inject.domain.facts import Fact
from rucio_inject.notify.channels import Channel
from rucio_inject.notify.troubles import TELLING, Kind, Troubles, due
from rucio_inject.posting import NotDelivered
from rucio_inject.whole_files import replacing_durably

_KNOWN = TypeAdapter(dict[str, Troubles])
AGAIN = (5.0, 30.0, 120.0, 600.0)
"""Seconds until a message that could not be delivered is tried again, each time; the last one goes
on for ever."""
MOST_SEEN = 50_000
"""Facts that wait at most while a channel takes its time; older ones go."""


@dataclass(frozen=True, slots=True)
class Manners:
    """How people are told: see the campaign's `notify`. In seconds."""

    group: float
    remind: float


class _Tries:
    """How something went lately that may fail for a while."""

    def __init__(self) -> None:
        self._failures = 0
        self._not_before: datetime | None = None

    def may_try(self, now: datetime) -> bool:
        """Whether it is time to try again."""
        return self._not_before is None or now >= self._not_before

    def failed(self, now: datetime) -> bool:
        """It failed; whether for the first time."""
        pause = AGAIN[min(self._failures, len(AGAIN) - 1)]
        self._not_before = now + timedelta(seconds=pause)
        self._failures += 1
        return self._failures == 1

    def succeeded(self) -> None:
        """It went well."""
        self._failures, self._not_before = 0, None


class _Way(_Tries):
    """A channel, and how it was lately; `stuck` are the rules that are STUCK."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self.channel = channel
        self.stuck: set[str] = set()


class Notifier:
    """An onlooker that tells people through channels. What it knows lies in a file, so that an
    outage over many runs is one message, whoever began them; several processes may share it.

    `record` only remembers; `pump`, called now and then from another thread, sends. What a channel
    does not take is tried again later, by another process if need be; `complain` is told of it once
    an outage of the channel. While the file cannot be written, what is known is kept in memory:
    people are told all the same, and told once.
    """

    def __init__(
        self,
        campaign: str,
        file: Path,
        channels: Sequence[Channel],
        manners: Manners,
        *,
        now: Callable[[], datetime],
        complain: Callable[[str], None],
    ) -> None:
        self._campaign = campaign
        self._file = file
        self._ways = [_Way(channel) for channel in channels]
        self._manners = manners
        self._now = now
        self._complain = complain
        self._seen: deque[Fact] = deque(maxlen=MOST_SEEN)
        self._troubles: list[tuple[Kind, str, datetime]] = []
        self._lock = threading.Lock()
        # What was known last, and whether the file has it, too.
        self._known: Mapping[str, Troubles] = {}
        self._kept = True
        self._disk = _Tries()

    def record(self, facts: Sequence[Fact]) -> None:
        """See `ports.FactSink`."""
        with self._lock:
            self._seen += [fact for fact in facts if isinstance(fact, TELLING)]

    def late(self, words: str) -> None:
        """A run is late: no fact tells that."""
        with self._lock:
            self._troubles.append((Kind.LATE, words, self._now()))

    def failed(self, words: str) -> None:
        """A run ended without a word of its own."""
        with self._lock:
            self._troubles.append((Kind.FAILED, words, self._now()))

    def pump(self, *, last: bool = False) -> None:
        """Send what is due; `last`: the process ends. What cannot be delivered, or be kept on disk,
        is complained of, and raises nothing."""
        if not (self._seen or self._troubles) and self._kept and not self._lies_there():
            return
        with ExitStack() as alone:
            try:
                found = alone.enter_context(self._alone())
            except OSError as error:
                # People are told without it: at worst twice, if another process does so, too.
                self._not_kept(error)
                found = None
            known = self._known if found is None or not self._kept else found
            before = {
                way.channel.name: known.get(way.channel.name, Troubles()) for way in self._ways
            }
            was_kept = self._kept
            # Whatever breaks from here on: nothing is forgotten, and nobody is told twice.
            self._known, self._kept = self._with_news(before), False
            for way in self._ways:
                name = way.channel.name
                told = self._pump(way, self._known[name], last=last)
                self._known = {**self._known, name: told}
            if found is None:
                self._kept = was_kept and self._known == before
            else:
                self._kept = self._known == found or self._keep(self._known, last=last)

    def _lies_there(self) -> bool:
        # Path.exists raises what a file server answers that is away for a moment.
        return os.path.exists(self._file)  # noqa: PTH110

    def _with_news(self, known: Mapping[str, Troubles]) -> Mapping[str, Troubles]:
        """What is known with what was seen since, each way by itself."""
        with self._lock:
            seen, troubles = list(self._seen), list(self._troubles)
            self._seen.clear()
            self._troubles.clear()
        return {
            way.channel.name: self._grown(known[way.channel.name], way, seen, troubles)
            for way in self._ways
        }

    @staticmethod
    def _grown(
        known: Troubles,
        way: _Way,
        seen: Sequence[Fact],
        troubles: Sequence[tuple[Kind, str, datetime]],
    ) -> Troubles:
        for fact in seen:
            known = known.with_fact(fact, way.stuck)
        for kind, words, at in troubles:
            known = known.with_trouble(kind, words, at)
        return known

    def _pump(self, way: _Way, troubles: Troubles, *, last: bool) -> Troubles:
        """Send what is due one way, and give what is known after that."""
        now = self._now()
        group, remind = self._manners.group, self._manners.remind
        message = due(self._campaign, troubles, now, group=group, remind=remind, at_end=last)
        if message is None or not (last or way.may_try(now)):
            return troubles
        try:
            way.channel.send(message)
        except NotDelivered as error:
            if way.failed(now):
                self._complain(f"not notified: {error.message}; it is tried again")
            return troubles
        way.succeeded()
        return Troubles() if message.recovery else troubles.told(now)

    @contextmanager
    def _alone(self) -> Iterator[dict[str, Troubles]]:
        """What is known, while no other process changes it."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(
            self._file.with_name(self._file.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self._read()
        finally:
            os.close(lock)

    def _read(self) -> dict[str, Troubles]:
        try:
            return _KNOWN.validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return {}
        except ValidationError:
            # Nothing rests on it: at worst people are told twice.
            return {}

    def _keep(self, known: Mapping[str, Troubles], *, last: bool) -> bool:
        """Put it into the file, unless that failed a moment ago; whether it is there."""
        if not (last or self._disk.may_try(self._now())):
            return False
        try:
            self._write(known)
        except OSError as error:
            self._not_kept(error)
            return False
        self._disk.succeeded()
        return True

    def _not_kept(self, error: OSError) -> None:
        if self._disk.failed(self._now()):
            self._complain(f"{self._file} cannot be kept: {error.strerror or error}")

    def _write(self, known: Mapping[str, Troubles]) -> None:
        if all(troubles == Troubles() for troubles in known.values()):
            self._file.unlink(missing_ok=True)
            return
        with replacing_durably(self._file) as part:
            part.write_bytes(_KNOWN.dump_json(dict(known)))
