"""The lake's folder: made, recognised, locked and deleted, and never somebody else's."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from rucio_inject.domain.errors import LakeError, UsageError
from rucio_inject.lake.paths import LakePaths
from rucio_inject.lake.waiting import wait_until
from rucio_inject.ports import Clock

_ODD = frozenset("%?#,;\"'\\$&*")

_MARKER_TEXT = (
    "This folder is an embedded lake of rucio-inject; `rucio-inject lake reset` deletes it.\n"
)


def is_lake(paths: LakePaths) -> bool:
    """Whether the folder carries our marker."""
    return paths.marker.is_file()


def refuse_odd_path(paths: LakePaths) -> None:
    """UsageError when the folder's path holds what PFNs, ini files or PostgreSQL trip over."""
    odd = sorted({letter for letter in str(paths.root) if letter in _ODD or ord(letter) < 32})
    if odd:
        raise UsageError(
            f"the lake cannot lie in {paths.root}: its path may not hold {' '.join(odd)!r}",
            hint="name another folder with --folder",
        )


def refuse_foreign(paths: LakePaths) -> None:
    """LakeError when the folder holds something that is not a lake."""
    root = paths.root
    if root.exists() and not root.is_dir():
        raise LakeError(f"{root} is not a folder", hint="name another one with --folder")
    if root.is_dir() and not is_lake(paths) and any(root.iterdir()):
        raise LakeError(
            f"{root} is not empty and is not a lake: nothing in it was touched",
            hint="name an empty or a new folder with --folder",
        )


def prepare(paths: LakePaths, *, passable: bool) -> None:
    """Make the folder a lake's. LakeError when it is somebody else's or cannot be written.

    `passable`: others may pass through it (not list it), to reach the database's folder.
    """
    try:
        refuse_foreign(paths)
        paths.root.mkdir(parents=True, exist_ok=True)
        if not is_lake(paths):
            paths.marker.write_text(_MARKER_TEXT, encoding="utf-8")
        paths.root.chmod(0o711 if passable else 0o700)
        for folder in paths.private_folders():
            folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise LakeError(
            f"the lake's folder {paths.root} cannot be written: {error.strerror}"
            f" ({error.filename})",
            hint="name a folder that you may write to with --folder",
        ) from error


@contextmanager
def locked(paths: LakePaths, clock: Clock, seconds: float) -> Iterator[None]:
    """Hold the lake's lock; LakeError when somebody else holds it for longer than `seconds`.

    The folder must exist. The lock goes with the process that holds it, even when it is killed.
    """
    descriptor = -1

    def take() -> bool:
        nonlocal descriptor
        descriptor = os.open(paths.lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        # A reset may have deleted the file that we had opened: then it locks nobody out.
        if paths.lock.exists() and os.path.samestat(os.fstat(descriptor), paths.lock.stat()):
            return True
        os.close(descriptor)
        return False

    if not wait_until(take, clock=clock, seconds=seconds, step=0.1):
        raise LakeError(
            f"another command is starting, stopping or resetting the lake in {paths.root}",
            hint="wait for it to end, and try again",
        )
    try:
        yield
    finally:
        os.close(descriptor)


def delete(paths: LakePaths) -> None:
    """Delete the lake with everything in it. LakeError when the folder is not a lake."""
    if not is_lake(paths):
        raise LakeError(
            f"{paths.root} is not a lake: nothing was deleted",
            hint="name the lake's folder with --folder",
        )
    # The marker goes last: a reset that is interrupted can be done again.
    for entry in paths.root.iterdir():
        if entry in {paths.marker, paths.lock}:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    shutil.rmtree(paths.root)
