"""What the web page asks of whoever runs, or only watches, campaigns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from rucio_inject.domain.did import DID
from rucio_inject.domain.facts import Fact


class Phase(StrEnum):
    """What a campaign is doing."""

    RUNNING = "running"
    """A run of it goes on in this process."""
    WAITING = "waiting"
    """It waits for its next tick."""
    ELSEWHERE = "elsewhere"
    """Another process runs it, or nobody does: it is only watched from here."""
    DRAINING = "draining"
    """Its run is to come to a safe stop, and no other one is begun."""


@dataclass(frozen=True, slots=True)
class LastRun:
    """How the last run of a campaign came out: one that this process began, or one on record.

    `code` is the exit code that `rucio-inject run` would have given, `words` says in a line what
    happened: an outcome, or what went wrong. No secret is in it.
    """

    begun_at: datetime
    ended_at: datetime
    code: int
    words: str

    @property
    def ok(self) -> bool:
        """Whether everything was done."""
        return self.code == 0


@dataclass(frozen=True, slots=True)
class Posted:
    """A campaign as it stands on the board.

    `ledger` is a path or a PostgreSQL URL, which may hold a password and is never shown; it need
    not exist yet. `series` is the file of counts in time, `highlight` the RSE that figure 1 is
    about. `schedule` is as the campaign file has it, in words for people; None: it has none here.
    """

    name: str
    ledger: str | Path
    series: Path
    highlight: str | None = None
    phase: Phase = Phase.ELSEWHERE
    schedule: str | None = None
    next_tick: datetime | None = None
    last_run: LastRun | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """Whether all is well, and what was looked at: a name each, with a few words."""

    ok: bool
    checks: Mapping[str, str] = field(default_factory=dict)


Listener = Callable[[str, Sequence[Fact]], None]
"""Takes a campaign's name and facts in the order in which they happened, those of RSEs that were
counted (`RSECounted`) too. Called from any thread; returns at once and raises nothing."""


class Board(Protocol):
    """The campaigns of a process, for people to look at. May be used from any thread, and answers
    at once: nothing of it asks Rucio."""

    def campaigns(self) -> Sequence[Posted]:
        """All campaigns, in the order in which they were named; names are unique."""
        ...

    def health(self) -> Health:
        """Whether the process does its work; False asks for a restart."""
        ...

    def ready(self) -> Health:
        """Whether it is set up and takes up work: not before its ledgers were asked, nor while it
        drains."""
        ...

    def retry(self, campaign: str, dids: Sequence[DID]) -> int:
        """Let files of the campaign that were set aside go on at its next run; how many.

        All or none. UsageError if the campaign is not on the board, or if one of the files is not
        QUARANTINED in the cycle begun last; LedgerUnavailable while a run holds the ledger.
        """
        ...

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Show a listener every fact from now on; calling what this gives ends that, and may be
        done again."""
        ...

    def metrics(self) -> str:
        """Numbers in Prometheus's text format."""
        ...
