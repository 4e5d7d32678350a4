"""Where a run's facts go besides the ledger: people, Graphite, OpenSearch, a file for Prometheus.

None of them ever holds up a run: what they are told they remember, and a thread sends it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, Self

from rucio_inject.campaign.schema import Campaign
from rucio_inject.campaign.service_keys import Notify, OpenSearch, place_parts
from rucio_inject.domain.errors import InjectError, LedgerError
from rucio_inject.domain.facts import Fact
from rucio_inject.ledger.fact_json import fact_text
from rucio_inject.monitor.graphite import GraphiteOutlet
from rucio_inject.monitor.numbers import Numbers, Tally
from rucio_inject.monitor.opensearch import OpenSearchOutlet
from rucio_inject.notify.channels import Channel, MailChannel, WebhookChannel
from rucio_inject.notify.notifier import Manners, Notifier
from rucio_inject.ports import Clock, FactSink, Ledger
from rucio_inject.whole_files import replacing

PULSE = 1.0
"""Seconds between two looks at what is to be sent."""
_NOTIFIED = "notified.json"
# A server that is away is told of once, and tried less often.
_LONGEST_PAUSE = 60.0


class Outlet(Protocol):
    """Something that is sent now and then, from a thread of its own."""

    def pump(self, *, last: bool = False) -> None:
        """Send what is due; `last`: the process ends. InjectError if that cannot be."""
        ...


class Outlets:
    """An onlooker that passes facts on to outlets, and a context manager around a run. Each outlet
    has a thread of its own: none waits for another one's server."""

    def __init__(
        self,
        sinks: Sequence[FactSink],
        outlets: Sequence[Outlet],
        clock: Clock,
        complain: Callable[[str], None],
    ) -> None:
        self._sinks = sinks
        self._ended = threading.Event()
        pipes = [_Pipe(outlet, clock, complain) for outlet in outlets]
        self._threads = [
            threading.Thread(target=self._run, args=(pipe,), name="outlet", daemon=True)
            for pipe in pipes
        ]

    def record(self, facts: Sequence[Fact]) -> None:
        """See `ports.FactSink`."""
        for sink in self._sinks:
            sink.record(facts)

    def begin(self) -> Self:
        """Begin to send. RuntimeError if there is no room for a thread: then nothing is sent."""
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError:
            self.end()
            raise
        return self

    def end(self) -> None:
        """Let a last time be sent, and then no more."""
        self._ended.set()

    def join(self) -> None:
        """Wait until that is done."""
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        """Begin to send."""
        return self.begin()

    def __exit__(self, *_: object) -> None:
        """Send a last time."""
        self.end()
        self.join()

    def _run(self, pipe: _Pipe) -> None:
        while not self._ended.wait(PULSE):
            pipe.pump()
        pipe.pump(last=True)


class _Pipe:
    """An outlet whose failures are told once, and which is left in peace for a while then. What
    nobody foresaw is told likewise: a service goes on for weeks, and who is to be told of its
    troubles must not be lost to the first odd answer of a disk."""

    def __init__(self, outlet: Outlet, clock: Clock, complain: Callable[[str], None]) -> None:
        self._outlet = outlet
        self._clock = clock
        self._complain = complain
        self._pause = 0.0
        self._next = clock.monotonic()

    def pump(self, *, last: bool = False) -> None:
        """Send what is due, unless it failed a moment ago; `last` whatever happened."""
        if not last and self._clock.monotonic() < self._next:
            return
        try:
            self._outlet.pump(last=last)
        except InjectError as error:
            self._failed(error.message, last=last)
        except Exception as error:  # noqa: BLE001 -- told, and tried again; it would end the thread
            self._failed(f"not sent: {type(error).__name__}: {error}; it is tried again", last=last)
        else:
            self._pause, self._next = 0.0, self._clock.monotonic()

    def _failed(self, words: str, *, last: bool) -> None:
        first = not self._pause
        self._pause = min(max(2 * self._pause, PULSE), _LONGEST_PAUSE)
        self._next = self._clock.monotonic() + self._pause
        if first or last:
            self._complain(words)


def channels(notify: Notify) -> list[Channel]:
    """The ways to people that a campaign has."""
    found: list[Channel] = []
    if notify.webhook is not None:
        found.append(WebhookChannel(notify.webhook.address))
    if (mail := notify.mail) is not None:
        host, port = place_parts(mail.server)
        password = mail.password.read if mail.password else None
        found.append(
            MailChannel(host, port, mail.sender, mail.to, mail.security, mail.user, password)
        )
    return found


def make_notifier(
    campaign: Campaign, clock: Clock, complain: Callable[[str], None]
) -> Notifier | None:
    """Who tells people about a campaign; None if it wants nobody told."""
    notify = campaign.notify
    if notify is None:
        return None
    return Notifier(
        campaign.campaign,
        campaign.output_folder.absolute() / _NOTIFIED,
        channels(notify),
        Manners(notify.group, notify.remind),
        now=clock.now,
        complain=complain,
    )


def make_outlets(
    campaign: Campaign,
    ledger: Ledger,
    clock: Clock,
    complain: Callable[[str], None],
    *,
    serving: bool = False,
) -> Outlets:
    """All outlets that a campaign has, for a run that holds its ledger. `serving`: a service began
    the run, and has those of `make_service_outlets`."""
    tally = Tally(campaign.campaign)
    notifier = make_notifier(campaign, clock, complain)
    sinks: list[FactSink] = [tally]
    outlets: list[Outlet] = []

    def numbers() -> Numbers:
        return tally.numbers(ledger)

    if notifier is not None:
        sinks.append(notifier)
        outlets.append(notifier)
    if not serving:
        outlets += _graphite(campaign, lambda: [numbers()], clock)
    if (search := campaign.metrics.opensearch) is not None:
        documents = OpenSearchOutlet(
            search.url, search.index, campaign.campaign, fact_text, _sign_in(search)
        )
        sinks.append(documents)
        outlets.append(documents)
    if (path := campaign.metrics.textfile) is not None:
        if find_spec("prometheus_client") is None:
            complain(f"{path} is not written: pip install 'rucio-inject[service]'")
        else:
            outlets.append(_Textfile(path, numbers))
    # Nobody needs numbers that nobody is sent.
    return Outlets(sinks if outlets else [], outlets, clock, complain)


def make_service_outlets(
    campaign: Campaign,
    notifier: Notifier | None,
    numbers: Callable[[], Sequence[Numbers]],
    clock: Clock,
    complain: Callable[[str], None],
) -> Outlets:
    """What a service sends of a campaign, whether a run goes on or not: what only the service knows
    of its runs, and to Graphite what it shows to Prometheus."""
    told = [notifier] if notifier is not None else []
    return Outlets([], [*told, *_graphite(campaign, numbers, clock)], clock, complain)


def _graphite(
    campaign: Campaign, numbers: Callable[[], Sequence[Numbers]], clock: Clock
) -> list[Outlet]:
    graphite = campaign.metrics.graphite
    if graphite is None:
        return []
    place, every = place_parts(graphite.server), graphite.interval
    return [GraphiteOutlet(place, graphite.prefix, every, numbers, clock)]


def _sign_in(search: OpenSearch) -> Callable[[], tuple[str, str]] | None:
    if search.user is None or search.password is None:
        return None
    user, password = search.user, search.password
    return lambda: (user, password.read())


class _Textfile:
    """A file that a node exporter shows to Prometheus; written at the end of a run."""

    def __init__(self, path: Path, numbers: Callable[[], Numbers]) -> None:
        self._path = path
        self._numbers = numbers

    def pump(self, *, last: bool = False) -> None:
        """See `Outlet`."""
        if not last:
            return
        # Late: a run that writes none needs no extra.
        from rucio_inject.monitor import prometheus  # noqa: PLC0415

        told = prometheus.text(lambda: [self._numbers()])
        try:
            with replacing(self._path) as part:
                part.write_text(told, encoding="utf-8")
        except OSError as error:
            raise LedgerError(f"{self._path} cannot be written: {error.strerror}") from None
