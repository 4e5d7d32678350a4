"""Rucio's own `DownloadClient`, on files that lie in the lake already."""

from __future__ import annotations

import hashlib
import time

from benchmarks.injection.job import Done, Job
from benchmarks.injection.rest_calls import CallCounter
from benchmarks.injection.sources import by_dataset, read_manifest


def compete(job: Job, calls: CallCounter) -> Done:
    """Download as many files as the job has from the datasets in its scope, whichever Rucio
    chooses, in as many threads as ours."""
    from rucio.client.client import Client  # noqa: PLC0415 -- Rucio reads its settings then
    from rucio.client.downloadclient import DownloadClient  # noqa: PLC0415

    sources, downloader = job.sources, DownloadClient(Client())
    folder = job.work / "downloads"
    # Datasets, as it asks for each file that is named alone.
    items = [
        {
            "did": f"{job.scope}:{dataset}",
            "nrandom": len(some),
            "base_dir": str(folder),
            "no_subdir": True,
        }
        for dataset, some in by_dataset(sources).items()
    ]
    before, begun = calls.total, time.perf_counter()
    downloader.download_dids(items, num_threads=job.threads)
    seconds, made = time.perf_counter() - begun, calls.total - before
    paths = list(folder.iterdir())
    if len(paths) != len(sources):
        raise SystemExit(f"{len(paths)} files were downloaded, not {len(sources)}")
    md5s = {source.name: source.md5 for source in read_manifest(job.folder)}
    for path in paths:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "md5").hexdigest() != md5s[path.name]:
                raise SystemExit(f"{path.name} was downloaded with other bytes")
    size = sum(path.stat().st_size for path in paths)
    return Done(files=len(paths), size=size, seconds=seconds, calls=made)
