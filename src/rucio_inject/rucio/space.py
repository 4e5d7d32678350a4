"""The room that RSEs' storages have, by what their sites told Rucio."""

from __future__ import annotations

from typing import Any

from rucio.client.client import Client

from rucio_inject.ports import Space
from rucio_inject.rucio import answers

# Who tells Rucio what a storage itself says calls it that; other sources are Rucio's own counters.
STORAGE = "storage"


def space(client: Client, rse: str) -> Space:
    """Whether an RSE may be written to, and what its storage has."""
    settings = answers.mapping(client.get_rse(rse))
    told = answers.rows(client.get_rse_usage(rse, filters={"source": STORAGE}))
    row = next((row for row in told if answers.text(row, "source") == STORAGE), {})
    return Space(
        rse,
        writable=settings.get("availability_write") is not False,
        free=_bytes(row, "free"),
        total=_bytes(row, "total"),
        told_at=answers.moment(row, "updated_at"),
    )


def _bytes(row: dict[str, Any], key: str) -> int | None:
    return None if row.get(key) is None else answers.whole(row, key)
