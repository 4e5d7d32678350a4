"""The lake's passwords: random, one an account, readable by the lake's owner only."""

from __future__ import annotations

import secrets

from rucio_inject.lake.paths import LakePaths
from rucio_inject.whole_files import write_durably


def secret_of(paths: LakePaths, account: str) -> str:
    """The account's password; made up, and kept in a file of mode 0600, when there is none yet."""
    path = paths.secrets / account
    if path.exists():
        kept = path.read_text(encoding="utf-8").strip()
        if kept:
            return kept
    fresh = secrets.token_urlsafe(24)
    write_durably(path, (fresh + "\n").encode())
    return fresh
