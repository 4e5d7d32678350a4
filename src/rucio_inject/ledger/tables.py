"""The ledger's tables. Several campaigns may share one database.

Names begin with `inject_`, so that they can live beside other people's tables in one PostgreSQL
schema. A change here needs a new version in `migrations/versions`; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

VERSION_TABLE = "inject_schema"
"""Where alembic keeps the schema's version."""
SCHEMA = "0002"
"""The version that this code reads and writes."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only where the key's type is exactly INTEGER.
_RowId = BigInteger().with_variant(Integer, "sqlite")
# Moments are ISO 8601 text in UTC with six decimals: exact in both databases, and in order as text.
_Moment = String(32)


def _row_id() -> Column[int]:
    return Column("id", _RowId, primary_key=True, autoincrement=True)


def _campaign(*, primary_key: bool = False) -> Column[int]:
    key = ForeignKey("inject_campaigns.id")
    return Column("campaign", _RowId, key, primary_key=primary_key, nullable=False)


campaigns = Table(
    "inject_campaigns",
    metadata,
    _row_id(),
    Column("name", Text, nullable=False, unique=True),
    Column("cycle", Integer, nullable=False),
    Column("ended", Boolean, nullable=False),
    Column("analysed", Boolean, nullable=False),
)

# `record` is all that is known, as JSON; the other columns are what is asked for by SQL. The id
# grows in the order in which files were found.
files = Table(
    "inject_files",
    metadata,
    _row_id(),
    _campaign(),
    Column("scope", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("cycle", Integer, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("size", BigInteger),
    Column("failure", Text),
    Column("source", String(8), nullable=False),
    Column("sampled", Boolean, nullable=False, server_default=false()),
    Column("record", Text, nullable=False),
    UniqueConstraint("campaign", "scope", "name"),
    # The size comes last so that counts and sums by state need not look at the rows themselves.
    Index(None, "campaign", "cycle", "state", "id", "size"),
    Index(None, "campaign", "cycle", "dataset", "state", "id"),
    # Only of files that were not read back: most campaigns have none. On PostgreSQL as well: to say
    # so here, too, would load its dialect for each command.
    Index(
        "ix_inject_files_sampled",
        "campaign",
        "cycle",
        "state",
        sqlite_where=text("sampled = 1"),
    ),
    # An id is never given twice, even if the last row was removed: it is what pages go by.
    sqlite_autoincrement=True,
)

# One row a fact, in the order of recording; `subject` is the DID or rule id that it is about.
events = Table(
    "inject_events",
    metadata,
    _row_id(),
    _campaign(),
    Column("at", _Moment, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("subject", Text),
    Column("fact", Text, nullable=False),
    Index(None, "campaign", "subject", "id"),
    sqlite_autoincrement=True,
)

rules = Table(
    "inject_rules",
    metadata,
    _row_id(),
    _campaign(),
    Column("rule_id", Text, nullable=False),
    Column("cycle", Integer, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("rse_expression", Text, nullable=False),
    Column("adopted", Boolean, nullable=False),
    Column("record", Text, nullable=False),
    UniqueConstraint("campaign", "rule_id"),
    Index(None, "campaign", "cycle"),
    Index(None, "campaign", "dataset"),
    sqlite_autoincrement=True,
)

# Rules asked for whose answer may not have come. RSE expressions are longer than what a key of
# PostgreSQL may hold, so the dataset alone is indexed.
asked = Table(
    "inject_asked",
    metadata,
    _row_id(),
    _campaign(),
    Column("dataset", Text, nullable=False),
    Column("rse_expression", Text, nullable=False),
    Column("at", _Moment, nullable=False),
    Index(None, "campaign", "dataset"),
)

# Paths are longer than keys may be, too: `key` is the path's SHA-256.
skipped = Table(
    "inject_skipped",
    metadata,
    _campaign(primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("path", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", _Moment, nullable=False),
)

collections = Table(
    "inject_collections",
    metadata,
    _campaign(primary_key=True),
    Column("did", Text, primary_key=True),
    Column("asked_at", _Moment, nullable=False),
    Column("gone_at", _Moment),
)

# At most one row a campaign. Times are microseconds since 1970, as the database's own arithmetic
# makes them; `process` and `place` tell whether a holder on this machine still runs. Every version
# of this code reads this table, to see who is at work: a later one may only add columns to it.
leases = Table(
    "inject_leases",
    metadata,
    _campaign(primary_key=True),
    Column("token", String(32), nullable=False),
    Column("holder", Text, nullable=False),
    Column("place", Text, nullable=False),
    Column("process", Text, nullable=False),
    Column("acquired_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)
