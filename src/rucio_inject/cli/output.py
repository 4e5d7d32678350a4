"""Standard output: lines that fit a terminal, and readers who go away."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rucio_inject.domain.errors import UsageError

READER_GONE = 141
"""The exit code that a shell reports for a program that SIGPIPE ended."""

_GAP = re.compile(r" {2,}")
# What click.style writes, and no other command to a terminal.
_STYLE = re.compile(r"(\x1b\[\d+m)")


@contextmanager
def to_reader() -> Iterator[None]:
    """Write to standard output; a reader who goes away ends the command without a complaint.

    UsageError if it is closed: what nobody can read would pass for done.
    """
    if sys.stdout is None:
        raise UsageError("standard output is closed", hint="send it to a file, or to /dev/null")
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        to_nowhere(sys.stdout)
        sys.exit(READER_GONE)


def to_nowhere(stream: TextIO) -> None:
    """Send what is still buffered, and all that comes, nowhere: its reader has gone away, and
    Python would fail on it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def legible(line: str) -> str:
    """A line with whatever is no letter in it escaped, but for our colours: names and reasons come
    from disks and servers, and may hold line ends, or commands to a terminal."""
    if line.isprintable():
        return line
    parts = _STYLE.split(line)
    return "".join(part if _STYLE.fullmatch(part) else _escaped(part) for part in parts)


def _escaped(text: str) -> str:
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def fitted(lines: Iterable[str]) -> list[str]:
    """Legible lines, those that are longer than a terminal is wide broken below the text of their
    last column. Elsewhere they stay whole, for grep."""
    lines = map(legible, lines)
    if not sys.stdout.isatty():
        return list(lines)
    width = shutil.get_terminal_size().columns
    return [part for line in lines for part in _broken(line, width)]


def _broken(line: str, width: int) -> list[str]:
    gaps = [gap.end() for gap in _GAP.finditer(line[: width // 2])]
    indent = " " * (gaps[-1] if gaps else 0)
    broken = textwrap.wrap(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return broken or [""]
