"""The ledger of a campaign that nobody has begun: there is nothing on record, and nothing is made
to look into it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError
from rucio_inject.domain.facts import DrainOrdered, Fact
from rucio_inject.domain.injection import FileRecord, FileState, RuleRecord, SourceCopy
from rucio_inject.domain.outline import FileOutline
from rucio_inject.domain.usage import Usage


class EmptyLedger:
    """Implements `ports.Ledger`, but for `record`."""

    cycle = 0
    cycle_ended = False
    analysed = False
    upload_rse: str | None = None
    drain: DrainOrdered | None = None

    def files(
        self,
        states: Collection[FileState] | None = None,  # noqa: ARG002
        *,
        dataset: DID | None = None,  # noqa: ARG002
        sources: Collection[SourceCopy] | None = None,  # noqa: ARG002
    ) -> Iterator[FileRecord]:
        """See the port."""
        return iter(())

    def outlines(self) -> Iterator[FileOutline]:
        """See the port."""
        return iter(())

    def counts(self, *, dataset: DID | None = None) -> Mapping[FileState, int]:  # noqa: ARG002
        """See the port."""
        return {}

    def usage(self) -> Mapping[FileState, Usage]:
        """See the port."""
        return {}

    def sampled(self) -> int:
        """See the port."""
        return 0

    def datasets(
        self,
        states: Collection[FileState],  # noqa: ARG002
        *,
        sources: Collection[SourceCopy] | None = None,  # noqa: ARG002
    ) -> Sequence[DID]:
        """See the port."""
        return ()

    def dataset_counts(
        self,
        states: Collection[FileState],  # noqa: ARG002
    ) -> Sequence[tuple[DID, int]]:
        """See the port."""
        return ()

    def file(self, did: DID) -> FileRecord | None:  # noqa: ARG002
        """See the port."""
        return None

    def known(self, dids: Sequence[DID]) -> Mapping[DID, FileRecord]:  # noqa: ARG002
        """See the port."""
        return {}

    def rules(self, *, datasets: Collection[DID] | None = None) -> Sequence[RuleRecord]:  # noqa: ARG002
        """See the port."""
        return ()

    def asked_for(self, dataset: DID, rse_expression: str) -> bool:  # noqa: ARG002
        """See the port."""
        return False

    def collections(self) -> frozenset[DID]:
        """See the port."""
        return frozenset()

    def record(self, facts: Sequence[Fact]) -> None:  # noqa: ARG002
        """LedgerError: this one has no place to keep anything."""
        raise LedgerError("nothing can be put on record before the campaign is begun")
