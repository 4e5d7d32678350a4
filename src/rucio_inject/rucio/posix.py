"""Storages that are folders of this machine, read and written without Rucio's posix protocol.

It names the files; that is all that it is asked for. It would read a file once more for each
checksum, makes the folder of a storage that is not mounted, and takes errors for others.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.errors import (
    DiskFull,
    ReplicaMissing,
    StorageRefused,
    StorageUnavailable,
)
from rucio_inject.measuring import checksum_open, measure_file, measure_open, write_whole
from rucio_inject.ports import StoredFile
from rucio_inject.rucio.pfn import server_and_path

# The scheme of storages that are folders of this machine.
POSIX = "file"
# Rucio's classes for them; others of that scheme may name and store files in ways of their own.
_RUCIOS = "rucio.rse.protocols.posix"
# What file systems without hard links say.
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
# What a disk, or a quota, without room says.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


class _NotWrittenError(Exception):
    """A storage does not take bytes: an OSError would be taken for one of their source."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def is_posix(protocol: Any) -> bool:
    """Whether what a protocol of Rucio's does can be done without it."""
    return protocol.attributes["scheme"] == POSIX and type(protocol).__module__ == _RUCIOS


def size_of(doing: str, prefixes: Sequence[str], pfn: str) -> int | None:
    """The size of a file in bytes, None if none is there. `prefixes` are the RSE's.

    Rucio's posix protocol says "not there" for whatever it may not look into. StorageUnavailable
    if the storage is not mounted, StorageRefused if it may not be looked at.
    """
    for prefix in prefixes:
        if not os.path.isdir(prefix):  # noqa: PTH112 -- for each file several times
            raise _not_mounted(doing, prefix)
    try:
        found = os.stat(server_and_path(pfn)[1])  # noqa: PTH116
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageRefused(f"{doing}: {error.strerror}") from error
    return found.st_size if stat.S_ISREG(found.st_mode) else None


@dataclass(frozen=True, slots=True)
class PosixAccess:
    """The folder of an RSE, for one call: `doing` begins the messages of its errors.

    `protocol` is Rucio's, of which only what computes names is used; `prefixes` are those of all
    posix protocols of the RSE. `durable`: what is written, or read back, is on the disk before it
    is told.
    OSError of the storage goes through, for `storage_errors`.
    """

    doing: str
    protocol: Any
    prefixes: Sequence[str]
    durable: bool

    def shows(self, pfn: str) -> bool:
        """Whether there is such a file."""
        return size_of(self.doing, self.prefixes, pfn) is not None

    def write(self, source: Path, found: os.stat_result, partial: str) -> Measure:
        """Copy a source, whose stat was `found`, and measure it on the way. Raises what
        `measure_file` raises, and OSError as the storage's system does."""
        with self._new(partial) as file:

            def write(block: memoryview) -> None:
                try:
                    write_whole(file, block)
                except OSError as error:
                    raise _NotWrittenError(error) from error

            # As Rucio's posix protocol does: who may read the source may read the replica.
            os.fchmod(file.fileno(), stat.S_IMODE(found.st_mode))
            try:
                measure = measure_file(source, write)
            except _NotWrittenError as failed:
                raise failed.reason from None
            if self.durable:
                os.fsync(file.fileno())
        return measure

    def rename(self, partial: str, pfn: str) -> None:
        """Give a file its name. FileExistsError if something got that name meanwhile."""
        path, source = self.path(pfn), self.path(partial)
        try:
            # A rename would replace what is there; a second name does not, in one step.
            os.link(source, path)
            os.unlink(source)  # noqa: PTH108
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            os.rename(source, path)  # noqa: PTH104
        if self.durable:
            _sync(Path(path).parent)

    def discard(self, partial: str) -> bool:
        """Remove what a failed try left; whether it is gone: the first error is the one to tell."""
        with suppress(OSError):
            Path(self.path(partial)).unlink(missing_ok=True)
            return True
        return False

    def delete(self, pfn: str) -> None:
        """Remove a file. Rucio's protocol says nothing when it could not."""
        self.path(pfn)
        self.protocol.delete(pfn)

    def get(self, pfn: str, path: Path) -> Measure:
        """Read a replica into a local file. DiskFull if that has no room."""
        with self._opened(pfn) as replica, LocalFile(self.doing, path) as copy:
            copy.set_mode(os.fstat(replica.fileno()).st_mode)
            return measure_open(replica, copy.write)

    def measure(self, pfn: str) -> Measure:
        """Read a replica."""
        with self._opened(pfn) as replica:
            return measure_open(replica)

    def checksum(self, pfn: str) -> StoredFile:
        """Read a replica for its adler32 alone."""
        with self._opened(pfn) as replica:
            size, adler32 = checksum_open(replica)
        return StoredFile(pfn, size, adler32)

    def path(self, pfn: str) -> str:
        """Where a file lies. StorageRefused for a name that Rucio would take for another's."""
        return _path_of(self.protocol, pfn)

    @contextmanager
    def _opened(self, pfn: str) -> Iterator[FileIO]:
        path = self.path(pfn)
        try:
            # Whatever is no file might wait for a writer when it is opened.
            if not self.shows(pfn):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            with FileIO(path) as file:
                if self.durable:
                    # Whoever wrote it: bytes that are read out of memory prove nothing of the disk.
                    os.fsync(file.fileno())
                yield file
        except FileNotFoundError as error:
            raise ReplicaMissing(
                f"{self.doing}: it is not there", hint="`rucio replica list file` shows who has it"
            ) from error
        except PermissionError as error:
            raise StorageRefused(f"{self.doing}: {error.strerror}") from error
        except OSError as error:
            raise StorageUnavailable(
                f"{self.doing}: {error.strerror}",
                hint="is the storage up? then run the same command again",
            ) from error

    def _new(self, partial: str) -> FileIO:
        path = self.path(partial)
        try:
            return FileIO(path, "x")
        except FileNotFoundError:
            self._make_folder(os.path.dirname(path))  # noqa: PTH120 -- for nearly each file
            return FileIO(path, "x")

    def _make_folder(self, folder: str) -> None:
        """Make a folder, and those above it up to the prefix, which only who mounts the storage
        may make."""
        prefix = os.path.normpath("/" + self.protocol.attributes["prefix"].strip("/"))
        if folder == prefix:
            raise _not_mounted(self.doing, prefix)
        above = os.path.dirname(folder)  # noqa: PTH120
        # Another thread may be making it.
        with suppress(FileExistsError):
            try:
                os.mkdir(folder)  # noqa: PTH102
            except FileNotFoundError:
                self._make_folder(above)
                os.mkdir(folder)  # noqa: PTH102
        if self.durable:
            _sync(Path(above))


class LocalFile:
    """A file of this machine that is written anew; it is removed if that fails, or what is done
    with it. Only its own errors are translated."""

    def __init__(self, doing: str, path: Path) -> None:
        self._doing = doing
        self._path = path

    def __enter__(self) -> Self:
        with self._errors():
            self._file = FileIO(self._path, "w")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with ExitStack() as undo:
            undo.callback(self._path.unlink, missing_ok=True)
            with self._errors():
                self._file.close()
            if kind is None:
                undo.pop_all()

    def set_mode(self, mode: int) -> None:
        """Let those use the file who may use what has this mode."""
        with self._errors():
            os.fchmod(self._file.fileno(), stat.S_IMODE(mode))

    def write(self, block: memoryview) -> None:
        """Write a block, whole."""
        with self._errors():
            write_whole(self._file, block)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise disk_full(self._doing, self._path.parent) from error
            raise StorageRefused(
                f"{self._doing}: cannot write {self._path}: {error.strerror}"
            ) from error


@lru_cache(maxsize=1024)
def _path_of(protocol: Any, pfn: str) -> str:
    """Where a file lies; each is asked for several times in a row. Rucio refuses a PFN that is not
    of the RSE. StorageRefused for one that it would take for another's."""
    if "#" in pfn or "?" in pfn:
        raise StorageRefused(
            f"{pfn} holds # or ?, where Rucio ends a name", hint="give the file another name"
        )
    return str(protocol.pfn2path(pfn))


def disk_full(doing: str, folder: Path) -> DiskFull:
    """The error of a local disk that has no room."""
    return DiskFull(
        f"{doing}: the disk of {folder} is full",
        hint="make room, or name another output folder; then run the command again",
    )


def _not_mounted(doing: str, prefix: str) -> StorageUnavailable:
    return StorageUnavailable(
        f"{doing}: its folder {prefix} is not there",
        hint="is the storage mounted on this machine?",
    )


def _sync(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
