"""Files that a site's database names."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sqlalchemy import URL, Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)

from rucio_inject.campaign.databases import REFUSALS, with_driver
from rucio_inject.domain.checksum import Announced
from rucio_inject.domain.errors import SourceUnavailable, UsageError
from rucio_inject.sources.named import Chosen

# Columns that say what a file is; all others are its metadata.
_KNOWN = ("path", "size", "md5", "adler32")
# Classes of PostgreSQL's SQLSTATE: no connection, no room, and somebody stops the server or us.
_PASSING = frozenset({"08", "53", "57"})
# Rows that are fetched at once.
_ROWS = 1000


def database_url(given: str, password: str | None) -> URL:
    """The URL of a database, with a password that does not stand in it. UsageError, which shows no
    password, for what is no URL of a database that can be spoken to here."""
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        raise UsageError(
            "source.url is no URL of a database", hint="write it as in postgresql://USER@HOST/NAME"
        ) from None
    url = with_driver(url)
    return url if password is None else url.set(password=password)


def from_query(
    url: URL, query: str, parameters: Mapping[str, str | int | float]
) -> Callable[[], Iterator[Chosen]]:
    """The rows of a query, which must have a column `path`.

    Values reach the database as bound parameters, never as a part of the query. Whatever the query
    does besides is rolled back. UsageError, without a password, if the database refuses;
    SourceUnavailable if it cannot answer now.
    """

    def rows() -> Iterator[Chosen]:
        try:
            yield from _selected(_engine(url), query, parameters)
        except SQLAlchemyError as error:
            raise _refused(url, error) from None

    return rows


def _engine(url: URL) -> Engine:
    try:
        # Told errors hold no parameters: they are nobody's business but the site's.
        return create_engine(url, hide_parameters=True)
    except (ImportError, NoSuchModuleError) as error:
        raise UsageError(
            f"databases of {url.drivername} cannot be spoken to here ({error})",
            hint="install its driver, as in 'rucio-inject[postgresql]'",
        ) from None


def _selected(
    engine: Engine, query: str, parameters: Mapping[str, str | int | float]
) -> Iterator[Chosen]:
    try:
        with engine.connect() as connection:
            # Leaving without a commit rolls back.
            found = connection.execution_options(yield_per=_ROWS).execute(
                text(query), dict(parameters)
            )
            if not found.returns_rows or "path" not in found.keys():  # noqa: SIM118 -- no mapping
                raise UsageError(
                    "source.query gives no column called path",
                    hint="name it: SELECT filename AS path FROM …",
                )
            for row in found.mappings():
                yield _chosen(row)
    finally:
        engine.dispose()


def _chosen(row: Mapping[Any, Any]) -> Chosen:
    known = {key: row[key] for key in _KNOWN if row.get(key) is not None}
    path = str(known.pop("path", ""))
    try:
        announced = Announced(
            int(known["size"]) if "size" in known else None,
            str(known["adler32"]) if "adler32" in known else None,
            str(known["md5"]) if "md5" in known else None,
        )
    except ValueError as error:
        raise UsageError(
            f"the database says something odd of {path}: {error}", hint="mend it there"
        ) from None
    metadata = {
        str(key): value if isinstance(value, int) else str(value)
        for key, value in row.items()
        if key not in _KNOWN and value is not None
    }
    return Chosen(path, announced if known else None, metadata)


def _is_away(error: SQLAlchemyError) -> bool:
    """Whether the same query may be answered later."""
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorname", "").startswith("SQLITE_BUSY")
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return error.connection_invalidated or state[:2] in _PASSING
    refused = any(words in str(error.orig) for words, _ in REFUSALS)
    return isinstance(error, OperationalError) and not refused


def _refused(url: URL, error: SQLAlchemyError) -> UsageError | SourceUnavailable:
    # Only the driver's own words: SQLAlchemy adds the query, and a link to its documentation.
    told = str(getattr(error, "orig", None) or error).strip().splitlines()
    reason = told[0] if told else type(error).__name__
    if url.password:
        reason = reason.replace(str(url.password), "***")
    database = f"the database {url.render_as_string(hide_password=True)}"
    if _is_away(error):
        return SourceUnavailable(
            f"{database} cannot answer now: {reason}",
            hint="is it up? then run the same command again; if it never was, check source.url",
        )
    return UsageError(
        f"{database} refuses source.query: {reason}",
        hint="check source.url, source.query and source.parameters of the campaign",
    )
