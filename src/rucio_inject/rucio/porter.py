"""A process that brings small files to folders of this machine, as it is told on its standard
input; what came of them goes to its standard output.

It ends when nobody is left who could tell it more. `porters` has the other side.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from rucio_inject.domain.errors import InjectError
from rucio_inject.measuring import source_stat
from rucio_inject.ports import Arrived
from rucio_inject.rucio.posix import PosixAccess
from rucio_inject.rucio.uploading import Halves


@dataclass(frozen=True, slots=True)
class Load:
    """A file to be brought: `path` is where it lies when it is whole, and `partial` the PFN of what
    is written before; `doing` begins the messages of its errors."""

    doing: str
    source: str
    pfn: str
    path: str
    partial: str


@dataclass(frozen=True, slots=True)
class Errand:
    """Some loads for the folder of one RSE; see `PosixAccess`."""

    prefix: str
    prefixes: tuple[str, ...]
    durable: bool
    loads: tuple[Load, ...]


class _Named:
    """Stands for Rucio's protocol, which has told where the file lies."""

    def __init__(self, errand: Errand, load: Load) -> None:
        self._load = load
        self.attributes: Mapping[str, Any] = MappingProxyType({"prefix": errand.prefix})

    def pfn2path(self, pfn: str) -> str:
        """The path of the file, or of its first half."""
        return self._load.path + pfn.removeprefix(self._load.pfn)


def carried(errand: Errand, load: Load) -> Arrived | None:
    """Bring a file and read it again; None if either failed: whoever tries it again is told why."""
    access = PosixAccess(load.doing, _Named(errand, load), errand.prefixes, errand.durable)
    source = Path(load.source)
    try:
        stored = Halves().store(access, source, source_stat(source), load.pfn, load.partial)
        return Arrived(stored, access.checksum(load.pfn))
    except (InjectError, OSError):
        return None


def main(orders: BinaryIO, answers: BinaryIO) -> None:
    """Do what is told, until nobody is there who tells."""
    boss = os.getppid()
    while True:
        try:
            errand: Errand = pickle.load(orders)  # noqa: S301 -- our own process writes it
        except EOFError:
            return
        arrived: list[Arrived | None] = []
        for load in errand.loads:
            if os.getppid() != boss:
                # It was killed: whoever goes on with its work may be bringing this file.
                return
            arrived.append(carried(errand, load))
        pickle.dump(arrived, answers)
        answers.flush()


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
