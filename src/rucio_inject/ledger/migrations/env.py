"""How alembic reaches the ledger's database: over the connection that `ledger/schema.py` holds."""

from __future__ import annotations

from alembic import context

from rucio_inject.ledger.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
# The caller's transaction is around this: all of the schema, or none of it.
with context.begin_transaction():
    context.run_migrations()
