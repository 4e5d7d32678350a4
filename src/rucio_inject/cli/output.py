"""Standard output: lines that fit a terminal, readers who go away, and moments."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

READER_GONE = 141
"""The exit code that a shell reports for a program that SIGPIPE ended."""

_GAP = re.compile(r" {2,}")


@contextmanager
def to_reader() -> Iterator[None]:
    """Write to standard output; a reader who goes away ends the command without a complaint."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered goes nowhere, so that Python does not fail on it at its end.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        sys.exit(READER_GONE)


def fitted(lines: Iterable[str]) -> list[str]:
    """Lines, those that are longer than a terminal is wide broken below the text of their last
    column. Elsewhere they stay whole, for grep."""
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


def moment(at: datetime) -> str:
    """A moment for programs: ISO 8601 in UTC, exact."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def shown(at: datetime) -> str:
    """A moment for people: ISO 8601 in UTC, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
