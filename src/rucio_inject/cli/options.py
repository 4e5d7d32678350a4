"""Options that several commands share; those for signing in are the official `rucio` command's."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from rucio_inject.rucio.session import SignIn

Command = TypeVar("Command", bound=Callable[..., Any])

STRATEGIES = ("userpass", "x509", "x509_proxy", "gss", "ssh", "oidc")

# The official command reads none; this one is named as its others are, and counts with --user only.
PASSWORD = "RUCIO_PASSWORD"  # noqa: S105 -- a variable's name

_SIGN_IN = (
    click.option("--account", "--issuer", "account", help="Rucio account to use."),
    click.option("-S", "--auth-strategy", type=click.Choice(STRATEGIES), help="How to sign in."),
    click.option("--auth-host", metavar="URL", help="Rucio's authentication server."),
    click.option("-H", "--host", "--hostname", "host", metavar="URL", help="Rucio's server."),
    click.option("--config", metavar="FILE", envvar="RUCIO_CONFIG", help="The rucio.cfg to use."),
    click.option("--vo", help="Virtual organisation, where a server has several."),
    click.option("-u", "--user", help="User name, for userpass."),
    click.option(
        "--password",
        help=f"Password of --user; others see it in `ps`. Else ${PASSWORD}, a question on a "
        "terminal, or rucio.cfg (mode 0600).",
    ),
    click.option("--certificate", metavar="FILE", help="Certificate or proxy, for x509."),
    click.option("--client-key", metavar="FILE", help="Key of the certificate, for x509."),
    click.option("--ca-certificate", metavar="PATH", help="CA to verify the server against."),
    click.option("--oidc-audience", help="Audience of the token asked for."),
    click.option("--oidc-issuer", help="Identity provider, by its key on the server."),
    click.option("--oidc-polling", is_flag=True, help="Poll for the token; no code to type."),
    click.option("--oidc-refresh-lifetime", help="Hours for which the server renews the token."),
    click.option("--oidc-scope", help="OIDC scope; the default is 'openid profile'."),
    click.option("-T", "--timeout", type=click.FloatRange(min=1), help="Seconds a call may take."),
)


lake_option = click.option(
    "--lake", type=click.Path(path_type=Path), help="Use the embedded lake in a folder."
)


def enter_lake(folder: Path | None, account: str | None) -> None:
    """Point this process at the embedded lake of --lake, if it was given, as
    `eval "$(rucio-inject lake env)"` would."""
    if folder is not None:
        # Late: a production Rucio needs no server side.
        from rucio_inject.cli.lake import open_lake  # noqa: PLC0415

        os.environ.update(open_lake(folder).environment(account))


def with_password(sign_in: SignIn) -> SignIn:
    """The same, with the password that --user needs: from the environment, or from who sits there.

    No answer means the password of rucio.cfg. click.Abort when the input ends.
    """
    strategy = sign_in.auth_strategy or os.environ.get("RUCIO_AUTH_TYPE", "userpass").lower()
    if not sign_in.user or sign_in.password or strategy != "userpass":
        return sign_in
    password = os.environ.get(PASSWORD)
    if not password and sys.stdin.isatty() and sys.stderr.isatty():
        question = f"Password of {sign_in.user} (Enter: the one in rucio.cfg)"
        password = click.prompt(question, default="", hide_input=True, show_default=False, err=True)
    return replace(sign_in, password=password or None)


def sign_in_options(command: Command) -> Command:
    """Add the options for signing in; they reach the command as one `sign_in`."""

    def collected(**values: Any) -> Any:
        chosen = {name: values.pop(name) for name in SignIn.__dataclass_fields__}
        return command(sign_in=SignIn(**chosen), **values)

    collected.__name__, collected.__doc__ = command.__name__, command.__doc__
    collected.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    for option in reversed(_SIGN_IN):
        option(collected)
    return collected  # type: ignore[return-value]
