"""Rows by the hundred, written in few statements.

They go to the driver as they are: SQLAlchemy looks at each value of each row, which costs more than
to write it. And a driver lets other threads of the process go on for each statement: after each row
it would have to wait until one of them gives way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from sqlalchemy import Connection

Values = tuple[str | int | None, ...]
"""The values of one row, in the order of the statement's columns."""

# Rows in one statement, the most first: few sizes, so that each is prepared once and kept. Any
# SQLite takes 999 values in one statement.
_SIZES = (90, 10, 1)
# PostgreSQL's driver looks for the place of each value in a statement's text, so it is given a
# column as one value. What is in memory twice stays small.
_ROWS = 1000
_KINDS = {"campaign": "bigint", "cycle": "bigint", "size": "bigint", "sampled": "boolean"}


@dataclass(frozen=True, slots=True)
class Statement:
    """An INSERT into some columns of a table, and what is done where the row is there already."""

    table: str
    columns: tuple[str, ...]
    otherwise: str = ""


def _files(*changing: str) -> Statement:
    columns = ("campaign", "scope", "name", "state", "cycle", "dataset", "size")
    changes = ", ".join(f"{column} = excluded.{column}" for column in changing)
    return Statement(
        "inject_files",
        (*columns, "failure", "source", "sampled", "record"),
        f" ON CONFLICT (campaign, scope, name) DO UPDATE SET {changes}",
    )


MOVED_FILES = _files("state", "cycle", "dataset", "size", "failure", "source", "sampled", "record")
"""Files, new ones or such that are not what they were in any way."""
TOLD_FILES = _files("failure", "source", "record")
"""Files whose other columns are what they were: the indexes are on these, and SQLite would write
them anew even for the same values."""
EVENTS = Statement("inject_events", ("campaign", "at", "kind", "subject", "fact"))
"""Facts."""


def write_rows(connection: Connection, statement: Statement, rows: Sequence[Values]) -> None:
    """Write rows in their order, none of them twice."""
    in_columns = connection.dialect.paramstyle != "qmark"
    done = 0
    while done < len(rows):
        left = len(rows) - done
        size = _ROWS if in_columns else next(size for size in _SIZES if size <= left)
        chunk = rows[done : done + size]
        values: Values
        if in_columns:
            text = _text_of_columns(statement)
            values = tuple(_array(column) for column in zip(*chunk, strict=True))
        else:
            text = _text_of_rows(statement, size)
            values = tuple(chain.from_iterable(chunk))
        connection.exec_driver_sql(text, values)
        done += size


@lru_cache(maxsize=64)
def _text_of_rows(statement: Statement, size: int) -> str:
    row = f"({', '.join('?' * len(statement.columns))})"
    return f"{_beginning(statement)} VALUES {', '.join([row] * size)}{statement.otherwise}"


@lru_cache(maxsize=64)
def _text_of_columns(statement: Statement) -> str:
    kinds = (_KINDS.get(column, "text") for column in statement.columns)
    arrays = ", ".join(f"%s::{kind}[]" for kind in kinds)
    values = f"SELECT * FROM unnest({arrays})"  # noqa: S608 -- names are ours
    return f"{_beginning(statement)} {values}{statement.otherwise}"


def _beginning(statement: Statement) -> str:
    return f"INSERT INTO {statement.table} ({', '.join(statement.columns)})"


def _array(values: Sequence[str | int | None]) -> str:
    """An array as PostgreSQL reads it."""
    return f"{{{','.join(map(_element, values))}}}"


def _element(value: str | int | None) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return "NULL" if value is None else str(value)
