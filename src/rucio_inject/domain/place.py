"""Where files belong in the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rucio_inject.domain.did import DID


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file belongs in the catalogue."""

    did: DID
    dataset: DID
    containers: tuple[DID, ...]
    metadata: Mapping[str, str | int]
    late: DID | None = None
    """The dataset that takes it if its own is closed; None: it is set aside then."""
