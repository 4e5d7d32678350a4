"""Property tests write to memory, and make new ledgers without alembic."""

from __future__ import annotations

from tests.in_memory import tmp_path
from tests.remembered_schema import _schema_is_remembered

__all__ = ["_schema_is_remembered", "tmp_path"]
