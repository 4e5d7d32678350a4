"""`rucio-inject campaign`: check a campaign file without any server, or explain its keys."""

from __future__ import annotations

import json
from pathlib import Path

import click

from rucio_inject.campaign.load import load_campaign
from rucio_inject.campaign.schema import Campaign


@click.group()
def campaign() -> None:
    """Check a campaign file, or explain its keys."""


@campaign.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def check(files: tuple[Path, ...]) -> None:
    """Check campaign files; no server is asked. Exit code 2 if one cannot be used."""
    for file in files:
        found = load_campaign(file)
        click.echo(f"{file}: campaign {found.campaign} is well formed")


@campaign.command()
def schema() -> None:
    """Print the JSON Schema of a campaign file: every key, its meaning and its default."""
    click.echo(json.dumps(Campaign.model_json_schema(), indent=2, ensure_ascii=False))
