"""The funnel of a cycle: how many files have come as far as each state, and how many fell out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ColumnElement, Connection, cast, func, select, type_coerce

from rucio_inject.domain.facts import CycleBegun, CycleEnded
from rucio_inject.domain.injection import ORDER, FileState, reached
from rucio_inject.domain.usage import Usage
from rucio_inject.ledger.fact_json import fact_from
from rucio_inject.ledger.look import Look
from rucio_inject.ledger.queries import cycles_with_files, sampled_by_state
from rucio_inject.ledger.tables import events, files


@dataclass(frozen=True, slots=True)
class Funnel:
    """A cycle in numbers. `fell_out` counts quarantined files by the state that they came from;
    times are UTC, and `ended_at` is None for a cycle that is open, or whose end is not on record
    any more. `sampled` files came as far as VERIFIED by what the storages told: a sample that they
    are not of was read back."""

    cycle: int
    usage: Mapping[FileState, Usage] = field(default_factory=dict)
    fell_out: Mapping[FileState, int] = field(default_factory=dict)
    begun_at: datetime | None = None
    ended_at: datetime | None = None
    sampled: int = 0

    @property
    def files(self) -> int:
        """All files of the cycle."""
        return sum(used.files for used in self.usage.values())

    @property
    def bytes(self) -> int:
        """Their bytes, as far as they are measured."""
        return sum(used.bytes for used in self.usage.values())

    @property
    def quarantined(self) -> int:
        """Files that were set aside."""
        return self.usage.get(FileState.QUARANTINED, Usage(0, 0)).files

    def that_reached(self, state: FileState) -> int:
        """Files that came as far as a state, those that fell out later among them."""
        here = sum(used.files for have, used in self.usage.items() if reached(have, state))
        return here + sum(n for came_from, n in self.fell_out.items() if reached(came_from, state))

    @property
    def read_back(self) -> int:
        """Files that were read back from everywhere, and were the same."""
        return self.that_reached(FileState.VERIFIED) - self.sampled

    def steps(self) -> list[tuple[FileState, int]]:
        """Every state in its order, with the files that came as far."""
        return [(state, self.that_reached(state)) for state in ORDER]

    @property
    def furthest(self) -> FileState:
        """The last state that any file reached; FOUND when there is none."""
        return [state for state, count in self.steps() if count or state is FileState.FOUND][-1]


def funnels(look: Look) -> list[Funnel]:
    """The funnel of every cycle on record, the newest first: by SQL alone, whatever the number of
    files."""
    with look.database.reading() as connection:
        usage = _usage(connection, look)
        fell_out = _fell_out(connection, look)
        sampled = _sampled(connection, look)
        begun, ended = _moments(connection, look)
    cycles = sorted({*usage, *begun}, reverse=True)
    return [
        Funnel(
            cycle,
            usage.get(cycle, {}),
            fell_out.get(cycle, {}),
            begun.get(cycle),
            ended.get(cycle),
            sampled[cycle],
        )
        for cycle in cycles
    ]


def is_on_record(look: Look, cycle: int) -> bool:
    """Whether a cycle has files, or was begun."""
    with look.database.reading() as connection:
        return (
            cycle in cycles_with_files(connection, look.number)
            or cycle in _moments(connection, look)[0]
        )


def _usage(connection: Connection, look: Look) -> dict[int, dict[FileState, Usage]]:
    rows = connection.execute(
        select(files.c.cycle, files.c.state, func.count(), func.coalesce(func.sum(files.c.size), 0))
        .where(files.c.campaign == look.number)
        .group_by(files.c.cycle, files.c.state)
    )
    found: dict[int, dict[FileState, Usage]] = {}
    for cycle, state, count, size in rows:
        found.setdefault(cycle, {})[FileState(state)] = Usage(count, int(size))
    return found


def _fell_out(connection: Connection, look: Look) -> dict[int, Counter[FileState]]:
    came_from = _record(look)[("failure", "came_from")].as_string()
    rows = connection.execute(
        select(files.c.cycle, came_from, func.count())
        .where(files.c.campaign == look.number, files.c.state == FileState.QUARANTINED)
        .group_by(files.c.cycle, came_from)
    )
    found: dict[int, Counter[FileState]] = {}
    for cycle, state, count in rows:
        found.setdefault(cycle, Counter())[FileState(state)] += count
    return found


def _sampled(connection: Connection, look: Look) -> Counter[int]:
    found: Counter[int] = Counter()
    for cycle, state, count in sampled_by_state(connection, look.number):
        if reached(state, FileState.VERIFIED):
            found[cycle] += count
    # Those that fell out are few: where from is in their records.
    came_from = _record(look)[("failure", "came_from")].as_string()
    fell_out = connection.execute(
        select(files.c.cycle, came_from, func.count())
        .where(files.c.campaign == look.number, files.c.sampled)
        .where(files.c.state == FileState.QUARANTINED)
        .group_by(files.c.cycle, came_from)
    )
    for cycle, state, count in fell_out:
        if reached(FileState(state), FileState.VERIFIED):
            found[cycle] += count
    return found


def _record(look: Look) -> ColumnElement[Any]:
    # SQLite has JSON as text; a cast would make a number of it.
    return (type_coerce if look.database.is_sqlite else cast)(files.c.record, JSON)


def _moments(connection: Connection, look: Look) -> tuple[dict[int, datetime], dict[int, datetime]]:
    """When cycles began first, and ended last."""
    # Facts about the campaign as a whole have no subject: few, and found by the index.
    rows = connection.execute(
        select(events.c.kind, events.c.fact)
        .where(events.c.campaign == look.number, events.c.subject.is_(None))
        .where(events.c.kind.in_([CycleBegun.__name__, CycleEnded.__name__]))
        .order_by(events.c.id)
    )
    begun: dict[int, datetime] = {}
    ended: dict[int, datetime] = {}
    for kind, text in rows:
        match fact_from(kind, text):
            case CycleBegun(cycle=cycle, at=at):
                begun.setdefault(cycle, at)
                ended.pop(cycle, None)
            case CycleEnded(cycle=cycle, at=at):
                ended[cycle] = at
    return begun, ended
