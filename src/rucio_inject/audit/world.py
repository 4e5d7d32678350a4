"""What every part of an audit works with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock

from rucio_inject.audit.findings import Finding, Kind
from rucio_inject.audit.reading import counted
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import StorageError, StorageUnavailable
from rucio_inject.ports import Catalogue, Clock, Ledger, Storage


@dataclass(frozen=True, slots=True)
class World:
    """The record, and what it is held against."""

    ledger: Ledger
    catalogue: Catalogue
    storage: Storage
    clock: Clock

    def ending(self) -> frozenset[DID]:
        """Datasets whose rules were given their end, or began to be: all that they hold may go."""
        return frozenset(r.dataset for r in self.ledger.rules() if r.ends_dataset)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is audited. `account` is whose rules are looked at; `checksums`: every replica is read
    back, `workers` files at a time; `closes`: datasets are closed when they are complete."""

    scope: str
    account: str
    upload_rse: str
    workers: int = 4
    checksums: bool = False
    closes: bool = False


class Unseen:
    """Storages that could not be asked, and how often; for several threads."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._first: dict[str, StorageError] = {}
        self._lock = Lock()

    def add(self, rse: str, error: StorageError, count: int = 1) -> None:
        """So many things on an RSE could not be looked at."""
        with self._lock:
            self._counts[rse] = self._counts.get(rse, 0) + count
            if rse not in self._first or isinstance(error, StorageUnavailable):
                self._first[rse] = error

    def away(self, rse: str) -> StorageError | None:
        """Why an RSE need not be asked again in this audit; None if it may answer."""
        error = self._first.get(rse)
        return error if isinstance(error, StorageUnavailable) else None

    def findings(self) -> Iterator[Finding]:
        """One an RSE."""
        for rse, count in sorted(self._counts.items()):
            error = self._first[rse]
            yield Finding(
                Kind.UNSEEN,
                None,
                there=f"{counted(count, 'place')} that could not be looked at",
                expected="a storage that answers",
                evidence=error.message,
                rse=rse,
                hint=error.hint or "run the audit again when it answers",
            )
