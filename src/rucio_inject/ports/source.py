"""Where files come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from rucio_inject.domain.checksum import Announced


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that a source offers.

    `name` is what the grammar reads, with whatever folders tell; `generated`: the file is made for
    the lake, so it may be removed after. `pfn`: the file is at an RSE already, and stays there;
    `path` is then no path of this machine. `announced` is what came with it about its content,
    `metadata` what else is known of it; `modified` is when it was written to last, and `size` its
    bytes now, None where nobody looked.
    """

    path: Path
    name: str
    generated: bool = False
    pfn: str | None = None
    announced: Announced | None = None
    metadata: Mapping[str, str | int] = field(default_factory=dict)
    modified: datetime | None = None
    size: int | None = None

    @property
    def where(self) -> str:
        """Where it lies: a path, or a PFN."""
        return self.pfn or str(self.path)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that a source sees and does not offer, and why; `later`: it will by itself."""

    where: str
    reason: str
    later: bool


class Source(Protocol):
    """Where files come from."""

    def files(self) -> Iterator[SourceFile | LeftOut]:
        """What there is to inject, cheaply: nothing is made or read yet.

        The same source asked again offers the same files under the same names. NothingToInject
        when there is none, UsageError when the place cannot be looked into. A source that grows
        may have nothing to offer yet.
        """
        ...

    def provide(self, path: Path) -> None:
        """Make sure that the bytes of an offered file are there; does nothing if they are."""
        ...
