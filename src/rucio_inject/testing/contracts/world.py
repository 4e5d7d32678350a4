"""What a contract suite needs of the lake that it runs on."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID
from rucio_inject.ports import Catalogue, NewFile, Storage


@dataclass(frozen=True)
class ContractWorld:
    """A lake, adapters to it, and what is there already.

    `rse` takes uploads and `other` replicas; `expression` stands for `other` alone. `scope` is the
    account's; `foreign_scope` somebody else's. `tag` makes names unique where lakes are kept.
    `settle` lets the daemons work until a condition holds, and fails if it never does. `link` makes
    a rule the parent of another one, as an operator may.
    """

    catalogue: Catalogue
    storage: Storage
    account: str
    scope: str
    foreign_scope: str
    rse: str
    other: str
    expression: str
    tag: str
    folder: Path
    settle: Callable[[Callable[[], bool]], None]
    link: Callable[[str, str], None]
    numbers: count[int]

    def name(self, what: str = "file") -> DID:
        """A DID that nobody has used."""
        return DID(self.scope, f"{what}_{self.tag}_{next(self.numbers)}")

    def stored(self, content: bytes = b"telescope") -> tuple[DID, Measure, str]:
        """Bytes on the storage of `rse` under a new DID that is not in the catalogue."""
        did = self.name()
        path = self.folder / did.name
        path.write_bytes(content)
        return did, measured(content), self.storage.put(self.rse, path, did).pfn

    def registered(self, content: bytes = b"telescope") -> DID:
        """A new file in the lake, with its replica at `rse`."""
        did, measure, _ = self.stored(content)
        self.catalogue.add_files(self.rse, [NewFile(did, measure)])
        return did


def measured(content: bytes) -> Measure:
    """The measure of some bytes."""
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return Measure(len(content), f"{zlib.adler32(content):08x}", digest)
