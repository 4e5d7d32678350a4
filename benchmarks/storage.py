"""How quickly files are stored and read again in a folder: `python -m benchmarks.storage`.

For many small files and for one large one, by one thread and by four: files and megabytes a
second of a plain copy with its checksums, of what Rucio's own posix protocol does, and of ours.
The folder `--at` should be on the disk that matters; everything in it is removed again. What is
read comes from the memory of the system, so that the work is measured and not the disk; only the
durable put waits for it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rucio_inject.domain.did import DID
from rucio_inject.measuring import measure_file

if TYPE_CHECKING:
    from rucio_inject.rucio.session import Session

CASES = ((1000, 100_000), (1, 1 << 30))
THREADS = (1, 4)
BLOCK = 1 << 20


@dataclass(frozen=True)
class Job:
    """A file to store, and where a plain copy of it would be."""

    source: Path
    did: DID
    copy: Path


Way = Callable[[Job], object]


class Client:
    """Rucio's client, as far as a storage asks it."""

    def __init__(self, pool: Path) -> None:
        every = {"read": 1, "write": 1, "delete": 1}
        protocol = {
            "scheme": "file",
            "hostname": "localhost",
            "port": 0,
            "prefix": str(pool),
            "impl": "rucio.rse.protocols.posix.Default",
            "domains": {"lan": every, "wan": every},
            "extended_attributes": None,
        }
        self.settings = {
            "rse": "RSE",
            "deterministic": True,
            "lfn2pfn_algorithm": "hash",
            "protocols": [protocol],
        }

    def client(self) -> Client:
        """As a session gives it."""
        return self

    def get_rse(self, rse: str) -> dict[str, Any]:
        """The settings of the one RSE."""
        return {**self.settings, "rse": rse}


def plain(job: Job) -> None:
    """Copy a file and compute its checksums, as anybody would write it."""
    adler32, md5 = 1, hashlib.md5(usedforsecurity=False)
    job.copy.parent.mkdir(parents=True, exist_ok=True)
    with job.source.open("rb") as source, job.copy.open("wb") as copy:
        while block := source.read(BLOCK):
            copy.write(block)
            adler32 = zlib.adler32(block, adler32)
            md5.update(block)


def rucios(client: Client) -> Way:
    """Store a file with Rucio's protocol, under another name first, and measure it."""
    from rucio_inject.rucio import protocols  # noqa: PLC0415 -- Rucio reads its settings then

    def put(job: Job) -> None:
        protocol = protocols.make(client.settings, "write", None, "cannot store")
        measure_file(job.source)
        lfn = {"scope": job.did.scope, "name": job.did.name}
        (pfn,) = protocol.lfns2pfns(lfn).values()
        # It fails if another thread makes the same folder.
        Path(protocol.pfn2path(pfn)).parent.mkdir(parents=True, exist_ok=True)
        protocol.exists(pfn)
        protocol.put(str(job.source), f"{pfn}.rucio.upload")
        protocol.exists(pfn)
        protocol.rename(f"{pfn}.rucio.upload", pfn)
        protocol.exists(pfn)

    return put


def ways(client: Client) -> Iterator[tuple[str, Way, Way | None]]:
    """What is measured: its name, what is done to each file, and what is done to it before."""
    from rucio_inject.rucio.storage import RucioStorage  # noqa: PLC0415

    session = cast("Session", client)
    storage, durable = RucioStorage(session), RucioStorage(session, durable=True)

    def put(job: Job) -> str:
        return storage.put("RSE", job.source, job.did).pfn

    def pfn(job: Job) -> str:
        found = storage.taken("RSE", job.did)
        assert found is not None
        return found

    yield "plain copy with checksums", plain, None
    yield "Rucio's put, measure_file", rucios(client), None
    yield "put", put, None
    yield "put, checksum", lambda job: storage.checksum("RSE", put(job)), None
    yield "measure", lambda job: storage.measure("RSE", pfn(job)), put
    yield "checksum", lambda job: storage.checksum("RSE", pfn(job)), put
    yield (
        "durable put",
        lambda job: durable.put("RSE", job.source, job.did),
        None,
    )


@contextmanager
def world(at: Path | None) -> Iterator[Path]:
    """A folder to work in, and a rucio.cfg: Rucio asks for one when it is imported."""
    with tempfile.TemporaryDirectory(prefix="rucio-inject-bench-", dir=at) as name:
        folder = Path(name)
        (folder / "rucio.cfg").write_text("[client]\nrucio_host = http://127.0.0.1:9\n")
        os.environ |= {"RUCIO_CONFIG": str(folder / "rucio.cfg"), "RUCIO_CLIENT_MODE": "1"}
        yield folder


def seconds(way: Way, jobs: Sequence[Job], threads: int) -> float:
    """How long all of them take."""
    with ThreadPoolExecutor(threads) as pool:
        begun = time.perf_counter()
        for _ in pool.map(way, jobs):
            pass
        return time.perf_counter() - begun


def measure(folder: Path, files: int, size: int, tries: int) -> Iterator[tuple[str, ...]]:
    """Lines of the table for files of one size, each the best of some tries."""
    jobs = []
    (folder / "sources").mkdir()
    for number in range(files):
        source = folder / "sources" / f"{number}.root"
        with source.open("wb") as file:
            for begin in range(0, size, BLOCK):
                file.write(os.urandom(min(BLOCK, size - begin)))
        did = DID("magic", source.name)
        jobs.append(Job(source, did, folder / "copies" / source.name))
    pool = folder / "pool"
    for name, way, before in ways(Client(pool)):
        for threads in THREADS:
            best = float("inf")
            for _ in range(tries):
                pool.mkdir()
                if before is not None:
                    seconds(before, jobs, threads)
                # What is still to be written to the disk would slow the next one down.
                os.sync()
                best = min(best, seconds(way, jobs, threads))
                shutil.rmtree(pool)
                shutil.rmtree(folder / "copies", ignore_errors=True)
            rates = f"{files / best:,.1f}", f"{files * size / best / 1e6:,.0f}"
            yield f"{files} x {size / 1e6:,.1f} MB", name, str(threads), *rates
    shutil.rmtree(folder / "sources")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Figures in columns."""
    lines = [("files", "what", "threads", "files/s", "MB/s"), *rows]
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at", type=Path, help="a folder (default: the system's for temporary)")
    parser.add_argument("--tries", type=int, default=3, help="the best of so many counts")
    chosen = parser.parse_args()
    with world(chosen.at) as folder:
        rows = [row for case in CASES for row in measure(folder, *case, chosen.tries)]
    print(table(rows))


if __name__ == "__main__":
    main()
