"""What must hold after a fault, asked of the official client and looked up on the storages."""

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import md5
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults.lake import HOLDERS, PROMISED, RULES
from tests.faults.work import Job, Ran

if TYPE_CHECKING:
    from rucio.client.client import Client

_EMPTY_AFTER = 600.0
_REAPED_AFTER = 600.0
_TRIES = 6


class Promise(StrEnum):
    """What is promised, and named when it is broken."""

    LOST = "lost"
    """A file, or a copy of it, is not where it should be."""
    DOUBLED = "doubled"
    """Something is there twice, or is there that nobody asked for."""
    FREED = "freed early"
    """A source is gone, and not every promised replica held its bytes at that moment."""
    LEFT = "left over"
    """Something is still there after the end."""
    DONE = "not done"
    """The fault is over, and the same command does not come to its end."""
    HELD_UP = "held up"
    """One RSE is in trouble, and copies at others wait for it; or it is used all the same."""
    WORDS = "words"
    """An exit code, a message or a process that should not be."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A promise that was not held, and how."""

    promise: Promise
    how: str


def output(runs: Iterable[Ran], codes: Iterable[int]) -> Iterator[Broken]:
    """No run told a traceback, hung, or ended with a code that the fault does not explain."""
    allowed = {*codes, 0, -9}
    for ran in runs:
        if "Traceback" in ran.err or "Traceback" in ran.out:
            last = ran.err.strip().splitlines()[-1]
            yield Broken(Promise.WORDS, f"a traceback, exit code {ran.code}, {ran.phase}: {last}")
        elif ran.code not in allowed:
            yield Broken(Promise.WORDS, f"unexpected {ran}")


def processes(job: Job) -> Iterator[Broken]:
    """No process of the job outlived it."""
    for process in job.processes():
        yield Broken(Promise.WORDS, f"process {process.pid} still runs: {process.cmdline()}")


def done(job: Job, *, end: bool, tries: int = _TRIES, boost: bool = False) -> Iterator[Broken]:
    """The same command, given again, says that it is done; given once more, that it was.

    Two runs that move nothing are enough to see that it never will be. `boost`: let Rucio try stuck
    rules again before each try, as an operator does. What only waits for Rucio's reaper is given
    its time.
    """
    idle, limit = 0, time.monotonic() + _REAPED_AFTER
    while tries:
        if boost:
            job.lake.boost(job.scope)
        ran = job.run(end=end)
        if ran.code == 0 and ran.end["leaving"] and time.monotonic() < limit:
            continue
        tries -= 1
        idle += ran.end.get("changed") is False
        if job.is_done(ran) or idle == 2:
            break
    if not job.is_done(ran):
        yield Broken(Promise.DONE, f"it does not come to its end: {ran}, waiting: {waiting(ran)}")
        return
    again = job.run(end=end)
    if again.code != 0 or again.end.get("changed") is not False:
        yield Broken(Promise.DONE, f"done, but asked again it is not so: {again}")


def waiting(ran: Ran) -> str:
    """What a run says that it waits for."""
    told = [
        f"{did}: {why}"
        for key in ("waiting", "leaving", "staying")
        for did, why in ran.end.get(key, {}).items()
    ]
    return ", ".join([*told, *ran.end.get("still_there", ())]) or "nothing"


def kept(job: Job) -> Iterator[Broken]:
    """Each file is there once, in its dataset, on every RSE, with its bytes; and nothing else."""
    return _as_promised(job, (job.upload, *PROMISED), (job.upload, *RULES))


def ended(job: Job) -> Iterator[Broken]:
    """After the second act: the origin is free, and all is where it was promised; or, of files that
    were made, nothing is left."""
    return _as_promised(job, PROMISED, RULES) if job.origin else gone(job)


def _as_promised(job: Job, holders: Sequence[str], rules: Sequence[str]) -> Iterator[Broken]:
    with job.lake.official() as client:
        yield from _dids(client, job, {*job.names, *job.datasets, *job.containers})
        for dataset, names in job.datasets.items():
            inside = Counter(row["name"] for row in client.list_content(job.scope, dataset))
            yield from _compare(f"content of {dataset}", Counter(names), inside)
            yield from _rules(list(client.list_did_rules(job.scope, dataset)), dataset, rules)
        replicas = _replicas(client, job)
    yield from _compare("file in the catalogue", Counter(job.names), Counter(list(replicas)))
    for name, row in replicas.items():
        available = {rse for rse, state in row["states"].items() if state == "AVAILABLE"}
        yield from _compare(f"replica of {name}", Counter(holders), Counter(available))
    yield from _stored(job, replicas, holders)


def _dids(client: Client, job: Job, expected: set[str]) -> Iterator[Broken]:
    found = Counter(client.list_dids(job.scope, [{}], did_type="all"))
    yield from _compare("DID", Counter(expected), found)


def _rules(
    rules: list[dict[str, Any]], dataset: str, expressions: Sequence[str]
) -> Iterator[Broken]:
    found = Counter(str(rule["rse_expression"]) for rule in rules)
    yield from _compare(f"rule on {dataset}", Counter(expressions), found)
    for rule in rules:
        if rule["state"] != "OK":
            how = f"the rule of {dataset} to {rule['rse_expression']} is {rule['state']}"
            yield Broken(Promise.DONE, how)


def _replicas(client: Client, job: Job) -> dict[str, dict[str, Any]]:
    dids = [{"scope": job.scope, "name": name} for name in job.names]
    return {row["name"]: row for row in client.list_replicas(dids, all_states=True)}


def _stored(
    job: Job, replicas: dict[str, dict[str, Any]], holders: Sequence[str]
) -> Iterator[Broken]:
    for rse in holders:
        stored = job.lake.stored(rse, job.scope)
        yield from _compare(f"file on {rse}", Counter(job.names), Counter(list(stored)))
        for name, path in stored.items():
            row = replicas.get(name)
            wanted = row and (row["adler32"], row["md5"])
            if name in job.contents:
                wanted = job.checksums(name)
            if wanted and _checksums(path) != wanted:
                yield Broken(Promise.LOST, f"{name} on {rse} has other bytes than its source")
            if row and wanted and (row["adler32"], row["md5"]) != wanted:
                yield Broken(Promise.LOST, f"{name} has other checksums in the catalogue")


def _checksums(path: Path) -> tuple[str, str]:
    content = path.read_bytes()
    return f"{zlib.adler32(content):08x}", md5(content).hexdigest()


def _compare(what: str, wanted: Counter[str], found: Counter[str]) -> Iterator[Broken]:
    for name in wanted - found:
        yield Broken(Promise.LOST, f"{what}: {name} is missing")
    for name in found - wanted:
        yield Broken(Promise.DOUBLED, f"{what}: {name} is there {found[name]} times")


def gone(job: Job) -> Iterator[Broken]:
    """Nothing is left in the catalogue and on the storages.

    Replicas and rules at once; datasets, containers and DIDs as soon as Rucio's daemons get to
    them.
    """
    with job.lake.official() as client:
        for name, row in _replicas(client, job).items():
            if row["states"]:
                yield Broken(Promise.LEFT, f"replicas of {name}: {row['states']}")
        for rule in client.list_replication_rules({"scope": job.scope}):
            yield Broken(Promise.LEFT, f"rule {rule['id']} on {rule['name']}")
        for rse in HOLDERS:
            for name in job.lake.stored(rse, job.scope):
                yield Broken(Promise.LEFT, f"{name} on {rse}")
        limit = time.monotonic() + _EMPTY_AFTER
        while (left := list(client.list_dids(job.scope, [{}], did_type="all"))) and (
            time.monotonic() < limit
        ):
            time.sleep(0.5)
    for name in left:
        yield Broken(Promise.LEFT, f"DID {name}")


def sources(job: Job) -> Iterator[Broken]:
    """When all is done, no source is left that should be freed, and no half of a file."""
    places = (job.sources,) if job.real else (job.output / "source", job.output / "uploads")
    for path in (p for place in places for p in place.rglob("*") if p.is_file()):
        yield Broken(Promise.LEFT, f"source file, or half of one: {path}")
