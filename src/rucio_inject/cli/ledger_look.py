"""What the commands on a ledger share: which campaign, and where it was run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from rucio_inject.campaign.load import load_campaign
from rucio_inject.campaign.schema import Campaign
from rucio_inject.cli.verbosity import verbose_option

Command = TypeVar("Command", bound=Callable[..., Any])

campaign_argument = click.argument(
    "file", metavar="CAMPAIGN", type=click.Path(path_type=Path, readable=False)
)
campaigns_argument = click.argument(
    "campaign_files",
    nargs=-1,
    required=True,
    metavar="CAMPAIGN...",
    type=click.Path(path_type=Path, readable=False),
)


def ledger_options(command: Command) -> Command:
    """Add the options that all commands on a ledger have."""
    output = click.option(
        "--output",
        type=click.Path(path_type=Path),
        help="Folder that the campaign was run with, if it was run with --output.",
    )
    return output(verbose_option(command))


def relocated(file: Path, output: Path | None) -> Campaign:
    """The campaign of a file, with another output folder; a ledger that is a file moves there."""
    campaign = load_campaign(file)
    if output is None:
        return campaign
    changes: dict[str, object] = {"output": output}
    if isinstance(campaign.ledger, Path):
        changes["ledger"] = output / campaign.ledger.name
    return campaign.model_copy(update=changes)
