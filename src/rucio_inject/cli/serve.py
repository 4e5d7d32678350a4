"""`rucio-inject serve`: campaigns by the clock, with a page and metrics."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from rucio_inject.campaign.schema import Campaign
from rucio_inject.campaign.service_keys import place_parts
from rucio_inject.cli.exit_codes import ExitCode
from rucio_inject.cli.ledger_look import campaigns_argument, relocated
from rucio_inject.cli.options import PASSWORD, lake_option, sign_in_options, with_password
from rucio_inject.cli.output import legible
from rucio_inject.cli.verbosity import verbose_option
from rucio_inject.cli.web_options import page_options
from rucio_inject.clock import PipeBell, SystemClock
from rucio_inject.domain.errors import UsageError
from rucio_inject.domain.facts import Fact
from rucio_inject.rucio.session import SignIn
from rucio_inject.words.numbers import plural

if TYPE_CHECKING:
    from rucio_inject.service.service import Service
    from rucio_inject.service.worker import ProcessWorker
    from rucio_inject.web.serving import Listening

# Those that `run` has under another name, or that are no text.
_NAMES = {"account": "--account", "host": "--host"}


@click.command(epilog="Example: rucio-inject serve campaigns/functional-test.yaml --port 8080")
@campaigns_argument
@click.option("--output", type=click.Path(path_type=Path), help="Folder for all that is made.")
@lake_option
@click.option(
    "--at-once",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="How many campaigns may run at the same time.",
)
@click.option("--no-web", is_flag=True, help="No page, no /health, no /metrics.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@verbose_option
@page_options
@sign_in_options
@click.pass_context
def serve(
    ctx: click.Context,
    *,
    campaign_files: tuple[Path, ...],
    output: Path | None,
    lake: Path | None,
    at_once: int,
    no_web: bool,
    quiet: bool,
    page: Callable[[], Listening],
    sign_in: SignIn,
) -> None:
    """Run CAMPAIGNs on their `schedule:`, one run of each at a time, until SIGTERM or Ctrl-C.

    Each run is a process of its own, as `rucio-inject run` would be. What goes wrong with one
    campaign ends neither the service nor the others. The first signal lets what goes on come to a
    safe stop, a second one ends it at once; in either case the next start goes on with it.

    Exit code 0 if all came to a safe stop, 130 if runs had to be killed.
    """
    _refuse_without_extra()
    if output is not None and len(campaign_files) > 1:
        raise UsageError(
            "several campaigns cannot share one output folder",
            hint="leave --output out, and name output: in each campaign",
        )
    # Late, so that help needs no extra.
    from rucio_inject.service.service import Service  # noqa: PLC0415

    clock = SystemClock()
    sign_in = with_password(sign_in)
    service = Service(
        campaign_files,
        partial(relocated, output=output),
        partial(_hire, Command(output, lake, sign_in)),
        clock,
        at_once=at_once,
        complain=_complain,
    ).start()
    with ExitStack() as around:
        bell = PipeBell()
        around.callback(bell.close)
        around.enter_context(_stopped_by_signals(service, bell))
        _surround(service, around)
        if not no_web:
            _open_page(service, page(), clock, around, quiet=quiet)
        if not quiet:
            _greet(service)
        killed = service.run(bell)
    if killed:
        _complain(f"{plural(killed, 'run')} ended at once; the next start goes on with them")
        ctx.exit(ExitCode.INTERRUPTED)
    if not quiet:
        click.echo("all runs have come to a safe stop")


@dataclass(frozen=True, slots=True)
class Command:
    """What the runs of a service have in common."""

    output: Path | None
    lake: Path | None
    sign_in: SignIn

    def line(self, file: Path, campaign: Campaign) -> list[str]:
        """The command that runs a campaign; no password is in it, as others see it in `ps`."""
        # -P: a service may be begun in a folder where anybody's modules lie.
        line = [sys.executable, "-P", "-m", "rucio_inject", "run", str(file), "--quiet"]
        if self.output is not None:
            line += ["--output", str(self.output)]
        if self.lake is not None:
            line += ["--lake", str(self.lake)]
        if campaign.source.kind == "mock":
            line.append("--new-cycle")
        for option in fields(SignIn):
            given = getattr(self.sign_in, option.name)
            name = _NAMES.get(option.name, "--" + option.name.replace("_", "-"))
            if option.name == "password" or given is None or given is False:
                continue
            line += [name] if given is True else [name, str(given)]
        return line

    def environment(self) -> dict[str, str]:
        """The environment of a run."""
        if self.sign_in.password is None:
            return dict(os.environ)
        return {**os.environ, PASSWORD: self.sign_in.password}


def _hire(
    command: Command, file: Path, campaign: Campaign, told: Callable[[Sequence[Fact]], None]
) -> ProcessWorker:
    from rucio_inject.service.worker import ProcessWorker  # noqa: PLC0415

    return ProcessWorker(command.line(file, campaign), command.environment(), told)


def _surround(service: Service, around: ExitStack) -> None:
    """Who tells people, and who listens for Rucio's events."""
    from rucio_inject.service.events import EventServer  # noqa: PLC0415

    around.callback(service.close)
    places = {post.campaign.push.listen for post in service.posts if post.campaign.push}
    for place in sorted(places):
        around.enter_context(EventServer(place_parts(place), service.heard))


def _open_page(
    service: Service, listening: Listening, clock: SystemClock, around: ExitStack, *, quiet: bool
) -> None:
    from rucio_inject.web.serving import PageServer  # noqa: PLC0415

    page = around.enter_context(PageServer(service, listening, clock))
    if not quiet:
        click.echo(f"page          {page.sign_in_url or page.url}")
        click.echo(f"metrics       {page.url}metrics")


def _greet(service: Service) -> None:
    for posted in service.campaigns():
        click.echo(legible(f"campaign      {posted.name}: {posted.schedule}"))
    sys.stdout.flush()


@contextmanager
def _stopped_by_signals(service: Service, bell: PipeBell) -> Iterator[None]:
    """SIGTERM and Ctrl-C drain; again, they end what goes on at once."""

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- a signal handler's
        service.ask_to_stop()
        bell.ring()
        os.write(2, b"draining; once more ends what goes on at once\n")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _refuse_without_extra() -> None:
    missing = [name for name in ("apscheduler", "prometheus_client") if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"serve needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} "
            "not installed",
            hint="pip install 'rucio-inject[service,web]'",
        )


def _complain(text: str) -> None:
    click.echo(legible(text), err=True)
    sys.stderr.flush()
