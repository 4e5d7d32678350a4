"""`rucio-inject run`: a campaign, from its files to the proof of their end."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from rucio_inject.api import Injector
from rucio_inject.campaign.schema import Campaign
from rucio_inject.campaign.units import parse_duration
from rucio_inject.cli.exit_codes import ExitCode, of_outcome
from rucio_inject.cli.ledger_look import relocated
from rucio_inject.cli.options import sign_in_options, with_password
from rucio_inject.cli.progress import LiveProgress, NoProgress, PlainProgress, Progress, Skips
from rucio_inject.cli.summary import RunReport, as_json, as_text
from rucio_inject.clock import SystemClock
from rucio_inject.domain.errors import InjectError, LedgerError, UsageError
from rucio_inject.domain.injection import FileState
from rucio_inject.factory import rucio_ports
from rucio_inject.ledger.seed_json import seed_ledger
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.outcome import Outcome
from rucio_inject.ports import Ledger
from rucio_inject.rucio.session import SignIn
from rucio_inject.steps.prepare import Lake
from rucio_inject.whole_files import write_durably


@dataclass(frozen=True, slots=True)
class Display:
    """How a run is shown."""

    progress: str
    json: bool
    quiet: bool


@click.command(epilog="Example: rucio-inject run --output out campaigns/magic.yaml")
@click.argument("file", metavar="CAMPAIGN", type=click.Path(path_type=Path, readable=False))
@click.option("--output", type=click.Path(path_type=Path), help="Folder for all that is made.")
@click.option("--lake", type=click.Path(path_type=Path), help="Use the embedded lake in a folder.")
@click.option("--new-cycle", is_flag=True, help="Begin another cycle if the last one has ended.")
@click.option(
    "--wait",
    default="0s",
    metavar="DURATION",
    help="How long to wait for another run of the campaign to end, as in 10m.",
)
@click.option("--json", "as_json_", is_flag=True, help="Print the end as one JSON object.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.option(
    "--progress",
    type=click.Choice(["auto", "plain", "none"]),
    default="auto",
    help="A live table on a terminal (auto), a line a milestone (plain), or none.",
)
@click.option("-v", "verbose", count=True, help="-vv shows where an error came from.")
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
    as_json_: bool,
    quiet: bool,
    progress: str,
    verbose: int,  # noqa: ARG001 -- the error's teller looks at the arguments itself
    sign_in: SignIn,
) -> None:
    """Run CAMPAIGN, or go on with it where it stopped.

    The same command can be given again at any time: what is done is not done again. Ctrl-C stops
    safely, a second Ctrl-C at once.
    """
    campaign = relocated(file, output)
    if new_cycle:
        _refuse_new_cycle(campaign)
    sign_in = with_password(sign_in.for_account(campaign.account))
    campaign = campaign.model_copy(update={"account": sign_in.account})
    if lake is not None:
        _enter_lake(lake, sign_in.account)
    display = Display(progress, as_json_, quiet)
    ctx.exit(_run(campaign, sign_in, display, new_cycle=new_cycle, wait=_seconds(wait)))


def _seconds(text: str) -> int:
    try:
        return int(str(parse_duration(text)))
    except ValueError as error:
        raise UsageError(f"--wait {text}: {error}", hint="write it as in 90s, 10m or 2h") from None


def _refuse_new_cycle(campaign: Campaign) -> None:
    kind = campaign.source.kind
    if kind != "mock":
        raise UsageError(
            f"--new-cycle is for mock files, and the source of {campaign.campaign} is a {kind}",
            hint="leave --new-cycle out: a run takes up whatever is new in the source",
        )


def _enter_lake(folder: Path, account: str | None) -> None:
    """Point this process at an embedded lake, as `eval "$(rucio-inject lake env)"` would."""
    # Late: a run on a production Rucio needs no server side.
    from rucio_inject.cli.lake import open_lake  # noqa: PLC0415

    os.environ.update(open_lake(folder).environment(account))


def _run(
    campaign: Campaign, sign_in: SignIn, display: Display, *, new_cycle: bool, wait: int
) -> ExitCode:
    clock = SystemClock()
    start = clock.monotonic()
    place, name = campaign.ledger_place, campaign.campaign
    with _stoppable(clock), SqlLedger(place, name, clock=clock, wait=wait) as ledger:
        ports = rucio_ports(sign_in, clock, analyse=campaign.access.analyse)
        progress = _progress(campaign, ledger, clock, display)
        skips = Skips()
        injector = Injector(campaign, ports, ledger, [progress, skips], new_cycle=new_cycle)
        lake = injector.prepare()
        if not (display.quiet or display.json):
            click.echo("\n".join(_greeting(campaign, lake)))
        try:
            with progress:
                outcome = injector.run(lake)
        finally:
            _tell_counting(injector)
            _write_seed(campaign, ledger)
            figure = _figure(injector, lake, quiet=display.quiet)
        code = of_outcome(outcome)
        report = RunReport(
            campaign=campaign.campaign,
            lake=lake,
            outcome=outcome,
            rules=ledger.rules(),
            seconds=clock.monotonic() - start,
            code=code,
            paths=_paths(campaign, injector, outcome, figure),
            skips=skips.reasons,
            cycles=campaign.source.kind == "mock",
        )
    if display.json:
        click.echo(json.dumps(as_json(report), indent=2))
    elif not display.quiet or code is not ExitCode.DONE:
        click.echo("\n".join(as_text(report)))
    return code


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
        paths["as in 2020"] = campaign.seed_ledger_path.absolute()
    if figure is not None:
        paths["figure 1"] = figure
    for path in outcome.analysis.paths if outcome.analysis else ():
        paths["physics plot" if path.suffix == ".png" else "its numbers"] = path
    return paths


def _write_seed(campaign: Campaign, ledger: SqlLedger) -> None:
    """The ledger in the shape of 2020, for those who read that."""
    path = campaign.seed_ledger_path
    if path is None:
        return
    seed = seed_ledger(ledger.files(), ledger.rules())
    try:
        write_durably(path, json.dumps(seed, indent=1).encode())
    except OSError as error:
        raise LedgerError(
            f"cannot write {path}: {error.strerror}",
            hint="all is on record in the ledger itself; mend that and run the same command again",
        ) from error


def _tell_counting(injector: Injector) -> None:
    """Say, even when quiet, that the counts in time end early; figure 1 shows what there is."""
    failure = injector.counting_failure
    if failure is None:
        return
    reason = repr(failure)
    if isinstance(failure, OSError):
        reason = f"{injector.folders.series} cannot be written: {failure.strerror or failure}"
    click.echo(f"counting of files and bytes stopped: {reason}", err=True)


def _figure(injector: Injector, lake: Lake, *, quiet: bool) -> Path | None:
    """Figure 1, where the extra for drawing is installed. What cannot be drawn is told, and takes
    nothing away from how the run ended."""
    if find_spec("matplotlib") is None:
        return None
    try:
        return injector.draw_figure_1(lake)
    except InjectError as error:
        reason = f"{error.message} ({error.hint})"
    except OSError as error:
        reason = str(error)
    if not quiet:
        click.echo(f"figure 1 is not drawn: {reason}", err=True)
    return None


def _progress(campaign: Campaign, ledger: Ledger, clock: SystemClock, display: Display) -> Progress:
    if display.quiet or display.progress == "none":
        return NoProgress()
    console = Console(stderr=True)
    if display.progress == "plain" or not console.is_terminal:
        return PlainProgress(console, ledger, clock)
    goal = FileState.GONE if campaign.end else FileState.VERIFIED
    return LiveProgress(console, ledger, clock, title=campaign.campaign, goal=goal)


@contextmanager
def _stoppable(clock: SystemClock) -> Iterator[None]:
    """Ctrl-C and SIGTERM stop safely; a second Ctrl-C does at once."""

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- a signal handler's
        clock.stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.write(2, b"\nstopping safely; Ctrl-C again stops at once\n")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
