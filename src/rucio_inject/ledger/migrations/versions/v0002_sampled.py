"""Files that a sample speaks for are counted without their records."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_IS_SAMPLED = {
    "sqlite": "json_extract(record, '$.sampled')",
    # The last key of a record, as its two encoders write it: what PostgreSQL reads as JSON may have
    # no path with bytes that are no text.
    "postgresql": r"""record LIKE '%"sampled"\:true}' OR record LIKE '%"sampled"\: true}'""",
}


def upgrade() -> None:
    """Add the column, filled from the records, and its index."""
    op.add_column(
        "inject_files",
        sa.Column("sampled", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    is_sampled = sa.text(_IS_SAMPLED[op.get_context().dialect.name])
    table = sa.table("inject_files", sa.column("sampled", sa.Boolean()))
    op.execute(sa.update(table).where(is_sampled).values(sampled=sa.true()))
    op.create_index(
        "ix_inject_files_sampled",
        "inject_files",
        ["campaign", "cycle", "state"],
        sqlite_where=sa.text("sampled = 1"),
        postgresql_where=sa.text("sampled"),
    )
