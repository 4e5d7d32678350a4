"""What Rucio tells of RSEs, kept for a while."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from rucio_inject.domain.errors import CatalogueUnavailable
from rucio_inject.ports import Clock
from rucio_inject.rucio import protocols
from rucio_inject.rucio.drivers.driver import Driver
from rucio_inject.rucio.errors import catalogue_errors
from rucio_inject.rucio.posix import POSIX
from rucio_inject.rucio.session import Session
from rucio_inject.rucio.ways import Way, usual_drivers, ways

FRESH = 60.0
"""Seconds for which an RSE's settings are not asked for again."""


@dataclass(frozen=True, slots=True)
class RSE:
    """An RSE's settings, and what follows from them; `told_at` by the monotonic clock."""

    settings: Mapping[str, Any]
    # Of its posix protocols.
    prefixes: tuple[str, ...]
    told_at: float
    # By operation.
    ways: dict[str, list[Way]] = field(default_factory=dict)

    @property
    def writable(self) -> bool:
        """Whether files may be written to it."""
        return bool(self.settings.get("availability_write", True))


class RSEs:
    """The RSEs that were asked about, for all threads. `drivers` None: the usual ones, when one is
    needed."""

    def __init__(
        self, session: Session, clock: Clock, drivers: Mapping[str, Driver] | None
    ) -> None:
        self._session = session
        self._clock = clock
        self._known: dict[str, RSE] = {}
        self._lock = Lock()
        self.drivers = drivers

    def get(self, rse: str) -> RSE:
        """An RSE, as it was a minute ago at most. While Rucio is away, as it was."""
        with self._lock:
            known = self._known.get(rse)
            if known is None:
                return self._keep(rse, self._asked(rse))
            if self._clock.monotonic() - known.told_at < FRESH:
                return known
            # One asks; the others go on meanwhile with what is known.
            self._known[rse] = replace(known, told_at=self._clock.monotonic())
        try:
            return self.now(rse)
        except CatalogueUnavailable:
            return known

    def now(self, rse: str) -> RSE:
        """An RSE as it is."""
        settings = self._asked(rse)
        with self._lock:
            return self._keep(rse, settings)

    def ways(self, doing: str, rse: str, operation: str) -> list[Way]:
        """The ways that an RSE has for an operation."""
        known = self.get(rse)
        found = known.ways.get(operation)
        if found is None:
            found = ways(known.settings, operation, self.drivers or {}, doing)
            known.ways[operation] = found
        return found

    def _asked(self, rse: str) -> Mapping[str, Any]:
        client = self._session.client()
        with catalogue_errors(f"cannot read the protocols of RSE {rse}"):
            return protocols.settings(client.get_rse(rse))

    def _keep(self, rse: str, settings: Mapping[str, Any]) -> RSE:
        """What follows from settings is worked out anew if they have changed."""
        now, before = self._clock.monotonic(), self._known.get(rse)
        if before is not None and before.settings == settings:
            kept = replace(before, told_at=now)
        else:
            prefixes = [p["prefix"] for p in settings["protocols"] if p["scheme"] == POSIX]
            if self.drivers is None and len(prefixes) < len(settings["protocols"]):
                self.drivers = usual_drivers(self._session.credentials)
            kept = RSE(settings, tuple(prefixes), now)
        self._known[rse] = kept
        return kept
