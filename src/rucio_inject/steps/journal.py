"""How a step tells what happened: to the ledger first, then to whoever looks on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from threading import RLock

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import InjectError
from rucio_inject.domain.facts import Fact, FileFact, FileFailed, FileRetried, NameSkipped
from rucio_inject.domain.injection import FileRecord
from rucio_inject.ports import Clock, FactSink, Ledger
from rucio_inject.steps.pool import Crew


class Journal:
    """Passes facts on: they are durable before anybody is shown them."""

    def __init__(self, ledger: Ledger, onlookers: Sequence[FactSink], clock: Clock) -> None:
        self.ledger = ledger
        self.clock = clock
        self.crew = Crew(clock)
        self._onlookers = onlookers
        self._telling = RLock()
        self._changed = False
        self._tried_again: dict[DID, tuple[str, str]] = {}

    @property
    def changed(self) -> bool:
        """Whether anything has happened; a name that is skipped at every run is nothing new, nor is
        a file that was tried again and failed as before."""
        return self._changed or bool(self._tried_again)

    def tell(self, facts: Iterable[Fact]) -> None:
        """Record facts, in their order, from whichever thread. LedgerError if they cannot be made
        durable."""
        told = list(facts)
        if not told:
            return
        with self._telling:
            self.ledger.record(told)
            self._changed |= sum(map(self._is_new, told)) > 0
            for onlooker in self._onlookers:
                onlooker.record(told)

    def retry(self, files: Sequence[FileRecord]) -> None:
        """Let files that were set aside go on from where they came from."""
        with self._telling:
            for record in files:
                if record.failure is not None:
                    self._tried_again[record.did] = record.failure.code, record.failure.reason
            now = self.clock.now()
            self.tell(FileRetried(at=now, did=record.did) for record in files)

    def _is_new(self, fact: Fact) -> bool:
        if not isinstance(fact, FileFact) or fact.did not in self._tried_again:
            return not isinstance(fact, NameSkipped)
        if isinstance(fact, FileFailed):
            return self._tried_again.pop(fact.did) != (fact.code, fact.reason)
        return False

    def mention(self, fact: Fact) -> None:
        """Show a fact that changes nothing to onlookers, from whichever thread."""
        with self._telling:
            for onlooker in self._onlookers:
                onlooker.record([fact])

    def failed(self, did: DID, error: InjectError) -> FileFailed:
        """The fact that a file cannot go on."""
        return FileFailed(
            at=self.clock.now(), did=did, code=error.code, reason=error.message, hint=error.hint
        )
