"""Contents of generated files, by what their names promise."""

from __future__ import annotations

from pathlib import Path

from rucio_inject.domain.errors import NameRefused, UsageError
from rucio_inject.domain.names import Level, parse_name
from rucio_inject.science.payload import PayloadKind, make_root_payload
from rucio_inject.science.raw import write_random

# A calibrated event holds a whole camera, a melibea event a few numbers.
EVENTS_PER_CAMERA = 20


class RawContent:
    """Random bytes of a given size."""

    def __init__(self, size: int) -> None:
        """`size` in bytes."""
        self._size = size

    def check(self, path: Path) -> None:
        """Any name will do."""

    def write(self, path: Path, seed: int) -> None:
        """See `sources.payload.Payload`."""
        write_random(path, size=self._size, seed=seed)


class RootContent:
    """ROOT files with events of the level that the name tells: melibea, or calibrated."""

    def __init__(self, events: int) -> None:
        """`events` of a melibea file; a calibrated one has a twentieth of that, at least one."""
        self._events = events

    def check(self, path: Path) -> None:
        """UsageError for a name that does not end in .root."""
        if path.suffix != ".root":
            raise UsageError(
                f"{path.name} cannot be made as a ROOT file: its name ends in {path.suffix}",
                hint="use source.payload.kind: raw for names like this",
            )

    def write(self, path: Path, seed: int) -> None:
        """See `sources.payload.Payload`."""
        if _level(path) == Level.MELIBEA:
            make_root_payload(PayloadKind.MELIBEA, path, events=self._events, seed=seed)
        else:
            events = max(self._events // EVENTS_PER_CAMERA, 1)
            make_root_payload(PayloadKind.CALIBRATED, path, events=events, seed=seed)


def _level(path: Path) -> str | None:
    try:
        return parse_name(path.name).level
    except NameRefused:
        return None
