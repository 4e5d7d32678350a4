"""The ledger's SQLite file: made whole or not at all, and with settings that are safe for it."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rucio_inject.domain.errors import LedgerError
from rucio_inject.ledger.database_errors import AGAIN, KEEP
from rucio_inject.whole_files import partial_name

BUSY_SECONDS = 30.0
"""How long a transaction waits for another one to end."""

# File systems that several machines may mount: a WAL's shared memory does not reach over them.
_NETWORK = (
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs",
    "ocfs2", "orangefs", "panfs", "pvfs2", "smb", "virtiofs", "wekafs",
)  # fmt: skip

_OCTAL = re.compile(r"\\([0-7]{3})")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
_ELSEWHERE = "name a folder that you may write to: --output, or ledger: in the campaign"

Version = tuple[int, int, int]


def wal_is_sound(version: Version) -> bool:
    """Whether this SQLite has no known defect in WAL mode.

    Up to 3.51.2 a checkpoint that meets a write at the wrong moment may lose committed pages
    (sqlite.org/wal.html#walresetbug); 3.44.6 and 3.50.7 have the repair, too.
    """
    return (
        version >= (3, 51, 3)
        or (3, 50, 7) <= version < (3, 51, 0)
        or ((3, 44, 6) <= version < (3, 45, 0))
    )


def on_network(path: Path, mounts: Path = Path("/proc/self/mounts")) -> bool:
    """Whether a file lies on a file system that other machines may mount.

    Where the system does not tell, it is taken for one: what is safe there is safe everywhere.
    """
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return True
    kinds = {}
    for line in lines:
        _, folder, kind, *_ = line.split(" ")
        # Blanks and the like in a path are written in octal.
        kinds[Path(_OCTAL.sub(lambda code: chr(int(code[1], 8)), folder))] = kind
    resolved = path.resolve()
    for place in (resolved, *resolved.parents):
        if place in kinds:
            return kinds[place].startswith(_NETWORK)
    return True


def journal_mode(path: Path, version: Version = sqlite3.sqlite_version_info[:3]) -> str:
    """`WAL`, in which readers and the writer do not wait for each other, where that is safe."""
    return "WAL" if wal_is_sound(version) and not on_network(path) else "DELETE"


def make_ready(path: Path, build: Callable[[Path], None]) -> None:
    """See that there is a database at `path` that can be written, 0600; `build` fills a new one.

    A new one is built under another name and renamed, so that a kill leaves none that is half
    built, and an empty file is always damage. LedgerError if it cannot be written, is damaged, or
    is a link to what is not there.
    """
    refuse_lost(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with _alone(partial_name(path)) as part:
                # Another process may have been quicker while we waited for our turn.
                if not path.exists():
                    _sweep(part)
                    build(part)
                    part.replace(path)
                    _sync_folder(path.parent)
                else:
                    part.unlink(missing_ok=True)
        os.close(os.open(path, os.O_RDWR))
    except OSError as error:
        raise LedgerError(
            f"cannot write a ledger at {path}: {error.strerror}",
            hint=AGAIN if error.errno in _NO_ROOM else _ELSEWHERE,
        ) from None
    if path.stat().st_size == 0:
        raise LedgerError(f"ledger {path} is damaged: it is empty", hint=KEEP)


def refuse_lost(path: Path) -> None:
    """LedgerError for a link whose file is not there: a new ledger in the link's place would hide
    the record, which may only lie on a disk that is not mounted."""
    if path.is_symlink() and not path.exists():
        raise LedgerError(
            f"ledger {path} is a link to {path.readlink()}, which is not there",
            hint="nothing was touched; mount the disk that it is on, or name another ledger",
        )


@contextmanager
def _alone(part: Path) -> Iterator[Path]:
    """Make the file, if need be, and be the only one that builds it."""
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield part
    finally:
        os.close(descriptor)


def _sweep(part: Path) -> None:
    """Throw away what a kill left of an earlier try."""
    os.truncate(part, 0)
    for ending in ("-journal", "-wal", "-shm"):
        part.with_name(part.name + ending).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
