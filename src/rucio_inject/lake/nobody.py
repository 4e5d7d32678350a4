"""Running PostgreSQL when we are root: it refuses root, so it runs as `nobody`.

`nobody` must be able to reach its data; this module says which folder is in the way.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from rucio_inject.domain.errors import LakeError
from rucio_inject.lake.process import Identity


def database_identity() -> Identity | None:
    """As whom PostgreSQL is to run: None for ourselves, `nobody` when we are root."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as error:
        raise LakeError(
            "PostgreSQL does not run as root, and this machine has no user `nobody` for it",
            hint="run the lake as an ordinary user",
        ) from error
    return Identity(entry.pw_uid, entry.pw_gid)


def blocking_folder(path: Path, identity: Identity) -> Path | None:
    """The first folder above `path` that `identity`, in no other group, may not pass through."""
    for folder in reversed(path.parents):
        if folder.is_dir() and not _may_pass(folder, identity):
            return folder
    return None


def _may_pass(folder: Path, identity: Identity) -> bool:
    status = folder.stat()
    if status.st_uid == identity.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == identity.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def check_reachable(lake: Path, identity: Identity | None) -> None:
    """LakeError when the user that runs PostgreSQL cannot reach the lake's folder."""
    if identity is None:
        return
    folder = blocking_folder(lake, identity)
    if folder is None:
        return
    mode = stat.S_IMODE(folder.stat().st_mode)
    raise LakeError(
        f"PostgreSQL does not run as root, and as `nobody` it cannot get through {folder}"
        f" (mode {mode:04o}) to the lake in {lake}",
        hint="choose a folder that everybody can pass through, such as"
        " --folder /var/lib/rucio-inject/lake, run the lake as an ordinary user,"
        f" or allow it: chmod o+x {folder}",
    )


def give(path: Path, identity: Identity | None) -> None:
    """Make `path` belong to the user that runs PostgreSQL."""
    if identity is not None:
        os.chown(path, identity.uid, identity.gid)
