"""`rucio-inject report`: a campaign over some time, to keep or to hand on."""

from __future__ import annotations

import configparser
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import click

from rucio_inject import __version__
from rucio_inject.campaign.schema import Campaign
from rucio_inject.cli.ledger_look import campaign_argument, ledger_options, relocated
from rucio_inject.cli.output import to_reader
from rucio_inject.cli.output_files import STANDARD_OUTPUT, refuse_ledger, refuse_other_than_file
from rucio_inject.clock import SystemClock
from rucio_inject.domain.errors import UsageError
from rucio_inject.domain.facts import RSECounted
from rucio_inject.factory import Folders
from rucio_inject.ledger.look import Look, looking
from rucio_inject.monitor.curves import Curves
from rucio_inject.readings.report import Chosen, Report, report_of
from rucio_inject.readings.report_json import report_object
from rucio_inject.whole_files import replacing_alone
from rucio_inject.words.numbers import duration, plural

BUCKETS = 250
_PACKAGES = ("rucio-clients", "sqlalchemy", "matplotlib", "uproot", "xrootd")


@click.command(
    epilog="Example: rucio-inject report campaigns/magic.yaml --month 2026-11 --html november.html"
)
@campaign_argument
@ledger_options
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    help="Write one HTML file that needs nothing else; - for standard output.",
)
@click.option("--json", "as_json_", is_flag=True, help="Print one JSON object.")
@click.option("--cycle", type=click.IntRange(1, 2**31 - 1), help="This cycle only.")
@click.option("--month", metavar="YYYY-MM", help="Cycles that began in this month.")
def report(
    *,
    file: Path,
    output: Path | None,
    html: Path | None,
    as_json_: bool,
    cycle: int | None,
    month: str | None,
) -> None:
    """Report on CAMPAIGN: what was injected, proved and lost, how long it took, and why not.

    Of all cycles on record, or of those asked for. Only the ledger and the counts are read, also
    while a run goes on; Rucio is not asked.
    """
    if html is None and not as_json_:
        raise UsageError("what is to be made?", hint="give --html FILE, or --json, or both")
    if cycle is not None and month is not None:
        raise UsageError("--cycle and --month ask for different things", hint="give one")
    if html == STANDARD_OUTPUT and as_json_:
        raise UsageError("both are for standard output", hint="name a file with --html")
    campaign = relocated(file, output)
    if html is not None:
        _check_can_write(html, campaign)
    chosen = Chosen(cycle, _first_day(month))
    with looking(campaign.ledger_place, campaign.campaign, SystemClock()) as look:
        made = _made(look, campaign, chosen, SystemClock().now())
    if html is not None:
        _write(html, made, campaign)
    with to_reader():
        if as_json_:
            click.echo(json.dumps(report_object(made)))
        elif html != STANDARD_OUTPUT:
            click.echo(f"{plural(len(made.cycles), 'cycle')} reported in {html}")


def _first_day(month: str | None) -> date | None:
    if month is None:
        return None
    try:
        return datetime.strptime(month, "%Y-%m").date()  # noqa: DTZ007 -- a month has no zone
    except ValueError:
        raise UsageError(f"--month {month} is no month", hint="as in 2026-11") from None


def _check_can_write(html: Path, campaign: Campaign) -> None:
    """UsageError before anything is read, rather than after."""
    if find_spec("jinja2") is None:
        raise UsageError(
            "an HTML report needs the Python package jinja2, which is not installed",
            hint="pip install 'rucio-inject[web,science]'; --json needs neither",
        )
    if html != STANDARD_OUTPUT:
        refuse_other_than_file(html)
        refuse_ledger(html, campaign, "--html")


def _made(look: Look, campaign: Campaign, chosen: Chosen, now: datetime) -> Report:
    found = report_of(look, chosen, now)
    curves = Curves(Folders(campaign.output_folder.absolute()).series)
    with suppress(FileNotFoundError):
        curves.refresh()
    newest = found.cycles[0]
    return replace(
        found,
        samples=_samples(curves, found.begun_at, found.ended_at or now),
        latest=_samples(curves, newest.begun_at, newest.ended_at or now),
        environment=_environment(look, campaign, found, now),
    )


def _samples(curves: Curves, begun: datetime | None, ended: datetime) -> list[RSECounted]:
    """Counts from shortly before to shortly after, so that the curves begin and end at rest."""
    if begun is None:
        return []
    margin = max((ended - begun).total_seconds() * 0.02, 2.0)
    points = curves.points(begun.timestamp() - margin, ended.timestamp() + margin, BUCKETS)
    return [sample for curve in points for sample in curve.samples()]


def _environment(
    look: Look, campaign: Campaign, found: Report, now: datetime
) -> Mapping[str, Mapping[str, str]]:
    rses = [*found.way.sources, *(r for r in found.way.destinations if r not in found.way.sources)]
    rules = [
        f"{rule.copies} of {rule.rse_expression}" if rule.copies > 1 else rule.rse_expression
        for rule in campaign.rules
    ]
    lake = {
        "Rucio": _server() or "not named in rucio.cfg where this report was made",
        "account": campaign.account or "that of rucio.cfg",
        "scope": campaign.scope,
        "upload RSE": campaign.upload.rse,
        "RSEs": ", ".join(rses) or "none yet",
    }
    for rse, attributes in campaign.rse_attributes.items():
        lake[f"set on {rse}"] = ", ".join(f"{key}={value}" for key, value in attributes.items())
    end = campaign.end
    plan = {
        "source": campaign.source.kind,
        "rules": ", ".join(rules),
        "end": f"rules live {duration(end.lifetime)} after the proof" if end else "files stay",
        "read back": _read_back(campaign),
        "counted": f"every {duration(campaign.monitor.interval)}",
    }
    software = {"rucio-inject": __version__, "Python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            software[package] = importlib.metadata.version(package)
    software["system"] = f"{platform.system()} {platform.release()}, {platform.machine()}"
    record = {
        "ledger": look.database.place,
        "host": platform.node(),
        "made": f"{now:%Y-%m-%d %H:%M}",
    }
    return {"Lake": lake, "Campaign": plan, "Record": record, "Software": software}


def _read_back(campaign: Campaign) -> str:
    match campaign.access.sample:
        case None:
            what = "every replica"
        case int(files):
            what = f"every replica of {plural(files, 'file')} of each dataset"
        case share:
            what = f"every replica of {100 * share:g} % of each dataset's files"
    if campaign.access.sample is not None:
        what += "; of the others storages told size and adler32"
    return what + (", and analysed" if campaign.access.analyse else "")


def _server() -> str | None:
    """Rucio's server as rucio.cfg names it; nothing of how to sign in there."""
    home = os.environ.get("RUCIO_HOME", "/opt/rucio")
    path = Path(os.environ.get("RUCIO_CONFIG") or Path(home) / "etc" / "rucio.cfg")
    known = configparser.ConfigParser(interpolation=None)
    try:
        known.read(path, encoding="utf-8")
        host = known.get("client", "rucio_host")
    except (configparser.Error, UnicodeDecodeError, OSError):
        return None
    parts = urlsplit(host)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"


def _plots(found: Report, campaign: Campaign) -> Sequence[Path]:
    """Plots of the last analysis, as far as they lie in the campaign's own folder."""
    folder = campaign.output_folder.resolve()
    named = found.analyses[-1].paths if found.analyses else ()
    paths = [Path(path).resolve() for path in named]
    return [path for path in paths if path.is_relative_to(folder)]


def _write(html: Path, found: Report, campaign: Campaign) -> None:
    # Late, as it needs an extra.
    from rucio_inject.web.report import report_html  # noqa: PLC0415

    text = report_html(found, highlight=campaign.monitor.highlight, plots=_plots(found, campaign))
    if html == STANDARD_OUTPUT:
        with to_reader():
            click.echo(text)
        return
    try:
        with replacing_alone(html) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write {html}: {error.strerror or error}", hint="name another file with --html"
        ) from error
