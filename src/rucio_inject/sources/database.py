"""Files that a site's database names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sqlalchemy import URL, Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from rucio_inject.campaign.databases import with_driver
from rucio_inject.domain.checksum import Announced
from rucio_inject.domain.errors import UsageError
from rucio_inject.sources.named import Chosen

# Columns that say what a file is; all others are its metadata.
_KNOWN = ("path", "size", "md5", "adler32")
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
    does besides is rolled back. UsageError, without a password, if the database refuses.
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


def _refused(url: URL, error: SQLAlchemyError) -> UsageError:
    # Only the driver's own words: SQLAlchemy adds the query, and a link to its documentation.
    told = str(getattr(error, "orig", None) or error).strip().splitlines()
    reason = told[0] if told else type(error).__name__
    if url.password:
        reason = reason.replace(str(url.password), "***")
    return UsageError(
        f"the database {url.render_as_string(hide_password=True)} refuses source.query: {reason}",
        hint="check source.url, source.query and source.parameters of the campaign",
    )
