"""A process that brings small files to folders of this machine, as it is told on its standard
input, a line of JSON for some files; what came of them goes to a pipe in the same way.

It ends when nobody is left who could tell it more. `porters` has the other side.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.errors import InjectError
from rucio_inject.measuring import source_stat
from rucio_inject.ports import Arrived, Stored, StoredFile
from rucio_inject.rucio.posix import PosixAccess
from rucio_inject.rucio.uploading import Halves


@dataclass(frozen=True, slots=True)
class Load:
    """A file to be brought: `path` is where it lies when it is whole, and `partial` the PFN of what
    is written before; `inode` is the source's, and its device's, None if it was not there; `doing`
    begins the messages of its errors."""

    doing: str
    source: str
    inode: Sequence[int] | None
    pfn: str
    path: str
    partial: str

    def arrived(self, told: Sequence[Any] | None) -> Arrived | None:
        """What was told of it. ValueError or TypeError if that is nothing that a porter says."""
        if told is None:
            return None
        size, adler32, md5, found_size, found_adler32 = told
        stored = Stored(self.pfn, Measure(size, adler32, md5))
        return Arrived(stored, StoredFile(self.pfn, found_size, found_adler32))


@dataclass(frozen=True, slots=True)
class Errand:
    """Some loads for the folder of one RSE; see `PosixAccess`."""

    prefix: str
    prefixes: tuple[str, ...]
    durable: bool
    loads: tuple[Load, ...]

    def line(self) -> bytes:
        """As it is told."""
        return json.dumps(asdict(self)).encode() + b"\n"


def errand_of(line: bytes) -> Errand:
    """An errand as it was told."""
    told = json.loads(line)
    loads = tuple(Load(**load) for load in told["loads"])
    return Errand(told["prefix"], tuple(told["prefixes"]), told["durable"], loads)


class _Named:
    """Stands for Rucio's protocol, which has told where the file lies."""

    def __init__(self, prefix: str, load: Load) -> None:
        self._load = load
        self.attributes: Mapping[str, Any] = {"prefix": prefix}

    def pfn2path(self, pfn: str) -> str:
        """The path of the file, or of what is written before."""
        return self._load.path + pfn.removeprefix(self._load.pfn)


def access_for(errand: Errand, load: Load) -> PosixAccess:
    """The folder of an RSE, for one load of an errand."""
    named = _Named(errand.prefix, load)
    return PosixAccess(load.doing, named, errand.prefixes, errand.durable)


def inode_of(found: os.stat_result) -> Sequence[int]:
    """What tells one file from another."""
    return [found.st_dev, found.st_ino]


def carried(errand: Errand, load: Load) -> tuple[int | str | None, ...] | None:
    """Bring a file and read it again, for `Load.arrived`; None if either failed: whoever tries it
    again is told why."""
    access, source = access_for(errand, load), Path(load.source)
    try:
        seen = source_stat(source)
        if inode_of(seen) != load.inode:
            # Somebody has put another one there, or a link, since it was looked at.
            return None
        stored = Halves().store(access, source, seen, load.pfn, load.partial)
        found = access.checksum(load.pfn)
    except (InjectError, OSError):
        return None
    measure = stored.measure
    return measure.size, measure.adler32, measure.md5, found.size, found.adler32


def main(boss: int, orders: BinaryIO, answers: FileIO) -> None:
    """Do what is told, until nobody is there who tells; `boss` is the process that does."""
    while (line := orders.readline()).endswith(b"\n"):
        errand, told = errand_of(line), []
        for load in errand.loads:
            if os.getppid() != boss:
                # It was killed: whoever goes on with its work may be bringing this file.
                return
            told.append(carried(errand, load))
        answers.write(json.dumps(told).encode() + b"\n")


if __name__ == "__main__":
    # A Ctrl-C is the run's to heed. What others print here, as a site's own settings of Python do,
    # is no answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(BrokenPipeError), FileIO(int(sys.argv[2]), "w") as pipe:
        main(int(sys.argv[1]), sys.stdin.buffer, pipe)
