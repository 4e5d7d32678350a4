"""Files on record by a part of their name, their state and their cycle; in pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, or_, select

from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.ledger.fact_json import as_text, file_from
from rucio_inject.ledger.look import Look
from rucio_inject.ledger.tables import files

PAGE = 50


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which files: those whose name or dataset has `text` in it, capitals or not; those of a cycle,
    in a state, set aside with a code. What is None, or empty, leaves none out."""

    text: str = ""
    state: FileState | None = None
    cycle: int | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A page of files, the newest first. `after` is where the next page begins, None if there is
    none; `total` counts the files of all pages."""

    records: Sequence[FileRecord]
    after: int | None
    total: int


def search(look: Look, wanted: Wanted, *, after: int | None = None, page: int = PAGE) -> Found:
    """Look for files; `after` is that of the page before."""
    chosen = _conditions(look, wanted)
    below = [] if after is None else [files.c.id < after]
    with look.database.reading() as connection:
        total = connection.execute(select(func.count()).where(*chosen)).scalar_one()
        # First the numbers alone, so that only what is shown is read.
        ids = select(files.c.id).where(*chosen, *below).order_by(files.c.id.desc()).limit(page + 1)
        rows = connection.execute(
            select(files.c.id, files.c.scope, files.c.name, files.c.record)
            .where(files.c.id.in_(ids))
            .order_by(files.c.id.desc())
        ).all()
    records = [file_from(text, f"{scope}:{name}") for _, scope, name, text in rows[:page]]
    return Found(records, rows[page - 1].id if len(rows) > page else None, total)


def _conditions(look: Look, wanted: Wanted) -> list[ColumnElement[bool]]:
    # An index has the files of a cycle's state in order. For all else a sum, so that SQLite goes
    # backwards by id and does not sort all that the campaign's index holds.
    indexed = wanted.cycle is not None and wanted.state is not None
    chosen = [(files.c.campaign if indexed else files.c.campaign + 0) == look.number]
    if wanted.cycle is not None:
        chosen.append(files.c.cycle == wanted.cycle)
    if wanted.state is not None:
        chosen.append(files.c.state == wanted.state.value)
    if wanted.code is not None:
        chosen.append(files.c.failure == as_text(wanted.code))
    # What is no text is in no database: it is looked for as what it would be shown as.
    if text := as_text(wanted.text.strip()):
        scope, colon, name = text.partition(":")
        named = files.c.name.icontains(name if colon else text, autoescape=True)
        if colon:
            chosen.append(named & files.c.scope.icontains(scope, autoescape=True))
        else:
            chosen.append(or_(named, files.c.dataset.icontains(text, autoescape=True)))
    return chosen
