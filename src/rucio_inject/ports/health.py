"""What can be asked about the ways to a Rucio, apart from its catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ServerHealth:
    """A Rucio server's version, ours, and what its clock said when ours said `at`; None where it
    does not tell."""

    version: str
    ours: str
    clock: datetime | None
    at: datetime


class Health(Protocol):
    """The ways to a Rucio: its server, what identifies us, its transfer services."""

    def server(self) -> ServerHealth:
        """Ask the server who it is. CatalogueUnavailable if it does not answer."""
        ...

    def credentials_end(self) -> datetime | None:
        """When the proxy, certificate or token that we show to storages expires; None if we have
        none, or it does not tell. SignInFailed if it cannot be read."""
        ...

    def reach(self, url: str) -> None:
        """See that a service answers at all, whatever it says. StorageUnavailable if it does
        not."""
        ...
