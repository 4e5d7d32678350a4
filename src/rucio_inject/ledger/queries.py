"""What the ledger is asked, as SQL: files in pages, numbers, stories."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarSelect,
    bindparam,
    func,
    select,
    union_all,
)

from rucio_inject.batches import batches
from rucio_inject.domain.did import DID
from rucio_inject.domain.facts import Fact
from rucio_inject.domain.injection import FileRecord, FileState, SourceCopy, reached
from rucio_inject.domain.outline import FileOutline
from rucio_inject.domain.usage import Usage
from rucio_inject.ledger.database_errors import sensible
from rucio_inject.ledger.engine import Database
from rucio_inject.ledger.fact_json import fact_from, file_from, outline_from
from rucio_inject.ledger.tables import campaigns, events, files, rules

PAGE = 500
"""Rows read at a time: what is in memory does not grow with the ledger."""
OUTLINES = 2000
"""The same of what is counted and not kept."""


@dataclass(frozen=True, slots=True)
class StoredFact:
    """A fact as it is on record: `sequence` grows in the order of recording."""

    sequence: int
    at: datetime
    kind: str
    fact: Fact


@dataclass(frozen=True, slots=True)
class Choice:
    """Which files of a campaign: of one cycle (None: the one begun last), in some states (None:
    in any), of one dataset (None: of any), with their sources in some states (None: in any)."""

    campaign: int
    cycle: int | None = None
    states: Collection[FileState] | None = None
    dataset: DID | None = None
    sources: Collection[SourceCopy] | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """All but the states, as conditions on a file's row."""
        cycle = cycle_begun_last(self.campaign) if self.cycle is None else self.cycle
        chosen = [files.c.campaign == self.campaign, files.c.cycle == cycle]
        if self.dataset is not None:
            chosen.append(files.c.dataset == str(self.dataset))
        if self.sources is not None:
            chosen.append(files.c.source.in_([source.value for source in self.sources]))
        return chosen


def cycle_begun_last(campaign: int) -> ScalarSelect[int]:
    """The number of the campaign's cycle, for use in another statement."""
    return select(campaigns.c.cycle).where(campaigns.c.id == campaign).scalar_subquery()


def _any_file(_: int) -> None:
    """Nobody knows which files were changed."""


def files_of(
    database: Database,
    choice: Choice,
    changes: Callable[[], int],
    since: Callable[[int], AbstractSet[DID] | None] = _any_file,
) -> Iterator[FileRecord]:
    """The files of a choice in the order in which they were found, in pages.

    `changes` counts what was recorded by this process, and `since` tells which files were changed
    after so many (None: it may be any). A file that was changed after its page was read is asked
    for again, so that each comes as it is at that moment.
    """
    states = tuple(FileState) if choice.states is None else tuple(choice.states)
    named = files.c.state.in_([state.value for state in states])
    chosen_still = select(files.c.record).where(
        files.c.id == bindparam("row"), *choice.conditions(), named
    )
    last = 0
    while states:
        seen = changes()
        with database.reading() as connection:
            page = _page(connection, choice, states, last)
        fresh = {did for _, did, _ in page}
        for row, did, text in page:
            if (number := changes()) != seen:
                changed = since(seen)
                fresh = set() if changed is None else fresh - changed
                seen = number
            if did in fresh:
                yield file_from(text, str(did))
                continue
            with database.reading() as connection:
                now = connection.execute(chosen_still, {"row": row}).scalar_one_or_none()
            if now is not None:
                yield file_from(now, str(did))
        if len(page) < PAGE:
            return
        last = page[-1][0]


def _page(
    connection: Connection, choice: Choice, states: Sequence[FileState], last: int
) -> list[tuple[int, DID, str]]:
    # One short look into the index for each state. Asked for several states at once, a database
    # would have to sort all of their files for each page, or read those of other states, too.
    heads = [
        select(files.c.id)
        .where(*choice.conditions(), files.c.state == state.value, files.c.id > last)
        .order_by(files.c.id)
        .limit(PAGE)
        .subquery()
        for state in states
    ]
    ids = union_all(*(select(head.c.id) for head in heads)).order_by("id").limit(PAGE).subquery()
    rows = connection.execute(
        select(files.c.id, files.c.scope, files.c.name, files.c.record)
        .where(files.c.id.in_(select(ids.c.id)))
        .order_by(files.c.id)
    )
    return [(row, DID(scope, name), record) for row, scope, name, record in rows]


def outlines_of(database: Database, choice: Choice) -> Iterator[FileOutline]:
    """The files of a choice in short, state by state, in pages."""
    for state in FileState if choice.states is None else choice.states:
        after = files.c.id > bindparam("last")
        page = (
            select(files.c.id, files.c.record)
            .where(*choice.conditions(), files.c.state == state.value, after)
            .order_by(files.c.id)
            .limit(OUTLINES)
        )
        last = 0
        while True:
            with database.reading() as connection:
                rows = connection.execute(page, {"last": last}).all()
            for row, text in rows:
                yield outline_from(text, row)
            if len(rows) < OUTLINES:
                break
            last = rows[-1][0]


def records_of(
    connection: Connection, campaign: int, dids: Iterable[DID]
) -> Iterator[tuple[DID, FileRecord]]:
    """Those of some files that are on record, in no order."""
    names: dict[str, list[str]] = {}
    for did in dids:
        names.setdefault(did.scope, []).append(did.name)
    for scope, wanted in names.items():
        for start in range(0, len(wanted), PAGE):
            rows = connection.execute(
                select(files.c.name, files.c.record)
                .where(files.c.campaign == campaign, files.c.scope == scope)
                .where(files.c.name.in_(wanted[start : start + PAGE]))
            )
            for name, text in rows:
                did = DID(scope, name)
                yield did, file_from(text, str(did))


def usage_by_state(connection: Connection, choice: Choice) -> Mapping[FileState, Usage]:
    """How many files of a choice are in each state, and their bytes as far as they are measured;
    a state without a file is left out."""
    rows = connection.execute(
        select(files.c.state, func.count(), func.coalesce(func.sum(files.c.size), 0))
        .where(*choice.conditions())
        .group_by(files.c.state)
    )
    # PostgreSQL gives sums as decimals.
    found = {FileState(state): Usage(count, int(size)) for state, count, size in rows}
    return {state: found[state] for state in FileState if state in found}


def counts_by_state(connection: Connection, choice: Choice) -> Mapping[FileState, int]:
    """How many files of a choice are in each state; a state without a file is left out."""
    rows = connection.execute(
        select(files.c.state, func.count()).where(*choice.conditions()).group_by(files.c.state)
    )
    found = {FileState(state): count for state, count in rows}
    return {state: found[state] for state in FileState if state in found}


def sampled_by_state(
    connection: Connection, campaign: int, cycle: ScalarSelect[int] | None = None
) -> list[tuple[int, FileState, int]]:
    """How many files were taken for VERIFIED by what their storages told, by cycle and the state
    that they are in now; `cycle`: of one alone."""
    # The index is only of these.
    chosen = [files.c.campaign == campaign, files.c.sampled]
    if cycle is not None:
        chosen.append(files.c.cycle == cycle)
    rows = connection.execute(
        select(files.c.cycle, files.c.state, func.count())
        .where(*chosen)
        .group_by(files.c.cycle, files.c.state)
    )
    return [(number, FileState(state), count) for number, state, count in rows]


def sampled_files(connection: Connection, campaign: int) -> int:
    """How many of the cycle begun last have come as far as VERIFIED so."""
    counted = sampled_by_state(connection, campaign, cycle_begun_last(campaign))
    return sum(count for _, state, count in counted if reached(state, FileState.VERIFIED))


def datasets_with(connection: Connection, choice: Choice) -> list[DID]:
    """Datasets with a file of a choice, in the order in which these were found."""
    return [dataset for dataset, _ in dataset_counts(connection, choice)]


def dataset_counts(connection: Connection, choice: Choice) -> list[tuple[DID, int]]:
    """The same, with the number of their files of the choice."""
    states = [state.value for state in choice.states or ()]
    rows = connection.execute(
        select(files.c.dataset, func.count())
        .where(*choice.conditions(), files.c.state.in_(states))
        .group_by(files.c.dataset)
        .order_by(func.min(files.c.id))
    )
    return [(DID.parse(dataset), count) for dataset, count in rows]


def rules_of(
    connection: Connection, campaign: int, datasets: Collection[DID] | None = None
) -> list[tuple[str, str]]:
    """Ids and records of the rules of the cycle begun last, in the order of their making; of some
    `datasets` only."""
    mine = select(rules.c.id, rules.c.rule_id, rules.c.record).where(rules.c.campaign == campaign)
    cycle = cycle_begun_last(campaign)
    if datasets is None:
        found = connection.execute(mine.where(rules.c.cycle == cycle)).tuples().all()
    else:
        # A sum, so that SQLite goes by dataset and not through all rules of the cycle.
        of_cycle = mine.where(rules.c.cycle + 0 == cycle)
        found = [
            row
            for some in batches({str(dataset) for dataset in datasets}, PAGE)
            for row in connection.execute(of_cycle.where(rules.c.dataset.in_(some))).tuples()
        ]
    return [(rule_id, text) for _, rule_id, text in sorted(found)]


def cycles_with_files(connection: Connection, campaign: int) -> list[int]:
    """Numbers of the cycles that have files, in order."""
    rows = connection.execute(
        select(files.c.cycle).where(files.c.campaign == campaign).distinct().order_by(files.c.cycle)
    )
    return list(rows.scalars())


def last_fact(connection: Connection, campaign: int, subject: str) -> Fact | None:
    """The last fact about something; None if nothing has happened to it."""
    row = connection.execute(
        select(events.c.kind, events.c.fact)
        .where(events.c.campaign == campaign, events.c.subject == subject)
        .order_by(events.c.id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else fact_from(*row)


def newest(connection: Connection, campaign: int) -> int:
    """The sequence of the fact recorded last; 0 if there is none. It changes with every fact."""
    # A sum, so that SQLite goes backwards by id and does not sort all that the campaign's index
    # holds; campaigns in one database are few.
    mine = events.c.campaign + 0 == campaign
    last = select(events.c.id).where(mine).order_by(events.c.id.desc()).limit(1)
    return connection.execute(last).scalar() or 0


def facts_since(connection: Connection, campaign: int, sequence: int) -> list[StoredFact]:
    """What was recorded after a fact, in the order of recording; of much the last `PAGE` facts."""
    mine = events.c.campaign + 0 == campaign
    rows = connection.execute(
        select(events.c.id, events.c.at, events.c.kind, events.c.fact)
        .where(mine, events.c.id > sequence)
        .order_by(events.c.id.desc())
        .limit(PAGE)
    ).all()
    return [
        StoredFact(row, datetime.fromisoformat(at), kind, fact_from(kind, text))
        for row, at, kind, text in reversed(rows)
    ]


def facts_about(database: Database, campaign: int, subject: str) -> Iterator[StoredFact]:
    """Every fact about a DID or a rule, in the order of recording, in pages."""
    last = 0
    while True:
        with database.reading() as connection:
            page = connection.execute(
                select(events.c.id, events.c.at, events.c.kind, events.c.fact)
                .where(events.c.campaign == campaign)
                .where(events.c.subject == subject, events.c.id > last)
                .order_by(events.c.id)
                .limit(PAGE)
            ).all()
        for row, at, kind, text in page:
            with sensible(database.place):
                told = StoredFact(row, datetime.fromisoformat(at), kind, fact_from(kind, text))
            yield told
        if len(page) < PAGE:
            return
        last = page[-1][0]
