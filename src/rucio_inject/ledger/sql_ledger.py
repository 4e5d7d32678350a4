"""The ledger in a database: SQLite in a file, or PostgreSQL by URL."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import (
    ColumnElement,
    Connection,
    delete,
    exists,
    false,
    insert,
    literal,
    or_,
    select,
)

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError
from rucio_inject.domain.facts import DrainOrdered, Fact, NameSkipped, UploadRSEChosen
from rucio_inject.domain.injection import FileRecord, FileState, RuleRecord, SourceCopy
from rucio_inject.domain.outline import FileOutline
from rucio_inject.domain.story import replicas_left
from rucio_inject.domain.usage import Usage
from rucio_inject.ledger import queries, retention, schema
from rucio_inject.ledger.engine import Database, is_url, postgresql_database, sqlite_database
from rucio_inject.ledger.fact_json import file_from, rule_from
from rucio_inject.ledger.known_records import Changes, KnownRecords
from rucio_inject.ledger.lease import Lease
from rucio_inject.ledger.queries import Choice, StoredFact
from rucio_inject.ledger.retention import CycleSummary
from rucio_inject.ledger.sqlite_file import make_ready
from rucio_inject.ledger.tables import asked, campaigns, collections, files, rules
from rucio_inject.ledger.upgrade import ensure_schema
from rucio_inject.ledger.working_set import (
    DRAIN,
    UPLOAD,
    apply,
    event_rows,
    of_record,
    without_known_skips,
)
from rucio_inject.ports import Clock


class SqlLedger:
    """Implements `ports.Ledger`. Facts are on disk, all of them or none, when `record` returns.

    `location` is a path, or the URL of a PostgreSQL database; several campaigns may share either.
    Use it as a context manager: it holds a lease, so that no second run writes the same campaign;
    the second one waits for it `wait` seconds. With `reading` it takes no lease and writes nothing,
    and may be used while a run goes on.
    """

    def __init__(
        self,
        location: str | Path,
        campaign: str,
        *,
        clock: Clock,
        wait: float = 0,
        reading: bool = False,
    ) -> None:
        self._location = location
        self._name = campaign
        self._clock = clock
        self._wait = wait
        self._reading = reading
        self._open = ExitStack()
        self._changes = Changes()
        self._known = KnownRecords()
        # Held until what is known is what is on disk: longer than the database's turn.
        self._writing = threading.Lock()

    def __enter__(self) -> Self:
        """Open the database, and take the lease. LedgerError if the ledger is held, damaged, of a
        newer version or cannot be reached; if reading, also if it is not there."""
        with ExitStack() as opening:
            self._database = self._connected()
            opening.callback(self._database.close)
            if self._reading:
                schema.check(self._database)
                self._campaign = self._known_campaign()
            else:
                ensure_schema(self._database, self._clock, self._wait)
                self._campaign = self._own_campaign()
                self._lease = Lease(self._database, self._campaign, self._clock)
                self._known = KnownRecords()
                self._lease.acquire(self._wait)
                opening.callback(self._lease.release)
            self._open = opening.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the lease back, and close the database."""
        self._open.close()

    def _connected(self) -> Database:
        if is_url(self._location):
            return postgresql_database(str(self._location), read_only=self._reading)
        path = Path(self._location)
        if self._reading:
            if not path.exists():
                raise LedgerError(
                    f"there is no ledger at {path}",
                    hint="run the campaign first, or name another ledger: give --output if the run "
                    "had it",
                )
            return sqlite_database(path, read_only=True)
        make_ready(path, _build)
        database = sqlite_database(path)
        try:
            database.use_journal(path)
        except LedgerError:
            database.close()
            raise
        return database

    def _known_campaign(self) -> int:
        with self._database.reading() as connection:
            rows = connection.execute(select(campaigns.c.name, campaigns.c.id)).tuples()
            known: dict[str, int] = dict(rows.all())
        if self._name not in known:
            others = ", ".join(sorted(known)) or "none"
            raise LedgerError(
                f"ledger {self._database.place} holds no campaign {self._name}; it holds {others}",
                hint="run the campaign first, or name another ledger",
            )
        return known[self._name]

    def _own_campaign(self) -> int:
        mine = select(campaigns.c.id).where(campaigns.c.name == self._name)
        with self._database.reading() as connection:
            known = connection.execute(mine).scalar()
        if known is not None:
            return int(known)
        new = insert(campaigns).from_select(
            ["name", "cycle", "ended", "analysed"],
            select(literal(self._name), literal(0), false(), false()).where(~mine.exists()),
        )
        with self._database.writing() as connection:
            self._database.serialise(connection, campaigns)
            connection.execute(new)
            return int(connection.execute(mine).scalar_one())

    @property
    def cycle(self) -> int:
        """See the port."""
        number: int = self._of_campaign(campaigns.c.cycle)
        return number

    @property
    def cycle_ended(self) -> bool:
        """See the port."""
        ended: bool = self._of_campaign(campaigns.c.ended)
        return ended

    @property
    def analysed(self) -> bool:
        """See the port."""
        analysed: bool = self._of_campaign(campaigns.c.analysed)
        return analysed

    @property
    def upload_rse(self) -> str | None:
        """See the port."""
        with self._database.reading() as connection:
            chosen = queries.last_fact(connection, self._campaign, UPLOAD)
        return chosen.rse if isinstance(chosen, UploadRSEChosen) else None

    @property
    def drain(self) -> DrainOrdered | None:
        """See the port."""
        with self._database.reading() as connection:
            ordered = queries.last_fact(connection, self._campaign, DRAIN)
        return ordered if isinstance(ordered, DrainOrdered) and ordered.on else None

    def files(
        self,
        states: Collection[FileState] | None = None,
        *,
        dataset: DID | None = None,
        sources: Collection[SourceCopy] | None = None,
    ) -> Iterator[FileRecord]:
        """See the port. Read in pages, so that memory does not grow with the number of files."""
        return self._files_of(Choice(self._campaign, None, states, dataset, sources))

    def outlines(self) -> Iterator[FileOutline]:
        """See the port."""
        return queries.outlines_of(self._database, Choice(self._campaign))

    def counts(self, *, dataset: DID | None = None) -> Mapping[FileState, int]:
        """See the port."""
        with self._database.reading() as connection:
            return queries.counts_by_state(connection, Choice(self._campaign, dataset=dataset))

    def sampled(self) -> int:
        """See the port."""
        with self._database.reading() as connection:
            return queries.sampled_files(connection, self._campaign)

    def datasets(
        self, states: Collection[FileState], *, sources: Collection[SourceCopy] | None = None
    ) -> Sequence[DID]:
        """See the port."""
        choice = Choice(self._campaign, states=states, sources=sources)
        with self._database.reading() as connection:
            return queries.datasets_with(connection, choice)

    def dataset_counts(self, states: Collection[FileState]) -> Sequence[tuple[DID, int]]:
        """See the port."""
        with self._database.reading() as connection:
            return queries.dataset_counts(connection, Choice(self._campaign, states=states))

    def file(self, did: DID) -> FileRecord | None:
        """See the port."""
        with self._database.reading() as connection:
            text = connection.execute(
                select(files.c.record).where(*self._is_file(did))
            ).scalar_one_or_none()
        return None if text is None else file_from(text, str(did))

    def known(self, dids: Sequence[DID]) -> Mapping[DID, FileRecord]:
        """See the port. What this run wrote last is not read again."""
        with self._writing:
            latest = {did: self._known.get(did) for did in dids}
        found = {did: record for did, record in latest.items() if record is not None}
        others = [did for did in latest if did not in found]
        if others:
            with self._database.reading() as connection:
                found.update(queries.records_of(connection, self._campaign, others))
        return found

    def rules(self, *, datasets: Collection[DID] | None = None) -> Sequence[RuleRecord]:
        """See the port."""
        with self._database.reading() as connection:
            rows = queries.rules_of(connection, self._campaign, datasets)
        return [rule_from(text, rule_id) for rule_id, text in rows]

    def asked_for(self, dataset: DID, rse_expression: str) -> bool:
        """See the port."""
        key = {
            "campaign": self._campaign,
            "dataset": str(dataset),
            "rse_expression": rse_expression,
        }
        open_request = exists(select(asked.c.id).filter_by(**key))
        made = exists(select(rules.c.id).filter_by(**key, adopted=False))
        with self._database.reading() as connection:
            return bool(connection.execute(select(or_(open_request, made))).scalar_one())

    def collections(self) -> frozenset[DID]:
        """See the port."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(collections.c.did)
                .where(collections.c.campaign == self._campaign)
                .where(collections.c.gone_at.is_(None))
            )
            return frozenset(DID.parse(did) for did in rows.scalars())

    def record(self, facts: Sequence[Fact]) -> None:
        """See the port. LedgerError if the facts contradict the record, the lease was lost, or
        the database refuses: then nothing has changed."""
        self._must_write()
        told = of_record(facts)
        if any(isinstance(fact, NameSkipped) for fact in told):
            with self._database.reading() as connection:
                told = without_known_skips(connection, self._campaign, told)
        if not told:
            return
        events = event_rows(self._campaign, told)
        with self._changing() as (connection, known):
            changed = apply(connection, self._campaign, told, events, known)
        self._changes.add(changed)

    def all_files(
        self, states: Collection[FileState] | None = None, *, cycle: int | None = None
    ) -> Iterator[FileRecord]:
        """Files of every cycle, or of one; cycle by cycle, each in the order of finding."""
        if cycle is None:
            with self._database.reading() as connection:
                cycles = queries.cycles_with_files(connection, self._campaign)
        else:
            cycles = [cycle]
        for number in cycles:
            yield from self._files_of(Choice(self._campaign, number, states))

    def usage(self, *, cycle: int | None = None) -> Mapping[FileState, Usage]:
        """Files and bytes by state, of a cycle or of the one begun last; a file that is not
        measured counts no bytes, and a state without a file is left out."""
        with self._database.reading() as connection:
            return queries.usage_by_state(connection, Choice(self._campaign, cycle))

    def story(self, did: DID) -> Iterator[StoredFact]:
        """Everything that happened to a file, a dataset or a container, in the order of recording.

        Of a dataset that includes the rules that were asked for; what became of a rule is told by
        `rule_story`.
        """
        return queries.facts_about(self._database, self._campaign, str(did))

    def rule_story(self, rule_id: str) -> Iterator[StoredFact]:
        """Everything that happened to a rule since it was made, in the order of recording."""
        return queries.facts_about(self._database, self._campaign, rule_id)

    def forget(self, did: DID) -> None:
        """Take a file off the record; what happened to it stays in its story.

        LedgerError if it is not on record, or if by the record it may have bytes in the lake.
        """
        self._must_write()
        with self._changing() as (connection, known):
            mine = self._is_file(did)
            text = connection.execute(select(files.c.record).where(*mine)).scalar_one_or_none()
            if text is None:
                raise LedgerError(f"{did} is not on record", hint="see the names on record")
            _check_nowhere(file_from(text, str(did)))
            connection.execute(delete(files).where(*mine))
            known.forget(did)
        self._changes.add({did})

    def cycles_before_last(self) -> Sequence[int]:
        """Cycles with files on record but the one begun last, the newest first."""
        with self._database.reading() as connection:
            return retention.cycles_before_last(connection, self._campaign)

    def summary(self, cycle: int) -> CycleSummary | None:
        """What is to stay of a cycle; None if it may not go: see `ledger.retention`."""
        with self._database.reading() as connection:
            return retention.summary(connection, self._campaign, cycle)

    def remove_cycle(self, cycle: int) -> None:
        """Take a cycle off the record, with everything that happened in it. LedgerError if
        something of it may still be somewhere, or if it is the one begun last."""
        self._must_write()
        with self._changing() as (connection, known):
            before_last = retention.cycles_before_last(connection, self._campaign)
            if (
                cycle not in before_last
                or retention.summary(connection, self._campaign, cycle) is None
            ):
                raise LedgerError(f"cycle {cycle} cannot be forgotten: it is not all gone")
            retention.remove(connection, self._campaign, cycle)
            known.forget_all()
        self._changes.add(None)

    def tidy(self) -> None:
        """Forget what was told of old runs, and give room that is free in the file back to the
        disk."""
        self._must_write()
        with self._changing() as (connection, _):
            retention.remove_old_runs(connection, self._campaign)
        self._database.give_back()

    @contextmanager
    def _changing(self) -> Iterator[tuple[Connection, KnownRecords]]:
        """A transaction that writes, under the lease, and what is known of the files before it.

        If anything is raised, perhaps while the outcome of the commit is not known, all that was
        known is given up.
        """
        with self._writing:
            known, self._known = self._known, KnownRecords()
            with self._database.writing() as connection:
                if not self._lease.hold(connection):
                    known = KnownRecords()
                yield connection, known
            self._known = known

    def _files_of(self, choice: Choice) -> Iterator[FileRecord]:
        changes = self._changes
        return queries.files_of(self._database, choice, lambda: changes.number, changes.since)

    def _is_file(self, did: DID) -> tuple[ColumnElement[bool], ...]:
        return (
            files.c.campaign == self._campaign,
            files.c.scope == did.scope,
            files.c.name == did.name,
        )

    def _of_campaign(self, column: ColumnElement[Any]) -> Any:
        with self._database.reading() as connection:
            mine = campaigns.c.id == self._campaign
            return connection.execute(select(column).where(mine)).scalar_one()

    def _must_write(self) -> None:
        if self._reading:
            raise LedgerError(f"ledger {self._database.place} was opened for reading only")


def _build(path: Path) -> None:
    database = sqlite_database(path)
    try:
        database.prepare_to_shrink()
        schema.make(database)
    finally:
        database.close()


def _check_nowhere(record: FileRecord) -> None:
    what = f"{record.did} cannot be forgotten: it may still be at"
    if left := replicas_left(record.replicas):
        raise LedgerError(
            f"{what} {', '.join(left)}",
            hint="only what is nowhere in the lake can be forgotten; let its campaign end it first",
        )
    begun = record.upload_begun_at is not None and record.nothing_left_at is None
    if begun and not record.replicas:
        raise LedgerError(
            f"{what} {record.upload_rse}, where an upload of it was begun",
            hint="run the campaign again: it goes on with it, or sees that nothing is there",
        )
