"""Fixtures that tests of more than one kind use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.lake.campaigns import Bench

    from rucio_inject.lake.embedded import EmbeddedLake


@pytest.fixture
def bench(running_lake: EmbeddedLake, tmp_path: Path) -> Bench:
    """A fresh folder to run campaigns in, against the lake that runs."""
    # Late: unit tests need no server side.
    from tests.lake.campaigns import Bench

    return Bench(tmp_path, running_lake)
