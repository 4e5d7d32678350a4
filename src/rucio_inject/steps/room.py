"""Whether the account has room for what is to come, before anything is brought."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from rucio_inject.domain.errors import InjectError, QuotaExceeded
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.domain.rule import RuleRequest
from rucio_inject.ports import Catalogue, Ledger
from rucio_inject.steps.prepare import Lake
from rucio_inject.steps.turns import SizeOf

# Files that no rule holds yet.
COMING = frozenset({FileState.FOUND, FileState.MEASURED, FileState.UPLOADED, FileState.REGISTERED})


class CheckRoom:
    """Holds the bytes that are to come against the account's quota at each RSE."""

    def __init__(
        self,
        ledger: Ledger,
        catalogue: Catalogue,
        lake: Lake,
        rules: Sequence[RuleRequest],
        size_of: SizeOf,
    ) -> None:
        """`size_of` gives the bytes of a file that is not measured yet, None if nobody knows."""
        self._size_of = size_of
        self._ledger = ledger
        self._catalogue = catalogue
        self._lake = lake
        self._rules = rules

    def check(self, settle: Callable[[], None]) -> None:
        """QuotaExceeded, which names the RSEs and what is left there, if there is no room.

        Files that the catalogue has already need none, but to find them takes time: `settle` does,
        and is called only if there would not be room for all.
        """
        if not self._ledger.counts().keys() & COMING:
            return
        account = self._lake.identity.account
        if not self._catalogue.held_to_limits(account):
            return
        left = {rse: self._catalogue.quota(account, rse).left for rse in self._lake.all_rses()}
        if all(room is None for room in left.values()):
            return
        if self._lacking(left, self._coming()) is not None:
            settle()
            if (refusal := self._lacking(left, self._coming())) is not None:
                raise refusal

    def _coming(self) -> int:
        return sum(self._size(record) for record in self._ledger.files(COMING))

    def _size(self, record: FileRecord) -> int:
        """The bytes of a file; what cannot be looked at now is told when its turn comes."""
        if record.measure is not None:
            return record.measure.size
        with suppress(InjectError):
            return self._size_of(record) or 0
        return 0

    def _lacking(self, left: Mapping[str, int | None], size: int) -> QuotaExceeded | None:
        return lacking(self._lake, self._rules, left, size)


def lacking(
    lake: Lake, rules: Sequence[RuleRequest], quotas: Mapping[str, int | None], size: int
) -> QuotaExceeded | None:
    """Why an account has no room for so many bytes under some rules; None if it has. `quotas` are
    what is left to it on each RSE, None without limit."""
    left = dict(quotas)
    choices = {lake.upload_rse: (lake.upload_rse,), **lake.rses}
    for rule in rules if size else ():
        # As Rucio has it: an account with room for just these bytes has not enough.
        among = choices[rule.rse_expression]
        roomy = [rse for rse in among if (room := left[rse]) is None or room > size]
        if len(roomy) < rule.copies:
            account = lake.identity.account
            there = ", ".join(f"{rse}: {left[rse]:,} bytes" for rse in among if rse not in roomy)
            return QuotaExceeded(
                f"account {account} has no quota for {size:,} bytes at {rule.rse_expression} "
                f"(left at {there})",
                hint=f"an administrator gives it: rucio account limit set {account} --rse RSE "
                "--bytes N",
            )
        if len(among) == rule.copies:
            # No choice: what this rule takes is not there for the next, as Rucio counts each.
            left |= {rse: room - size for rse in among if (room := left[rse]) is not None}
    return None
