"""The numbers of campaigns, each asked of its own ledger, so that none waits for another one's."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

from rucio_inject.apart import Answers, Asking
from rucio_inject.domain.errors import LedgerError
from rucio_inject.ledger.look import is_begun
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.monitor.numbers import Numbers
from rucio_inject.ports import Clock
from rucio_inject.service.post import Post

PATIENCE = 4.0
"""Seconds after which a ledger that has not answered is left out: Prometheus waits for ten."""


class Census:
    """Asks the ledgers of all campaigns at once. For several threads."""

    def __init__(self, clock: Clock, asking: Asking) -> None:
        self._clock = clock
        self._answers: Answers[Numbers | None] = Answers(clock, PATIENCE, asking)

    def numbers(self, posts: Sequence[Post]) -> list[Numbers]:
        """Of every campaign that has begun, and whose ledger answers now."""
        questions = {post.campaign.campaign: partial(_numbers, post, self._clock) for post in posts}
        found = map(_known, self._answers.of(questions).values())
        return [numbers for numbers in found if numbers is not None]


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
