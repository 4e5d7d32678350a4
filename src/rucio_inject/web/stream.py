"""What happens, as it happens, to every browser that looks: server-sent events.

`counts`  samples of RSEs: [campaign, RSE, seconds since 1970, files and bytes by the catalogue,
          files and bytes by the storage], where -1 is not known
`moved`   something went on record: {campaign: [number of facts, the last one in words]}
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from rucio_inject.domain.facts import Fact, RSECounted
from rucio_inject.monitor.curves import counts_of
from rucio_inject.ports.board import Board
from rucio_inject.words.facts import subject, told

PING_SECONDS = 15.0
GATHER_SECONDS = 0.25
"""What comes within it is sent at once: a busy run tells hundreds of facts a second."""
MOST_SAMPLES = 2000
MOST_STREAMS = 200


class Heard:
    """What a browser has not been sent yet."""

    def __init__(self, campaign: str | None) -> None:
        self._campaign = campaign
        self._samples: list[list[Any]] = []
        self._moved: dict[str, list[Any]] = {}
        self.any = asyncio.Event()

    def hear(self, campaign: str, facts: Sequence[Fact]) -> None:
        """Take facts; those of other campaigns are left out."""
        if self._campaign not in {None, campaign}:
            return
        for fact in facts:
            if isinstance(fact, RSECounted):
                seconds = round(fact.at.timestamp(), 3)
                self._samples.append([campaign, fact.rse, seconds, *counts_of(fact)])
                continue
            moved = self._moved.setdefault(campaign, [0, ""])
            about = subject(fact)
            moved[0] += 1
            moved[1] = f"{about}: {told(fact)}" if about else told(fact)
        del self._samples[:-MOST_SAMPLES]
        self.any.set()

    def take(self) -> str:
        """All of it, as events."""
        samples, moved = self._samples, self._moved
        self._samples, self._moved = [], {}
        self.any.clear()
        parts = [("counts", samples)] if samples else []
        return "".join(
            f"event: {kind}\ndata: {json.dumps(data)}\n\n"
            for kind, data in [*parts, *([("moved", moved)] if moved else [])]
        )


async def events(board: Board, campaign: str | None) -> AsyncGenerator[str, None]:
    """Events of a campaign, or of all, until the browser goes away."""
    heard = Heard(campaign)
    loop = asyncio.get_running_loop()

    def listen(name: str, facts: Sequence[Fact]) -> None:
        # Called from the threads of whoever does the work.
        if not loop.is_closed():
            loop.call_soon_threadsafe(heard.hear, name, facts)

    cancel = board.subscribe(listen)
    try:
        yield "retry: 2000\n\n"
        while True:
            try:
                await asyncio.wait_for(heard.any.wait(), PING_SECONDS)
            except TimeoutError:
                yield ": still here\n\n"
                continue
            await asyncio.sleep(GATHER_SECONDS)
            yield heard.take()
    finally:
        cancel()
