"""`rucio-inject web`: the live page on campaigns that other processes run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rucio_inject.campaign.schema import Campaign
from rucio_inject.cli.ledger_look import campaigns_argument, ledger_options, relocated
from rucio_inject.cli.stopping import stoppable
from rucio_inject.cli.web_options import web_options
from rucio_inject.clock import SystemClock
from rucio_inject.domain.errors import Interrupted, UsageError
from rucio_inject.factory import Folders
from rucio_inject.ports.board import Posted
from rucio_inject.readings.ledger_board import LedgerBoard

if TYPE_CHECKING:
    from rucio_inject.web.serving import Listening

A_WHILE = 3600.0


@click.command(epilog="Example: rucio-inject web campaigns/*.yaml --port 0")
@campaigns_argument
@ledger_options
@web_options
def web(*, campaign_files: tuple[Path, ...], output: Path | None, listening: Listening) -> None:
    """Show campaigns on a web page, live, until Ctrl-C.

    Their ledgers and counts are read; who runs them does not matter: cron, a person, another
    machine. Nothing is changed but by the retry button, which is refused while a run goes on.
    """
    campaigns = [relocated(file, output) for file in campaign_files]
    clock = SystemClock()
    # Late, so that help comes at once.
    from rucio_inject.web.serving import PageServer  # noqa: PLC0415

    with (
        stoppable(clock),
        LedgerBoard(unique([posted(campaign) for campaign in campaigns]), clock) as board,
        PageServer(board, listening, clock) as page,
    ):
        tell_where(page.url, page.sign_in_url)
        try:
            while True:
                clock.wait(A_WHILE)
        except Interrupted:
            click.echo("the page is closed")


def posted(campaign: Campaign) -> Posted:
    """A campaign that somebody else runs, for the board."""
    return Posted(
        name=campaign.campaign,
        ledger=campaign.ledger_place,
        series=Folders(campaign.output_folder.absolute()).series,
        highlight=campaign.monitor.highlight,
    )


def unique(campaigns: list[Posted]) -> list[Posted]:
    """The same; UsageError if two have one name: a page is found by it."""
    names = [one.name for one in campaigns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            f"two campaigns are called {twice[0]}", hint="show them by two commands, on two ports"
        )
    return campaigns


def tell_where(url: str, sign_in_url: str | None) -> None:
    """Say where the page is, and how to sign in."""
    click.echo(f"The page is at {url}")
    if sign_in_url is not None:
        click.echo(f"  sign in       {sign_in_url}")
    click.echo("  Ctrl-C closes it")
