"""`rucio-inject drain`: let a campaign's runs take no new files, or take them again."""

from __future__ import annotations

import getpass
import json
import os
import socket
from pathlib import Path

import click

from rucio_inject.cli.ledger_look import campaign_argument, ledger_options, relocated
from rucio_inject.cli.output import legible, to_reader
from rucio_inject.clock import SystemClock
from rucio_inject.domain.errors import LedgerError
from rucio_inject.domain.facts import DrainOrdered
from rucio_inject.ledger.drain import order_drain
from rucio_inject.ledger.look import is_begun, looking
from rucio_inject.words.moments import moment, shown

SCHEMA = 1


@click.command(epilog="Example: rucio-inject drain --reason 'disks are replaced' magic.yaml")
@campaign_argument
@ledger_options
@click.option("--off", is_flag=True, help="Let runs take new files again.")
@click.option("--reason", help="Why, for those who look at the status.")
@click.option("--json", "as_json_", is_flag=True, help="Print the order as one JSON object.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
def drain(
    *,
    file: Path,
    output: Path | None,
    off: bool,
    reason: str | None,
    as_json_: bool,
    quiet: bool,
) -> None:
    """Drain CAMPAIGN: its runs, on whichever machine, take no new files.

    A run that goes on finishes what is under way and ends with exit code 8. The campaign stays
    drained, also for later runs, until --off. Who ordered it, and when, is on record.
    """
    campaign, clock = relocated(file, output), SystemClock()
    if not is_begun(campaign):
        raise LedgerError(
            f"campaign {campaign.campaign} is not on record at {campaign.ledger_place}",
            hint="there is nothing to drain before its first run",
        )
    order = DrainOrdered(at=clock.now(), on=not off, by=_person(), reason=reason)
    changed = order_drain(campaign.ledger_place, campaign.campaign, order)
    with looking(campaign.ledger_place, campaign.campaign, clock) as look:
        now = look.ledger.drain
    with to_reader():
        if as_json_:
            click.echo(json.dumps(_as_json(campaign.campaign, now, changed=changed)))
        elif not quiet:
            click.echo(legible(_as_text(campaign.campaign, now, changed=changed)))


def _person() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run us under a number that has no name
        user = f"user {os.getuid()}"
    return f"{user} on {socket.gethostname()}"


def _as_text(name: str, now: DrainOrdered | None, *, changed: bool) -> str:
    before = "" if changed else " already"
    if now is None:
        return f"{name} is{before or ' now'} not drained: its runs take new files"
    why = f": {now.reason}" if now.reason else ""
    return f"{name} is{before} drained, since {shown(now.at)} by {now.by}{why}"


def _as_json(name: str, now: DrainOrdered | None, *, changed: bool) -> dict[str, object]:
    return {"schema": SCHEMA, "campaign": name, "changed": changed, "drained": as_object(now)}


def as_object(now: DrainOrdered | None) -> dict[str, object] | None:
    """Who drained a campaign, for programs; None if nobody did."""
    if now is None:
        return None
    return {"since": moment(now.at), "by": now.by, "reason": now.reason}
