"""Asserts in the contract suites tell what they compared, as those in test files do; and new
ledgers are made in memory, and without alembic."""

from __future__ import annotations

import pytest
from tests.in_memory import tmp_path
from tests.remembered_schema import _schema_is_remembered

__all__ = ["_schema_is_remembered", "tmp_path"]

pytest.register_assert_rewrite("rucio_inject.testing.contracts")
