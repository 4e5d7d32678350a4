"""Ledgers made of facts, and the page over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

from rucio_inject.clock import SystemClock
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.monitor.series import Series
from rucio_inject.ports import Clock
from rucio_inject.ports.board import Posted
from rucio_inject.readings.ledger_board import LedgerBoard
from rucio_inject.testing.scenes import Scene
from rucio_inject.web.serving import Listening, PageServer

TOKEN = "a-token-for-tests-0123456789"
HIGHLIGHT = "PIC-DCACHE"


def posted_in(folder: Path, name: str = "magic") -> Posted:
    """A campaign whose ledger and counts are in a folder."""
    return Posted(name, folder / f"{name}.db", folder / f"{name}.counts.jsonl", HIGHLIGHT)


def make(posted: Posted, scenes: Sequence[Scene]) -> None:
    """Put scenes on record, and count what the RSEs held meanwhile."""
    with SqlLedger(posted.ledger, posted.name, clock=SystemClock()) as ledger:
        for scene in scenes:
            for facts in scene.facts():
                ledger.record(facts)
            Series(posted.series).append(list(scene.counts()))


@dataclass(frozen=True)
class Shown:
    """A page that is served."""

    board: LedgerBoard
    page: PageServer
    posted: Posted

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return self.page.url.rstrip("/")


@contextmanager
def shown(
    folder: Path,
    posted: Sequence[Posted],
    listening: Listening | None = None,
    clock: Clock | None = None,
) -> Iterator[Shown]:
    """Serve the page over some campaigns, at any port; `clock` None: by the system's."""
    token = folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    chosen = replace(listening or Listening(), port=0, token_file=token)
    system = SystemClock()
    with (
        # A ledger that is slow because the machine is busy is none that never answers.
        patch("rucio_inject.web.site.PATIENCE", 300.0),
        patch("rucio_inject.readings.ledger_board.PATIENCE", 300.0),
        LedgerBoard(posted, system) as board,
        PageServer(board, chosen, clock or system) as page,
    ):
        yield Shown(board, page, posted[0])
