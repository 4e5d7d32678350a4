"""What this machine must have for a campaign: room, and places that can be written to."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from rucio_inject.domain.errors import DiskFull, StorageRefused

ENOUGH = 100_000_000
"""Bytes for a ledger, counts and figures; files that are made or kept need more."""


def writable(folder: Path) -> str:
    """Try a folder out, or the one above in which it would be made; says so.

    The file for it has no name at any time, so nothing is left, however this ends. StorageRefused
    if nothing can be written there.
    """
    there = _there(folder)
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"doctor")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageRefused(
            f"cannot write to {there}: {error.strerror}",
            hint="mend its permissions, or name another folder",
        ) from error
    return f"{there} can be written to" + ("" if there == folder else f", {folder} is to be made")


def room(folder: Path) -> str:
    """Say how much room there is. DiskFull if it is not enough for a ledger and figures."""
    there = _there(folder)
    free = shutil.disk_usage(there).free
    if free < ENOUGH:
        raise DiskFull(
            f"the disk of {there} has {free} bytes left",
            hint="make room, or name another output folder",
        )
    return f"{free} bytes are free on the disk of {there}"


def _there(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    place = folder.absolute()
    while not place.is_dir() and place != place.parent:
        place = place.parent
    return place
