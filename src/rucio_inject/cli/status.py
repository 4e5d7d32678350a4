"""`rucio-inject status`: how far a campaign has come, from its ledger alone."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from rucio_inject.cli.drain import as_object
from rucio_inject.cli.exit_codes import ExitCode, of_error, worst
from rucio_inject.cli.ledger_look import campaigns_argument, ledger_options, relocated
from rucio_inject.cli.main import tell
from rucio_inject.cli.output import fitted, to_reader
from rucio_inject.cli.verbosity import shows_traces
from rucio_inject.clock import SystemClock
from rucio_inject.domain.errors import InjectError
from rucio_inject.domain.injection import FileState
from rucio_inject.domain.rule import RuleState
from rucio_inject.domain.usage import Usage
from rucio_inject.ledger.look import looking
from rucio_inject.ports import Clock
from rucio_inject.readings import overview as readings
from rucio_inject.readings.overview import SHOWN, Reason, Status, overview
from rucio_inject.words.facts import subject, told
from rucio_inject.words.moments import moment, shown
from rucio_inject.words.numbers import duration, plural, reason, size

SCHEMA = 1


@click.command(epilog="Example: rucio-inject status campaigns/*.yaml")
@campaigns_argument
@ledger_options
@click.option("--json", "as_json_", is_flag=True, help="Print one JSON object a campaign and line.")
@click.pass_context
def status(
    ctx: click.Context,
    *,
    campaign_files: tuple[Path, ...],
    output: Path | None,
    as_json_: bool,
) -> None:
    """Show how far campaigns have come.

    Only the ledger is read, also while a run goes on; Rucio is not asked. Every campaign is looked
    at. Exit code 0 if all could be read, else that of the worst error.
    """
    clock = SystemClock()
    code = ExitCode.DONE
    for number, file in enumerate(campaign_files):
        try:
            found = gather(file, output, clock)
        except InjectError as error:
            code = worst(code, of_error(error))
            tell(error, verbose=shows_traces(ctx))
            continue
        with to_reader():
            if as_json_:
                click.echo(json.dumps(as_json(found)))
                continue
            click.echo("\n".join(([""] if number else []) + fitted(as_text(found))))
    ctx.exit(code)


def gather(file: Path, output: Path | None, clock: Clock) -> Status:
    """Ask the ledger of one campaign file."""
    campaign = relocated(file, output)
    command = shlex.join([*(["--output", str(output)] if output else []), str(file)])
    with looking(campaign.ledger_place, campaign.campaign, clock) as look:
        return overview(look, clock, command=command, analyse=campaign.access.analyse)


def todo(found: Status) -> Iterator[str]:
    """What a person may do next, the most urgent first."""
    if found.held is not None and found.held.valid:
        yield "nothing: a run goes on"
        return
    for rule in found.rules.trouble[:1]:
        yield (
            f"rule {rule.rule_id} is {rule.state}: Rucio tries a STUCK rule again by itself, one "
            "that is SUSPENDED needs its administrators"
        )
    if found.failures:
        yield "mend why files were set aside: the next run tries them again"
    if found.ended and found.not_analysed:
        yield (
            "nothing was analysed: the next run tries again; if it says that the files cannot be, "
            "leave it out (access: analyse: false)"
        )
    elif found.ended:
        yield "nothing: the cycle has come to its end"
    elif found.drain is not None:
        yield "it is drained: rucio-inject drain --off lets runs take new files again"
    else:
        yield f"{'go on' if found.usage else 'begin'}: rucio-inject run {found.command}"


def as_json(found: Status) -> dict[str, Any]:
    """The status as one object; its shape is versioned by `schema`. Times are ISO 8601, UTC."""
    held, last, known = found.held, found.last, found.rules
    return {
        "schema": SCHEMA,
        "campaign": found.campaign,
        "ledger": found.place,
        "at": moment(found.at),
        "holder": held and {"name": held.name, "since": moment(held.since), "valid": held.valid},
        "drained": as_object(found.drain),
        "cycle": found.cycle,
        "ended": found.ended,
        "files": {str(state): used.files for state, used in found.usage.items()},
        "bytes": {str(state): used.bytes for state, used in found.usage.items()},
        "skipped": found.skipped,
        "rules": {
            "by_state": {str(state): count for state, count in known.by_state.items()},
            "not_ok": known.not_ok,
            "ending": known.ending,
            "gone": known.gone,
            "trouble": [
                {
                    "id": rule.rule_id,
                    "dataset": str(rule.dataset),
                    "rse_expression": rule.rse_expression,
                    "state": str(rule.state),
                    "error": rule.error,
                }
                for rule in known.trouble
            ],
        },
        "quarantined": [_failure_object(failed) for failed in found.failures],
        "waiting": [
            {"reason": r.why, "files": r.count, "example": str(r.example.did)}
            for r in found.waiting
        ],
        "last_event": last
        and {
            "at": moment(last.at),
            "seconds_ago": round((found.at - last.at).total_seconds(), 3),
            "kind": last.kind,
            "subject": subject(last.fact),
            "words": told(last.fact),
        },
        "next": list(todo(found)),
    }


def _failure_object(failed: Reason) -> dict[str, Any]:
    failure = failed.example.failure
    return {
        "code": failed.why,
        "files": failed.count,
        "example": str(failed.example.did),
        "reason": failure and failure.reason,
        "hint": failure and failure.hint,
    }


def as_text(found: Status) -> Iterator[str]:
    """The status in some lines."""
    cycle = "ended" if found.ended else "open"
    yield f"{found.campaign}, " + (f"cycle {found.cycle} ({cycle})" if found.cycle else "not begun")
    yield ""
    yield f"  ledger        {found.place}"
    yield f"  held by       {_holder(found)}"
    if (drain := found.drain) is not None:
        why = f": {drain.reason}" if drain.reason else ""
        yield f"  drained       since {shown(drain.at)} by {drain.by}{why}; no new files are taken"
    yield from _files(found)
    yield from _rule_lines(found)
    yield from _reasons(found)
    if found.last is not None:
        ago = duration(max((found.at - found.last.at).total_seconds(), 0))
        about = subject(found.last.fact)
        yield f"  last event    {shown(found.last.at)}, {ago} ago"
        yield f"                {f'{about}: ' if about else ''}{told(found.last.fact)}"
    for number, line in enumerate(todo(found)):
        yield f"  {'' if number else 'next':<12}  {line}"


def _holder(found: Status) -> str:
    held = found.held
    if held is None:
        return "nobody"
    since = f"since {shown(held.since)}"
    if held.valid:
        return f"{held.name}, {since}"
    return f"nobody; {held.name}, {since}, has ended or hangs"


def _files(found: Status) -> Iterator[str]:
    total = Usage(
        sum(used.files for used in found.usage.values()),
        sum(used.bytes for used in found.usage.values()),
    )
    more = f"; {plural(found.skipped, 'name')} skipped" if found.skipped else ""
    yield f"  files         {total.files:,}, {size(total.bytes)}{more}"
    for state, used in found.usage.items():
        name = click.style(state, fg="red") if state is FileState.QUARANTINED else state
        yield f"                {used.files:>9,}  {size(used.bytes):>8}  {name}"


def _rule_lines(found: Status) -> Iterator[str]:
    known = found.rules
    states = ", ".join(f"{count:,} {state}" for state, count in known.by_state.items())
    ends = [
        f"{count:,} {what}"
        for count, what in ((known.ending, "of them ending"), (known.gone, "gone"))
        if count
    ]
    told_ = "; ".join(part for part in (states, *ends) if part) or "none"
    yield (
        f"  rules         {known.not_ok:,} not OK: {told_}"
        if known.not_ok
        else f"  rules         {told_}"
    )
    waiting = found.usage.get(FileState.REPLICATING, Usage(0, 0)).files
    if waiting and known.by_state and not known.not_ok:
        yield f"                {_number(waiting)} replicating all the same: Rucio shows a rule as"
        yield "                OK until it has looked at the files of its dataset"
    if RuleState.INJECT in known.by_state:
        yield "                INJECT: Rucio has yet to make their locks"
    for rule in known.trouble:
        why = f": {reason(rule.error)}" if rule.error else ""
        yield f"                {rule.state}: rule {rule.rule_id} to {rule.rse_expression}{why}"


def _reasons(found: Status) -> Iterator[str]:
    for failed in found.failures:
        failure = failed.example.failure
        yield f"  set aside     {_number(failed.count)}: {failed.why}"
        if failure is not None:
            did = str(failed.example.did)
            named = did in failure.reason or failed.example.path in failure.reason
            about = "" if named else f"{did}: "
            yield f"                such as {about}{failure.reason}"
            if failure.hint:
                yield f"                → {failure.hint}"
    replicating = found.usage.get(FileState.REPLICATING, Usage(0, 0)).files
    for waits in found.waiting[:SHOWN]:
        yield f"  waiting       {_number(waits.count)}: {reason(waits.why)}"
        yield f"                such as {waits.example.did}"
    looked_at = readings.WAITING_LOOKED_AT
    if found.waiting and replicating > looked_at:
        yield f"                (of the first {looked_at:,} of {replicating:,} files)"


def _number(files_: int) -> str:
    return "1 file" if files_ == 1 else f"{files_:,} files"
