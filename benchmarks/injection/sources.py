"""The source files that every contestant injects: the same names, the same bytes, made once."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from random import Random

from benchmarks.injection.cases import Case

BLOCK = 1 << 20
FIRST_RUN = 5_089_063
SUBRUNS = 1000


@dataclass(frozen=True, slots=True)
class Source:
    """A source file; `dataset` is its run, as the seed named datasets."""

    name: str
    dataset: str
    size: int
    adler32: str
    md5: str


def run_of(number: int) -> str:
    """The run that a file belongs to: a name has three digits for the subrun."""
    return f"{FIRST_RUN + number // SUBRUNS:08}"


def name_of(number: int) -> str:
    """A name of MAGIC's grammar that is a DID name as it is: `_` stands for `+`."""
    return f"20200203_M1_{run_of(number)}.{number % SUBRUNS:03}_Y_CrabNebula-W0.40_035.root"


def make_sources(folder: Path, case: Case) -> Path:
    """Make the files of a case and their manifest in a new folder below; gives that folder."""
    made = folder / str(case)
    files = made / "files"
    files.mkdir(parents=True)
    body = Random(case.size).randbytes(min(case.size, BLOCK))

    def make(number: int) -> Source:
        return _make(files / name_of(number), number, case.size, body)

    with ThreadPoolExecutor(4) as pool:
        sources = list(pool.map(make, range(case.files)))
    rows = [asdict(source) for source in sources]
    (made / "manifest.json").write_text(json.dumps(rows), encoding="utf-8")
    return made


def _make(path: Path, number: int, size: int, body: bytes) -> Source:
    adler32, md5 = 1, hashlib.md5(usedforsecurity=False)
    with path.open("wb") as file:
        for block in _blocks(number, size, body):
            file.write(block)
            adler32 = zlib.adler32(block, adler32)
            md5.update(block)
    return Source(path.name, run_of(number), size, f"{adler32:08x}", md5.hexdigest())


def _blocks(number: int, size: int, body: bytes) -> Iterator[bytes]:
    # Each block tells its file and its place, so that no two files are the same, and none repeats.
    for begin in range(0, size, BLOCK):
        mark = number.to_bytes(8, "big") + begin.to_bytes(8, "big")
        yield (mark + body[len(mark) :])[: size - begin]


def read_manifest(folder: Path, files: int | None = None) -> list[Source]:
    """The first so many files of a folder that `make_sources` made, or all of them."""
    rows = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return [Source(**row) for row in rows[:files]]


def by_dataset(sources: Sequence[Source]) -> Mapping[str, list[Source]]:
    """Sources by the dataset of their run."""
    ordered = sorted(sources, key=lambda source: source.name)
    return {name: list(some) for name, some in groupby(ordered, lambda source: source.dataset)}
