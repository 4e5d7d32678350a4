"""Reading what the lake's processes wrote."""

from __future__ import annotations

import os
from pathlib import Path


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log, or a word that there are none."""
    if not path.exists():
        return "(no log was written)"
    with path.open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - 16_384))
        text = stream.read().decode("utf-8", errors="replace")
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"
