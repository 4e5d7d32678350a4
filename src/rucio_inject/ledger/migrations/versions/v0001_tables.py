"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MOMENT = sa.String(32)


def upgrade() -> None:
    """Make all tables."""
    _make_campaigns()
    _make_files()
    _make_events()
    _make_rules()
    _make_the_rest()


def _campaign(table: str) -> tuple[sa.Column[int], sa.ForeignKeyConstraint]:
    key = sa.ForeignKeyConstraint(
        ["campaign"], ["inject_campaigns.id"], name=f"fk_{table}_campaign"
    )
    return sa.Column("campaign", _ROW_ID, nullable=False), key


def _make_campaigns() -> None:
    op.create_table(
        "inject_campaigns",
        sa.Column("id", _ROW_ID, autoincrement=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cycle", sa.Integer(), nullable=False),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.Column("analysed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_inject_campaigns"),
        sa.UniqueConstraint("name", name="uq_inject_campaigns_name"),
    )


def _make_files() -> None:
    op.create_table(
        "inject_files",
        sa.Column("id", _ROW_ID, autoincrement=True),
        *_campaign("inject_files"),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("cycle", sa.Integer(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger()),
        sa.Column("failure", sa.Text()),
        sa.Column("source", sa.String(8), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_inject_files"),
        sa.UniqueConstraint(
            "campaign", "scope", "name", name="uq_inject_files_campaign_scope_name"
        ),
        sqlite_autoincrement=True,
    )
    _index("inject_files", "campaign", "cycle", "state", "id", "size")
    _index("inject_files", "campaign", "cycle", "dataset", "state", "id")


def _make_events() -> None:
    op.create_table(
        "inject_events",
        sa.Column("id", _ROW_ID, autoincrement=True),
        *_campaign("inject_events"),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("subject", sa.Text()),
        sa.Column("fact", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_inject_events"),
        sqlite_autoincrement=True,
    )
    _index("inject_events", "campaign", "subject", "id")


def _make_rules() -> None:
    op.create_table(
        "inject_rules",
        sa.Column("id", _ROW_ID, autoincrement=True),
        *_campaign("inject_rules"),
        sa.Column("rule_id", sa.Text(), nullable=False),
        sa.Column("cycle", sa.Integer(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("rse_expression", sa.Text(), nullable=False),
        sa.Column("adopted", sa.Boolean(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_inject_rules"),
        sa.UniqueConstraint("campaign", "rule_id", name="uq_inject_rules_campaign_rule_id"),
        sqlite_autoincrement=True,
    )
    _index("inject_rules", "campaign", "cycle")
    _index("inject_rules", "campaign", "dataset")
    op.create_table(
        "inject_asked",
        sa.Column("id", _ROW_ID, autoincrement=True),
        *_campaign("inject_asked"),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("rse_expression", sa.Text(), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_inject_asked"),
    )
    _index("inject_asked", "campaign", "dataset")


def _make_the_rest() -> None:
    op.create_table(
        "inject_skipped",
        *_campaign("inject_skipped"),
        sa.Column("key", sa.String(64)),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("campaign", "key", name="pk_inject_skipped"),
    )
    op.create_table(
        "inject_collections",
        *_campaign("inject_collections"),
        sa.Column("did", sa.Text()),
        sa.Column("asked_at", _MOMENT, nullable=False),
        sa.Column("gone_at", _MOMENT),
        sa.PrimaryKeyConstraint("campaign", "did", name="pk_inject_collections"),
    )
    op.create_table(
        "inject_leases",
        *_campaign("inject_leases"),
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("process", sa.Text(), nullable=False),
        sa.Column("acquired_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("campaign", name="pk_inject_leases"),
    )


def _index(table: str, *columns: str) -> None:
    op.create_index("_".join(("ix", table, *columns)), table, list(columns))
