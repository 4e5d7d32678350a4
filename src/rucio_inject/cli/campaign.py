"""`rucio-inject campaign`: check a campaign file without any server, or explain its keys."""

from __future__ import annotations

import json
from pathlib import Path

import click

from rucio_inject.campaign.load import load_campaign
from rucio_inject.campaign.schema import Campaign
from rucio_inject.cli.exit_codes import ExitCode
from rucio_inject.cli.main import tell
from rucio_inject.domain.errors import CampaignInvalid

_FILE = click.Path(path_type=Path)


@click.group()
def campaign() -> None:
    """Check a campaign file, or explain its keys."""


@campaign.command(epilog="Example: rucio-inject campaign check campaigns/*.yaml")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=_FILE)
@click.pass_context
def check(ctx: click.Context, files: tuple[Path, ...]) -> None:
    """Check campaign files; no server is asked.

    Every file is looked at. Exit code 2 if one cannot be used.
    """
    bad = False
    for file in files:
        try:
            found = load_campaign(file)
        except CampaignInvalid as error:
            bad = True
            tell(error)
        else:
            click.echo(f"{file}: campaign {found.campaign} is well formed")
    if bad:
        ctx.exit(ExitCode.USAGE)


@campaign.command()
def schema() -> None:
    """Print the JSON Schema of a campaign file.

    It tells every key, its meaning and its default.
    """
    click.echo(json.dumps(Campaign.model_json_schema(), indent=2, ensure_ascii=False))
