"""What Rucio itself says of a contestant's work, asked with its own client."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.injection.job import ACCOUNT, RSE
from benchmarks.injection.lake import BenchLake
from benchmarks.injection.sources import Source, by_dataset

if TYPE_CHECKING:
    from rucio.client.client import Client

POLL = 0.25
ASKED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Promise:
    """What should be in the lake: these files in the datasets of a scope.

    `datasets` has either one name, or those of the files' runs. `rules` are RSEs.
    """

    scope: str
    sources: Sequence[Source]
    datasets: tuple[str, ...]
    rules: tuple[str, ...]

    @property
    def contents(self) -> Mapping[str, Sequence[Source]]:
        """What each dataset should hold."""
        by_run = by_dataset(self.sources)
        if set(by_run) == set(self.datasets):
            return by_run
        (only,) = self.datasets
        return {only: self.sources}


def sign_in(lake: BenchLake) -> Client:
    """Rucio's own client on a lake, which is then this process's: Rucio keeps its configuration."""
    for key in [key for key in os.environ if key.startswith("RUCIO_")]:
        del os.environ[key]
    os.environ.update(lake.variables)
    from rucio.client.client import Client  # noqa: PLC0415 -- Rucio reads its settings then

    return Client()


class Official:
    """Asks and tidies up."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def add_scope(self, scope: str) -> None:
        """Make a scope that is not there yet."""
        self._client.add_scope(ACCOUNT, scope)

    def problem(self, promise: Promise) -> str | None:
        """Why the work is not what was promised; None if it is."""
        for dataset, sources in promise.contents.items():
            found = self._wrong_files(promise.scope, dataset, sources)
            found = found or self._wrong_rules(promise, dataset)
            if found:
                return f"{promise.scope}:{dataset} {found}"
        return self._wrong_replicas(promise)

    def _wrong_files(self, scope: str, dataset: str, sources: Sequence[Source]) -> str | None:
        rows = list(self._client.list_files(scope, dataset))
        held = {(row["name"], row["bytes"], row["adler32"]) for row in rows}
        wanted = {(one.name, one.size, one.adler32) for one in sources}
        if len(rows) == len(sources) and held == wanted:
            return None
        right = len(held & wanted)
        return f"holds {len(rows)} files, {right} of the {len(sources)} that it should"

    def _wrong_rules(self, promise: Promise, dataset: str) -> str | None:
        rules = self._client.list_did_rules(promise.scope, dataset)
        held = {rule["rse_expression"] for rule in rules}
        missing = set(promise.rules) - held
        return f"has no rule for {', '.join(sorted(missing))}" if missing else None

    def _wrong_replicas(self, promise: Promise) -> str | None:
        right = 0
        for some in _chunks(promise.sources):
            dids = [{"scope": promise.scope, "name": source.name} for source in some]
            rows = self._client.list_replicas(dids, rse_expression=RSE, all_states=True)
            md5s = {source.name: source.md5 for source in some}
            right += sum(
                row["states"].get(RSE) == "AVAILABLE" and row["md5"] == md5s[row["name"]]
                for row in rows
            )
        if right == len(promise.sources):
            return None
        return f"{right} of {len(promise.sources)} replicas are AVAILABLE at {RSE} with their md5"

    def wait_until_ok(self, promise: Promise, deadline: float) -> str | None:
        """Wait until every lock of every rule is OK; after so many seconds, what is not."""
        until = time.monotonic() + deadline
        for dataset, sources in promise.contents.items():
            while left := self._not_ok(promise, dataset, len(sources)):
                if time.monotonic() > until:
                    return f"{promise.scope}:{dataset} {left}"
                time.sleep(POLL)
        return None

    def _not_ok(self, promise: Promise, dataset: str, files: int) -> str | None:
        for rule in self._rules(promise, dataset):
            # A rule of a dataset whose files are not evaluated yet is OK, too.
            if rule["state"] != "OK" or rule["locks_ok_cnt"] < files:
                return (
                    f"rule for {rule['rse_expression']} is {rule['state']},"
                    f" {rule['locks_ok_cnt']} of {files} locks OK"
                )
        return None

    def _rules(self, promise: Promise, dataset: str) -> list[dict[str, Any]]:
        rules = self._client.list_did_rules(promise.scope, dataset)
        return [rule for rule in rules if rule["rse_expression"] in promise.rules]

    def end(self, promise: Promise) -> None:
        """Let every rule end, so that Rucio removes the replicas; also those that have no rule."""
        if not promise.rules:
            for some in _chunks(promise.sources):
                rows = [{"scope": promise.scope, "name": one.name, "rse": RSE} for one in some]
                self._client.set_tombstone(rows)
            return
        names = [*promise.contents, *(source.name for source in self._with_rules(promise))]
        for name in names:
            for rule in self._client.list_did_rules(promise.scope, name):
                ending = {"lifetime": 1, "purge_replicas": True}
                self._client.update_replication_rule(rule["id"], ending)

    def _with_rules(self, promise: Promise) -> Sequence[Source]:
        # Whoever gives rules to files gives one to the first, too.
        first = promise.sources[0].name
        has = any(True for _ in self._client.list_did_rules(promise.scope, first))
        return promise.sources if has else ()

    def wait_until_gone(self, promise: Promise, deadline: float) -> str | None:
        """Wait until the catalogue has none of the files; after so many seconds, what it has."""
        until = time.monotonic() + deadline
        while True:
            left = 0
            for some in _chunks(promise.sources):
                dids = [{"scope": promise.scope, "name": source.name} for source in some]
                rows = self._client.list_replicas(dids, all_states=True)
                left += sum(bool(row["states"]) for row in rows)
            if not left:
                return None
            if time.monotonic() > until:
                return f"{left} files of {promise.scope} are still there"
            time.sleep(1)


def _chunks(sources: Sequence[Source]) -> Iterator[Sequence[Source]]:
    for begin in range(0, len(sources), ASKED_AT_ONCE):
        yield sources[begin : begin + ASKED_AT_ONCE]
