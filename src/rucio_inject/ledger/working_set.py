"""What some facts change, read, changed and written back within one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
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
    file_text,
    rule_from,
    rule_text,
)
from rucio_inject.ledger.known_records import KnownRecords
from rucio_inject.ledger.many_rows import EVENTS, MOVED_FILES, TOLD_FILES, Values, write_rows
from rucio_inject.ledger.queries import records_of
from rucio_inject.ledger.tables import (
    asked,
    campaigns,
    collections,
    rules,
    skipped,
)

# What the choice of an upload RSE is about; neither a DID nor a rule's id.
UPLOAD = "upload"
# What runs are about.
RUN = "run"
# … and what the order to drain a campaign is about.
DRAIN = "drain"

T = TypeVar("T")
Row = dict[str, Any]

# Counts have a file of their own, and calls that are tried again change nothing.
_UNTOLD = (f.RSECounted, f.CallRetried, f.CredentialEnds, f.LookEnded)
# Values in one statement: databases have a limit, and a plan for each number of them.
_CHUNK = 500


@dataclass(slots=True)
class _File:
    """A file's record, and the one that is in its row; None before it has one."""

    record: FileRecord
    before: FileRecord | None


def of_record(facts: Sequence[f.Fact]) -> list[f.Fact]:
    """Those of some facts that go on record; the others are for onlookers only."""
    return [fact for fact in facts if not isinstance(fact, _UNTOLD)]


def without_known_skips(
    connection: Connection, campaign: int, facts: Sequence[f.Fact]
) -> list[f.Fact]:
    """The facts without the names that are on record as skipped for the same reason: every run
    skips them again, and the record does not grow by that."""
    keys = [_skipped_key(fact) for fact in facts if isinstance(fact, f.NameSkipped)]
    known = {
        (key, code, reason)
        for chunk in _chunks(keys)
        for key, code, reason in connection.execute(
            select(skipped.c.key, skipped.c.code, skipped.c.reason)
            .where(skipped.c.campaign == campaign)
            .where(skipped.c.key.in_(chunk))
        )
    }
    return [
        fact
        for fact in facts
        if not isinstance(fact, f.NameSkipped)
        or (_skipped_key(fact), fact.code, as_text(fact.reason)) not in known
    ]


def event_rows(campaign: int, facts: Sequence[f.Fact]) -> list[Values]:
    """The rows that tell of facts, for `apply`: made before others have to wait for our turn."""
    return [_event(campaign, fact) for fact in facts]


def apply(
    connection: Connection,
    campaign: int,
    facts: Sequence[f.Fact],
    events: list[Values],
    known: KnownRecords,
) -> AbstractSet[DID] | None:
    """Put facts on record, and what they change among what is known.

    Returns the files that changed, None if the choice of files may have, too. LedgerError if the
    facts contradict the record: the transaction must then end, and what is known is wrong.
    """
    working_set = _WorkingSet(connection, campaign, facts, known)
    for fact in facts:
        working_set.take(fact)
    working_set.write()
    write_rows(connection, EVENTS, events)
    return working_set.changed(known)


class _WorkingSet:
    """The files that some facts concern, in memory; what is rare is written as it comes."""

    def __init__(
        self,
        connection: Connection,
        campaign: int,
        facts: Sequence[f.Fact],
        known: KnownRecords,
    ) -> None:
        self._connection = connection
        self._campaign = campaign
        self._begun: int | None = None
        self._files: dict[DID, _File] = {}
        self._look_up({fact.did for fact in facts if isinstance(fact, f.FileFact)}, known)
        self._skipped: dict[str, Row] = {}

    def take(self, fact: f.Fact) -> None:
        """Change what one fact changes."""
        match fact:
            case f.FileFound():
                known = self._files.get(fact.did)
                self._files[fact.did] = _File(begin_file(fact), known.before if known else None)
            case f.FileFact():
                file = self._files.get(fact.did)
                if file is None:
                    raise _unknown(str(fact.did))
                file.record = advance(file.record, fact)
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
        moved: list[Values] = []
        told: list[Values] = []
        for file in self._files.values():
            row = file_row(self._campaign, file.record)
            (told if _in_place(file) else moved).append(row)
        write_rows(self._connection, MOVED_FILES, moved)
        write_rows(self._connection, TOLD_FILES, told)
        again = delete(skipped).where(
            skipped.c.campaign == self._campaign, skipped.c.key == bindparam("row")
        )
        for keys in _chunks({"row": key} for key in self._skipped):
            self._connection.execute(again, keys)
        _insert(self._connection, skipped, self._skipped.values())

    def changed(self, known: KnownRecords) -> AbstractSet[DID] | None:
        """The files that were written, which are known from now on; None if a cycle began."""
        for file in self._files.values():
            known.put(file.record)
        return frozenset(self._files) if self._begun is None else None

    def _cycle(self) -> int:
        if self._begun is not None:
            return self._begun
        mine = campaigns.c.id == self._campaign
        cycle: int = self._connection.execute(select(campaigns.c.cycle).where(mine)).scalar_one()
        return cycle

    def _look_up(self, dids: set[DID], known: KnownRecords) -> None:
        unknown: list[DID] = []
        for did in dids:
            record = known.get(did)
            if record is None:
                unknown.append(did)
            else:
                self._files[did] = _File(record, record)
        for did, record in records_of(self._connection, self._campaign, sorted(unknown)):
            self._files[did] = _File(record, record)

    def _skipped_row(self, fact: f.NameSkipped) -> Row:
        path = as_text(fact.path)
        return {
            "campaign": self._campaign,
            "key": _skipped_key(fact),
            "path": path,
            "code": fact.code,
            "reason": as_text(fact.reason),
            "at": moment(fact.at),
        }

    def _take_cycle(self, fact: f.CycleBegun | f.CycleEnded | f.AnalysisMade) -> None:
        change: Row
        match fact:
            case f.CycleBegun():
                self._begun = fact.cycle
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
            case f.RuleRefused():
                self._forget_asked(fact)
            case f.RuleMade():
                self._forget_asked(fact)
                self._begin_rule(fact)
            case f.RuleChanged():
                self._advance_rule(fact.view.rule_id, fact)
            case f.RuleEnding() | f.RuleKept() | f.RuleGone():
                self._advance_rule(fact.rule_id, fact)
            case _:
                pass  # on record as an event, and that is all that there is to it

    def _forget_asked(self, fact: f.RuleAsked | f.RuleRefused | f.RuleMade) -> Row:
        row = {
            "campaign": self._campaign,
            "dataset": str(fact.dataset),
            "rse_expression": fact.request.rse_expression,
        }
        self._connection.execute(delete(asked).filter_by(**row))
        return row

    def _begin_rule(self, fact: f.RuleMade) -> None:
        record = begin_rule(fact, self._cycle())
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

    def _advance_rule(
        self, rule_id: str, fact: f.RuleChanged | f.RuleEnding | f.RuleKept | f.RuleGone
    ) -> None:
        key = {"campaign": self._campaign, "rule_id": rule_id}
        text = self._connection.execute(select(rules.c.record).filter_by(**key)).scalar()
        if text is None:
            raise _unknown(rule_id)
        record = advance_rule(rule_from(text, rule_id), fact)
        self._connection.execute(update(rules).filter_by(**key).values(record=rule_text(record)))


@lru_cache(maxsize=1024)
def _skipped_key(fact: f.NameSkipped) -> str:
    return hashlib.sha256(as_text(fact.path).encode()).hexdigest()


def moment(at: datetime) -> str:
    """A moment as the tables hold it."""
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return utc.isoformat(timespec="microseconds")


def _in_place(file: _File) -> bool:
    """Whether all is as in the file's row that files are chosen and counted by."""
    now, before = file.record, file.before
    return (
        before is not None
        and now.state is before.state
        and now.measure is before.measure
        and now.cycle == before.cycle
        and now.dataset == before.dataset
        and now.sampled == before.sampled
    )


def file_row(campaign: int, record: FileRecord) -> Values:
    """The row of a file, for `write_rows`."""
    return (
        campaign,
        record.did.scope,
        record.did.name,
        str(record.state),
        record.cycle,
        str(record.dataset),
        record.measure.size if record.measure else None,
        record.failure.code if record.failure else None,
        str(record.source),
        record.sampled,
        file_text(record),
    )


def _event(campaign: int, fact: f.Fact) -> Values:
    kind, text = fact_text(fact)
    subject = _subject(fact)
    told = None if subject is None else as_text(subject)
    return campaign, moment(fact.at), kind, told, text


def _subject(fact: f.Fact) -> str | None:  # noqa: PLR0911 -- a flat table
    match fact:
        case f.FileFact() | f.CollectionAsked() | f.CollectionEnding() | f.CollectionGone():
            return str(fact.did)
        case f.CollectionClosing():
            return str(fact.did)
        case f.RuleMade() | f.RuleEnding() | f.RuleKept() | f.RuleGone():
            return fact.rule_id
        case f.RuleChanged():
            return fact.view.rule_id
        case f.RuleAsked() | f.RuleRefused():
            return str(fact.dataset)
        case f.RepairAsked() | f.RepairMade():
            return fact.subject
        case f.UploadRSEChosen():
            return UPLOAD
        case f.RunBegun() | f.RunEnded():
            return RUN
        case f.DrainOrdered():
            return DRAIN
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
