"""Real files in a folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from rucio_inject.domain.errors import NothingToInject, SourceUnreadable, UsageError
from rucio_inject.measuring import unreadable
from rucio_inject.ports import LeftOut, SourceFile

# What telescopes leave beside their data. It is no data.
NEIGHBOURS = frozenset({"MD5SUMS", "MD5SUMS.GZ"})


class DirectorySource:
    """Implements `ports.Source` for a folder, and the folders in it if asked."""

    def __init__(self, folder: Path, *, pattern: str = "*", recursive: bool = True) -> None:
        self._folder = folder
        self._pattern = pattern
        self._recursive = recursive

    def files(self) -> Iterator[SourceFile | LeftOut]:
        """See the port. In the order of their paths. Links are not followed; those to files are
        told."""
        empty = True
        for path in self._walk():
            if fnmatch(path.name, self._pattern) and _may_be_data(path.name):
                empty = False
                yield _offered(path.absolute())
        if empty:
            raise NothingToInject(
                f"no file in {self._folder} is named like {self._pattern!r}",
                hint="check source.path and source.pattern of the campaign",
            )

    def provide(self, path: Path) -> None:
        """See the port: real files are there or they are not."""
        refuse_unless_file(path)

    def _walk(self) -> Iterator[Path]:
        for place, folders, names in os.walk(self._folder, onerror=_refuse):
            folders.sort()
            if not self._recursive:
                folders.clear()
            for name in sorted(names):
                yield Path(place, name)


def _offered(path: Path) -> SourceFile | LeftOut:
    try:
        found = path.lstat()
    except OSError:
        # It is told when its bytes are wanted.
        return SourceFile(path, str(path))
    if stat.S_ISLNK(found.st_mode):
        return LeftOut(str(path), f"{path} is a symbolic link: it is not followed", later=False)
    return SourceFile(path, str(path), size=found.st_size)


def refuse_unless_file(path: Path) -> None:
    """SourceUnreadable if no file is at a path. Links are followed nowhere: that a source names
    one file twice, or one of another folder, is seldom meant, and removing a link frees nothing."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise not_there(path) from error
    except OSError as error:
        raise unreadable(path, error.strerror) from error
    if not stat.S_ISREG(found.st_mode):
        raise not_there(path)


def is_inside(path: Path, folder: Path) -> bool:
    """Whether the folder of a path is a folder, or in it: any part may be a link to elsewhere."""
    # Path.resolve raises RuntimeError for a link to itself.
    return Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(folder))


def not_there(path: Path) -> SourceUnreadable:
    """The error of a source that was offered, and is no file by now."""
    return SourceUnreadable(
        f"{path} is no longer there, or no file",
        hint="was it moved? what was injected of it so far stays on record",
    )


def _may_be_data(name: str) -> bool:
    return name not in NEIGHBOURS and not name.startswith(".")


def _refuse(error: OSError) -> None:
    """A folder that cannot be listed must not pass for an empty one."""
    raise UsageError(
        f"cannot look into {error.filename}: {error.strerror}",
        hint="check source.path of the campaign, and that you may list it",
    ) from error
