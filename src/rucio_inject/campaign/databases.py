"""Which driver a database's URL means, where people name only its kind."""

from __future__ import annotations

from sqlalchemy import URL

_POSTGRESQL = frozenset({"postgresql", "postgres"})


def with_driver(url: URL) -> URL:
    """The URL with the driver that `rucio-inject[postgresql]` installs, if it is one of PostgreSQL
    without a driver: SQLAlchemy would take an older one."""
    if url.drivername not in _POSTGRESQL:
        return url
    return url.set(drivername="postgresql+psycopg")
