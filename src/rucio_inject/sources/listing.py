"""Names from a text file; a file is made for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from rucio_inject.domain.errors import NothingToInject, UsageError
from rucio_inject.measuring import there
from rucio_inject.ports import SourceFile
from rucio_inject.sources.payload import Payload, make, seed_of


class ListingSource:
    """Implements `ports.Source` for the names, or paths, of a text file, one a line.

    Empty lines and lines that begin with `#` are left out. A path keeps its folders below ours,
    since they tell what some names do not (the night of auxiliary files).
    """

    def __init__(self, listing: Path, folder: Path, payload: Payload, *, seed: int) -> None:
        self._listing = listing
        self._folder = folder
        self._payload = payload
        self._seed = seed

    def files(self) -> Iterator[SourceFile]:
        """See the port. A line that is a folder is offered too: its name will not parse."""
        empty = True
        for line in self._lines():
            text = line.strip()
            if text and not text.startswith("#"):
                empty = False
                yield SourceFile(self._path(text), text, generated=True)
        if empty:
            raise NothingToInject(
                f"{self._listing} names no file", hint="write one file name or path a line"
            )

    def provide(self, path: Path) -> None:
        """See the port."""
        if not there(path):
            self._payload.check(path)
            make(path, self._payload, seed_of(self._seed, path.name))

    def _lines(self) -> Iterator[str]:
        try:
            with self._listing.open(encoding="utf-8") as file:
                yield from file
        except OSError as error:
            raise UsageError(
                f"cannot read the listing {self._listing}: {error.strerror}",
                hint="check source.path of the campaign",
            ) from error
        except UnicodeDecodeError as error:
            raise UsageError(f"{self._listing} is not text in UTF-8: {error.reason}") from error

    def _path(self, text: str) -> Path:
        """Below our folder, whatever the line says: `..` and a leading `/` lead nowhere else."""
        # A path may begin with two slashes, which PurePosixPath keeps as one part.
        parts = [
            part for part in PurePosixPath(text).parts if part.strip("/") not in {"", "..", "."}
        ]
        return self._folder.joinpath(*parts)
