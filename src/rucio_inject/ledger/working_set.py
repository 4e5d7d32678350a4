"""What some facts change, read, changed and written back within one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby, islice
from operator import attrgetter
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError
from rucio_inject.domain.injection import FileRecord
from rucio_inject.domain.story import advance, advance_rule, begin_file, begin_rule
from rucio_inject.ledger.fact_json import (
    as_text,
    fact_text,
    file_from,
    file_text,
    rule_from,
    rule_text,
)
from rucio_inject.ledger.tables import (
    asked,
    campaigns,
    collections,
    events,
    files,
    rules,
    skipped,
)

T = TypeVar("T")
Row = dict[str, Any]

# Counts have a file of their own, and calls that are tried again change nothing.
_UNTOLD = (f.RSECounted, f.CallRetried)
# Values in one statement: databases have a limit, and a plan for each number of them.
_CHUNK = 500


@dataclass(slots=True)
class _File:
    """A file's record and its row's id, None before it has one; `changed` since it was read."""

    record: FileRecord
    row: int | None
    changed: bool = False


def of_record(facts: Sequence[f.Fact]) -> list[f.Fact]:
    """Those of some facts that go on record; the others are for onlookers only."""
    return [fact for fact in facts if not isinstance(fact, _UNTOLD)]


def apply(connection: Connection, campaign: int, facts: Sequence[f.Fact]) -> None:
    """Put facts on record. LedgerError if they contradict it: the transaction must then end."""
    working_set = _WorkingSet(connection, campaign, facts)
    for fact in facts:
        working_set.take(fact)
    working_set.write()
    _insert(connection, events, (_event(campaign, fact) for fact in facts))


class _WorkingSet:
    """The files that some facts concern, in memory; what is rare is written as it comes."""

    def __init__(self, connection: Connection, campaign: int, facts: Sequence[f.Fact]) -> None:
        self._connection = connection
        self._campaign = campaign
        self._cycle = self._current_cycle()
        self._files = self._read({fact.did for fact in facts if isinstance(fact, f.FileFact)})
        self._skipped: dict[str, Row] = {}

    def take(self, fact: f.Fact) -> None:
        """Change what one fact changes."""
        match fact:
            case f.FileFound():
                known = self._files.get(fact.did)
                row = known.row if known else None
                self._files[fact.did] = _File(begin_file(fact), row, changed=True)
            case f.FileFact():
                file = self._files.get(fact.did)
                if file is None:
                    raise _unknown(str(fact.did))
                file.record = advance(file.record, fact)
                file.changed = True
            case f.NameSkipped():
                name = self._skipped_row(fact)
                self._skipped[name["key"]] = name
            case f.CycleBegun() | f.CycleEnded() | f.AnalysisMade():
                self._take_cycle(fact)
            case f.CollectionAsked() | f.CollectionGone():
                self._take_collection(fact)
            case _:
                self._take_rule(fact)

    def write(self) -> None:
        """Write files and skipped names."""
        changed = [file for file in self._files.values() if file.changed]
        new = (
            {
                "campaign": self._campaign,
                "scope": file.record.did.scope,
                "name": file.record.did.name,
                **_columns(file.record),
            }
            for file in changed
            if file.row is None
        )
        _insert(self._connection, files, new)
        known = ({"row": f_.row, **_columns(f_.record)} for f_ in changed if f_.row is not None)
        statement = update(files).where(files.c.id == bindparam("row"))
        for chunk in _chunks(known):
            self._connection.execute(statement, chunk)
        again = delete(skipped).where(
            skipped.c.campaign == self._campaign, skipped.c.key == bindparam("row")
        )
        for keys in _chunks({"row": key} for key in self._skipped):
            self._connection.execute(again, keys)
        _insert(self._connection, skipped, self._skipped.values())

    def _current_cycle(self) -> int:
        mine = campaigns.c.id == self._campaign
        cycle: int = self._connection.execute(select(campaigns.c.cycle).where(mine)).scalar_one()
        return cycle

    def _read(self, dids: set[DID]) -> dict[DID, _File]:
        found = {}
        for scope, group in groupby(sorted(dids), key=attrgetter("scope")):
            for chunk in _chunks(did.name for did in group):
                rows = self._connection.execute(
                    select(files.c.id, files.c.name, files.c.record)
                    .where(files.c.campaign == self._campaign, files.c.scope == scope)
                    .where(files.c.name.in_(chunk))
                )
                for row, name, record in rows:
                    did = DID(scope, name)
                    found[did] = _File(file_from(record, str(did)), row)
        return found

    def _skipped_row(self, fact: f.NameSkipped) -> Row:
        path = as_text(fact.path)
        return {
            "campaign": self._campaign,
            "key": hashlib.sha256(path.encode()).hexdigest(),
            "path": path,
            "code": fact.code,
            "reason": as_text(fact.reason),
            "at": moment(fact.at),
        }

    def _take_cycle(self, fact: f.CycleBegun | f.CycleEnded | f.AnalysisMade) -> None:
        change: Row
        match fact:
            case f.CycleBegun():
                self._cycle = fact.cycle
                change = {"cycle": fact.cycle, "ended": False, "analysed": False}
            case f.CycleEnded():
                change = {"ended": True}
            case f.AnalysisMade():
                change = {"analysed": True}
        mine = campaigns.c.id == self._campaign
        self._connection.execute(update(campaigns).where(mine).values(change))

    def _take_collection(self, fact: f.CollectionAsked | f.CollectionGone) -> None:
        key = {"campaign": self._campaign, "did": str(fact.did)}
        if isinstance(fact, f.CollectionAsked):
            self._connection.execute(delete(collections).filter_by(**key))
            row = {**key, "asked_at": moment(fact.at)}
            self._connection.execute(insert(collections).values(row))
            return
        gone = update(collections).filter_by(**key).values(gone_at=moment(fact.at))
        if self._connection.execute(gone).rowcount != 1:
            raise _unknown(str(fact.did))

    def _take_rule(self, fact: f.Fact) -> None:
        match fact:
            case f.RuleAsked():
                row = self._forget_asked(fact)
                self._connection.execute(insert(asked).values(**row, at=moment(fact.at)))
            case f.RuleMade():
                self._forget_asked(fact)
                self._begin_rule(fact)
            case f.RuleChanged():
                self._advance_rule(fact.view.rule_id, fact)
            case f.RuleEnding() | f.RuleGone():
                self._advance_rule(fact.rule_id, fact)
            case _:
                pass  # on record as an event, and that is all that there is to it

    def _forget_asked(self, fact: f.RuleAsked | f.RuleMade) -> Row:
        row = {
            "campaign": self._campaign,
            "dataset": str(fact.dataset),
            "rse_expression": fact.request.rse_expression,
        }
        self._connection.execute(delete(asked).filter_by(**row))
        return row

    def _begin_rule(self, fact: f.RuleMade) -> None:
        record = begin_rule(fact, self._cycle)
        key = {"campaign": self._campaign, "rule_id": fact.rule_id}
        values = {
            "cycle": record.cycle,
            "dataset": str(record.dataset),
            "rse_expression": record.rse_expression,
            "adopted": record.adopted,
            "record": rule_text(record),
        }
        again = update(rules).filter_by(**key).values(values)
        if self._connection.execute(again).rowcount == 0:
            self._connection.execute(insert(rules).values(**key, **values))

    def _advance_rule(self, rule_id: str, fact: f.RuleChanged | f.RuleEnding | f.RuleGone) -> None:
        key = {"campaign": self._campaign, "rule_id": rule_id}
        text = self._connection.execute(select(rules.c.record).filter_by(**key)).scalar()
        if text is None:
            raise _unknown(rule_id)
        record = advance_rule(rule_from(text, rule_id), fact)
        self._connection.execute(update(rules).filter_by(**key).values(record=rule_text(record)))


def moment(at: datetime) -> str:
    """A moment as the tables hold it."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _columns(record: FileRecord) -> Row:
    return {
        "state": record.state.value,
        "cycle": record.cycle,
        "dataset": str(record.dataset),
        "size": record.measure.size if record.measure else None,
        "failure": record.failure.code if record.failure else None,
        "source": record.source.value,
        "record": file_text(record),
    }


def _event(campaign: int, fact: f.Fact) -> Row:
    kind, text = fact_text(fact)
    subject = _subject(fact)
    return {
        "campaign": campaign,
        "at": moment(fact.at),
        "kind": kind,
        "subject": None if subject is None else as_text(subject),
        "fact": text,
    }


def _subject(fact: f.Fact) -> str | None:
    match fact:
        case f.FileFact() | f.CollectionAsked() | f.CollectionEnding() | f.CollectionGone():
            return str(fact.did)
        case f.RuleMade() | f.RuleEnding() | f.RuleGone():
            return fact.rule_id
        case f.RuleChanged():
            return fact.view.rule_id
        case f.RuleAsked():
            return str(fact.dataset)
        case f.RepairAsked() | f.RepairMade():
            return fact.subject
        case _:
            return None


def _insert(connection: Connection, table: Any, rows: Iterable[Row]) -> None:
    for chunk in _chunks(rows):
        connection.execute(insert(table), chunk)


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    coming = iter(items)
    while chunk := list(islice(coming, _CHUNK)):
        yield chunk


def _unknown(name: str) -> LedgerError:
    return LedgerError(f"{name} is not on record, so nothing can have happened to it")
