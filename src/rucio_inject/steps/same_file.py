"""Whether a source is itself what an RSE holds, so that with the one the other would go."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from rucio_inject.domain.errors import SourceIsReplica, StorageRefused
from rucio_inject.domain.injection import FileRecord
from rucio_inject.ports import Storage


class CannotTell(StorageRefused):
    """No file can be made beside a source."""


class SameFile:
    """Looks through a storage's server for an empty file that it makes beside a source.

    A source's folder may be mounted from a storage, under any path and over any file system: no
    name and no number of the system tells so, only that what is new in the one is new in the other.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._known: dict[tuple[Path, str, str], bool] = {}

    def forget(self) -> None:
        """Look anew from now on: something may have been mounted since."""
        self._known.clear()

    def refuse(self, record: FileRecord) -> None:
        """SourceIsReplica if the source of a file is one of its replicas on record. CannotTell if
        no file can be made beside it; and errors of the storages."""
        for rse, known in record.replicas.items():
            if known.gone_at is None and known.pfn is not None:
                self.refuse_at(Path(record.path), rse, known.pfn)

    def refuse_at(self, path: Path, rse: str, pfn: str) -> None:
        """The same for what lies at a place on an RSE."""
        place, _, _ = pfn.rpartition("/")
        pair = path.parent, rse, place
        if pair not in self._known:
            self._known[pair] = self._is_shown(*pair)
        if self._known[pair]:
            raise SourceIsReplica(
                f"{path} is itself what lies at {pfn}: its folder is a part of {rse}",
                hint="inject it with source.kind: rse, which takes files where they lie",
            )

    def _is_shown(self, folder: Path, rse: str, place: str) -> bool:
        """Whether what is made in a folder shows at a place on an RSE. No source takes a file of
        such a name."""
        made = folder / f".{secrets.token_hex(8)}.rucio-inject"
        try:
            os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except OSError as error:
            raise CannotTell(
                f"cannot tell whether {folder} is a part of {rse}: no file can be made in it: "
                f"{error.strerror}",
                hint="give yourself the right to write there, and room for an empty file",
            ) from error
        try:
            return self._storage.exists(rse, f"{place}/{made.name}")
        finally:
            # If it stays, it is empty and hidden.
            with suppress(OSError):
                os.unlink(made)  # noqa: PTH108 -- as it was made
