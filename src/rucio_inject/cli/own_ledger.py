"""A campaign's ledger for a run of ours, which may have to wait for another one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import click

from rucio_inject.campaign.schema import Campaign
from rucio_inject.domain.errors import LedgerUnavailable
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.ports import Clock
from rucio_inject.words.numbers import duration


@contextmanager
def own_ledger(campaign: Campaign, clock: Clock, wait: int) -> Iterator[SqlLedger]:
    """The ledger, held by this process alone; another run that has it is waited for, `wait`
    seconds at most, and who waits is told so.

    LedgerUnavailable if it is held still, LedgerError for all else that is wrong with it.
    """
    place, name = campaign.ledger_place, campaign.campaign
    begun = clock.monotonic()
    with ExitStack() as held:
        try:
            ledger = held.enter_context(SqlLedger(place, name, clock=clock))
        except LedgerUnavailable as refused:
            if not wait or refused.holder is None:
                raise
            click.echo(f"waiting for {refused.holder}, up to {duration(wait)}", err=True)
            try:
                ledger = held.enter_context(SqlLedger(place, name, clock=clock, wait=wait))
            except LedgerUnavailable as error:
                waited = duration(clock.monotonic() - begun)
                raise LedgerUnavailable(
                    f"{error.message}; waited {waited} for it",
                    hint=error.hint,
                    holder=error.holder,
                ) from error
        yield ledger
