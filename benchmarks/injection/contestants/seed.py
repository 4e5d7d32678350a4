"""The seed's sequence of 2020, file by file, with Rucio's public clients.

For each file: its md5; upload to the RSE with a lifetime; a dataset named after the run, to which
it is attached; a rule on the dataset for each destination; each rule is given a lifetime and told
to purge. At the end the JSON ledger. Where the report leaves a choice, the quicker way is taken:
one client for all files, and one JSON file at the end.

Two things differ. Rucio refuses a rule that is its own child today, so `child_rule_id` is left
out. The lifetime is an hour and not a minute, so that what was injected can be counted afterwards.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.injection.job import ACCOUNT, RSE, RULES, Done, Job
from benchmarks.injection.rest_calls import CallCounter
from rucio.common.checksum import md5
from rucio.common.exception import (
    DataIdentifierAlreadyExists,
    DuplicateRule,
    FileAlreadyExists,
)

LIFETIME = 3600


class Seed:
    """Injects one file after another, as the notebook did."""

    def __init__(self, client: Any, uploader: Any, scope: str, rules: Sequence[str]) -> None:
        self._client = client
        self._uploader = uploader
        self._scope = scope
        self._rules = rules

    def inject(self, path: Path, dataset: str) -> Mapping[str, Any]:
        """All that is done to one file; gives its entry in the JSON ledger."""
        local = {"registered": _now(), "checksum": md5(path), "path": str(path)}
        item = {"path": str(path), "rse": RSE, "did_scope": self._scope, "lifetime": LIFETIME}
        self._uploader.upload([item])
        with suppress(DataIdentifierAlreadyExists):
            self._client.add_dataset(self._scope, dataset)
        with suppress(FileAlreadyExists):
            files = [{"scope": self._scope, "name": path.name}]
            self._client.attach_dids(self._scope, dataset, files)
        replicated: dict[str, Any] = {"Local": local}
        rules = [self._rule(dataset, expression) for expression in self._rules]
        for expression, rule in zip(self._rules, rules, strict=True):
            self._client.update_replication_rule(
                rule, {"lifetime": LIFETIME, "purge_replicas": True}
            )
            replicated[expression] = {"registered": _now()}
        return {"Scope": self._scope, "Replicated": replicated}

    def _rule(self, dataset: str, expression: str) -> str:
        """The id of the dataset's rule, made now or with an earlier file."""
        did = {"scope": self._scope, "name": dataset}
        try:
            (made,) = self._client.add_replication_rule([did], 1, expression)
        except DuplicateRule:
            made = next(
                rule["id"]
                for rule in self._client.list_did_rules(self._scope, dataset)
                if rule["rse_expression"] == expression
            )
        return str(made)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def compete(job: Job, calls: CallCounter) -> Done:
    """Inject the job's files."""
    from rucio.client.client import Client  # noqa: PLC0415 -- Rucio reads its settings then
    from rucio.client.uploadclient import UploadClient  # noqa: PLC0415

    client, sources = Client(), job.sources
    identity = client.whoami()
    if identity["account"] != ACCOUNT:
        raise SystemExit(f"signed in as {identity['account']}, not as {ACCOUNT}")
    seed = Seed(client, UploadClient(client), job.scope, RULES)
    before, begun = calls.total, time.perf_counter()
    ledger = {source.name: seed.inject(job.path(source), source.dataset) for source in sources}
    (job.work / "seed.json").write_text(json.dumps(ledger, indent=1), encoding="utf-8")
    return Done(
        files=len(sources),
        size=sum(source.size for source in sources),
        seconds=time.perf_counter() - begun,
        calls=calls.total - before,
        datasets=tuple(dict.fromkeys(source.dataset for source in sources)),
    )
