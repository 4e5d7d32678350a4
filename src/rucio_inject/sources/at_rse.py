"""Files that an RSE's storage holds already, wherever they came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rucio_inject.domain.checksum import Announced
from rucio_inject.domain.errors import ReplicaMissing, SourceUnreadable, UsageError
from rucio_inject.ports import Clock, LeftOut, SourceFile, Storage, StoredFile


class RseSource:
    """Implements `ports.Source` for files at an RSE. Their bytes are there, and stay there."""

    def __init__(self, clock: Clock, offered: Callable[[], Iterable[StoredFile | LeftOut]]) -> None:
        """`offered` gives what is there anew each time that it is called."""
        self._clock = clock
        self._offered = offered

    def files(self) -> Iterator[SourceFile | LeftOut]:
        """See the port. An RSE may have nothing to offer yet."""
        for found in self._offered():
            if isinstance(found, LeftOut):
                yield found
                continue
            if ends := [char for char in "#?" if char in found.pfn]:
                reason = f"{found.pfn} holds {ends[0]}: Rucio would end its name there"
                yield LeftOut(found.pfn, f"{reason}, and take another file for it", later=False)
                continue
            path = unquote(urlsplit(found.pfn).path)
            told = None if found.size is None else Announced(size=found.size)
            yield SourceFile(Path(path), path, pfn=found.pfn, announced=told)

    def provide(self, path: Path) -> None:
        """See the port: what is at an RSE is no file of this machine."""
        raise SourceUnreadable(f"{path} is at an RSE, and is not brought here")


def listed(
    storage: Storage, clock: Clock, rse: str, folder: str, *, pattern: str, stable: float
) -> Callable[[], Iterator[StoredFile | LeftOut]]:
    """What a listing of the storage shows and has not been written to for `stable` seconds."""

    def files() -> Iterator[StoredFile | LeftOut]:
        try:
            found = storage.files_below(rse, folder)
        except ReplicaMissing as error:
            raise UsageError(error.message, hint="check source.folder of the campaign") from error
        if found is None:
            raise UsageError(
                f"the storage of {rse} cannot be listed from here",
                hint="give a list of PFNs: source.pfns in the campaign",
            )
        # In the storage's own order: to sort them would be to hold all of them.
        for file in found:
            name = file.pfn.rpartition("/")[2]
            if fnmatch(name, pattern) and not name.startswith("."):
                yield _judged(file, clock, stable)

    return files


def _judged(file: StoredFile, clock: Clock, stable: float) -> StoredFile | LeftOut:
    if not stable:
        return file
    if file.modified is None:
        reason = f"{file.pfn}: its storage does not tell when it was written to (source.stable: 0)"
        return LeftOut(file.pfn, reason, later=False)
    age = (clock.now() - file.modified).total_seconds()
    if age >= stable:
        return file
    reason = f"{file.pfn} is not complete yet: it was written to {age:.0f} s ago, and {stable:.0f} "
    return LeftOut(file.pfn, f"{reason}s are to pass", later=True)


def from_pfns(listing: Path) -> Callable[[], Iterator[StoredFile]]:
    """The PFNs in a text file, one a line. Empty lines and those that begin with `#` are left
    out."""

    def files() -> Iterator[StoredFile]:
        try:
            with listing.open(encoding="utf-8") as lines:
                for line in lines:
                    text = line.strip()
                    if text and not text.startswith("#"):
                        yield StoredFile(_pfn(text, listing))
        except OSError as error:
            raise UsageError(
                f"cannot read the list {listing}: {error.strerror}",
                hint="check source.pfns of the campaign",
            ) from error
        except UnicodeDecodeError as error:
            raise UsageError(f"{listing} is no list of PFNs: {error}") from error

    return files


def _pfn(text: str, listing: Path) -> str:
    parts = urlsplit(text)
    if not parts.scheme or not parts.path or ".." in unquote(parts.path).split("/"):
        raise UsageError(
            f"{listing}: {text!r} is no PFN", hint="write them as in root://HOST:1094//path/of/file"
        )
    return text
