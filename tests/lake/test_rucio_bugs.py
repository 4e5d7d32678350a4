"""Rucio's own bugs, as docs/rucio-bugs.md tells of them: one that is mended needs no way around."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rucio_inject.lake.embedded import EmbeddedLake

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("lakes")]

DOCS = Path(__file__).parents[2] / "docs"
# Rucio's cleaner takes its time; the contract suite has the same of the real catalogue.
SLOW = {"the-end-of-a-parent-is-lost"}


@pytest.fixture
def running_lake(fresh_lake: EmbeddedLake) -> EmbeddedLake:
    return fresh_lake


def _told() -> list[str]:
    """The bugs that the page has a heading for."""
    return re.findall(r"^## ([a-z-]+)$", (DOCS / "rucio-bugs.md").read_text(), re.MULTILINE)


def test_each_is_still_as_it_is_told(running_lake: EmbeddedLake) -> None:
    names = [name for name in _told() if name not in SLOW]
    shown = subprocess.run(
        [sys.executable, str(DOCS / "reproducers" / "rucio_bugs.py"), *names],
        env={**os.environ, **running_lake.environment("magic")},
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert shown.stdout.count(": still so\n") == len(names) >= 8
