"""Ports that can only be looked through: what a dry run is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from functools import partial
from typing import Any, TypeVar, cast

P = TypeVar("P")

CATALOGUE_READS = frozenset(
    {
        "whoami",
        "scope_owner",
        "resolve",
        "rse_attributes",
        "held_to_limits",
        "quota",
        "space",
        "find",
        "look_up",
        "contents",
        "missing",
        "look_up_collections",
        "rules",
        "locks",
        "stuck_files",
        "holders",
        "usage",
    }
)
STORAGE_READS = frozenset(
    {"taken", "measure", "checksum", "exists", "stat", "listing", "files_below", "count"}
)
LEDGER_READS = frozenset(
    {
        "cycle",
        "cycle_ended",
        "analysed",
        "upload_rse",
        "drain",
        "sampled",
        "files",
        "counts",
        "usage",
        "datasets",
        "dataset_counts",
        "file",
        "known",
        "outlines",
        "rules",
        "asked_for",
        "collections",
    }
)
SOURCE_READS = frozenset({"files"})
"""What only looks, port by port. Whatever a port learns later is an effect until it stands here."""


class EffectRefused(RuntimeError):
    """A dry run was about to change something: a defect in it, and nothing was changed."""


def looked_through(port: P, reads: Collection[str], asked: Counter[str] | None = None) -> P:
    """The same port, of which only `reads` can be called: EffectRefused for all else.

    `asked` counts the calls that were made, by name. From several threads the count may lack some.
    """
    return cast("P", _Glass(port, reads, Counter() if asked is None else asked))


class _Glass:
    """Stands before a port."""

    def __init__(self, port: object, reads: Collection[str], asked: Counter[str]) -> None:
        self._port = port
        self._reads = reads
        self._asked = asked

    def __getattr__(self, name: str) -> Any:
        if name not in self._reads:
            raise EffectRefused(f"a dry run may not use {type(self._port).__name__}.{name}")
        found = getattr(self._port, name)
        return partial(self._call, name, found) if callable(found) else found

    def _call(self, name: str, method: Any, *args: object, **named: object) -> object:
        self._asked[name] += 1
        return method(*args, **named)
