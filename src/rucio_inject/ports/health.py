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


@dataclass(frozen=True, slots=True)
class SessionLife:
    """How long Rucio takes the token in use, None where it does not tell; `renewed`: the client
    gets the next one by itself, by its strategy of signing in."""

    ends: datetime | None
    strategy: str
    renewed: bool


class Health(Protocol):
    """The ways to a Rucio: its server, what identifies us, its transfer services."""

    def server(self) -> ServerHealth:
        """Ask the server who it is. CatalogueUnavailable if it does not answer."""
        ...

    def credentials_end(self) -> datetime | None:
        """When the proxy, certificate or token that we show to storages expires; None if we have
        none, or it does not tell. SignInFailed if it cannot be read."""
        ...

    def session_life(self) -> SessionLife:
        """Ask the server about the token that we are signed in with. CatalogueUnavailable if it
        does not answer, SignInFailed if it does not take the token."""
        ...

    def reach(self, url: str) -> None:
        """See that a service answers at all, whatever it says. StorageUnavailable if it does
        not."""
        ...
