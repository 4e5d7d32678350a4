"""A ledger in two JSON files: the seed's shape, and everything else that is known beside it."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO, TypeVar

from pydantic import TypeAdapter, ValidationError

from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError
from rucio_inject.domain.injection import FileRecord, FileState, RuleRecord
from rucio_inject.domain.story import advance, advance_rule, begin_file, begin_rule
from rucio_inject.ledger.seed_json import seed_ledger
from rucio_inject.whole_files import partial_name, write_durably

SCHEMA = 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something at the source that is no file for the lake, and why."""

    path: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """A dataset or container that we made."""

    did: DID
    asked_at: datetime
    gone_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Book:
    """What the second file holds.

    Files are keyed by `scope:name`, rules by their id, and rules asked for, whose answer may not
    have come, by `scope:name to expression`.
    """

    schema: int
    campaign: str
    cycle: int = 0
    ended: bool = False
    analysed: bool = False
    files: dict[str, FileRecord] = field(default_factory=dict)
    rules: dict[str, RuleRecord] = field(default_factory=dict)
    asked: dict[str, datetime] = field(default_factory=dict)
    skipped: dict[str, Skipped] = field(default_factory=dict)
    collections: dict[str, CollectionRecord] = field(default_factory=dict)


_BOOK = TypeAdapter(Book)


def state_path(ledger: Path) -> Path:
    """Where the richer second file of a JSON ledger is."""
    return ledger.with_name(f"{ledger.stem}.state.json")


class JsonLedger:
    """Implements `ports.Ledger`. Both files are replaced whole, and on disk, at every change.

    Use it as a context manager: it holds a lock, so that no second run writes the same ledger.
    """

    def __init__(self, path: Path, campaign: str) -> None:
        self._path = path
        self._campaign = campaign
        self._book = Book(SCHEMA, campaign)
        self._lock: TextIO | None = None

    def __enter__(self) -> Self:
        """Lock and read the ledger. LedgerError if it is held, damaged or not ours."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = self._path.with_name(f".{self._path.name}.lock").open("a+")
        except OSError as error:
            raise LedgerError(
                f"cannot write a ledger at {self._path}: {error.strerror}",
                hint="name a folder that you may write to: --output, or ledger: in the campaign",
            ) from None
        try:
            self._take_lock(self._lock)
            self._book = self._read()
        except LedgerError:
            self._lock.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.close()

    def _take_lock(self, lock: TextIO) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            raise LedgerError(
                f"ledger {self._path} is in use by {holder}",
                hint="wait until that run has ended, or give this one a ledger of its own",
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()

    def _read(self) -> Book:
        state = state_path(self._path)
        # A partial file is what a power cut left of a change that never happened.
        for path in (self._path, state):
            partial_name(path).unlink(missing_ok=True)
        if not state.exists():
            if self._path.exists():
                raise LedgerError(
                    f"{self._path} is there, but {state.name} that belongs to it is not",
                    hint="restore that file, or name another ledger; nothing was touched",
                )
            return Book(SCHEMA, self._campaign)
        return self._checked(state)

    def _checked(self, state: Path) -> Book:
        keep = "nothing was touched; restore it from a copy, or name another ledger"
        try:
            content = json.loads(state.read_bytes())
        except (OSError, ValueError) as error:
            raise LedgerError(f"{state} cannot be read as JSON: {error}", hint=keep) from None
        schema = content.get("schema") if isinstance(content, dict) else None
        if schema != SCHEMA:
            raise LedgerError(
                f"{state} is of schema {schema!r}; this version reads schema {SCHEMA}",
                hint="use the version of rucio-inject that wrote it, or name another ledger",
            )
        try:
            book = _BOOK.validate_python(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise LedgerError(f"{state} is damaged at {where}: {first['msg']}", hint=keep) from None
        if book.campaign != self._campaign:
            raise LedgerError(
                f"{state} is the ledger of campaign {book.campaign}, not of {self._campaign}",
                hint="name another ledger: one campaign, one ledger",
            )
        return book

    @property
    def cycle(self) -> int:
        """See the port."""
        return self._book.cycle

    @property
    def cycle_ended(self) -> bool:
        """See the port."""
        return self._book.ended

    @property
    def analysed(self) -> bool:
        """See the port."""
        return self._book.analysed

    def files(
        self, states: Collection[FileState] | None = None, *, dataset: DID | None = None
    ) -> Iterator[FileRecord]:
        """See the port."""
        for key in list(self._book.files):
            record = self._book.files[key]
            ours = record.cycle == self._book.cycle and dataset in {None, record.dataset}
            if ours and (states is None or record.state in states):
                yield record

    def counts(self, *, dataset: DID | None = None) -> Mapping[FileState, int]:
        """See the port."""
        return Counter(record.state for record in self.files(dataset=dataset))

    def datasets(self, states: Collection[FileState]) -> Sequence[DID]:
        """See the port."""
        return list(dict.fromkeys(record.dataset for record in self.files(states)))

    def file(self, did: DID) -> FileRecord | None:
        """See the port."""
        return self._book.files.get(str(did))

    def rules(self) -> Sequence[RuleRecord]:
        """See the port."""
        return [rule for rule in self._book.rules.values() if rule.cycle == self._book.cycle]

    def asked_for(self, dataset: DID, rse_expression: str) -> bool:
        """See the port."""
        return f"{dataset} to {rse_expression}" in self._book.asked or any(
            (rule.dataset, rule.rse_expression, rule.adopted) == (dataset, rse_expression, False)
            for rule in self._book.rules.values()
        )

    def collections(self) -> frozenset[DID]:
        """See the port."""
        return frozenset(c.did for c in self._book.collections.values() if c.gone_at is None)

    def record(self, facts: Sequence[f.Fact]) -> None:
        """See the port. LedgerError if the facts contradict the record, or the disk refuses."""
        before = self._book
        book = replace(
            before,
            files=dict(before.files),
            rules=dict(before.rules),
            asked=dict(before.asked),
            skipped=dict(before.skipped),
            collections=dict(before.collections),
        )
        for fact in facts:
            book = _after(book, fact)
        if book == before:
            return
        self._write(book)
        self._book = book

    def _write(self, book: Book) -> None:
        seed = seed_ledger(book.files.values(), book.rules.values())
        try:
            # The richer file first: it is the one that a resume trusts.
            write_durably(state_path(self._path), _BOOK.dump_json(book, indent=1))
            write_durably(self._path, json.dumps(seed, indent=1).encode())
        except OSError as error:
            raise LedgerError(
                f"cannot write ledger {self._path}: {error.strerror}",
                hint="make room or mend the disk, then run the same command again",
            ) from error


def _after(book: Book, fact: f.Fact) -> Book:  # noqa: C901, PLR0912 -- a flat table
    """The book after one more fact; the dictionaries of `book` are changed in place."""
    match fact:
        case f.CycleBegun():
            return replace(book, cycle=fact.cycle, ended=False, analysed=False)
        case f.CycleEnded():
            return replace(book, ended=True)
        case f.AnalysisMade():
            return replace(book, analysed=True)
        case f.NameSkipped():
            path = _as_text(fact.path)
            book.skipped[path] = Skipped(path, fact.code, _as_text(fact.reason))
        case f.FileFound():
            book.files[str(fact.did)] = begin_file(fact)
        case f.FileFact():
            book.files[str(fact.did)] = advance(_known(book.files, str(fact.did)), fact)
        case f.RuleAsked():
            book.asked[f"{fact.dataset} to {fact.request.rse_expression}"] = fact.at
        case f.RuleMade():
            book.asked.pop(f"{fact.dataset} to {fact.request.rse_expression}", None)
            book.rules[fact.rule_id] = begin_rule(fact, book.cycle)
        case f.RuleChanged():
            key = fact.view.rule_id
            book.rules[key] = advance_rule(_known(book.rules, key), fact)
        case f.RuleEnding() | f.RuleGone():
            book.rules[fact.rule_id] = advance_rule(_known(book.rules, fact.rule_id), fact)
        case f.CollectionAsked():
            book.collections[str(fact.did)] = CollectionRecord(fact.did, fact.at)
        case f.CollectionGone():
            key = str(fact.did)
            book.collections[key] = replace(_known(book.collections, key), gone_at=fact.at)
        case _:
            # Counts have a file of their own.
            pass
    return book


def _known(records: Mapping[str, T], key: str) -> T:
    if key not in records:
        raise LedgerError(f"{key} is not on record, so nothing can have happened to it")
    return records[key]


def _as_text(text: str) -> str:
    """Names on a disk may be no text at all; JSON can only hold text."""
    return text.encode("utf-8", "backslashreplace").decode()
