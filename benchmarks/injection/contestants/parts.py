"""The parts of the work alone, to see what is left: a plain copy with its checksums, and the bare
bulk calls. They are no bounds: the copy is what anybody would write, and not the quickest there is.
"""

from __future__ import annotations

import hashlib
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.injection.job import RSE, Done, Job
from benchmarks.injection.rest_calls import CallCounter
from benchmarks.injection.sources import BLOCK, Source, by_dataset

FILES_A_CALL = 250


def copy_with_checksums(source: Path, copy: Path) -> tuple[str, str]:
    """Copy a file in one pass, as anybody would write it; gives adler32 and md5."""
    adler32, md5 = 1, hashlib.md5(usedforsecurity=False)
    with source.open("rb") as file, copy.open("wb") as out:
        while block := file.read(BLOCK):
            out.write(block)
            adler32 = zlib.adler32(block, adler32)
            md5.update(block)
    return f"{adler32:08x}", md5.hexdigest()


def copy_plainly(job: Job, calls: CallCounter) -> Done:
    """Copy the job's files in its threads. No lake takes part."""
    sources, copies = job.sources, job.work / "copies"
    copies.mkdir()

    def copy(source: Source) -> tuple[str, str]:
        return copy_with_checksums(job.path(source), copies / source.name)

    begun = time.perf_counter()
    with ThreadPoolExecutor(job.threads) as pool:
        measured = list(pool.map(copy, sources))
    seconds = time.perf_counter() - begun
    if measured != [(source.adler32, source.md5) for source in sources]:
        raise SystemExit("a plain copy has other checksums than its source")
    size = sum(source.size for source in sources)
    return Done(files=len(sources), size=size, seconds=seconds, calls=calls.total)


def call_in_bulk(job: Job, calls: CallCounter) -> Done:
    """Register the job's files, and attach them, in bulk calls from its threads. The datasets are
    there, they have no rules, and no byte is copied."""
    from rucio.client.client import Client  # noqa: PLC0415 -- Rucio reads its settings then

    sources, local = job.sources, threading.local()
    contents = by_dataset(sources)
    client = Client()
    client.add_datasets([{"scope": job.scope, "name": name} for name in contents])
    attachments = [
        _attachment(job.scope, name, some[begin : begin + FILES_A_CALL])
        for name, some in contents.items()
        for begin in range(0, len(some), FILES_A_CALL)
    ]

    def sign_in() -> None:
        local.client = Client()

    def attach(attachment: dict[str, Any]) -> None:
        local.client.add_files_to_datasets([attachment])

    with ThreadPoolExecutor(job.threads, initializer=sign_in) as pool:
        # So that every thread has signed in before the time counts.
        barrier = threading.Barrier(job.threads)
        list(pool.map(lambda _: barrier.wait(), range(job.threads)))
        before, begun = calls.total, time.perf_counter()
        for _ in pool.map(attach, attachments):
            pass
        seconds, made = time.perf_counter() - begun, calls.total - before
    size = sum(source.size for source in sources)
    return Done(len(sources), size, seconds, made, datasets=tuple(contents))


def _attachment(scope: str, dataset: str, sources: list[Source]) -> dict[str, Any]:
    files = [
        {
            "scope": scope,
            "name": source.name,
            "bytes": source.size,
            "adler32": source.adler32,
            "md5": source.md5,
        }
        for source in sources
    ]
    return {"scope": scope, "name": dataset, "rse": RSE, "dids": files}
