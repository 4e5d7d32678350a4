"""An origin RSE that is freed when its files are proved, and what happens to their promised copies
and rules meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults import judge
from tests.faults.field import Field, prove
from tests.faults.judge import Broken, Promise
from tests.faults.lake import PROMISED
from tests.faults.storages import SHORT, VICTIM, blocked, declare_bad, tell
from tests.faults.work import Job
from tests.lake.campaigns import ORIGIN

if TYPE_CHECKING:
    from rucio.client.client import Client

FILES_FAILED, CHECKSUM, LATER, STUCK = 3, 4, 5, 7
_WAITS = (FILES_FAILED, LATER, STUCK)
_PATIENCE = 600.0
_EXPRESSIONS = {"LAPP-FAST": "QOS=FAST"}


def spoiled(act: Callable[[Path], None], code: int, *, declare: bool) -> Callable[[Field], None]:
    """A scenario: a promised copy is damaged when it is proved, and before the origin is freed.

    Its dataset stays at the origin, and the other one is freed. Then the bytes are put back, or
    (`declare`) the copy is declared bad, and Rucio makes it anew.
    """

    def play(field: Field) -> None:
        job = _proved(field)
        first, second = job.datasets
        name = job.datasets[first][0]
        with field.watched(job):
            path = field.lake.stored(VICTIM, job.scope)[name]
            act(path)
            field.played.did(1)
            field.played.found(_is_freed(job, second))
            tell(field, job.ran[-1])
            field.played.found(_stays(job, first))
            if job.ran[-1].code != code:
                how = f"a damaged copy is told as {job.ran[-1]}"
                field.played.found([Broken(Promise.WORDS, how)])
            if declare:
                declare_bad(field.lake, job, name)
            else:
                path.write_bytes(job.contents[name])
            prove(field, job, (code, *_WAITS), boost=True, first_act=False)

    return play


def taken(act: Callable[[Field, Job], None]) -> Callable[[Field], None]:
    """A scenario: something is done to what is promised, first when all is proved, then when the
    origin's rule has its end. It stays at the origin until it is mended."""

    def play(field: Field) -> None:
        for leaves in (False, True):
            job = _proved(field, runs=1, lifetime="1h" if leaves else "1s")
            with field.watched(job):
                if leaves:
                    job.run(end=True)
                with blocked(field.lake, VICTIM, "write"):
                    act(field, job)
                    field.played.did(1)
                    tell(field, job.run(end=True, deadline=SHORT))
                    field.played.found(_stays(job, next(iter(job.datasets))))
                job.lifetime = "1s"
                prove(field, job, _WAITS, boost=True, first_act=False)

    return play


def bad(field: Field, job: Job) -> None:
    """A promised copy is lost and declared bad, and cannot be made anew."""
    name = job.names[0]
    field.lake.stored(VICTIM, job.scope)[name].unlink()
    declare_bad(field.lake, job, name)


def rule_deleted(field: Field, job: Job) -> None:
    """Somebody deletes a promised rule, with its copies, which cannot be made anew."""
    with field.lake.official() as client:
        rule = _promised_rule(client, job)
        client.delete_replication_rule(rule, purge_replicas=True)
        client.update_replication_rule(rule, {"lifetime": 0})
    _wait(lambda: not field.lake.stored(VICTIM, job.scope))


def rule_ends(field: Field) -> None:
    """A scenario: somebody gives a promised rule an end, and its copies with it. Its end is taken
    back, and only then the origin is freed."""
    for leaves in (False, True):
        job = _proved(field, runs=1, lifetime="1h" if leaves else "1s")
        with field.watched(job):
            if leaves:
                job.run(end=True)
            with field.lake.official() as client:
                options = {"lifetime": 3600, "purge_replicas": True}
                client.update_replication_rule(_promised_rule(client, job), options)
            field.played.did(1)
            job.lifetime = "1s"
            job.run(end=True)
            field.played.found(_taken_back(job))
            prove(field, job, _WAITS, first_act=False)


def _taken_back(job: Job) -> Iterator[Broken]:
    with job.lake.official() as client:
        for rule in client.list_did_rules(job.scope, next(iter(job.datasets))):
            if rule["rse_expression"] != ORIGIN and rule["expires_at"]:
                how = f"the rule to {rule['rse_expression']} still ends at {rule['expires_at']}"
                yield Broken(Promise.LOST, how)


def before_the_reaper(field: Field) -> None:
    """A scenario: the last copy of a file outlives the reaper, and goes when Rucio has made what is
    promised anew."""
    job = _proved(field, runs=1)
    with field.watched(job):
        lost_before_the_reaper(field, job)
        prove(field, job, _WAITS, boost=True, first_act=False)


def lost_before_the_reaper(field: Field, job: Job) -> None:
    """The rule of a proved job has ended at the origin, and Rucio's reaper has yet to come; then
    every promised copy of a file is lost, and cannot be made anew. That file stays, and the others
    go."""
    name, *others = job.names
    with ExitStack() as blocks:
        with blocked(field.lake, ORIGIN, "delete"):
            job.run(end=True)
            _wait(lambda: ORIGIN not in _rules(job))
            for rse in PROMISED:
                blocks.enter_context(blocked(field.lake, rse, "write"))
                field.lake.stored(rse, job.scope)[name].unlink()
            declare_bad(field.lake, job, name, *PROMISED)
            field.played.did(len(PROMISED))
            tell(field, job.run(end=True, deadline=SHORT))
        field.played.found(_outlives(job, name, others))


def _rules(job: Job) -> list[str]:
    """Where the rules of a job's first dataset lead."""
    with job.lake.official() as client:
        rules = list(client.list_did_rules(job.scope, next(iter(job.datasets))))
    return [str(rule["rse_expression"]) for rule in rules]


def _outlives(job: Job, name: str, others: Sequence[str]) -> Iterator[Broken]:
    """One file is at the origin when others are gone from there."""
    if not _wait(lambda: not any((job.sources / other).exists() for other in others)):
        yield Broken(Promise.HELD_UP, f"{name} is in trouble, and {others} are not freed either")
    if not (job.sources / name).exists():
        yield Broken(Promise.FREED, f"{name} is freed, and no promised copy is left")


def server_killed(field: Field) -> None:
    """Rucio's server is killed right before, and right after, it has given a rule its end."""
    for after in (False, True):
        job = _proved(field)
        with field.watched(job):
            _kill_server_at_end(field, job, after=after)
            prove(field, job, (LATER,), first_act=False)


def _kill_server_at_end(field: Field, job: Job, *, after: bool) -> None:
    hit = threading.Event()

    def hook(_number: int, what: str, passed: bool) -> None:
        if not hit.is_set() and what.startswith("PUT /rules") and passed == after:
            field.lake.kill("server")
            hit.set()

    with field.proxied(job) as proxy:
        proxy.hook = hook
        run = job.start(end=True)
        _wait(lambda: hit.is_set() or run.wait(0.02))
        field.lake.start()
        run.finish()
    field.played.did(int(hit.is_set()))
    job.proxy = None


def _proved(field: Field, *, runs: int = 2, lifetime: str = "1s") -> Job:
    """A job that is proved, and not freed."""
    job = field.job("origin", real=True, origin=True, runs=runs, lifetime=lifetime)
    field.played.found(judge.done(job, end=False))
    field.played.found(judge.kept(job))
    return job


def _stays(job: Job, dataset: str) -> Iterator[Broken]:
    """The files of a dataset are at the origin, and a rule keeps them there."""
    for name in job.datasets[dataset]:
        if not (job.sources / name).exists():
            yield Broken(Promise.FREED, f"{name} is freed, and not all that is promised is there")
    with job.lake.official() as client:
        rules = [r for r in client.list_did_rules(job.scope, dataset) if _keeps(r)]
    if not rules:
        yield Broken(Promise.FREED, f"no rule keeps {dataset} at its origin: {job.ran[-1]}")


def _keeps(rule: dict[str, object]) -> bool:
    return rule["rse_expression"] == ORIGIN and rule["expires_at"] is None


def _is_freed(job: Job, dataset: str) -> Iterator[Broken]:
    """One dataset in trouble does not hold up another."""
    names = job.datasets[dataset]

    def is_freed() -> bool:
        ran = job.run(end=True)
        return bool(ran.end["freed"]["files"] == len(names))

    if not _wait(is_freed):
        yield Broken(Promise.HELD_UP, f"{dataset} is not freed: {job.ran[-1]}")
    for name in names:
        if (job.sources / name).exists():
            yield Broken(Promise.LEFT, f"{name} is said to be freed, and is at its origin")


def _promised_rule(client: Client, job: Job) -> str:
    for rule in client.list_did_rules(job.scope, next(iter(job.datasets))):
        if rule["rse_expression"] == _EXPRESSIONS[VICTIM]:
            return str(rule["id"])
    raise AssertionError(f"no rule to {VICTIM}")


def _wait(condition: Callable[[], bool]) -> bool:
    """Wait until something holds; whether it came."""
    limit = time.monotonic() + _PATIENCE
    while not (holds := condition()) and time.monotonic() < limit:
        time.sleep(0.1)
    return holds
