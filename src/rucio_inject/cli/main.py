"""The command `rucio-inject`."""

from __future__ import annotations

import atexit
import importlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from types import FrameType
from typing import Any

import click

from rucio_inject import __version__
from rucio_inject.cli.output import READER_GONE, legible, to_nowhere
from rucio_inject.cli.verbosity import Verbosity
from rucio_inject.domain.errors import CampaignInvalid, InjectError, Interrupted

SHOWN_PROBLEMS = 20
_STOPPED = "stopped at once; run the same command again to go on"
_INTERRUPTED = 130
# Loaded when they are asked for, so that help comes at once and needs no server and no extra.
_COMMANDS = {
    "audit": ("rucio_inject.cli.audit", "Compare the record with catalogue and storages."),
    "campaign": ("rucio_inject.cli.campaign", "Check a campaign file, or explain its keys."),
    "drain": ("rucio_inject.cli.drain", "Let runs take no new files, or take them again."),
    "doctor": ("rucio_inject.cli.doctor", "Try out what a campaign needs, and say what is bad."),
    "files": ("rucio_inject.cli.files", "Files on record: list, show, retry, forget."),
    "lake": ("rucio_inject.cli.lake", "A real Rucio and its storages, on this machine."),
    "ledger": ("rucio_inject.cli.ledger", "Export what is on record, or import a seed ledger."),
    "names": ("rucio_inject.cli.names", "Show what follows from file names."),
    "report": ("rucio_inject.cli.report", "Report on a campaign, as HTML or JSON."),
    "run": ("rucio_inject.cli.run", "Run a campaign, or go on with it."),
    "schedule": ("rucio_inject.cli.schedule", "When campaigns run; units for cron and others."),
    "serve": ("rucio_inject.cli.serve", "Run campaigns on their schedules, with a page."),
    "status": ("rucio_inject.cli.status", "Show how far campaigns have come."),
    "web": ("rucio_inject.cli.web", "Show campaigns on a web page, live."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The commands' names, sorted."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command; None if there is none of that name."""
        if cmd_name not in _COMMANDS:
            return None
        with _stopped_at_once():
            module = importlib.import_module(_COMMANDS[cmd_name][0])
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; of a name that is none, tell the nearest one."""
        near = get_close_matches(args[0], _COMMANDS, n=1)
        if args[0] not in _COMMANDS and near:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. A reader of the output who has gone away ends it without a complaint:
        click would end it with exit code 1, as if it had failed."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            to_nowhere(sys.stdout)
            to_nowhere(sys.stderr)
            sys.exit(READER_GONE)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in sorted(_COMMANDS.items())])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Inject telescope files into a Rucio data lake, and prove every step.

    To begin: rucio-inject lake start, then rucio-inject run --help.

    \b
    Exit codes: 0 done, 1 error, 2 usage or campaign file, 3 some files failed,
    4 a checksum did not match, 5 deadline or try again later, 6 sign-in,
    7 a rule is STUCK or SUSPENDED, 8 drained, 130 interrupted.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    given = sys.argv[1:] if arguments is None else arguments
    verbosity = Verbosity()
    _write_anything()
    # What has come to its end has nothing to stop: Ctrl-C while Python clears up changes no exit
    # code, and is no traceback.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    try:
        result: Any = cli.main(
            given, prog_name="rucio-inject", standalone_mode=False, obj=verbosity
        )
    except InjectError as error:
        # Late, so that help does not pay for it.
        from rucio_inject.cli.exit_codes import of_error  # noqa: PLC0415

        tell(error, verbose=verbosity.traces)
        sys.exit(of_error(error))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except OSError as error:
        # A full disk, or an output that is gone: nothing that a traceback would explain.
        tell(InjectError(f"the system says: {error}"), verbose=verbosity.traces)
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        click.echo(_STOPPED, err=True)
        sys.exit(_INTERRUPTED)
    sys.exit(result if isinstance(result, int) else 0)


@contextmanager
def _stopped_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process there and then, while nothing is begun yet. As an exception it can
    be lost here: Python ignores what is raised in the callbacks of its importer."""

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- a signal handler's
        os.write(2, f"\n{_STOPPED}\n".encode())
        os._exit(_INTERRUPTED)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _write_anything() -> None:
    """Let no letter that a terminal's encoding does not have end a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _told(text: str) -> str:
    """What is to be told, in lines of its own choice, but with nothing else that moves a cursor."""
    return "\n".join(map(legible, text.split("\n")))


def tell(error: InjectError, *, verbose: bool = False) -> None:
    """Say what went wrong, why, and what to do next, on standard error."""
    if verbose:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    # What was interrupted says so itself.
    label = "" if isinstance(error, Interrupted) else "error: "
    click.echo(click.style(label, fg="red", bold=True) + _told(error.message), err=True)
    if isinstance(error, CampaignInvalid):
        for line, where, reason in error.problems[:SHOWN_PROBLEMS]:
            click.echo(f"  line {line}: {where + ': ' if where else ''}{reason}", err=True)
        if (more := len(error.problems) - SHOWN_PROBLEMS) > 0:
            click.echo(f"  … and {more} more", err=True)
    if error.hint:
        click.echo(click.style("  → ", bold=True) + _told(error.hint), err=True)
