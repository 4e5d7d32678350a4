"""Asserts in the contract suites tell what they compared, as those in test files do."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("rucio_inject.testing.contracts")
