"""The numbers of campaigns, each asked of its own ledger, so that none waits for another one's."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, wait
from functools import partial

from rucio_inject.apart import Asking
from rucio_inject.domain.errors import LedgerError
from rucio_inject.ledger.look import is_begun
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.monitor.numbers import Numbers
from rucio_inject.ports import Clock
from rucio_inject.service.post import Post

PATIENCE = 4.0
"""Seconds after which a ledger that has not answered is left out: Prometheus waits for ten."""


class Census:
    """Asks all ledgers at once. For several threads; of a ledger that never answers there is one
    question on its way, however often somebody looks."""

    def __init__(self, clock: Clock, asking: Asking) -> None:
        self._clock = clock
        self._asking = asking
        self._lock = threading.Lock()
        self._coming: dict[str, Future[Numbers | None]] = {}

    def numbers(self, posts: Sequence[Post]) -> list[Numbers]:
        """Of every campaign that has begun, and whose ledger answers now."""
        with self._lock:
            coming = [self._ask(post) for post in posts]
        answered, _ = wait(coming, timeout=PATIENCE)
        found = [_known(future) for future in coming if future in answered]
        return [numbers for numbers in found if numbers is not None]

    def _ask(self, post: Post) -> Future[Numbers | None]:
        name = post.campaign.campaign
        known = self._coming.get(name)
        if known is None or known.done():
            known = self._coming[name] = self._asking(partial(_numbers, post, self._clock))
        return known


def _numbers(post: Post, clock: Clock) -> Numbers | None:
    campaign = post.campaign
    if not is_begun(campaign):
        return None
    place, name = campaign.ledger_place, campaign.campaign
    with SqlLedger(place, name, clock=clock, reading=True) as ledger:
        return post.tally.numbers(ledger, next_run=post.next_tick)


def _known(answered: Future[Numbers | None]) -> Numbers | None:
    try:
        return answered.result()
    except LedgerError:
        # Why is told by the campaign's post, which asks it, too.
        return None
