"""A campaign that is VERIFIED and has no end, on the in-memory lake."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.audit.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Three files of two runs, verified."""
    # Late: asserts of the contracts are rewritten, if nobody has imported them before.
    from tests.unit.audit.bench import verified

    return verified(tmp_path)
