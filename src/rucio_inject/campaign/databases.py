"""What is to be known of databases that a campaign names by their URLs."""

from __future__ import annotations

from sqlalchemy import URL

_POSTGRESQL = frozenset({"postgresql", "postgres"})
REFUSALS = (
    ("authentication", "28"),
    ("password", "28"),
    ("pg_hba.conf", "28"),
    ('FATAL:  role "', "28"),
    ('FATAL:  database "', "3D"),
)
"""PostgreSQL's driver gives no code for a connection that the server refused, but the server's
words: what these mean."""


def with_driver(url: URL) -> URL:
    """The URL with the driver that `rucio-inject[postgresql]` installs, if it is one of PostgreSQL
    without a driver: SQLAlchemy would take an older one."""
    if url.drivername not in _POSTGRESQL:
        return url
    return url.set(drivername="postgresql+psycopg")
