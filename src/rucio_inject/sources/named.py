"""Real files that somebody else has chosen: the lines of a list, or the rows of a database."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rucio_inject.domain.checksum import Announced
from rucio_inject.domain.errors import UsageError
from rucio_inject.ports import LeftOut, SourceFile
from rucio_inject.sources.directory import is_inside, not_there, refuse_unless_file


@dataclass(frozen=True, slots=True)
class Chosen:
    """A path that somebody chose, absolute or below the root, and what they know of the file."""

    path: str
    announced: Announced | None = None
    metadata: dict[str, str | int] = field(default_factory=dict)


class NamedSource:
    """Implements `ports.Source` for chosen files, all of them below one folder."""

    def __init__(self, root: Path, chosen: Callable[[], Iterable[Chosen]]) -> None:
        """`chosen` gives the files anew each time that it is called."""
        self._root = root.absolute()
        self._chosen = chosen

    def files(self) -> Iterator[SourceFile | LeftOut]:
        """See the port. What is not there, or leads out of the folder, is left out and told."""
        for one in self._chosen():
            try:
                path, size = self._inside(one.path)
            except ValueError as error:
                yield LeftOut(one.path, f"{one.path} {error}", later=False)
                continue
            yield SourceFile(
                path, str(path), announced=one.announced, metadata=one.metadata, size=size
            )

    def provide(self, path: Path) -> None:
        """See the port."""
        try:
            self._inside(str(path))
        except ValueError as error:
            raise not_there(path) from error
        refuse_unless_file(path)

    def _inside(self, text: str) -> tuple[Path, int | None]:
        """The path of a file below the root, and its size; None if nothing is there. ValueError,
        with the reason, if it may not be taken."""
        if not text or "\0" in text:
            raise ValueError("is no path")
        path = Path(os.path.normpath(self._root / text))
        if not path.is_relative_to(self._root) or path == self._root:
            raise ValueError(f"is not below {self._root}: it is not taken")
        # What is called a folder below ours may be a link to another place.
        if not is_inside(path, self._root):
            raise ValueError(f"leads out of {self._root}: it is not taken")
        try:
            found = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            # It is told when its bytes are wanted.
            return path, None
        except OSError as error:
            raise ValueError(f"cannot be looked at: {error.strerror}") from error
        if stat.S_ISLNK(found.st_mode):
            raise ValueError("is a symbolic link: it is not followed")
        return path, found.st_size


def from_list(listing: Path) -> Callable[[], Iterator[Chosen]]:
    """The lines of a text file: a path each, or what `md5sum` prints. Empty lines and those that
    begin with `#` are left out."""

    def lines() -> Iterator[Chosen]:
        try:
            with listing.open(encoding="utf-8") as file:
                for line in file:
                    text = line.strip()
                    if text and not text.startswith("#"):
                        yield _line(text)
        except OSError as error:
            raise UsageError(
                f"cannot read the list {listing}: {error.strerror}",
                hint="check source.list of the campaign",
            ) from error
        except UnicodeDecodeError as error:
            raise UsageError(f"{listing} is no list of paths: {error}") from error

    return lines


def _line(text: str) -> Chosen:
    head, _, rest = text.partition(" ")
    try:
        announced = Announced(md5=head)
    except ValueError:
        return Chosen(text)
    path = rest.strip().removeprefix("*")
    return Chosen(path, announced) if path else Chosen(text)
