"""`rucio-inject names`: what the names in a list tell, and what Rucio would be told of them."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import click
from click.core import ParameterSource

from rucio_inject.campaign.load import load_campaign
from rucio_inject.cli.output import to_reader
from rucio_inject.domain.errors import NameRefused, UsageError
from rucio_inject.domain.names import (
    DEFAULT_CONTAINERS,
    DEFAULT_DATASET,
    DEFAULT_NAME,
    GENERIC_NAME,
    GRAMMARS,
    Grammar,
    check_templates,
    grammars,
    metadata,
    parse_name,
    place,
)

SCHEMA = 1
EXIT_SOME_REFUSED = 3
LINE_LENGTH = 4096  # the longest path that Linux takes
FEW_ZEROS = 3
SHOWN_LENGTH = 100  # of a line that is longer

_Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Reading:
    """How names are read: grammars, templates, and what the site takes in a DID name."""

    grammars: tuple[Grammar, ...]
    dataset: str
    containers: tuple[str, ...]
    name: str = DEFAULT_NAME
    allowed: re.Pattern[str] = GENERIC_NAME

    def understand(self, path: str) -> _Line:
        """What one name tells, as the keys that the command's help lists."""
        if len(path) > LINE_LENGTH:
            message = f"the line is longer than {LINE_LENGTH} characters"
            hint = "a list has one name a line; is this a data file itself?"
            return {
                "name": path[:SHOWN_LENGTH] + "…",
                "error": {"code": NameRefused.code, "message": message, "hint": hint},
            }
        try:
            name = parse_name(path, self.grammars)
            placement = place(name, self.dataset, self.containers, self.allowed, template=self.name)
        except NameRefused as refused:
            error = {"code": refused.code, "message": refused.message, "hint": refused.hint}
            return {"name": path, "error": error}
        return {
            "name": name.name,
            "fields": name.fields(),
            "did_name": placement.did_name,
            "dataset": placement.dataset,
            "containers": placement.containers,
            "metadata": metadata(name),
        }


@click.command()
@click.argument("lists", nargs=-1, required=True, metavar="FILE... | -")
@click.option(
    "--campaign",
    "campaign",
    type=click.Path(path_type=Path),
    metavar="CAMPAIGN",
    help="Campaign file: names are read as it says under naming, with its own grammars, templates "
    "and characters.",
)
@click.option(
    "--grammar",
    "keys",
    multiple=True,
    type=click.Choice(list(GRAMMARS)),
    help="Grammar that a name may be of; may be given again.  [default: all]",
)
@click.option(
    "--dataset",
    metavar="TEMPLATE",
    default=DEFAULT_DATASET,
    show_default=True,
    help="Template of the dataset's name.",
)
@click.option(
    "--container",
    "containers",
    metavar="TEMPLATE",
    multiple=True,
    default=DEFAULT_CONTAINERS,
    show_default=True,
    help="Template of a container's name, outermost first; may be given again.",
)
@click.pass_context
def names(
    ctx: click.Context,
    lists: tuple[str, ...],
    campaign: Path | None,
    keys: tuple[str, ...],
    dataset: str,
    containers: tuple[str, ...],
) -> None:
    """Show what file names tell: one JSON object a line.

    FILE is a text file with one name a line, with or without folders; `-` is standard input.
    Blank lines are passed over. Nothing is asked of Rucio, and the named files are not needed.

    Every object has schema (1), list, line (counted from 1) and name. A name that is understood
    also has fields, did_name (as Rucio's generic schema takes it, or one with the campaign's
    characters), dataset, containers (outermost first) and metadata; one that is not has error,
    with code, message and hint.

    Exit code: 0 if every name was understood, 3 if some were not, 141 if the reader of the output
    went away.
    """
    if campaign is not None:
        _refuse_beside_campaign(ctx)
        reading = _as_in(campaign)
    else:
        _check_templates(dataset, containers)
        reading = _Reading(grammars(keys or tuple(GRAMMARS)), dataset, containers)
    for path in lists:
        _check_list(path)
    with to_reader():
        refused = _write(reading, lists, sys.stdout)
    if refused:
        sys.exit(EXIT_SOME_REFUSED)


def _refuse_beside_campaign(ctx: click.Context) -> None:
    for name, option in (("keys", "grammar"), ("dataset", "dataset"), ("containers", "container")):
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise UsageError(
                f"--{option} and --campaign: the campaign says that",
                hint="leave one of the two out",
            )


def _as_in(campaign: Path) -> _Reading:
    """How a campaign reads names."""
    naming = load_campaign(campaign).naming
    return _Reading(
        naming.chosen(), naming.dataset, naming.containers, naming.name, naming.allowed()
    )


def _check_templates(dataset: str, containers: Sequence[str]) -> None:
    try:
        check_templates(dataset, containers)
    except ValueError as error:
        raise UsageError(
            str(error),
            hint="templates are text with fields in braces, as in {run}.{level}_{telescope}",
        ) from error


def _write(reading: _Reading, lists: Sequence[str], out: TextIO) -> int:
    """Write a line for every name; the number of those refused."""
    refused = 0
    for path in lists:
        for number, text in _lines(path):
            told = reading.understand(text)
            refused += "error" in told
            out.write(json.dumps({"schema": SCHEMA, "list": path, "line": number, **told}) + "\n")
            if path == "-":
                out.flush()  # somebody may be typing, or following a list that grows
    out.flush()
    return refused


def _check_list(path: str) -> None:
    """UsageError for a list that cannot be read, before anything is written."""
    if path == "-":
        return
    where = Path(path)
    if not where.exists():
        raise UsageError(
            f"list {path!r} is not there",
            hint="FILE is a text file with one name a line; for names themselves use: "
            f"echo {path} | rucio-inject names -",
        )
    if where.is_dir():
        raise UsageError(
            f"list {path!r} is a folder, not a text file with one name a line",
            hint=f"for the names of the files in it use: ls {path} | rucio-inject names -",
        )
    if not os.access(where, os.R_OK):
        raise UsageError(f"list {path!r} may not be read", hint="change its permissions")
    # Not of a pipe: what is read of it is gone.
    if where.is_file():
        with where.open("rb") as stream:
            _refuse_data(path, stream.read(LINE_LENGTH).count(0))


def _refuse_data(path: str, zeros: int) -> None:
    """UsageError for a data file where a list of names should be: its bytes would fill a terminal.
    `zeros` are the zero bytes in its beginning. Text has none, a list with a broken name few."""
    if zeros > FEW_ZEROS:
        raise UsageError(
            f"list {path!r} is no text: its beginning is full of zero bytes",
            hint="a list is text with one name a line; is this a data file itself?",
        )


def _lines(path: str) -> Iterator[tuple[int, str]]:
    """The lines of a list that are not blank, with their numbers, without their ends.

    Of a line that is too long only the beginning is kept, longer than LINE_LENGTH by one.
    """
    with _opened(path) as stream:
        number = 0
        while line := stream.readline(LINE_LENGTH + 1):
            number += 1
            rest = line
            while not rest.endswith("\n") and (rest := stream.readline(LINE_LENGTH)):
                pass
            if number == 1:
                _refuse_data(path, line.count("\0"))
            text = line.rstrip("\r\n")
            if text.strip():
                yield number, text


@contextmanager
def _opened(path: str) -> Iterator[TextIO]:
    """A list as text; bytes that are no UTF-8 are kept, and refused as part of a name."""
    if path == "-":
        stdin = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", errors="surrogateescape")
        try:
            yield stdin
        finally:
            stdin.detach()  # else standard input would be closed with the wrapper
        return
    try:
        with Path(path).open(encoding="utf-8-sig", errors="surrogateescape") as stream:
            yield stream
    except OSError as error:
        raise UsageError(
            f"list {path!r} cannot be read: {error.strerror}",
            hint="FILE is a text file with one name a line",
        ) from error
