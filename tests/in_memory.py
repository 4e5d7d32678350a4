"""Folders of tests that are kept in memory, where there is such a place.

These tests cut no power: all that a disk would add is some milliseconds for each fsync.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

PLACE = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path("/tmp")


@contextmanager
def quick_folder() -> Iterator[Path]:
    """A new folder, deleted afterwards."""
    # A thread that outlives its test may still write to it.
    with TemporaryDirectory(dir=PLACE, prefix="ri-test-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In place of pytest's own. Memory is scarce: it does not stay after the test."""
    with quick_folder() as made:
        yield made
