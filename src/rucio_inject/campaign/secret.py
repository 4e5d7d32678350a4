"""Secrets that a campaign names by the file that they are in."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from rucio_inject.domain.errors import UsageError

_LONGEST = 4096


def read_secret(path: Path) -> str:
    """The first line of a file that nobody else may read. UsageError, which does not show it, if
    others may, or if there is none."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise UsageError(
                    f"others may read {path} (mode {stat.S_IMODE(mode):04o})",
                    hint=f"chmod 600 {path}",
                )
            line = file.readline(_LONGEST).rstrip(b"\r\n")
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", hint="it holds the password, in its first line"
        ) from error
    if not line:
        raise UsageError(f"{path} is empty", hint="it holds the password, in its first line")
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{path} holds no text in UTF-8") from None
