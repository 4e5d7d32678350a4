"""Keeping a campaign's evidence as long as it says, and no longer."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from rucio_inject.campaign.schema import Campaign
from rucio_inject.domain.errors import LedgerUnavailable
from rucio_inject.factory import Folders
from rucio_inject.ledger.retention import CycleSummary
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.monitor.series import Series
from rucio_inject.ports import Clock

SUMMARIES = "cycles.jsonl"
SCHEMA = 1
_MOST_AT_ONCE = 50
# Counts of the current days are whole; older ones are one a minute, for as long as a year.
_WHOLE = timedelta(days=2)
_COUNTS_KEPT = timedelta(days=366)


def keep_to_retention(
    campaign: Campaign, ledger: SqlLedger, clock: Clock, *, cycles: bool = True
) -> list[int]:
    """Remove the evidence of cycles that is older than the campaign wants, each after its summary
    is on disk; the numbers of those removed. Of very many some are left for the next time. Without
    `cycles` only what grows with every run, whatever came of it.

    LedgerUnavailable if a summary cannot be written: nothing is removed then. OSError if the counts
    cannot be thinned, which is done last.
    """
    removed = []
    for summary in _to_go(campaign, ledger, clock) if cycles else ():
        _keep_summary(campaign, summary)
        ledger.remove_cycle(summary.cycle)
        removed.append(summary.cycle)
        clock.check()
    ledger.tidy()
    folders = Folders(campaign.output_folder)
    now = clock.now()
    Series(folders.series).thin(whole_since=now - _WHOLE, since=now - _COUNTS_KEPT)
    return removed


def _to_go(campaign: Campaign, ledger: SqlLedger, clock: Clock) -> Iterator[CycleSummary]:
    retention = campaign.retention
    # The one begun last is one of those that are kept, once it has ended.
    kept = retention.kept - ledger.cycle_ended
    for cycle in list(reversed(ledger.cycles_before_last()[kept:]))[:_MOST_AT_ONCE]:
        summary = ledger.summary(cycle)
        if summary is None:
            continue
        age = clock.now() - summary.ended_at
        if retention.age is None or age >= timedelta(seconds=retention.age):
            yield summary


def _keep_summary(campaign: Campaign, summary: CycleSummary) -> None:
    path = campaign.output_folder / SUMMARIES
    told = {"schema": SCHEMA, "campaign": campaign.campaign, **asdict(summary)}
    line = json.dumps(told, default=lambda moment: moment.isoformat()) + "\n"
    try:
        if line.encode() in _last_lines(path):
            return
        with path.open("ab") as out:
            out.write(line.encode())
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        raise LedgerUnavailable(
            f"{path} cannot be written: {error.strerror}; no cycle was forgotten",
            hint="see that there is room, and run the same command again",
        ) from error


def _last_lines(path: Path) -> bytes:
    """The end of the file: a kill may have left a cycle there that is on record still."""
    if not path.exists():
        return b""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 100_000, 0))
        return file.read()
