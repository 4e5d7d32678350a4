"""New ledgers without alembic: what it said to the first one of a kind is said to the next ones.

Hundreds of tests begin with a new ledger. Those of the migrations themselves ask for
`real_migrations`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, event, inspect

from rucio_inject.ledger import tables, versions

_LOOKS = ("PRAGMA", "SELECT")

_real = versions.upgrade
# Statements and their parameters by database and version.
_said: dict[tuple[str, str], list[tuple[str, Any]]] = {}


def _upgrade(connection: Connection, version: str) -> None:
    if version != tables.SCHEMA or inspect(connection).has_table(tables.VERSION_TABLE):
        _real(connection, version)
        return
    kind = (connection.dialect.name, version)
    if kind not in _said:
        _said[kind] = _listened(connection, version)
        return
    for statement, parameters in _said[kind]:
        connection.exec_driver_sql(statement, parameters or None)


def _listened(connection: Connection, version: str) -> list[tuple[str, Any]]:
    """Let alembic make the schema; gives what it said."""
    said: list[tuple[str, Any]] = []

    def listen(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        if not statement.lstrip().startswith(_LOOKS):
            said.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", listen)
    try:
        _real(connection, version)
    finally:
        event.remove(connection, "before_cursor_execute", listen)
    return said


@pytest.fixture(autouse=True, scope="session")
def _schema_is_remembered() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(versions, "upgrade", _upgrade)
        yield


@pytest.fixture
def real_migrations() -> Iterator[None]:
    """Let alembic make every ledger of a test."""
    # Not the test's own patches, which it may undo.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(versions, "upgrade", _real)
        yield
