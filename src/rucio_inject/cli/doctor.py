"""`rucio-inject doctor`: what a campaign needs, tried out, and what to do about what is bad."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from rucio_inject.campaign.schema import Campaign, RseSource
from rucio_inject.cli.exit_codes import ExitCode, of_error, worst
from rucio_inject.cli.ledger_look import relocated
from rucio_inject.cli.options import enter_lake, lake_option, sign_in_options, with_password
from rucio_inject.cli.output import legible, to_reader
from rucio_inject.cli.verbosity import verbose_option
from rucio_inject.clock import SystemClock
from rucio_inject.doctor.doctor import Doctor, Local, Needs, looked
from rucio_inject.doctor.findings import Finding, Verdict, bad
from rucio_inject.doctor.here import look_into, room, writable
from rucio_inject.doctor.probe import Probe
from rucio_inject.domain.errors import InjectError
from rucio_inject.factory import Folders, doctor_ports
from rucio_inject.ledger.engine import is_url, postgresql_database
from rucio_inject.rucio.session import SignIn
from rucio_inject.supply import make_source
from rucio_inject.terms import rule_requests

SCHEMA = 1
_COLOURS = {Verdict.GOOD: "green", Verdict.WARNING: "yellow", Verdict.BAD: "red"}
_WIDTH = 12


@click.command(epilog="Example: rucio-inject doctor campaigns/magic.yaml")
@click.argument(
    "file", metavar="[CAMPAIGN]", required=False, type=click.Path(path_type=Path, readable=False)
)
@click.option("--output", type=click.Path(path_type=Path), help="Folder for all that is made.")
@lake_option
@click.option("--json", "as_json_", is_flag=True, help="Print one JSON object.")
@click.option("-q", "--quiet", is_flag=True, help="Print only what is not good.")
@verbose_option
@sign_in_options
@click.pass_context
def doctor(
    ctx: click.Context,
    *,
    file: Path | None,
    output: Path | None,
    lake: Path | None,
    as_json_: bool,
    quiet: bool,
    sign_in: SignIn,
) -> None:
    """Try out what CAMPAIGN needs, or only the way to Rucio.

    Signs in; looks at versions, clocks, proxies and tokens, scope, quota and transfer services;
    writes, reads, checks and removes a small file at each RSE; and looks at the ledger, the disk
    and the source. What a doctor that was killed left is removed by the next one.
    Exit code 0 if nothing is bad.
    """
    campaign = relocated(file, output) if file is not None else None
    sign_in = with_password(sign_in.for_account(campaign.account if campaign else None))
    enter_lake(lake, sign_in.account)
    findings: list[Finding] = []
    with TemporaryDirectory(prefix="rucio-inject-doctor-") as work, to_reader():
        for finding in _examined(campaign, sign_in, Path(work)):
            findings.append(finding)
            if not as_json_ and not (quiet and finding.verdict is Verdict.GOOD):
                click.echo("\n".join(_lines(finding)))
        code = _code(findings)
        if as_json_:
            click.echo(json.dumps(_object(findings, code), indent=2))
    ctx.exit(code)


def _examined(campaign: Campaign | None, sign_in: SignIn, work: Path) -> Iterator[Finding]:
    clock = SystemClock()
    yield from map(looked, _local(campaign))
    try:
        renewing = campaign.sign_in if campaign else None
        health, catalogue, storage, routes = doctor_ports(sign_in, clock, renewing)
    except InjectError as error:
        yield bad("sign-in", sign_in.account or "", error)
        return
    needs, probe = None, None
    if campaign is not None:
        made_in = Folders(campaign.output_folder.absolute()).source
        source = make_source(campaign, made_in, 1, storage, clock)
        yield look_into(source, campaign.source.kind)
        in_place = isinstance(campaign.source, RseSource)
        expressions = {rule.rse_expression: rule.copies for rule in rule_requests(campaign)}
        needs = Needs(campaign.scope, campaign.upload.rse, expressions, in_place=in_place)
        scope = campaign.scope

        def probe(account: str) -> Probe:
            return Probe(routes, clock, scope, f"{account}@{socket.gethostname()}", work)

    yield from Doctor(health, catalogue, clock, sign_in.account, needs, probe).run()


def _local(campaign: Campaign | None) -> Iterator[Local]:
    """What is to be looked at on this machine."""
    if campaign is None:
        return
    output = campaign.output_folder.absolute()
    place = campaign.ledger_place
    if isinstance(place, Path):
        yield Local("ledger", str(place), partial(writable, place.absolute().parent))
    else:
        yield Local("ledger", "PostgreSQL", partial(_answers, place))
    yield Local("output", str(output), partial(writable, output))
    yield Local("disk", str(output), partial(room, output))


def _answers(place: str) -> str:
    """Open a transaction that may write, and end it. LedgerError if that cannot be."""
    assert is_url(place)
    database = postgresql_database(place)
    try:
        with database.writing():
            return f"{database.place} can be written to"
    finally:
        database.close()


def _code(findings: list[Finding]) -> ExitCode:
    """The worst of what is bad."""
    codes = [
        of_error(finding.error) if finding.error else ExitCode.ERROR
        for finding in findings
        if finding.verdict is Verdict.BAD
    ]
    return worst(ExitCode.DONE, *codes)


def _lines(finding: Finding) -> Iterator[str]:
    verdict = click.style(f"{finding.verdict:<8}", fg=_COLOURS.get(finding.verdict))
    subject = f"{finding.subject}: " if finding.subject else ""
    yield f"{verdict} {finding.check:<{_WIDTH}} {legible(subject + finding.told)}"
    if finding.hint and finding.verdict is not Verdict.GOOD:
        yield f"{'':<{_WIDTH + 10}}→ {legible(finding.hint)}"


def _object(findings: list[Finding], code: ExitCode) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "exit_code": int(code),
        "findings": [
            {
                "check": finding.check,
                "subject": finding.subject or None,
                "verdict": str(finding.verdict),
                "told": finding.told,
                "hint": finding.hint,
                "code": finding.error.code if finding.error else None,
            }
            for finding in findings
        ],
    }
