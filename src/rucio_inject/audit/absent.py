"""Replicas that are not where they should be: lost, or their storage is not mounted?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rucio_inject.audit.findings import KEPT, Finding
from rucio_inject.audit.world import Unseen
from rucio_inject.domain.errors import StorageUnavailable


class Absent:
    """Holds what is not there back until the storage has shown any file at all.

    The folder of an RSE may be there and be empty because nothing is mounted on it.
    """

    def __init__(self, unseen: Unseen) -> None:
        self._unseen = unseen
        self._held: dict[str, list[Finding]] = {}
        self._given_up: set[str] = set()
        self.shown: dict[str, str] = {}
        """The PFN of a file that was there, by RSE."""

    def take(self, finding: Finding) -> None:
        """Hold a finding; where too many are held, the storage is not asked any more."""
        rse = str(finding.rse)
        held = self._held.setdefault(rse, [])
        held.append(finding)
        if rse not in self.shown and (len(held) >= KEPT or rse in self._given_up):
            self._given_up.add(rse)
            self._not_mounted(rse, len(self._held.pop(rse)))

    def certain(self) -> Iterator[Finding]:
        """What was held of storages that have shown a file since."""
        for rse in sorted(self._held.keys() & self.shown.keys()):
            yield from self._held.pop(rse)

    def rest(self) -> Iterator[Finding]:
        """At the end: a file that is the only one of its storage. Where several are, and none is
        there, that the storage is unseen is told by `Unseen`."""
        for rse, held in self._held.items():
            if len(held) > 1:
                self._not_mounted(rse, len(held))
                continue
            for finding in held:
                hint = (
                    f"{rse} shows no other file of the campaign: is it mounted? if it is, declare "
                    "the replica bad by hand"
                )
                yield replace(finding, repair=None, hint=hint) if finding.repair else finding

    def _not_mounted(self, rse: str, count: int) -> None:
        error = StorageUnavailable(
            f"none of the {count} files that should be at {rse} is there: is it mounted?",
            hint="mount it; if it is mounted, and all is lost, declare the replicas bad by hand",
        )
        self._unseen.add(rse, error, count)
