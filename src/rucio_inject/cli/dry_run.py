"""`rucio-inject run --dry-run`: what a run would do, in words or as one JSON object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from rucio_inject.api import Injector
from rucio_inject.campaign.schema import Campaign
from rucio_inject.cli.drain import as_object
from rucio_inject.cli.exit_codes import ExitCode, of_error, worst
from rucio_inject.cli.output import fitted, legible, to_reader
from rucio_inject.clock import SystemClock
from rucio_inject.domain.errors import InjectError, LedgerUnavailable
from rucio_inject.domain.injection import FileState
from rucio_inject.factory import rucio_ports
from rucio_inject.ledger.empty import EmptyLedger
from rucio_inject.ledger.look import is_begun, looking
from rucio_inject.plan import Fate, Plan, PlannedFiles, PlannedRSE, ToMake
from rucio_inject.ports import Clock, Ledger
from rucio_inject.readings.overview import lease_of
from rucio_inject.rucio.session import SignIn
from rucio_inject.words.moments import shown
from rucio_inject.words.numbers import duration, plural, reason, size

SCHEMA = 1
SHOWN = 20
_INDENT = " " * 14
_OF_FATES = {
    Fate.NEW: "new: would be uploaded",
    Fate.THERE: "there already, with the same content: would be taken as they are",
    Fate.ELSEWHERE: "in the catalogue, but not at the upload RSE: would be uploaded there",
    Fate.UNDER_WAY: "on record: would go on",
    Fate.LOST: "on record, and no longer in the lake: would be brought again",
    Fate.ASIDE: "would be set aside",
    Fate.DONE: "done: nothing is left to do",
}
_OF_STATES = {
    FileState.FOUND: "to measure and upload",
    FileState.MEASURED: "to upload",
    FileState.UPLOADED: "to register",
    FileState.REGISTERED: "to put into their datasets",
    FileState.REPLICATING: "to wait for",
    FileState.REPLICATED: "to verify",
    FileState.VERIFIED: "to end",
    FileState.EXPIRING: "to see gone",
}


def dry_run(
    campaign: Campaign, sign_in: SignIn, *, new_cycle: bool, as_json_: bool, quiet: bool
) -> ExitCode:
    """Tell what a run would do; changes nothing. The exit code is the run's, as far as that can be
    foreseen."""
    clock = SystemClock()
    begun = clock.monotonic()
    with _ledger(campaign, clock) as (ledger, in_use):
        ports = rucio_ports(sign_in, clock, analyse=False, renewing=campaign.sign_in)
        plan = Injector(campaign, ports, ledger, new_cycle=new_cycle).plan()
    obstacles = [*in_use, *plan.obstacles]
    code = of_plan(plan, obstacles)
    seconds = clock.monotonic() - begun
    with to_reader():
        if as_json_:
            click.echo(json.dumps(as_json(campaign, plan, obstacles, code, seconds), indent=2))
        elif not quiet:
            click.echo("\n".join(fitted(as_text(campaign, plan, obstacles, seconds))))
    if quiet:
        for line in troubles(plan, obstacles):
            click.echo(legible(line.strip()), err=True)
    return code


@contextmanager
def _ledger(campaign: Campaign, clock: Clock) -> Iterator[tuple[Ledger, list[InjectError]]]:
    """What is on record, for looking only, and why a run could not have it now. A ledger that is
    not there is not made."""
    if not is_begun(campaign):
        yield EmptyLedger(), []
        return
    with looking(campaign.ledger_place, campaign.campaign, clock) as look:
        held = lease_of(look, clock)
        yield look.ledger, [_in_use(held.name)] if held is not None and held.valid else []


def _in_use(holder: str) -> LedgerUnavailable:
    return LedgerUnavailable(
        f"the ledger is in use by {holder}: a second run would be refused until it has ended",
        hint="or it may wait for it: rucio-inject run --wait 10m",
    )


def of_plan(plan: Plan, obstacles: list[InjectError]) -> ExitCode:
    """The exit code that a run would come to, as far as that can be foreseen."""
    aside = plan.files.count[Fate.ASIDE] or plan.files.skipped or plan.cautions
    few = ExitCode.FILES_FAILED if aside else ExitCode.DONE
    drained = ExitCode.DRAINED if plan.drain and plan.files.waits else ExitCode.DONE
    return worst(few, drained, *map(of_error, obstacles))


def as_text(
    campaign: Campaign, plan: Plan, obstacles: list[InjectError], seconds: float
) -> Iterator[str]:
    """The plan in some lines."""
    yield f"dry run of {campaign.campaign}, cycle {plan.cycle}: nothing was changed"
    yield ""
    yield from _words(plan)
    yield ""
    yield from _files(plan)
    yield from _bytes(plan)
    yield from _to_make("datasets", plan.datasets)
    yield from _to_make("containers", plan.containers)
    yield from _to_make("rules", plan.rules)
    for number, (kind, times) in enumerate(plan.calls.items()):
        yield f"{'' if number else 'calls':<14}{times:>9,}  {kind}"
    yield from troubles(plan, obstacles)
    yield f"{'next':<14}{_next(plan, obstacles)}"
    asked = plural(sum(plan.asked.values()), "question")
    yield f"{'took':<14}{duration(seconds)}, {asked} to Rucio"


def _words(plan: Plan) -> Iterator[str]:
    yield f"whoami        {json.dumps({'account': plan.identity.account})}"
    there = "there" if plan.scope_owner else "would be made"
    yield f"scope         {plan.scope} ({there})"
    for attribute in plan.attributes:
        now = "nothing" if attribute.before is None else attribute.before
        would = f"would be set; is {now}" if attribute.changes else "is so"
        yield f"attribute     {attribute.rse}: {attribute.key}={attribute.value} ({would})"
    yield f"upload RSE    {plan.upload_rse}"
    for expression, rses in plan.expressions.items():
        stands_for = "" if rses == (expression,) else f" = {', '.join(rses)}"
        yield f"rule to       {expression}{stands_for}"
    for rse in plan.rses:
        yield f"room at       {rse.quota.rse}: {_room(rse)}"


def _room(rse: PlannedRSE) -> str:
    quota, space = rse.quota, rse.space
    limit = (
        "no quota"
        if quota.left is None
        else f"quota {size(quota.limit or 0)}, {size(max(quota.left, 0))} left"
    )
    free = "free space not told" if space.free is None else f"{size(space.free)} free"
    return f"{limit}; {free}" + ("" if space.writable else "; blocked for writing")


def _files(plan: Plan) -> Iterator[str]:
    files = plan.files
    total = sum(files.count.values())
    yield f"files         {total:>9,}  {size(sum(files.bytes.values())):>8}" + (
        f"; {plural(files.skipped, 'name')} skipped" if files.skipped else ""
    )
    for fate in Fate:
        if files.count[fate]:
            held = size(files.bytes[fate])
            yield f"{_INDENT}{files.count[fate]:>9,}  {held:>8}  {_OF_FATES[fate]}"
    for state, count in files.left.items():
        yield f"{_INDENT}{'':>9}  {'':>8}    {count:,} {_OF_STATES[state]}"
    if files.by_size:
        yield f"{_INDENT}{files.by_size:,} compared by size: their checksums are not known yet"
    if files.unsized:
        yield f"{_INDENT}{files.unsized:,} have no size that is known yet, and count no bytes"


def _bytes(plan: Plan) -> Iterator[str]:
    brought = plan.files.brought
    if brought.files:
        told = f"{brought.files:>9,}  {size(brought.bytes):>8}"
        yield f"{'upload':<14}{told}  to {plan.upload_rse}"
    for number, (expression, used) in enumerate(plan.files.moves.items()):
        rses = plan.expressions.get(expression, ())
        among = f"one of {', '.join(rses)}" if len(rses) > 1 else ", ".join(rses)
        told = f"{used.files:>9,}  {size(used.bytes):>8}"
        yield f"{'' if number else 'transfers':<14}{told}  to {among}"


def _to_make(what: str, numbers: ToMake) -> Iterator[str]:
    if numbers.made or numbers.there:
        yield f"{what:<14}{numbers.made:>9,}  would be made, {numbers.there:,} are there"


def troubles(plan: Plan, obstacles: list[InjectError]) -> Iterator[str]:
    """What would not go well, the worst first."""
    for obstacle in obstacles:
        yield f"refused       {obstacle.message}"
        if obstacle.hint:
            yield f"{_INDENT}→ {obstacle.hint}"
    if plan.drain is not None:
        yield f"drained       since {shown(plan.drain.at)} by {plan.drain.by}: no file is brought"
        yield f"{_INDENT}→ rucio-inject drain --off CAMPAIGN lets runs take new files again"
    for caution in plan.cautions:
        yield f"no room       {caution}"
    hinted: str | None = None
    for aside in plan.files.aside[:SHOWN]:
        named = str(aside.did) in aside.reason
        yield f"set aside     {'' if named else f'{aside.did}: '}{reason(aside.reason)}"
        if aside.hint and aside.hint != hinted:
            yield f"{_INDENT}→ {aside.hint}"
        hinted = aside.hint
    if (more := plan.files.count[Fate.ASIDE] - len(plan.files.aside[:SHOWN])) > 0:
        yield f"set aside     … and {plural(more, 'file')} more"
    for skip in plan.files.skips[:SHOWN]:
        yield f"skipped       {skip.reason}"
    if (more := plan.files.skipped - len(plan.files.skips[:SHOWN])) > 0:
        yield f"skipped       … and {plural(more, 'name')} more"


def _next(plan: Plan, obstacles: list[InjectError]) -> str:
    if obstacles:
        return "mend what would refuse the run; then ask again"
    if plan.nothing_to_do:
        return "nothing: all is done"
    return "the same command without --dry-run does it"


def as_json(
    campaign: Campaign,
    plan: Plan,
    obstacles: list[InjectError],
    code: ExitCode,
    seconds: float,
) -> dict[str, Any]:
    """The plan as one object; its shape is versioned by `schema`, and sizes are in bytes."""
    files = plan.files
    return {
        "schema": SCHEMA,
        "dry_run": True,
        "campaign": campaign.campaign,
        "cycle": plan.cycle,
        "exit_code": int(code),
        "seconds": round(seconds, 3),
        "whoami": dict(plan.identity.details),
        "scope": {"name": plan.scope, "owner": plan.scope_owner},
        "upload_rse": plan.upload_rse,
        "rse_expressions": {key: list(rses) for key, rses in plan.expressions.items()},
        "rse_attributes": [
            {
                "rse": attribute.rse,
                "key": attribute.key,
                "is": attribute.before,
                "wanted": attribute.value,
                "would_be_set": attribute.changes,
            }
            for attribute in plan.attributes
        ],
        "room": {rse.quota.rse: _room_object(rse) for rse in plan.rses},
        **_files_objects(files),
        "upload": {"files": files.brought.files, "bytes": files.brought.bytes},
        "transfers": {
            key: {"files": used.files, "bytes": used.bytes} for key, used in files.moves.items()
        },
        "datasets": _made_object(plan.datasets),
        "containers": _made_object(plan.containers),
        "rules": _made_object(plan.rules),
        "calls": dict(plan.calls),
        "asked": dict(plan.asked),
        "refused": [{"code": e.code, "reason": e.message, "hint": e.hint} for e in obstacles],
        "no_room": list(plan.cautions),
        "drained": as_object(plan.drain),
        "nothing_to_do": plan.nothing_to_do,
    }


def _room_object(rse: PlannedRSE) -> dict[str, Any]:
    return {
        "quota": rse.quota.limit,
        "quota_used": rse.quota.used,
        "quota_left": rse.quota.left,
        "free": rse.space.free,
        "total": rse.space.total,
        "writable": rse.space.writable,
    }


def _made_object(numbers: ToMake) -> dict[str, int]:
    return {"would_be_made": numbers.made, "there": numbers.there}


def _files_objects(files: PlannedFiles) -> dict[str, Any]:
    """What the files are to the run."""
    return {
        "files": {
            str(fate): {"files": files.count[fate], "bytes": files.bytes[fate]} for fate in Fate
        },
        "on_record_left": {str(state): count for state, count in files.left.items()},
        "compared_by_size": files.by_size,
        "size_not_known": files.unsized,
        "skipped": {
            "names": files.skipped,
            "first": [{"path": s.path, "reason": s.reason} for s in files.skips],
        },
        "set_aside": {
            "by_code": dict(files.codes),
            "first": [
                {"did": str(a.did), "code": a.code, "reason": a.reason, "hint": a.hint}
                for a in files.aside
            ],
        },
    }
