"""Copies between folders of this machine: the copier for `file://`."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rucio_inject.lake.transfers.copier import EXISTS, CopyControl, CopyFailed, Side, expected_of
from rucio_inject.lake.transfers.digest import Digest, Expected, Measured
from rucio_inject.lake.transfers.model import Task
from rucio_inject.lake.transfers.paths import PathGuard, PathRefused

_BLOCK = 1 << 20
_NAME_MAX = 255
# What a file system says that knows no hard links.
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})


class PosixCopier:
    """Streams a file to a temporary name in the destination's folder, then renames it."""

    def __init__(self, guard: PathGuard, *, fsync: bool = False) -> None:
        """`fsync` waits for the disk before a file gets its name: slower, and the file then
        outlives a power cut too."""
        self._guard = guard
        self._fsync = fsync

    def copy(self, task: Task, control: CopyControl) -> None:
        """See the port."""
        expected = expected_of(task)
        source = self._path(task.source, Side.SOURCE)
        destination = self._path(task.destination, Side.DESTINATION)
        with _open_source(source) as reading:
            if _done_before(task, reading, destination, expected, control):
                return
            with _blame(Side.DESTINATION):
                if not destination.parent.is_dir():
                    _make_folder(destination.parent, self._guard.root_of(destination))
                    # Looked at again: a link may have been put where the folder was to be made.
                    destination = self._path(task.destination, Side.DESTINATION)
            part = _part_of(destination, task.label)
            with _removed_on_failure(part):
                measured = self._write(task, reading, part, expected, control)
                _verify(task, part, measured, expected, control)
                control.publish(lambda: self._give_name(task, part, destination))

    def forget(self, task: Task) -> None:
        """See the port."""
        # A path that is not ours, or a folder out of reach: no copy got that far.
        with contextlib.suppress(PathRefused, OSError):
            _part_of(self._guard.path(task.destination), task.label).unlink(missing_ok=True)

    def _path(self, url: str, side: Side) -> Path:
        try:
            with _blame(side):
                return self._guard.path(url)
        except PathRefused as refused:
            raise CopyFailed(side, refused.number, refused.message) from refused

    def _write(
        self, task: Task, reading: _Source, part: Path, expected: Expected, control: CopyControl
    ) -> Measured:
        """Copy all bytes into `part`; returns the size and checksum of what was read."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with _blame(Side.DESTINATION):
            out = os.open(part, flags, 0o666)
        try:
            digest = Digest(expected.algorithm)
            for block in reading.blocks():
                control.check()
                digest.update(block)
                with _blame(Side.DESTINATION):
                    _write_all(out, block)
            with _blame(Side.DESTINATION):
                if self._fsync:
                    os.fsync(out)
                written = os.fstat(out).st_size
        finally:
            # Some file systems report a failed write only here.
            with _blame(Side.DESTINATION):
                os.close(out)
        measured = digest.measured()
        _refuse_size(task, measured.size)
        if written != measured.size:
            text = f"Source and destination file sizes do not match ({measured.size} {written})"
            raise CopyFailed(Side.DESTINATION, errno.EIO, text)
        return measured

    def _give_name(self, task: Task, part: Path, destination: Path) -> None:
        with _blame(Side.DESTINATION):
            if task.overwrite:
                part.replace(destination)
            else:
                _name_if_free(part, destination)
            if self._fsync:
                _fsync_folder(destination.parent)


@dataclass(frozen=True, slots=True)
class _Source:
    """An open regular file that is read from its beginning."""

    descriptor: int
    size: int
    side: Side

    def blocks(self) -> Iterator[memoryview]:
        """The file's bytes; a block is only good until the next one is asked for."""
        buffer = memoryview(bytearray(min(_BLOCK, self.size + 1)))
        while True:
            with _blame(self.side):
                length = os.readv(self.descriptor, [buffer])
            if length == 0:
                return
            yield buffer[:length]


@contextlib.contextmanager
def _blame(side: Side) -> Iterator[None]:
    """Turn what the operating system refuses into a CopyFailed of that side."""
    try:
        yield
    except OSError as refused:
        raise CopyFailed(side, refused.errno or errno.EIO) from refused


def _make_folder(folder: Path, root: Path) -> None:
    """Make a folder, and those above it up to the storage's own: without that the storage is not
    mounted, and what were written below its mount point would be hidden when it is."""
    if folder == root:
        text = f"the storage's folder {root} is not there: is it mounted?"
        raise CopyFailed(Side.DESTINATION, errno.ENOENT, text)
    if not folder.parent.is_dir():
        _make_folder(folder.parent, root)
    # Another thread may be making it.
    folder.mkdir(exist_ok=True)


@contextlib.contextmanager
def _removed_on_failure(part: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        # It has no name that anybody reads: why the copy failed is what counts.
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _open_source(path: Path, side: Side = Side.SOURCE) -> Iterator[_Source]:
    with _blame(side):
        # A pipe under that name would else hold the worker for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise CopyFailed(side, errno.EISDIR)
        if not stat.S_ISREG(found.st_mode):
            raise CopyFailed(side, errno.EINVAL, "Not a regular file")
        yield _Source(descriptor, found.st_size, side)
    finally:
        os.close(descriptor)


def _done_before(
    task: Task, reading: _Source, destination: Path, expected: Expected, control: CopyControl
) -> bool:
    """Whether a killed process had finished this copy; raises if the name is taken."""
    with _blame(Side.DESTINATION):
        try:
            there = destination.lstat()
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(there.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if task.overwrite:
        return False
    if task.resumed and stat.S_ISREG(there.st_mode) and there.st_size == reading.size:
        mine = _measure(reading, expected, control)
        with _open_source(destination, Side.DESTINATION) as written:
            same = _measure(written, expected, control) == mine
        if same:
            # That it is the same as the source does not say that either is the file.
            _refuse_size(task, mine.size)
            _verify(task, destination, mine, expected, control)
            return True
    raise CopyFailed(Side.DESTINATION, errno.EEXIST, EXISTS)


def _refuse_size(task: Task, found: int) -> None:
    if task.size is not None and found != task.size:
        text = f"User-defined and source file sizes do not match ({task.size} {found})"
        raise CopyFailed(Side.SOURCE, errno.EIO, text)


def _verify(
    task: Task, copy: Path, read: Measured, expected: Expected, control: CopyControl
) -> None:
    """Compare what was read, and what was written, as the task asks."""
    known = expected.value
    if task.verify.at_source and known is not None and read.checksum != known:
        raise CopyFailed(
            Side.SOURCE,
            errno.EIO,
            f"CHECKSUM MISMATCH User-defined and source {expected.algorithm} do not match"
            f" ({known} {read.checksum})",
        )
    if not task.verify.at_target:
        return
    with _open_source(copy, Side.DESTINATION) as written:
        found = _measure(written, expected, control).checksum
    against, wanted = ("source", read.checksum) if known is None else ("User-defined", known)
    if found != wanted:
        raise CopyFailed(
            Side.DESTINATION,
            errno.EIO,
            f"CHECKSUM MISMATCH {against} and destination {expected.algorithm} do not match"
            f" ({wanted} {found})",
        )


def _measure(source: _Source, expected: Expected, control: CopyControl) -> Measured:
    digest = Digest(expected.algorithm)
    for block in source.blocks():
        control.check()
        digest.update(block)
    return digest.measured()


def _part_of(destination: Path, label: str) -> Path:
    """The temporary name beside `destination`; the same for the same copy after a restart."""
    name = f"{destination.name}.part-{label}"
    if len(os.fsencode(name)) > _NAME_MAX:
        name = f".part-{label}"
    return destination.with_name(name)


def _write_all(out: int, block: memoryview) -> None:
    while block:
        block = block[os.write(out, block) :]


def _name_if_free(part: Path, destination: Path) -> None:
    """Give `part` its final name unless that is taken, in one step where links are known."""
    try:
        os.link(part, destination, follow_symlinks=False)
    except FileExistsError as taken:
        raise CopyFailed(Side.DESTINATION, errno.EEXIST, EXISTS) from taken
    except OSError as refused:
        if refused.errno not in _NO_LINKS:
            raise
        if os.path.lexists(destination):
            raise CopyFailed(Side.DESTINATION, errno.EEXIST, EXISTS) from refused
        part.rename(destination)
    else:
        part.unlink()


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
