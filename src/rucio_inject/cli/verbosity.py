"""The option -v, which all commands share: given twice, errors are shown with their traceback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass
class Verbosity:
    """How often -v was given, in whatever way: as -vv, or as -v -v."""

    count: int = 0

    @property
    def traces(self) -> bool:
        """Whether it is to be told where an error came from."""
        return self.count > 1


def verbose_option(command: Command) -> Command:
    """Add -v, which is kept beside the command's arguments: see `shows_traces`."""
    option = click.option(
        "-v",
        "verbose",
        count=True,
        expose_value=False,
        callback=_noted,
        help="-vv shows where an error came from.",
    )
    return option(command)


def _noted(ctx: click.Context, parameter: click.Parameter, count: int) -> None:  # noqa: ARG001
    ctx.ensure_object(Verbosity).count = count


def shows_traces(ctx: click.Context) -> bool:
    """Whether the command that runs was given -vv."""
    return ctx.ensure_object(Verbosity).traces
