"""The options of commands that open the web page."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rucio_inject.domain.errors import UsageError

if TYPE_CHECKING:
    from rucio_inject.web.serving import Listening

Command = TypeVar("Command", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path, dir_okay=False)
_OPTIONS = {
    "host": click.option("--host", default="127.0.0.1", show_default=True, help="Address."),
    "port": click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=8080,
        show_default=True,
        help="Port; 0: any that is free.",
    ),
    "root_path": click.option(
        "--root-path", default="", metavar="PATH", help="Where a proxy shows the page: /inject."
    ),
    "proxy_header": click.option(
        "--proxy-header",
        metavar="NAME",
        help="Header in which the proxy in front tells who is signed in; needs --trust.",
    ),
    "trust": click.option(
        "--trust", multiple=True, metavar="ADDRESS", help="Address or network of that proxy."
    ),
    "certificate": click.option("--tls-certificate", "certificate", type=_FILE, help="For https."),
    "key": click.option("--tls-key", "key", type=_FILE, help="The certificate's key."),
    "token_file": click.option(
        "--token-file",
        type=_FILE,
        help="File with the token to sign in with (mode 0600); else one is made and printed.",
    ),
}


def web_options(command: Command) -> Command:
    """Add the options of the page; they reach the command as one `listening`."""

    def collected(**values: Any) -> Any:
        return command(
            listening=_listening({name: values.pop(name) for name in _OPTIONS}), **values
        )

    collected.__name__, collected.__doc__ = command.__name__, command.__doc__
    collected.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    for option in reversed(_OPTIONS.values()):
        option(collected)
    return collected  # type: ignore[return-value]


def _listening(values: dict[str, Any]) -> Listening:
    for package in ("fastapi", "jinja2", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise UsageError(
                f"the web page needs the Python package {package}, which is not installed",
                hint="pip install 'rucio-inject[web]'",
            )
    # Late, so that help comes at once.
    from rucio_inject.web.serving import Listening  # noqa: PLC0415

    return Listening(**values)
