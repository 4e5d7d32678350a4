"""Faults of storages and RSEs: blocked, unmounted, without quota, corrupted, emptied."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tests.faults.field import Field, prove
from tests.faults.judge import Broken, Promise
from tests.faults.lake import ACCOUNT, PROMISED, UPLOAD, Lake
from tests.faults.work import Job, Ran

ERROR, FILES_FAILED, CHECKSUM, LATER, STUCK = 1, 3, 4, 5, 7
VICTIM = "LAPP-FAST"
SHORT = 12


@contextmanager
def blocked(lake: Lake, rse: str, what: str) -> Iterator[None]:
    """An RSE that Rucio takes for out of order for reading or writing, as an operator says it."""
    flag = f"availability_{what}"
    with lake.official() as client:
        client.update_rse(rse, {flag: False})
    try:
        yield
    finally:
        with lake.official() as client:
            client.update_rse(rse, {flag: True})


@contextmanager
def unmounted(lake: Lake, rse: str) -> Iterator[None]:
    """A storage whose folder is not there; who makes it anew makes the end of this fail."""
    folder = lake.storage(rse)
    away = folder.with_name(f"{rse}.away")
    folder.rename(away)
    try:
        yield
    finally:
        # Onto a folder with something in it this is refused.
        away.rename(folder)


@contextmanager
def poor(lake: Lake, rse: str) -> Iterator[None]:
    """An RSE on which the account has no room left, and which it may not go beyond: Rucio holds no
    administrator to a limit."""
    with lake.official() as client:
        client.set_local_account_limit(ACCOUNT, rse, 10)
        client.delete_account_attribute(ACCOUNT, "admin")
    try:
        yield
    finally:
        with lake.official() as client:
            client.add_account_attribute(ACCOUNT, "admin", "True")
            client.set_local_account_limit(ACCOUNT, rse, -1)


Fault = Callable[[Lake], Any]
Check = Callable[[Job], Iterator[Broken]]


def others_served(job: Job) -> Iterator[Broken]:
    """One destination in trouble never stops the others."""
    for rse in PROMISED:
        missing = len(job.names) - len(job.lake.stored(rse, job.scope))
        if rse != VICTIM and missing:
            how = f"{VICTIM} is in trouble, and {missing} files are not at {rse} either"
            yield Broken(Promise.HELD_UP, how)


def nothing_stored(job: Job) -> Iterator[Broken]:
    """Nothing is put on an RSE that Rucio says is not to be written to, as with `rucio upload`."""
    stored = len(job.lake.stored(UPLOAD, job.scope))
    if stored:
        yield Broken(Promise.HELD_UP, f"{stored} files were stored on {UPLOAD}, which is blocked")


def no_check(_job: Job) -> Iterator[Broken]:
    """Nothing is promised while the fault lasts, but that nothing is lost."""
    yield from ()


def before(
    fault: Fault, codes: tuple[int, ...], check: Check = no_check
) -> Callable[[Field], None]:
    """A scenario: the fault is there when a job begins, and is lifted after the check."""

    def play(field: Field) -> None:
        job = field.job("before", real=True)
        with field.watched(job):
            with fault(field.lake):
                field.played.did(1)
                ran = job.run(deadline=SHORT)
                field.played.found(check(job))
            tell(field, ran)
            prove(field, job, codes, boost=True)

    return play


def at_rules(
    fault: Fault, codes: tuple[int, ...], check: Check = no_check
) -> Callable[[Field], None]:
    """A scenario: the fault comes when everything is uploaded, right before rules are asked for."""

    def play(field: Field) -> None:
        job = field.job("midway", real=True)
        entered: list[Any] = []

        def hook(_number: int, what: str, passed: bool) -> None:
            if not entered and not passed and what.startswith("POST /rules"):
                entered.append(fault(field.lake))
                entered[0].__enter__()

        with field.watched(job), field.proxied(job) as proxy:
            proxy.hook = hook
            ran = job.run(deadline=SHORT)
            proxy.hook = None
            field.played.found(check(job))
            for manager in entered:
                field.played.did(1)
                manager.__exit__(None, None, None)
            tell(field, ran)
            prove(field, job, codes, boost=True)

    return play


def at_the_end(
    fault: Fault, codes: tuple[int, ...], mend: Callable[[Field, Job], None] | None = None
) -> Callable[[Field], None]:
    """A scenario: the fault is there when rules and replicas are to end. `mend`: what an operator
    has to do after it."""

    def play(field: Field) -> None:
        job = field.job("end")

        def ending() -> None:
            with fault(field.lake):
                field.played.did(1)
                ran = job.run(end=True, deadline=SHORT)
            tell(field, ran)
            if mend is not None:
                mend(field, job)

        prove(field, job, codes, ending=ending, boost=True)

    return play


def remove_dark(field: Field, job: Job) -> None:
    """Rucio's posix protocol says "deleted" of files that it could not reach: they stay, and the
    catalogue forgets them. The command must tell so and not take them for gone; then they are
    removed, as a site's cleaning does."""
    ran = job.run(end=True, deadline=SHORT)
    dark = job.lake.stored(VICTIM, job.scope)
    told = {did.partition(":")[2] for did in ran.end.get("still_there", ())}
    if not set(dark) <= told:
        how = f"{len(dark)} files are on {VICTIM} and in no catalogue; told: {ran}"
        field.played.found([Broken(Promise.LEFT, how)])
    for path in dark.values():
        path.unlink()
    field.played.did(0, f"dark files, told as still there: {len(dark)}; removed by hand")


def tell(field: Field, ran: Ran) -> None:
    """Note what a run said while the fault lasted."""
    failures = {f"{f['code']}: {f['reason']}" for f in ran.end.get("failures", ())}
    why = " | ".join(sorted(failures)[:1]) or " | ".join(ran.err.strip().splitlines()[-2:])
    field.played.did(0, f"exit code {ran.code}: {why}")


class Tamper:
    """Does something to a file on a storage as soon as it shows there under its name."""

    def __init__(self, lake: Lake, job: Job, rse: str, act: Callable[[Path], None]) -> None:
        self._lake, self._job, self._rse, self._act = lake, job, rse, act
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._stop = threading.Event()
        self.path: Path | None = None

    @property
    def name(self) -> str:
        """The file that it waits for."""
        return self._job.names[0]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while self.path is None and not self._stop.wait(0.005):
            self.path = self._lake.stored(self._rse, self._job.scope).get(self.name)
            if self.path is not None:
                self._act(self.path)


def corrupt(path: Path) -> None:
    """Change a byte in the middle, and nothing that a listing shows."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def delete(path: Path) -> None:
    """Take the file away behind Rucio's back."""
    path.unlink()


def tampered(
    act: Callable[[Path], None], codes: tuple[int, ...], *, declare: bool
) -> Callable[[Field], None]:
    """A scenario: a replica is damaged before it is read back.

    The file must be set aside with a reason, its rules and its source kept. Then the bytes are
    put back, or (`declare`) the replica is declared bad, and Rucio recovers it.
    """

    def play(field: Field) -> None:
        job = field.job("tamper", real=True)
        with field.watched(job):
            with Tamper(field.lake, job, VICTIM, act) as tamper:
                ran = job.run(deadline=SHORT)
            field.played.did(int(tamper.path is not None))
            tell(field, ran)
            field.played.found(_set_aside(job, ran, tamper, codes))
            if declare:
                declare_bad(field.lake, job, tamper.name)
            elif tamper.path is not None:
                tamper.path.write_bytes(job.contents[tamper.name])
            prove(field, job, codes, boost=True)

    return play


def _set_aside(job: Job, ran: Ran, tamper: Tamper, codes: tuple[int, ...]) -> Iterator[Broken]:
    if ran.code not in codes:
        yield Broken(Promise.WORDS, f"a damaged replica is told as {ran}")
    if not (job.sources / tamper.name).exists():
        yield Broken(Promise.FREED, f"{tamper.name} is freed, its replica at {VICTIM} is damaged")
    named = [f["did"] for f in ran.end.get("failures", ())] + list(ran.end.get("waiting", ()))
    if named != [f"{job.scope}:{tamper.name}"]:
        yield Broken(Promise.WORDS, f"set aside or waiting: {named}, damaged: {tamper.name}")
    with job.lake.official() as client:
        for dataset in job.datasets:
            rules = list(client.list_did_rules(job.scope, dataset))
            if len(rules) != 4 or any(rule["expires_at"] for rule in rules):
                yield Broken(Promise.LOST, f"rules of {dataset} end or are gone: {rules}")


def declare_bad(lake: Lake, job: Job, name: str, *rses: str) -> None:
    """Declare a replica bad, at the victim if no RSEs are named, and run Rucio's necromancer: that
    of a busy lake may take its time."""
    with lake.official() as client:
        rows = [{"scope": job.scope, "name": name, "rse": rse} for rse in rses or (VICTIM,)]
        client.declare_bad_file_replicas(rows, reason="damaged by the fault runner", force=True)
    lake.daemon("rucio-necromancer", "--run-once")


def upload_tampered(act: Callable[[Path], None], codes: tuple[int, ...]) -> Callable[[Field], None]:
    """A scenario: the uploaded replica is damaged when rules are asked for; then it is put back."""

    def play(field: Field) -> None:
        job = field.job("origin", real=True)
        name = job.names[0]
        hit: list[Path] = []

        def hook(_number: int, what: str, passed: bool) -> None:
            if not hit and not passed and what.startswith("POST /rules"):
                hit.append(field.lake.stored(UPLOAD, job.scope)[name])
                act(hit[0])

        with field.watched(job), field.proxied(job) as proxy:
            proxy.hook = hook
            ran = job.run(deadline=SHORT)
            proxy.hook = None
            field.played.did(len(hit))
            tell(field, ran)
            for path in hit:
                path.write_bytes(job.contents[name])
            prove(field, job, codes, boost=True)

    return play
