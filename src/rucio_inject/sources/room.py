"""How much room an origin has."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from rucio_inject.domain.errors import UsageError
from rucio_inject.domain.usage import Room
from rucio_inject.ports import Catalogue, Storage


def room_of(folder: Path, capacity: int | None) -> Room:
    """The room of a folder that may hold `capacity` bytes; None: that of its file system, as far
    as it is there for everybody. UsageError if it cannot be looked at."""
    try:
        if capacity is not None:
            return Room(capacity, _held(folder))
        found = shutil.disk_usage(folder)
    except OSError as error:
        raise UsageError(
            f"cannot see how full {folder} is: {error.strerror}",
            hint="check source.path of the campaign",
        ) from error
    return Room(found.total, found.total - found.free)


def room_at(catalogue: Catalogue, storage: Storage, rse: str, capacity: int | None) -> Room | None:
    """The room of an RSE that may hold `capacity` bytes, by a listing of its storage, or by Rucio's
    own counters where that cannot be listed; None: that which its site told Rucio of, None if it
    told nothing."""
    if capacity is not None:
        held = storage.count(rse) or catalogue.usage(rse)
        return Room(capacity, held.bytes)
    space = catalogue.space(rse)
    if space.total is None or space.free is None:
        return None
    return Room(space.total, space.total - space.free, space.told_at)


def _held(folder: Path) -> int:
    """Bytes of the files below a folder. A part that cannot be looked into raises OSError: without
    it the origin would seem emptier than it is."""
    size = 0
    for place, _, names in os.walk(folder, onerror=_unless_gone):
        for name in names:
            try:
                found = Path(place, name).lstat()
            except FileNotFoundError:
                continue
            size += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return size


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
