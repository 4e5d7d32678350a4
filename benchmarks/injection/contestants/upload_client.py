"""Rucio's own `UploadClient.upload` of all files into one dataset, with rules afterwards."""

from __future__ import annotations

import time

from benchmarks.injection.job import DESTINATIONS, RSE, Done, Job
from benchmarks.injection.rest_calls import CallCounter

DATASET = "uploaded"


def compete(job: Job, calls: CallCounter) -> Done:
    """Inject the job's files."""
    from rucio.client.client import Client  # noqa: PLC0415 -- Rucio reads its settings then
    from rucio.client.uploadclient import UploadClient  # noqa: PLC0415

    client, sources = Client(), job.sources
    uploader = UploadClient(client)
    items = [
        {
            "path": str(job.path(source)),
            "rse": RSE,
            "did_scope": job.scope,
            "dataset_scope": job.scope,
            "dataset_name": DATASET,
        }
        for source in sources
    ]
    before, begun = calls.total, time.perf_counter()
    # It makes the dataset, with a rule at the RSE.
    uploader.upload(items)
    for expression in DESTINATIONS:
        client.add_replication_rule([{"scope": job.scope, "name": DATASET}], 1, expression)
    return Done(
        files=len(sources),
        size=sum(source.size for source in sources),
        seconds=time.perf_counter() - begun,
        calls=calls.total - before,
        datasets=(DATASET,),
    )
