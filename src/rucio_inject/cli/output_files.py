"""Files that a command writes because somebody named them: what they must not take the place of."""

from __future__ import annotations

import stat
from pathlib import Path

from rucio_inject.campaign.schema import Campaign
from rucio_inject.domain.errors import UsageError
from rucio_inject.ledger.engine import is_url
from rucio_inject.whole_files import partial_name

STANDARD_OUTPUT = Path("-")
"""Named where a file could be."""
# What SQLite keeps beside a database. Without them it is not whole.
_BESIDE = ("", "-journal", "-wal", "-shm")


def refuse_other_than_file(out: Path) -> None:
    """UsageError if there is something that is no regular file: a whole new file would take its
    place. A link is none."""
    try:
        mode = out.lstat().st_mode
    except OSError:
        # Not there, or not to be looked at: then it cannot be written either, which is told then.
        return
    if not stat.S_ISREG(mode):
        raise UsageError(
            f"{out} is there and is no regular file", hint="name a file, or - for standard output"
        )


def refuse_ledger(out: Path, campaign: Campaign, key: str) -> None:
    """UsageError if a file, which the option or key `key` names, would take the place of the
    campaign's ledger, or of what its database keeps beside it."""
    place = campaign.ledger_place
    if is_url(place):
        return
    path = Path(place).resolve()
    kept = [path.with_name(path.name + ending) for ending in _BESIDE]
    for written in (out, partial_name(out)):
        if any(_is_same(written, one) for one in (*kept, partial_name(path))):
            raise UsageError(
                f"{key} {out} would take the place of the campaign's ledger",
                hint="name another file: the ledger is all that is known",
            )


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths are one file, under whatever names."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other
