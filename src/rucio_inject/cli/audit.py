"""`rucio-inject audit`: what is on record against the catalogue and the storages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from rucio_inject.audit.audit import Audit
from rucio_inject.audit.findings import Finding, Kind, Repaired, Report
from rucio_inject.audit.world import Plan, World
from rucio_inject.campaign.schema import Campaign
from rucio_inject.cli.exit_codes import ExitCode
from rucio_inject.cli.ledger_look import campaign_argument, ledger_options, relocated
from rucio_inject.cli.options import enter_lake, lake_option, sign_in_options, with_password
from rucio_inject.cli.output import fitted, legible, to_reader
from rucio_inject.cli.progress import trouble
from rucio_inject.clock import SystemClock
from rucio_inject.domain.facts import Fact
from rucio_inject.factory import patient_ports, rucio_ports
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.ports import Catalogue, Ledger
from rucio_inject.rucio.session import SignIn
from rucio_inject.words.numbers import plural

SCHEMA = 1
SHOWN = 20
# How often a long audit says how far it is, in seconds.
PAUSE = 5.0
WORST = frozenset({Kind.LOST, Kind.CORRUPT, Kind.CONTENT})
PASSING = frozenset({Kind.AWAITED, Kind.UNSEEN})


@dataclass(frozen=True, slots=True)
class Audited:
    """The whole of an audit: what was found and, after `--fix`, what was done and what is left."""

    campaign: str
    cycle: int
    checksums: bool
    found: Report
    repaired: Sequence[Repaired] | None = None
    left: Report | None = None

    @property
    def code(self) -> ExitCode:
        """The exit code: by what is left, or by what was found."""
        return of_report(self.left or self.found)


@click.command(epilog="Example: rucio-inject audit campaigns/magic.yaml")
@campaign_argument
@ledger_options
@lake_option
@click.option("--fix", is_flag=True, help="Repair what can be repaired safely, after showing it.")
@click.option(
    "--checksums",
    is_flag=True,
    help="Read every replica and every real source, whole, and compare checksums; else sizes only.",
)
@click.option("--json", "as_json_", is_flag=True, help="Print one JSON object.")
@sign_in_options
@click.pass_context
def audit(
    ctx: click.Context,
    *,
    file: Path,
    output: Path | None,
    lake: Path | None,
    fix: bool,
    checksums: bool,
    as_json_: bool,
    sign_in: SignIn,
) -> None:
    """Compare the ledger of CAMPAIGN with the catalogue and the storages.

    Names lost, corrupt, missing, half-declared and dark files, and datasets, rules and sources that
    are not as they should be. Without --fix it only reads, and may be used beside a run.

    \b
    Exit codes: 0 all is as it should be; 4 lost, corrupt or other content;
    3 other findings; 5 only what Rucio is bringing, files that wait, or a
    storage that did not answer. After --fix by what is left.
    """
    campaign = relocated(file, output)
    sign_in = with_password(sign_in.for_account(campaign.account))
    enter_lake(lake, sign_in.account)
    clock = SystemClock()
    place = campaign.ledger_place
    name = campaign.campaign
    if fix:
        _must_be_there(place, name, clock)
    # Whoever repairs must be alone.
    with SqlLedger(place, name, clock=clock, reading=not fix) as ledger:
        world = _world(campaign, sign_in, ledger, clock)
        plan = _plan(campaign, world.catalogue, checksums=checksums)
        tell = _teller(clock)
        done = run_audit(world, plan, tell, campaign=name, fix=fix, show=not as_json_)
    with to_reader():
        if as_json_:
            click.echo(json.dumps(as_json(done)))
        else:
            click.echo("\n".join(fitted(conclusion(done))))
    ctx.exit(done.code)


def _must_be_there(place: str | Path, name: str, clock: SystemClock) -> None:
    """LedgerError if there is no such ledger: opened for writing, it would be made."""
    with SqlLedger(place, name, clock=clock, reading=True):
        return


def run_audit(
    world: World, plan: Plan, tell: Callable[[str], None], *, campaign: str, fix: bool, show: bool
) -> Audited:
    """Look, show what was found if asked to, repair, and look again."""
    audit_ = Audit(world, plan, tell)
    cycle, checksums = world.ledger.cycle, plan.checksums
    found = audit_.look()
    if show:
        with to_reader():
            click.echo("\n".join(fitted(as_text(found, f"{campaign}, cycle {cycle}"))))
    if not fix:
        return Audited(campaign, cycle, checksums, found)
    repaired = list(audit_.fix(found))
    return Audited(campaign, cycle, checksums, found, repaired, audit_.look())


def _world(campaign: Campaign, sign_in: SignIn, ledger: Ledger, clock: SystemClock) -> World:
    names, renewing = campaign.naming.allowed(), campaign.sign_in
    ports = rucio_ports(sign_in, clock, analyse=False, renewing=renewing, names=names)
    ports = patient_ports(ports, campaign, _mention)
    return World(ledger, ports.catalogue, ports.storage, clock)


def _plan(campaign: Campaign, catalogue: Catalogue, *, checksums: bool) -> Plan:
    # Whoever repairs may have other rights than the account whose rules these are.
    account = campaign.account or catalogue.whoami().account
    return Plan(
        scope=campaign.scope,
        account=account,
        upload_rse=campaign.upload.rse,
        workers=campaign.access.workers,
        checksums=checksums,
        closes=campaign.naming.closing is not None,
    )


def _mention(fact: Fact) -> None:
    if line := trouble(fact):
        click.echo(legible(line), err=True)


def _teller(clock: SystemClock) -> Callable[[str], None]:
    """Lines on standard error, when an audit takes its time."""
    told_at = clock.monotonic()

    def tell(line: str) -> None:
        nonlocal told_at
        if clock.monotonic() - told_at >= PAUSE:
            told_at = clock.monotonic()
            click.echo(line, err=True)

    return tell


def of_report(report: Report) -> ExitCode:
    """The exit code that findings ask for: the worst of them."""
    kinds = set(report.counts)
    if kinds & WORST:
        return ExitCode.CHECKSUM
    if kinds - PASSING:
        return ExitCode.FILES_FAILED
    return ExitCode.LATER if kinds or report.looked.waiting else ExitCode.DONE


def as_text(report: Report, title: str) -> Iterator[str]:
    """What was found, by kind."""
    looked = report.looked
    yield (
        f"{title}: {plural(report.counts.total(), 'finding')} in "
        f"{plural(looked.files, 'file')} and {plural(looked.replicas, 'replica')}"
    )
    for kind in Kind:
        if not report.counts[kind]:
            continue
        yield ""
        yield f"{kind} ({report.counts[kind]})"
        for finding in report.kept[kind][:SHOWN]:
            yield from _finding_lines(finding)
        if (more := report.counts[kind] - SHOWN) > 0:
            yield f"  … and {more} more"
    if looked.not_listed:
        yield ""
        yield f"not listed, so dark files go unseen: {', '.join(looked.not_listed)}"


def _finding_lines(finding: Finding) -> Iterator[str]:
    where = f" at {finding.rse}" if finding.rse and finding.subject != finding.rse else ""
    yield f"  {finding.subject}{where}"
    yield f"      there: {finding.there}; should be: {finding.expected}"
    yield f"      {finding.evidence}"
    todo = f"--fix: {finding.repair}" if finding.repair else finding.hint
    if todo:
        yield f"      → {todo}"


def conclusion(done: Audited) -> Iterator[str]:
    """What was repaired and what is left; or what to do next."""
    if done.repaired is None or done.left is None:
        repairable = sum(map(len, done.found.repairable().values()))
        yield ""
        if repairable:
            yield f"{plural(repairable, 'finding')} can be repaired safely: give --fix"
        elif done.found.counts:
            yield "nothing of it can be repaired here: see the hints"
        elif not done.found.looked.waiting:
            yield "all is as it should be" + ("" if done.checksums else " (sizes, no checksums)")
        yield from _not_finished(done.found)
        return
    made = [repaired for repaired in done.repaired if repaired.error is None]
    yield ""
    yield f"{plural(len(made), 'repair')} made, {len(done.repaired) - len(made)} not"
    for repaired in [r for r in done.repaired if r.error is not None][:SHOWN]:
        finding = repaired.finding
        where = f" at {finding.rse}" if finding.rse else ""
        yield f"  not made: {finding.repair}: {finding.subject}{where}"
        yield f"      {repaired.error}"
    yield ""
    yield from as_text(done.left, "left")
    yield from _not_finished(done.left)


def _not_finished(report: Report) -> Iterator[str]:
    """Files that the campaign is not through with, though nothing need be wrong with them."""
    waiting, aside = report.looked.waiting, report.looked.set_aside
    if waiting:
        verb = "waits" if waiting == 1 else "wait"
        yield f"not finished: {plural(waiting, 'file')} {verb}: run the campaign again"
    if aside:
        yield f"{plural(aside, 'file')} set aside: rucio-inject status tells why"


def as_json(done: Audited) -> dict[str, Any]:
    """The audit as one object; its shape is versioned by `schema`."""
    repaired = None if done.repaired is None else [_repaired(r) for r in done.repaired]
    return {
        "schema": SCHEMA,
        "campaign": done.campaign,
        "cycle": done.cycle,
        "checksums": done.checksums,
        "code": int(done.code),
        "found": _report(done.found),
        "repaired": repaired,
        "left": done.left and _report(done.left),
    }


def _report(report: Report) -> Mapping[str, Any]:
    return {
        "files": report.looked.files,
        "replicas": report.looked.replicas,
        "not_listed": list(report.looked.not_listed),
        "waiting": report.looked.waiting,
        "set_aside": report.looked.set_aside,
        "counts": {str(kind): report.counts[kind] for kind in Kind if report.counts[kind]},
        "findings": [_finding(f) for kind in Kind for f in report.kept.get(kind, ())],
    }


def _finding(finding: Finding) -> Mapping[str, Any]:
    return {
        "kind": str(finding.kind),
        "did": finding.did and str(finding.did),
        "rule": finding.rule_id,
        "rse": finding.rse,
        "pfn": finding.pfn,
        "parent": finding.parent and str(finding.parent),
        "there": finding.there,
        "expected": finding.expected,
        "evidence": finding.evidence,
        "repair": finding.repair and str(finding.repair),
        "hint": finding.hint,
    }


def _repaired(repaired: Repaired) -> Mapping[str, Any]:
    finding = repaired.finding
    return {
        "kind": str(finding.kind),
        "subject": finding.subject,
        "rse": finding.rse,
        "repair": str(finding.repair),
        "made": repaired.error is None,
        "error": repaired.error,
    }
