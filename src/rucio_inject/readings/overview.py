"""A campaign at a glance, by a few queries, whatever the number of its files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import JSON, Connection, cast, extract, func, select, type_coerce

from rucio_inject.domain.facts import DrainOrdered
from rucio_inject.domain.injection import FileRecord, FileState, RuleRecord
from rucio_inject.domain.rule import RuleState
from rucio_inject.domain.usage import Usage
from rucio_inject.ledger.fact_json import fact_from, file_from, rule_from
from rucio_inject.ledger.holder import Holder, is_gone
from rucio_inject.ledger.look import Look
from rucio_inject.ledger.queries import Choice, StoredFact, cycle_begun_last, usage_by_state
from rucio_inject.ledger.tables import campaigns, events, files, leases, rules, skipped
from rucio_inject.ports import Clock

SHOWN = 3
# Files whose reasons for waiting are counted: the reasons are in their records, not in columns.
WAITING_LOOKED_AT = 1000
# Events that the last one is looked for among: moments have no index.
EVENTS_LOOKED_AT = 1000

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
    `command` names the campaign on a command line; `not_analysed`: there are files that the
    campaign wants analysed, and they were not."""

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
    drain: DrainOrdered | None = None
    command: str = ""
    not_analysed: bool = False


def overview(look: Look, clock: Clock, *, command: str = "", analyse: bool = False) -> Status:
    """Ask a ledger: by SQL alone, whatever the number of files. `analyse`: the campaign wants its
    files analysed."""
    with look.database.reading() as connection:
        mine = campaigns.c.id == look.number
        cycle, ended, analysed = connection.execute(
            select(campaigns.c.cycle, campaigns.c.ended, campaigns.c.analysed).where(mine)
        ).one()
        usage = usage_by_state(connection, Choice(look.number))
        return Status(
            campaign=look.name,
            place=look.database.place,
            at=clock.now(),
            cycle=cycle,
            ended=ended,
            held=_held(connection, look, clock),
            usage=usage,
            rules=_rules(connection, look),
            failures=_failures(connection, look),
            waiting=_waiting(connection, look),
            skipped=_skipped(connection, look),
            last=_last(connection, look),
            drain=look.ledger.drain,
            command=command,
            not_analysed=analyse and not analysed and FileState.VERIFIED in usage,
        )


def lease_of(look: Look, clock: Clock) -> Held | None:
    """Who has the lease of a campaign, whether it still counts or not; None if nobody."""
    with look.database.reading() as connection:
        return _held(connection, look, clock)


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
    """What happened last, by its moment: files of a ledger of 2020 were put on record just now."""
    # A sum, so that SQLite goes backwards by id and does not sort all that the campaign's index
    # holds; campaigns in one database are few.
    mine = events.c.campaign + 0 == look.number
    newest = select(events).where(mine).order_by(events.c.id.desc()).limit(EVENTS_LOOKED_AT)
    known = newest.subquery()
    row = connection.execute(
        select(known).order_by(known.c.at.desc(), known.c.id.desc()).limit(1)
    ).one_or_none()
    if row is None:
        return None
    return StoredFact(
        row.id, datetime.fromisoformat(row.at), row.kind, fact_from(row.kind, row.fact)
    )
