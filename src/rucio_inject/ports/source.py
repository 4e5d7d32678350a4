"""Where files come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that a source offers.

    `name` is what the grammar reads, with whatever folders tell; `generated`: the file is made for
    the lake, so it may be removed after.
    """

    path: Path
    name: str
    generated: bool = False


class Source(Protocol):
    """Where files come from."""

    def files(self) -> Iterator[SourceFile]:
        """What there is to inject, cheaply: nothing is made or read yet.

        The same source asked again offers the same files under the same names. NothingToInject
        when there is none, UsageError when the place cannot be looked into.
        """
        ...

    def provide(self, path: Path) -> None:
        """Make sure that the bytes of an offered file are there; does nothing if they are."""
        ...
