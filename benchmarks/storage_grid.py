"""How quickly files reach XRootD servers and come back: `python -m benchmarks.storage_grid LAKE`.

On a lake with --storage xrootd, in one run and in turn: what people use for a file (`xrdcp`, `rucio
upload` and `download`, `gfal-copy` over root:// and davs://, a process each) and what
`RucioStorage` does over both, with checksums and a final name as always. Many small files, fewer
for the processes, and a large one, each in several tries: the median, quickest and slowest.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar
from uuid import uuid4

from rucio_inject.domain.did import DID
from rucio_inject.lake.embedded import EmbeddedLake
from rucio_inject.lake.state import load_state
from rucio_inject.ports import Storage

RSE = "PIC-INJECT"
SCOPE = "MAGIC_PIC_BRUZZESE"
THREADS = 8
BLOCK = 1 << 20
_GFAL_COPY = "/usr/bin/gfal-copy"
T = TypeVar("T")


def timed(work: Callable[[], object]) -> float:
    """Seconds that something takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


class Grid:
    """The lake, local files, and the ways to bring them there."""

    def __init__(self, lake: EmbeddedLake, folder: Path) -> None:
        self.folder = folder
        self.tag = uuid4().hex[:8]
        root, http = load_state(lake.paths.state).storage_ports["PIC"]
        self.root = f"root://localhost:{root}//{RSE}/bench-{self.tag}"
        self.davs = f"davs://localhost:{http}/{RSE}/bench-{self.tag}"

    def sources(self, count: int, size: int) -> list[Path]:
        """Files of one size with names that nobody has used."""
        made = []
        for number in range(count):
            path = self.folder / f"{self.tag}-{size}-{number}-{uuid4().hex[:6]}"
            with path.open("wb") as file:
                for begin in range(0, size, BLOCK):
                    file.write(os.urandom(min(BLOCK, size - begin)))
            made.append(path)
        return made

    def xrdcp(self, sources: Sequence[Path]) -> None:
        """A process a file."""
        for path in sources:
            _run("xrdcp", "-s", "-f", str(path), f"{self.root}/{path.name}")

    def xrdcp_back(self, sources: Sequence[Path]) -> None:
        """A process a file."""
        for path in sources:
            _run("xrdcp", "-s", "-f", f"{self.root}/{path.name}", str(self.folder / "back"))

    def gfal_copy(self, sources: Sequence[Path], base: str) -> None:
        """A process a file."""
        for path in sources:
            _run(_GFAL_COPY, "-p", "-f", f"file://{path}", f"{base}/gfal/{path.name}")

    def gfal_copy_back(self, sources: Sequence[Path], base: str) -> None:
        """A process a file."""
        for path in sources:
            _run(_GFAL_COPY, "-f", f"{base}/gfal/{path.name}", f"file://{self.folder / 'back'}")

    def rucio_upload(self, sources: Sequence[Path]) -> None:
        """The official command, a process for a file as people call it."""
        for path in sources:
            _rucio("upload", "--rse", RSE, "--scope", SCOPE, str(path))

    def rucio_download(self, sources: Sequence[Path]) -> None:
        """The official command."""
        for path in sources:
            _rucio("download", "--dir", str(self.folder / "got"), f"{SCOPE}:{path.name}")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _rucio(*arguments: str) -> None:
    _run(str(Path(sys.executable).with_name("rucio")), *arguments)


def rows(grid: Grid, count: int, size: int, few: int) -> Iterator[tuple[str, int, float]]:
    """What was done, to how many files, and in how many seconds."""
    from rucio_inject.rucio.session import Session, SignIn  # noqa: PLC0415 -- reads rucio.cfg

    session = Session(SignIn(account="magic"))
    session.client()
    from rucio_inject.rucio.storage import RucioStorage  # noqa: PLC0415

    some = grid.sources(few, size)
    yield "xrdcp", few, timed(lambda: grid.xrdcp(some))
    yield "xrdcp back", few, timed(lambda: grid.xrdcp_back(some))
    if shutil.which(_GFAL_COPY):
        for scheme, base in (("root", grid.root), ("davs", grid.davs)):
            yield f"gfal-copy {scheme}", few, timed(partial(grid.gfal_copy, some, base))
            yield f"gfal-copy {scheme} back", few, timed(partial(grid.gfal_copy_back, some, base))
    yield "rucio upload", few, timed(lambda: grid.rucio_upload(some))
    yield "rucio download", few, timed(lambda: grid.rucio_download(some))
    for path in some:
        path.unlink()
    for scheme in ("root", "davs"):
        yield from ours(grid, RucioStorage(session, schemes=(scheme,)), scheme, (count, size))


def ours(
    grid: Grid, storage: Storage, scheme: str, files: tuple[int, int]
) -> Iterator[tuple[str, int, float]]:
    """Put files, and get them, over one protocol."""
    count, size = files
    sources = grid.sources(count, size)
    stored: list[tuple[Path, str]] = []

    def put(path: Path) -> None:
        stored.append((path, storage.put(RSE, path, DID(SCOPE, path.name)).pfn))

    def get(one: tuple[Path, str]) -> None:
        storage.get(RSE, one[1], one[0])

    with ThreadPoolExecutor(THREADS) as pool:
        # Whoever goes first would sign in for all.
        storage.taken(RSE, DID(SCOPE, "x"))
        yield f"put over {scheme}", count, timed(partial(_all, pool, put, sources))
        yield f"get over {scheme}", count, timed(partial(_all, pool, get, stored))
    for path, pfn in stored:
        storage.remove(RSE, pfn)
        path.unlink()


def _all(pool: ThreadPoolExecutor, work: Callable[[T], object], items: Sequence[T]) -> None:
    for _ in pool.map(work, items):
        pass


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lake", type=Path, help="folder of a lake that runs, with XRootD storages")
    parser.add_argument("--small", type=int, default=1000, help="files of 100 kB")
    parser.add_argument("--large", type=int, default=1 << 30, help="bytes of the one large file")
    parser.add_argument("--few", type=int, default=20, help="files for what takes a process a file")
    parser.add_argument("--tries", type=int, default=3, help="how often all is done")
    chosen = parser.parse_args()
    lake = EmbeddedLake(chosen.lake)
    os.environ |= lake.environment("magic")
    # Debian's gfal-copy looks for a Python of the name that it was built with.
    os.environ |= {"RUCIO_CLIENT_MODE": "1", "GFAL_PYTHONBIN": "/usr/bin/python3"}
    with tempfile.TemporaryDirectory(prefix="rucio-inject-bench-") as name:
        grid = Grid(lake, Path(name))
        for size, count, few in ((100_000, chosen.small, chosen.few), (chosen.large, 1, 1)):
            print(
                f"files of {size / 1e6:,.1f} MB, {THREADS} threads for ours, {chosen.tries} tries"
            )
            told: dict[str, list[float]] = {}
            for _ in range(chosen.tries):
                for what, files, seconds in rows(grid, count, size, few):
                    told.setdefault(what, []).append(1e3 * seconds / files)
            for what, each in told.items():
                middle = median(each)
                print(
                    f"  {what:<20} {middle:>9.2f} ms/file ({min(each):.2f} to {max(each):.2f})"
                    f"  {size / middle / 1e3:>8.1f} MB/s"
                )


if __name__ == "__main__":
    main()
