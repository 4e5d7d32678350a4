"""Whether a source is still what was injected: asked before the lake's copies are given up."""

from __future__ import annotations

from pathlib import Path

from rucio_inject.domain.errors import SourceChanged
from rucio_inject.domain.injection import FileRecord
from rucio_inject.measuring import Seen, measure_seen, seen_now, unreadable
from rucio_inject.steps.compare import measure_of


def read_original(record: FileRecord) -> Seen:
    """Read a source, whole; gives what shows later whether it is still that file.
    SourceUnreadable if it is not there or cannot be read, SourceChanged if it is another one."""
    path = Path(record.path)
    measure, seen = measure_seen(path)
    if measure_of(record).differences(measure):
        raise _is_another(path)
    return seen


def check_original(record: FileRecord, seen: Seen) -> None:
    """The same errors for a source that is gone, or was written to, since it was read."""
    path = Path(record.path)
    now = seen_now(path)
    if now is None:
        raise unreadable(path, "it is gone")
    if now != seen:
        raise _is_another(path)


def _is_another(path: Path) -> SourceChanged:
    return SourceChanged(
        f"{path} is not the file that was injected any more",
        hint="put it back as it was, or give the new content a name of its own",
    )
