"""A campaign over some time, as it is handed on: to a site's monthly report, or to programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import chain
from typing import TypeVar

from sqlalchemy import select

from rucio_inject.domain.errors import UsageError
from rucio_inject.domain.facts import AnalysisMade, Fact, RSECounted, RunEnded
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.domain.rule import RuleState
from rucio_inject.domain.usage import Room, Usage
from rucio_inject.ledger.fact_json import fact_from
from rucio_inject.ledger.look import Look
from rucio_inject.ledger.queries import Choice, files_of
from rucio_inject.ledger.tables import events
from rucio_inject.ledger.working_set import RUN
from rucio_inject.readings.funnel import Funnel, funnels
from rucio_inject.readings.rules import rules_of
from rucio_inject.readings.transfers import Passage, passage

T = TypeVar("T", bound=Fact)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why files were set aside: how many, one of them, and when the last one was."""

    code: str
    reason: str
    hint: str | None
    files: int
    example: str
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Held:
    """Why files still wait for an RSE: how many, and one of them."""

    rse: str
    reason: str
    files: int
    example: str


@dataclass(frozen=True, slots=True)
class Day:
    """The cycles that began on one day. `told`: files of which their storages told, as a sample was
    read back."""

    day: date
    cycles: int
    ended: int
    files: int
    bytes: int
    read_back: int
    told: int
    gone: int
    quarantined: int


@dataclass(frozen=True, slots=True)
class Report:
    """All that a report tells of some cycles, the newest first: `total` is their funnel in all,
    `rules` counts rules by where they stand, `samples` are the counts of RSEs in that time, as many
    as a figure can show, `latest` those of the last cycle; `origin` is how full the place of real
    files was after the last run; `environment` has sections, each of names and words."""

    campaign: str
    made_at: datetime
    cycles: Sequence[Funnel]
    total: Funnel
    way: Passage
    rules: Mapping[str, int]
    troubles: Sequence[Trouble]
    held: Sequence[Held]
    analyses: Sequence[AnalysisMade]
    origin: Room | None = None
    samples: Sequence[RSECounted] = ()
    latest: Sequence[RSECounted] = ()
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def begun_at(self) -> datetime | None:
        """When the first of the cycles began."""
        return min((one.begun_at for one in self.cycles if one.begun_at), default=None)

    @property
    def ended_at(self) -> datetime | None:
        """When the last of them ended; None if one is open that began last."""
        newest = self.cycles[0] if self.cycles else None
        return newest.ended_at if newest else None

    @property
    def days(self) -> list[Day]:
        """The cycles day by day, the first day first."""
        by_day: dict[date, list[Funnel]] = {}
        for one in reversed(self.cycles):
            if one.begun_at is not None:
                by_day.setdefault(one.begun_at.date(), []).append(one)
        return [_day(day, kept) for day, kept in by_day.items()]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which cycles a report is about: one, or those that began in a month (its first day), or
    all."""

    cycle: int | None = None
    month: date | None = None

    def of(self, known: Iterable[Funnel]) -> list[Funnel]:
        """Those cycles. UsageError if there is none."""
        chosen = [one for one in known if self._takes(one)]
        if not chosen:
            which = "no cycle is on record"
            if self.cycle is not None:
                which = f"cycle {self.cycle} is not on record"
            elif self.month is not None:
                which = f"no cycle that began in {self.month:%Y-%m} is on record"
            raise UsageError(
                f"there is nothing to report: {which}", hint="rucio-inject status tells what is"
            )
        return chosen

    def _takes(self, one: Funnel) -> bool:
        if self.cycle is not None:
            return one.cycle == self.cycle
        if self.month is None:
            return True
        at = one.begun_at
        return at is not None and (at.year, at.month) == (self.month.year, self.month.month)


def report_of(look: Look, chosen: Chosen, made_at: datetime) -> Report:
    """Read a ledger for a report; the counts and the environment are added by who has them."""
    known = funnels(look)
    cycles = chosen.of(known)
    numbers = sorted(one.cycle for one in cycles)
    records = chain.from_iterable(look.ledger.all_files(cycle=number) for number in numbers)
    rules, held = _standing(look, numbers)
    return Report(
        campaign=look.name,
        made_at=made_at,
        cycles=cycles,
        total=_total(cycles),
        way=passage(records),
        rules=rules,
        troubles=_troubles(_set_aside(look, numbers)),
        held=held,
        analyses=_told(look, cycles, known, AnalysisMade),
        origin=_origin(_told(look, cycles, known, RunEnded, RUN)),
    )


def _origin(runs: Sequence[RunEnded]) -> Room | None:
    """As the last run that knew it has left it."""
    return next((run.origin for run in reversed(runs) if run.origin is not None), None)


def _total(cycles: Sequence[Funnel]) -> Funnel:
    usage: dict[FileState, Usage] = {}
    fell_out: dict[FileState, int] = {}
    for one in cycles:
        for state, used in one.usage.items():
            known = usage.get(state, Usage(0, 0))
            usage[state] = Usage(known.files + used.files, known.bytes + used.bytes)
        for state, count in one.fell_out.items():
            fell_out[state] = fell_out.get(state, 0) + count
    return Funnel(0, usage, fell_out, sampled=sum(one.sampled for one in cycles))


def _day(day: date, kept: Sequence[Funnel]) -> Day:
    return Day(
        day=day,
        cycles=len(kept),
        ended=sum(one.ended_at is not None for one in kept),
        files=sum(one.files for one in kept),
        bytes=sum(one.bytes for one in kept),
        read_back=sum(one.read_back for one in kept),
        told=sum(one.sampled for one in kept),
        gone=sum(one.that_reached(FileState.GONE) for one in kept),
        quarantined=sum(one.quarantined for one in kept),
    )


def _set_aside(look: Look, cycles: Sequence[int]) -> Iterator[FileRecord]:
    for cycle in cycles:
        choice = Choice(look.number, cycle, {FileState.QUARANTINED})
        yield from files_of(look.database, choice, lambda: 0)


def _troubles(records: Iterable[FileRecord]) -> list[Trouble]:
    """By code: reasons of one code differ in names and numbers, and the last one stands for all."""
    found: dict[str, Trouble] = {}
    for record in records:
        failure = record.failure
        if failure is None:
            continue
        known = found.get(failure.code)
        newest = Trouble(
            failure.code,
            failure.reason,
            failure.hint,
            1 + (known.files if known else 0),
            str(record.did),
            max(failure.at, known.last_at) if known else failure.at,
        )
        found[failure.code] = newest
    return sorted(found.values(), key=lambda one: -one.files)


def _standing(look: Look, cycles: Sequence[int]) -> tuple[dict[str, int], list[Held]]:
    states: dict[str, int] = {}
    held: dict[tuple[str, str], Held] = {}
    for cycle in cycles:
        rules = rules_of(look, cycle)
        for promise in rules.promises:
            for state, count in promise.by_state.items():
                states[state] = states.get(state, 0) + count
        for one in rules.waiting:
            key = (one.rse, one.reason)
            known = held.get(key)
            files = one.files + (known.files if known else 0)
            held[key] = Held(one.rse, one.reason, files, one.example)
    order = [*map(str, RuleState)]
    ordered = sorted(states, key=lambda state: order.index(state) if state in order else 99)
    return {state: states[state] for state in ordered}, sorted(
        held.values(), key=lambda one: -one.files
    )


def _told(
    look: Look,
    cycles: Sequence[Funnel],
    known: Iterable[Funnel],
    kind: type[T],
    about: str | None = None,
) -> list[T]:
    """Facts of a kind, in the time of the cycles, the last one last; `about` is their subject in
    the ledger, None if it is the campaign."""
    begun = min((one.begun_at for one in cycles if one.begun_at), default=None)
    # Not up to their end: what is told after it is still of the last of them.
    newest = max(one.cycle for one in cycles)
    later = min(
        (one.begun_at for one in known if one.cycle > newest and one.begun_at), default=None
    )
    subject = events.c.subject
    with look.database.reading() as connection:
        rows = connection.execute(
            select(events.c.kind, events.c.fact)
            .where(events.c.campaign == look.number)
            .where(subject.is_(None) if about is None else subject == about)
            .where(events.c.kind == kind.__name__)
            .order_by(events.c.id)
        ).all()
    told = [fact_from(name, text) for name, text in rows]
    return [
        fact
        for fact in told
        if isinstance(fact, kind)
        and (begun is None or fact.at >= begun)
        and (later is None or fact.at < later)
    ]
