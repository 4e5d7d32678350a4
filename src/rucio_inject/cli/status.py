"""`rucio-inject status`: how far a campaign has come, from its ledger alone."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from sqlalchemy import JSON, Connection, cast, extract, func, select, type_coerce

from rucio_inject.cli.exit_codes import ExitCode, of_error
from rucio_inject.cli.ledger_location import (
    Look,
    fitted,
    ledger_options,
    looking,
    moment,
    relocated,
    shown,
    subject,
    to_reader,
    told,
)
from rucio_inject.cli.main import tell
from rucio_inject.cli.words import duration, plural, size
from rucio_inject.clock import SystemClock
from rucio_inject.domain.errors import InjectError
from rucio_inject.domain.injection import FileRecord, FileState, RuleRecord
from rucio_inject.domain.rule import RuleState
from rucio_inject.domain.usage import Usage
from rucio_inject.ledger.fact_json import fact_from, file_from, rule_from
from rucio_inject.ledger.holder import Holder, is_gone
from rucio_inject.ledger.queries import Choice, StoredFact, cycle_begun_last, usage_by_state
from rucio_inject.ledger.tables import campaigns, events, files, leases, rules, skipped
from rucio_inject.ports import Clock

SCHEMA = 1
SHOWN = 3
# Files whose reasons for waiting are counted: the reasons are in their records, not in columns.
WAITING_LOOKED_AT = 1000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Held:
    """A lease: by whom, since when, and whether it still counts."""

    name: str
    since: datetime
    valid: bool


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules of a cycle: by state those that are not gone, and the first ones in trouble."""

    by_state: Mapping[RuleState, int]
    ending: int
    gone: int
    trouble: Sequence[RuleRecord]

    @property
    def not_ok(self) -> int:
        """How many should be OK and are not."""
        return sum(self.by_state.values()) - self.by_state.get(RuleState.OK, 0)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why files do not go on: how many, and one of them."""

    why: str
    count: int
    example: FileRecord


@dataclass(frozen=True, slots=True)
class Status:
    """What is told of a campaign. `at` is the moment of looking, `place` where its ledger is;
    `failures` are by code, `waiting` by what Rucio says of the first `WAITING_LOOKED_AT`;
    `command` names the campaign on a command line."""

    campaign: str
    place: str
    at: datetime
    cycle: int
    ended: bool
    held: Held | None
    usage: Mapping[FileState, Usage]
    rules: Rules
    failures: Sequence[Reason]
    waiting: Sequence[Reason]
    skipped: int
    last: StoredFact | None
    command: str


@click.command(epilog="Example: rucio-inject status campaigns/*.yaml")
@click.argument(
    "campaign_files",
    nargs=-1,
    required=True,
    metavar="CAMPAIGN...",
    type=click.Path(path_type=Path, readable=False),
)
@ledger_options
@click.option("--json", "as_json_", is_flag=True, help="Print one JSON object a campaign and line.")
@click.pass_context
def status(
    ctx: click.Context,
    *,
    campaign_files: tuple[Path, ...],
    output: Path | None,
    verbose: int,
    as_json_: bool,
) -> None:
    """Show how far campaigns have come.

    Only the ledger is read, also while a run goes on; Rucio is not asked. Every campaign is looked
    at. Exit code 0 if all could be read.
    """
    clock = SystemClock()
    code = ExitCode.DONE
    for number, file in enumerate(campaign_files):
        try:
            found = gather(file, output, clock)
        except InjectError as error:
            code = max(code, of_error(error))
            tell(error, verbose=verbose > 1)
            continue
        with to_reader():
            if as_json_:
                click.echo(json.dumps(as_json(found)))
                continue
            click.echo("\n".join(([""] if number else []) + fitted(as_text(found))))
    ctx.exit(code)


def gather(file: Path, output: Path | None, clock: Clock) -> Status:
    """Ask the ledger of one campaign file: by SQL alone, whatever the number of files."""
    campaign = relocated(file, output)
    with looking(campaign, clock) as look, look.database.reading() as connection:
        mine = campaigns.c.id == look.number
        cycle, ended = connection.execute(
            select(campaigns.c.cycle, campaigns.c.ended).where(mine)
        ).one()
        return Status(
            campaign=campaign.campaign,
            place=look.database.place,
            at=clock.now(),
            cycle=cycle,
            ended=ended,
            held=_held(connection, look, clock),
            usage=usage_by_state(connection, Choice(look.number)),
            rules=_rules(connection, look),
            failures=_failures(connection, look),
            waiting=_waiting(connection, look),
            skipped=_skipped(connection, look),
            last=_last(connection, look),
            command=shlex.join([*(["--output", str(output)] if output else []), str(file)]),
        )


def _held(connection: Connection, look: Look, clock: Clock) -> Held | None:
    row = connection.execute(select(leases).where(leases.c.campaign == look.number)).one_or_none()
    if row is None:
        return None
    # A lease's times are the server's own, where there is one.
    now = (clock.now() - _EPOCH) // timedelta(microseconds=1)
    if not look.database.is_sqlite:
        seconds = connection.execute(select(extract("epoch", func.clock_timestamp()))).scalar_one()
        now = int(seconds * 1_000_000)
    gone = is_gone(Holder(row.holder, row.place, row.process))
    since = _EPOCH + timedelta(microseconds=row.acquired_at)
    return Held(row.holder, since, valid=row.expires_at > now and not gone)


def _rules(connection: Connection, look: Look) -> Rules:
    # SQLite has JSON as text; a cast would make a number of it.
    known = (type_coerce if look.database.is_sqlite else cast)(rules.c.record, JSON)
    state, gone, ending = (known[key].as_string() for key in ("state", "gone_at", "ending_at"))
    mine = (rules.c.campaign == look.number) & (rules.c.cycle == cycle_begun_last(look.number))
    is_gone_, is_ending = gone.is_not(None), ending.is_not(None)
    counted = connection.execute(
        select(state, is_gone_, is_ending, func.count())
        .where(mine)
        .group_by(state, is_gone_, is_ending)
    ).all()
    by_state: Counter[RuleState] = Counter()
    for name, is_away, _, count in counted:
        if not is_away:
            by_state[RuleState(name)] += count
    in_trouble = connection.execute(
        select(rules.c.rule_id, rules.c.record)
        .where(mine, gone.is_(None), state.in_([RuleState.STUCK, RuleState.SUSPENDED]))
        .order_by(rules.c.id)
        .limit(SHOWN)
    )
    return Rules(
        by_state=by_state,
        ending=sum(row[3] for row in counted if row[2] and not row[1]),
        gone=sum(row[3] for row in counted if row[1]),
        trouble=[rule_from(text, rule_id) for rule_id, text in in_trouble],
    )


def _failures(connection: Connection, look: Look) -> list[Reason]:
    chosen = (*Choice(look.number).conditions(), files.c.state == FileState.QUARANTINED)
    number = func.count()
    firsts = connection.execute(
        select(files.c.failure, number, func.min(files.c.id))
        .where(*chosen)
        .group_by(files.c.failure)
        .order_by(number.desc(), files.c.failure)
    ).all()
    records = _records(connection, [row for _, _, row in firsts])
    return [Reason(code, count, records[row]) for code, count, row in firsts]


def _waiting(connection: Connection, look: Look) -> list[Reason]:
    """What the first files that are being replicated wait for, the most frequent reason first."""
    first = (
        select(files.c.id)
        .where(*Choice(look.number).conditions(), files.c.state == FileState.REPLICATING)
        .order_by(files.c.id)
        .limit(WAITING_LOOKED_AT)
    )
    found: dict[str, list[FileRecord]] = {}
    for record in _records(connection, list(connection.execute(first).scalars())).values():
        if record.waits_for is not None:
            found.setdefault(record.waits_for, []).append(record)
    reasons = [Reason(why, len(records), records[0]) for why, records in found.items()]
    return sorted(reasons, key=lambda reason: -reason.count)


def _records(connection: Connection, rows: Sequence[int]) -> dict[int, FileRecord]:
    found = connection.execute(
        select(files.c.id, files.c.scope, files.c.name, files.c.record)
        .where(files.c.id.in_(rows))
        .order_by(files.c.id)
    )
    return {row: file_from(text, f"{scope}:{name}") for row, scope, name, text in found}


def _skipped(connection: Connection, look: Look) -> int:
    mine = skipped.c.campaign == look.number
    return connection.execute(select(func.count()).where(mine)).scalar_one()


def _last(connection: Connection, look: Look) -> StoredFact | None:
    # A sum, so that SQLite goes backwards by id and does not sort all that the campaign's index
    # holds; campaigns in one database are few.
    mine = events.c.campaign + 0 == look.number
    row = connection.execute(
        select(events).where(mine).order_by(events.c.id.desc()).limit(1)
    ).one_or_none()
    if row is None:
        return None
    return StoredFact(
        row.id, datetime.fromisoformat(row.at), row.kind, fact_from(row.kind, row.fact)
    )


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
        yield f"mend why files were set aside, then: rucio-inject files retry --all {found.command}"
    if found.ended:
        yield "nothing: the cycle has come to its end"
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
        "quarantined": [_failure_object(reason) for reason in found.failures],
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


def _failure_object(reason: Reason) -> dict[str, Any]:
    failure = reason.example.failure
    return {
        "code": reason.why,
        "files": reason.count,
        "example": str(reason.example.did),
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
    yield from _files(found)
    yield from _rule_lines(found.rules)
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


def _rule_lines(known: Rules) -> Iterator[str]:
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
    for rule in known.trouble:
        why = f": {rule.error}" if rule.error else ""
        yield f"                {rule.state}: rule {rule.rule_id} to {rule.rse_expression}{why}"


def _reasons(found: Status) -> Iterator[str]:
    for reason in found.failures:
        failure = reason.example.failure
        yield f"  set aside     {_number(reason.count)}: {reason.why}"
        if failure is not None:
            did = str(reason.example.did)
            named = did in failure.reason or reason.example.path in failure.reason
            about = "" if named else f"{did}: "
            yield f"                such as {about}{failure.reason}"
            if failure.hint:
                yield f"                → {failure.hint}"
    replicating = found.usage.get(FileState.REPLICATING, Usage(0, 0)).files
    for reason in found.waiting[:SHOWN]:
        yield f"  waiting       {_number(reason.count)}: {reason.why}"
        yield f"                such as {reason.example.did}"
    if found.waiting and replicating > WAITING_LOOKED_AT:
        yield f"                (of the first {WAITING_LOOKED_AT:,} of {replicating:,} files)"


def _number(files_: int) -> str:
    return "1 file" if files_ == 1 else f"{files_:,} files"
