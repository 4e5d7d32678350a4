"""The options of commands that open the web page."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rucio_inject.domain.errors import UsageError

if TYPE_CHECKING:
    from rucio_inject.web.serving import Listening

Command = TypeVar("Command", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path, dir_okay=False)
# By the fields of Listening: the option, and what click makes of it.
_OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "host": ("--host", {"default": "127.0.0.1", "show_default": True, "help": "Address."}),
    "port": (
        "--port",
        {
            "type": click.IntRange(0, 65535),
            "default": 8080,
            "show_default": True,
            "help": "Port; 0: any that is free.",
        },
    ),
    "root_path": (
        "--root-path",
        {"default": "", "metavar": "PATH", "help": "Where a proxy shows the page: /inject."},
    ),
    "proxy_header": (
        "--proxy-header",
        {
            "metavar": "NAME",
            "help": "Header in which the proxy in front tells who is signed in; needs --trust.",
        },
    ),
    "trust": (
        "--trust",
        {"multiple": True, "metavar": "ADDRESS", "help": "Address or network of that proxy."},
    ),
    "certificate": ("--tls-certificate", {"type": _FILE, "help": "For https."}),
    "key": ("--tls-key", {"type": _FILE, "help": "The certificate's key."}),
    "token_file": (
        "--token-file",
        {
            "type": _FILE,
            "help": "File with the token to sign in with (mode 0600); else one is made and "
            "printed.",
        },
    ),
}
# Where --host is Rucio's.
_PAGE_HOST = "--page-host"


def web_options(command: Command) -> Command:
    """Add the options of the page; they reach the command as one `listening`."""

    def collected(**values: Any) -> Any:
        return command(
            listening=_listening({name: values.pop(f"page_{name}") for name in _OPTIONS}), **values
        )

    return _with_options(command, collected, {})


def page_options(command: Command) -> Command:
    """Add them to a command that signs in to Rucio, and may do without the page; they reach it as
    `page`, which gives a Listening."""

    def collected(**values: Any) -> Any:
        chosen = {name: values.pop(f"page_{name}") for name in _OPTIONS}
        return command(page=partial(_listening, chosen), **values)

    return _with_options(command, collected, {"--host": _PAGE_HOST})


def _with_options(command: Command, collected: Any, renamed: Mapping[str, str]) -> Command:
    collected.__name__, collected.__doc__ = command.__name__, command.__doc__
    collected.__click_params__ = getattr(command, "__click_params__", [])
    for name, (flag, settings) in reversed(_OPTIONS.items()):
        click.option(renamed.get(flag, flag), f"page_{name}", **settings)(collected)
    return collected  # type: ignore[no-any-return]


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
