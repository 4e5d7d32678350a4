"""What this machine must have for a campaign: room, places that can be written to, and files."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from rucio_inject.doctor.findings import Finding, Verdict, bad
from rucio_inject.domain.errors import DiskFull, InjectError, NothingToInject, StorageRefused
from rucio_inject.ports import LeftOut, Source
from rucio_inject.words.numbers import size

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
            f"the disk of {there} has {size(free)} left",
            hint="make room, or name another output folder",
        )
    return f"{size(free)} is free on the disk of {there}"


def look_into(source: Source, kind: str) -> Finding:
    """What a source offers first; nothing is made or read."""
    try:
        first = next(source.files(), None)
    except NothingToInject as error:
        return Finding("source", kind, Verdict.WARNING, error.message, error.hint)
    except InjectError as error:
        return bad("source", kind, error)
    if first is None:
        return Finding("source", kind, Verdict.GOOD, "it offers nothing yet")
    if isinstance(first, LeftOut):
        verdict = Verdict.GOOD if first.later else Verdict.WARNING
        return Finding("source", kind, verdict, first.reason)
    return Finding("source", kind, Verdict.GOOD, f"the first of its files is {first.where}")


def _there(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    place = folder.absolute()
    while not place.is_dir() and place != place.parent:
        place = place.parent
    return place
