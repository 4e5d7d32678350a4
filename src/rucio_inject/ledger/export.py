"""What is on record, in shapes that other programs read; written as it is read, file by file.

`seed`     one JSON object in the shape of 2020 (see `seed_json`); of measured files only
`jsonl`    one JSON object a line, with all that is on record of a file
`csv`      one row a file, with a header; the columns are `COLUMNS`
`parquet`  the same columns, typed: times in microseconds UTC, and lists
"""

from __future__ import annotations

import csv
import importlib
import importlib.util
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, TextIO

from sqlalchemy import func, select

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError, UsageError
from rucio_inject.domain.injection import FileRecord, ReplicaRecord, RuleRecord
from rucio_inject.domain.story import replicas_left
from rucio_inject.ledger.engine import Database
from rucio_inject.ledger.fact_json import as_text, file_text, rule_from
from rucio_inject.ledger.seed_json import seed_entry
from rucio_inject.ledger.tables import files, rules

SCHEMA = 1

Cell = str | int | bool | datetime | list[str] | None
RulesOf = Callable[[DID], Sequence[RuleRecord]]

# Rows of a Parquet file that are in memory at a time.
_ROW_GROUP = 10_000
# Files of a dataset are found one after another, so a few datasets are enough.
_DATASETS = 64


def _with(what: str) -> Callable[[FileRecord], list[str]]:
    def rses(record: FileRecord) -> list[str]:
        known: Mapping[str, ReplicaRecord] = record.replicas
        return [rse for rse, replica in known.items() if getattr(replica, what) is not None]

    return rses


COLUMNS: Mapping[str, tuple[str, Callable[[FileRecord], Cell]]] = MappingProxyType(
    {
        "scope": ("string", lambda r: r.did.scope),
        "name": ("string", lambda r: r.did.name),
        "state": ("string", lambda r: str(r.state)),
        "cycle": ("int64", lambda r: r.cycle),
        "dataset": ("string", lambda r: str(r.dataset)),
        "containers": ("list", lambda r: [str(did) for did in r.containers]),
        "path": ("string", lambda r: r.path),
        "generated": ("bool", lambda r: r.generated),
        "source": ("string", lambda r: str(r.source)),
        "size": ("int64", lambda r: r.measure.size if r.measure else None),
        "adler32": ("string", lambda r: r.measure.adler32 if r.measure else None),
        "md5": ("string", lambda r: r.measure.md5 if r.measure else None),
        "found_at": ("time", lambda r: r.found_at),
        "measured_at": ("time", lambda r: r.measured_at),
        "upload_rse": ("string", lambda r: r.upload_rse),
        "uploaded_at": ("time", lambda r: r.uploaded_at),
        "adopted": ("bool", lambda r: r.adopted),
        "freed_at": ("time", lambda r: r.freed_at),
        "replicas": ("list", lambda r: list(replicas_left(r.replicas))),
        "read_back": ("list", _with("read_back_at")),
        "gone": ("list", _with("gone_at")),
        "waits_for": ("string", lambda r: r.waits_for),
        "failure_code": ("string", lambda r: r.failure.code if r.failure else None),
        "failure_reason": ("string", lambda r: r.failure.reason if r.failure else None),
        "failure_hint": ("string", lambda r: r.failure.hint if r.failure else None),
        "failure_at": ("time", lambda r: r.failure.at if r.failure else None),
        "came_from": ("string", lambda r: str(r.failure.came_from) if r.failure else None),
        "metadata": ("string", lambda r: json.dumps(dict(r.metadata))),
    }
)
"""The columns of CSV and Parquet: their types, and what they hold of a file.

`replicas` are RSEs that hold the file by the record, `read_back` those that it was read from,
`gone` those where its end is proved; `metadata` is a JSON object. In CSV lists are joined by
blanks, times are ISO 8601 in UTC, sizes are bytes, and what is not known is empty.
"""


def as_object(record: FileRecord) -> dict[str, Any]:
    """All that is on record of a file, as a JSON object whose shape is versioned by `schema`;
    DIDs are `scope:name`."""
    known = json.loads(file_text(record))
    return {
        "schema": SCHEMA,
        **known,
        "did": str(record.did),
        "dataset": str(record.dataset),
        "containers": [str(did) for did in record.containers],
    }


def write_jsonl(out: TextIO, records: Iterable[FileRecord]) -> None:
    """Write one JSON object a line."""
    out.writelines(json.dumps(as_object(record)) + "\n" for record in records)


def write_csv(out: TextIO, records: Iterable[FileRecord]) -> None:
    """Write a header, and one row a file."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for record in records:
        writer.writerow([_csv_cell(of(record)) for _, of in COLUMNS.values()])


def _csv_cell(cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case bool():
            return str(cell).lower()
        case datetime():
            return cell.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        case list():
            return " ".join(cell)
        case _:
            return as_text(str(cell))


def write_seed(out: TextIO, records: Iterable[FileRecord], rules_of: RulesOf) -> None:
    """Write one object in the shape of 2020; `rules_of` gives the rules of a dataset."""
    before = "{"
    for record in records:
        if record.measure is not None:
            entry = json.dumps(seed_entry(record, rules_of(record.dataset)), indent=1)
            indented = entry.replace("\n", "\n ")
            out.write(f"{before}\n {json.dumps(record.did.name)}: {indented}")
            before = ","
    out.write("{}" if before == "{" else "\n}")


def check_names_differ(database: Database, campaign: int, *, cycle: int | None) -> None:
    """LedgerError if files of two scopes have one name: the shape of 2020 has names only.

    Those of a cycle are looked at; None: of all.
    """
    statement = select(files.c.name).where(files.c.campaign == campaign)
    if cycle is not None:
        statement = statement.where(files.c.cycle == cycle)
    twice = statement.group_by(files.c.name).having(func.count() > 1).limit(1)
    with database.reading() as connection:
        name = connection.execute(twice).scalar_one_or_none()
    if name is not None:
        raise LedgerError(
            f"{name} is on record in more than one scope, and the seed's shape has names only",
            hint="export it as jsonl, csv or parquet",
        )


def rules_by_dataset(database: Database, campaign: int) -> RulesOf:
    """Gives the rules on record of a dataset, of whichever cycle, in the order of their making."""

    @lru_cache(maxsize=_DATASETS)
    def of(dataset: DID) -> Sequence[RuleRecord]:
        chosen = select(rules.c.rule_id, rules.c.record).where(
            rules.c.campaign == campaign, rules.c.dataset == str(dataset)
        )
        with database.reading() as connection:
            rows = connection.execute(chosen.order_by(rules.c.id)).all()
        return tuple(rule_from(text, rule_id) for rule_id, text in rows)

    return of


def check_parquet() -> None:
    """UsageError if Parquet cannot be written, as its extra is not installed."""
    if importlib.util.find_spec("pyarrow") is None:
        raise UsageError(
            "Parquet needs the Python package pyarrow, which is not installed",
            hint="pip install 'rucio-inject[parquet]'",
        )


def write_parquet(path: Path, records: Iterable[FileRecord]) -> None:
    """Write a Parquet file, some thousand rows at a time."""
    check_parquet()
    # Late, and by name: an extra that few need.
    arrow: Any = importlib.import_module("pyarrow")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    types = {
        "string": arrow.string(),
        "int64": arrow.int64(),
        "bool": arrow.bool_(),
        "time": arrow.timestamp("us", tz="UTC"),
        "list": arrow.list_(arrow.string()),
    }
    schema = arrow.schema([(name, types[kind]) for name, (kind, _) in COLUMNS.items()])
    with parquet.ParquetWriter(path, schema) as writer:
        for group in _groups(records):
            columns = [[_text_only(of(r)) for r in group] for _, of in COLUMNS.values()]
            writer.write_table(arrow.table(columns, schema=schema))


def _groups(records: Iterable[FileRecord]) -> Iterator[list[FileRecord]]:
    coming = iter(records)
    while group := list(islice(coming, _ROW_GROUP)):
        yield group


def _text_only(cell: Cell) -> Cell:
    """The same, with what is no text in it escaped: Parquet holds UTF-8."""
    return as_text(cell) if isinstance(cell, str) else cell
