"""`rucio-inject schedule`: when campaigns run, and what runs them without the service."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import sys
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import click

from rucio_inject.campaign.load import load_campaign
from rucio_inject.cli.ledger_look import campaign_argument
from rucio_inject.clock import SystemClock
from rucio_inject.domain.errors import UsageError
from rucio_inject.service.exports import Job, cron_lines, kubernetes_manifest, systemd_units
from rucio_inject.whole_files import replacing
from rucio_inject.words.moments import moment, shown

SCHEMA = 1


@click.group()
def schedule() -> None:
    """When a campaign runs, and what a site needs to run it by its own clock."""


@schedule.command(epilog="Example: rucio-inject schedule show campaigns/functional-test.yaml")
@campaign_argument
@click.option("--count", type=click.IntRange(1, 1000), default=5, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(*, file: Path, count: int, as_json: bool) -> None:
    """Show the next times at which `serve` would begin a run."""
    campaign = load_campaign(file)
    wanted = Job(campaign, file, Path.cwd()).schedule
    if find_spec("apscheduler") is None:
        raise UsageError(
            "this needs apscheduler, which is not installed",
            hint="pip install 'rucio-inject[service]'",
        )
    # Late, so that help and exports need no extra.
    from rucio_inject.service.timetable import Timetable  # noqa: PLC0415

    table, at = Timetable(wanted), SystemClock().now()
    ticks: list[datetime] = []
    for _ in range(count):
        at = table.after(at)
        ticks.append(at)
    if as_json:
        told = {
            "schema": SCHEMA,
            "campaign": campaign.campaign,
            "schedule": wanted.in_words(),
            "next": [moment(tick) for tick in ticks],
        }
        click.echo(json.dumps(told))
        return
    click.echo(f"{campaign.campaign}: {wanted.in_words()}")
    click.echo("\n".join(f"  {shown(tick)}" for tick in ticks))


@schedule.command(
    epilog="Example: rucio-inject schedule export --systemd campaigns/functional-test.yaml"
)
@campaign_argument
@click.option("--cron", is_flag=True, help="A line for a crontab.")
@click.option("--systemd", is_flag=True, help="A systemd service and timer.")
@click.option("--k8s", is_flag=True, help="A Kubernetes CronJob.")
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write files into a folder instead.",
)
@click.option(
    "--image", default="rucio-inject:latest", show_default=True, help="Image of the CronJob."
)
@click.option("--user", help="Who the systemd service runs as; left out: who asks.")
def export(
    *,
    file: Path,
    cron: bool,
    systemd: bool,
    k8s: bool,
    into: Path | None,
    image: str,
    user: str | None,
) -> None:
    """Print what runs CAMPAIGN on its `schedule:` without the service.

    The commands run in this folder, as campaigns may have paths that are relative to it.
    """
    if cron + systemd + k8s != 1:
        raise UsageError("which one?", hint="give one of --cron, --systemd and --k8s")
    campaign = load_campaign(file)
    job = Job(campaign, file.absolute(), Path.cwd(), _program())
    if systemd:
        files = systemd_units(job, user or _who_asks())
    elif k8s:
        inside = Job(campaign, file.absolute(), Path.cwd())
        files = {f"{job.name}.yaml": kubernetes_manifest(inside, image)}
    else:
        files = {f"{job.name}.cron": cron_lines(job)}
    for name, text in files.items():
        if into is None:
            click.echo((f"# {name}\n" if len(files) > 1 else "") + text, nl=len(files) > 1)
        else:
            _write(into / name, text)
            click.echo(into / name)


def _write(path: Path, text: str) -> None:
    try:
        with replacing(path) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def _who_asks() -> str:
    number = os.geteuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _program() -> str:
    """This very program: neither cron nor systemd has the PATH of who asks."""
    beside = Path(sys.executable).with_name("rucio-inject")
    return str(beside) if beside.exists() else shutil.which("rucio-inject") or "rucio-inject"
