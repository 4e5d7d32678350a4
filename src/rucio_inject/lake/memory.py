"""What Rucio looks up is remembered while one pass of a daemon, or one request, lasts.

Rucio asks for an RSE's attributes and settings, and for every option that its file does not name,
several times a file; at a site a memcached answers. One here would remember for ten minutes what
a user has changed meanwhile, and let the reaper leave an idle RSE alone for two. So Rucio is told
of none, and these of its caches get a memory that a thread empties before it begins something new.

Imported only inside the server's and the daemons' processes: it needs the server's rucio.cfg.
"""

from __future__ import annotations

import threading
from typing import Any

from dogpile.cache.region import CacheRegion
from rucio.core import config, replica_sorter, rse, rse_expression_parser
from rucio.daemons.conveyor import finisher
from rucio.rse import rsemanager

_REGIONS: tuple[CacheRegion, ...] = (
    config.REGION,
    finisher.REGION,
    replica_sorter.REGION,
    rse.REGION,
    rse_expression_parser.REGION,
    rsemanager.RSE_REGION,
)
_LONGEST = 900
"""Seconds, Rucio's own; no pass takes as long."""


class _OfThisThread(threading.local):
    """A dictionary that each thread has for itself: what one remembers, no other sees."""

    def __init__(self) -> None:
        self.held: dict[str, Any] = {}

    def get(self, key: str, default: Any) -> Any:
        return self.held.get(key, default)

    def pop(self, key: str, default: Any) -> Any:
        return self.held.pop(key, default)

    def __setitem__(self, key: str, value: Any) -> None:
        self.held[key] = value


_memories: list[_OfThisThread] = []


def install() -> None:
    """Give Rucio's caches their memory; once a process."""
    for region in _REGIONS:
        memory = _OfThisThread()
        # Pickled, as a memcached's are: who changes what he was given changes his copy.
        region.configure(
            "dogpile.cache.memory_pickle",
            expiration_time=_LONGEST,
            arguments={"cache_dict": memory},
            replace_existing_backend=True,
        )
        _memories.append(memory)


def forget() -> None:
    """Let this thread know nothing; called before each pass and each request."""
    for memory in _memories:
        memory.held.clear()
