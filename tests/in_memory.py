"""Folders of tests that are kept in memory, where there is such a place.

These tests cut no power: all that a disk would add is some milliseconds for each fsync.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory

import pytest

MEMORY = Path("/dev/shm")
# A container may have 64 MB of it, and each of some workers has a PostgreSQL there.
ROOM = 2 << 30


def _place() -> Path:
    has_room = os.access(MEMORY, os.W_OK) and disk_usage(MEMORY).free >= ROOM
    return MEMORY if has_room else Path("/tmp")


PLACE = _place()


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
