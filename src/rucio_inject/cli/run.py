"""`rucio-inject run`: a campaign, from its files to the proof of their end."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import click

from rucio_inject.api import Injector
from rucio_inject.campaign.origins import GrowingSource, RseSource
from rucio_inject.campaign.own_folder import refuse_folder_of_another
from rucio_inject.campaign.schema import Campaign
from rucio_inject.campaign.units import parse_duration
from rucio_inject.cli.exit_codes import ExitCode, of_outcome
from rucio_inject.cli.kept import keep, keep_of_broken
from rucio_inject.cli.ledger_look import campaign_argument, relocated
from rucio_inject.cli.main import tell
from rucio_inject.cli.news import News
from rucio_inject.cli.options import enter_lake, lake_option, sign_in_options, with_password
from rucio_inject.cli.output import legible, to_nowhere
from rucio_inject.cli.output_files import refuse_ledger
from rucio_inject.cli.own_ledger import own_ledger
from rucio_inject.cli.progress import (
    LiveProgress,
    NoProgress,
    PatientConsole,
    PlainProgress,
    Progress,
)
from rucio_inject.cli.stopping import stoppable
from rucio_inject.cli.summary import RunReport, as_errors, as_json, as_text
from rucio_inject.cli.surroundings import Surroundings, Ties, surrounded, told_if_refused
from rucio_inject.cli.verbosity import verbose_option
from rucio_inject.clock import SystemClock
from rucio_inject.domain.errors import (
    CatalogueUnavailable,
    DiskFull,
    Interrupted,
    StorageUnavailable,
    UsageError,
)
from rucio_inject.domain.injection import FileState
from rucio_inject.factory import Ports, rucio_ports
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.monitor.series import Listings
from rucio_inject.outcome import Outcome
from rucio_inject.ports import Bell, Clock, FactSink, Ledger
from rucio_inject.rucio.session import SignIn
from rucio_inject.steps.looks import Looks
from rucio_inject.steps.prepare import Lake
from rucio_inject.terms import frees_sources


@dataclass(frozen=True, slots=True)
class Display:
    """How a run is shown."""

    progress: str
    json: bool
    quiet: bool


@dataclass(frozen=True, slots=True)
class Job:
    """A campaign to be run on a lake, under a ledger that is held, and what is around it."""

    campaign: Campaign
    ports: Ports
    ledger: SqlLedger
    around: Surroundings
    display: Display
    looks: Looks
    listings: Listings = field(default_factory=Listings)


@click.command(epilog="Example: rucio-inject run --output out campaigns/magic.yaml")
@campaign_argument
@click.option("--output", type=click.Path(path_type=Path), help="Folder for all that is made.")
@lake_option
@click.option("--new-cycle", is_flag=True, help="Begin another cycle if the last one has ended.")
@click.option(
    "--wait",
    default="0s",
    metavar="DURATION",
    help="How long to wait for another run of the campaign to end, as in 10m.",
)
@click.option(
    "--watch",
    is_flag=True,
    help="Go on looking for new files, every source.every, until stopped (inbox and rse).",
)
@click.option(
    "-n", "--dry-run", "dry", is_flag=True, help="Tell what a run would do, and change nothing."
)
@click.option("--json", "as_json_", is_flag=True, help="Print the end as one JSON object.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.option(
    "--progress",
    type=click.Choice(["auto", "plain", "none"]),
    default="auto",
    help="A live table on a terminal (auto), a line a milestone (plain), or none.",
)
@click.option("--facts-fd", type=click.IntRange(min=3), hidden=True)
@click.option("--bell-fd", type=click.IntRange(min=3), hidden=True)
@verbose_option
@sign_in_options
@click.pass_context
def run(
    ctx: click.Context,
    *,
    file: Path,
    output: Path | None,
    lake: Path | None,
    new_cycle: bool,
    wait: str,
    watch: bool,
    dry: bool,
    as_json_: bool,
    quiet: bool,
    progress: str,
    facts_fd: int | None,
    bell_fd: int | None,
    sign_in: SignIn,
) -> None:
    """Run CAMPAIGN, or go on with it where it stopped.

    The same command can be given again at any time: what is done is not done again. Ctrl-C stops
    safely, a second Ctrl-C at once. With --dry-run nothing is changed, and the exit code is the one
    that a run would come to, as far as that can be foreseen.
    """
    campaign = relocated(file, output)
    if new_cycle:
        _refuse_new_cycle(campaign)
    if watch and not isinstance(campaign.source, GrowingSource):
        raise UsageError(
            f"--watch is for sources that grow, and that of {campaign.campaign} is a "
            f"{campaign.source.kind}",
            hint="leave --watch out, or let source.kind be inbox or rse",
        )
    # Before its ledger is made there.
    refuse_folder_of_another(campaign.output_folder, campaign.campaign)
    if campaign.seed_ledger_path is not None:
        refuse_ledger(campaign.seed_ledger_path, campaign, "seed_ledger")
    sign_in = with_password(sign_in.for_account(campaign.account))
    campaign = campaign.model_copy(update={"account": sign_in.account})
    enter_lake(lake, sign_in.account)
    if dry:
        # Late: a run does not pay for it.
        from rucio_inject.cli.dry_run import dry_run  # noqa: PLC0415

        ctx.exit(dry_run(campaign, sign_in, new_cycle=new_cycle, as_json_=as_json_, quiet=quiet))
    display = Display(progress, as_json_, quiet)
    seconds = _seconds(wait)
    if watch:
        ctx.exit(_watch(campaign, sign_in, display, wait=seconds))
    ties = Ties(facts_fd, bell_fd)
    ctx.exit(_run(campaign, sign_in, display, ties, new_cycle=new_cycle, wait=seconds))


def _seconds(text: str) -> int:
    try:
        return int(str(parse_duration(text)))
    except ValueError as error:
        raise UsageError(f"--wait: {error}") from None


def _refuse_new_cycle(campaign: Campaign) -> None:
    kind = campaign.source.kind
    if kind != "mock":
        raise UsageError(
            f"--new-cycle is for mock files, and the source of {campaign.campaign} is a {kind}",
            hint="leave --new-cycle out: a run takes up whatever is new in the source",
        )


def _run(
    campaign: Campaign,
    sign_in: SignIn,
    display: Display,
    ties: Ties,
    *,
    new_cycle: bool,
    wait: int,
) -> ExitCode:
    clock = SystemClock()
    with (
        stoppable(clock),
        told_if_refused(campaign, clock),
        own_ledger(campaign, clock, wait) as ledger,
        surrounded(campaign, ledger, clock, ties) as around,
    ):
        ports = _ports(campaign, sign_in, clock, around.bell)
        job = Job(campaign, ports, ledger, around, display, Looks(clock))
        report = _once(job, new_cycle=new_cycle, greet=True)
    _conclude(report, display)
    return report.code


def _ports(campaign: Campaign, sign_in: SignIn, clock: Clock, bell: Bell | None) -> Ports:
    analyse, renewing = campaign.access.analyse, campaign.sign_in
    return rucio_ports(
        sign_in,
        clock,
        analyse=analyse,
        bell=bell,
        renewing=renewing,
        durable=frees_sources(campaign),
    )


def _watch(campaign: Campaign, sign_in: SignIn, display: Display, *, wait: int) -> ExitCode:
    """Run again and again, with a pause between, until somebody asks us to stop.

    Only what is new is told. What may pass is outlived: Rucio, a storage or room that is not there.
    Onlookers are told of each look's end, as people are of that of a run.
    """
    assert isinstance(campaign.source, GrowingSource)
    clock, greet = SystemClock(), True
    said: str | None = None
    with (
        stoppable(clock),
        told_if_refused(campaign, clock),
        own_ledger(campaign, clock, wait) as ledger,
        surrounded(campaign, ledger, clock, Ties()) as around,
    ):
        ports = _ports(campaign, sign_in, clock, around.bell)
        job = Job(campaign, ports, ledger, around, display, Looks(clock, go_on=True))
        while True:
            before = around.record.code
            try:
                report = _once(job, new_cycle=False, greet=greet)
            except (CatalogueUnavailable, StorageUnavailable, DiskFull) as error:
                if greet:
                    raise
                around.record.failed(error)
                if error.message != said:
                    tell(error)
                said = error.message
            else:
                said = None
                if report.outcome.changed or report.code is not before:
                    _conclude(report, display)
                if report.outcome.drain is not None:
                    return report.code
            around.look_ended(clock.now())
            if job.looks.tidies():
                around.tidy()
            greet = False
            try:
                clock.wait(campaign.source.every)
            except Interrupted:
                return around.record.code


def _once(job: Job, *, new_cycle: bool, greet: bool) -> RunReport:
    """Take the campaign's files as far as they go now."""
    campaign, ledger, display, clock = job.campaign, job.ledger, job.display, job.ports.clock
    start = clock.monotonic()
    progress, news = _progress(campaign, ledger, clock, display), News()
    onlookers: list[FactSink] = [progress, news, *job.around.onlookers]
    injector = Injector(
        campaign,
        job.ports,
        ledger,
        onlookers,
        new_cycle=new_cycle,
        looks=job.looks,
        listings=job.listings,
    )
    lake = injector.prepare()
    if greet and not (display.quiet or display.json):
        _say("\n".join(map(legible, _greeting(campaign, lake))))
    keep_it = partial(keep, campaign, ledger, injector, lake, quiet=display.quiet)
    try:
        with progress:
            outcome = injector.run(lake)
    except BaseException:  # also a second Ctrl-C: what was done until then is to be seen
        keep_of_broken(keep_it)
        raise
    figure = keep_it(changed=outcome.changed) if greet or outcome.changed else None
    job.around.record.came_out(outcome, of_outcome(outcome))
    return RunReport(
        campaign=campaign.campaign,
        lake=lake,
        outcome=outcome,
        # Nobody is told of them otherwise, and there may be thousands.
        rules=ledger.rules() if outcome.changed else (),
        seconds=clock.monotonic() - start,
        code=of_outcome(outcome),
        paths=_paths(campaign, injector, outcome, figure),
        skips=news.skips,
        cycles=campaign.source.kind == "mock",
        done=news.done,
        in_place=isinstance(campaign.source, RseSource),
        md5=not isinstance(campaign.source, RseSource) or campaign.source.read,
    )


def _conclude(report: RunReport, display: Display) -> None:
    """Tell how the run ended. Who asked for quiet is told what is wrong, as any error is."""
    if display.json:
        _say(json.dumps(as_json(report), indent=2))
    if display.quiet:
        for line in as_errors(report):
            click.echo(legible(line), err=True)
    elif not display.json:
        _say("\n".join(map(legible, as_text(report))))


def _say(text: str) -> None:
    """Write to standard output. If its reader has gone away, that is for nobody, and the run goes
    on: its exit code tells of the run, not of who listens."""
    try:
        click.echo(text)
    except BrokenPipeError:
        to_nowhere(sys.stdout)


def _greeting(campaign: Campaign, lake: Lake) -> Iterator[str]:
    """Whom Rucio takes us for, and what the campaign's words mean on this lake."""
    told = {key: text for key, text in lake.identity.details.items() if not key.endswith("_at")}
    yield f"whoami        {json.dumps(told, sort_keys=True)}"
    made = " (made)" if lake.scope_made else ""
    yield f"scope         {campaign.scope}{made}"
    for rse, attributes in campaign.rse_attributes.items():
        yield f"attributes    {rse}: {', '.join(f'{k}={v}' for k, v in attributes.items())}"
    yield f"path          {lake.upload_rse} → {', '.join(lake.rses)}"
    yield ""


def _paths(
    campaign: Campaign, injector: Injector, outcome: Outcome, figure: Path | None
) -> dict[str, Path]:
    paths = {"counts": injector.folders.series}
    if isinstance(campaign.ledger_place, Path):
        paths = {"ledger": campaign.ledger_place.absolute(), **paths}
    if campaign.seed_ledger_path is not None:
        paths["seed_ledger"] = campaign.seed_ledger_path.absolute()
    if figure is not None:
        paths["figure_1"] = figure
    for path in outcome.analysis.paths if outcome.analysis else ():
        paths["physics_plot" if path.suffix == ".png" else "physics_numbers"] = path
    return paths


def _progress(campaign: Campaign, ledger: Ledger, clock: Clock, display: Display) -> Progress:
    if display.quiet or display.progress == "none":
        return NoProgress()
    console = PatientConsole()
    if display.progress == "plain" or not console.is_terminal:
        return PlainProgress(console, ledger, clock)
    goal = FileState.GONE if campaign.end else FileState.VERIFIED
    return LiveProgress(console, ledger, clock, title=campaign.campaign, goal=goal)
