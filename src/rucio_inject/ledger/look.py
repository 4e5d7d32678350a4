"""A ledger that is looked into, perhaps while a run goes on: how it is opened, and names in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from sqlalchemy import ColumnElement, func, inspect, select

from rucio_inject.campaign.schema import Campaign
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError, UsageError
from rucio_inject.ledger import schema
from rucio_inject.ledger.engine import Database, is_url, postgresql_database, sqlite_database
from rucio_inject.ledger.fact_json import as_text
from rucio_inject.ledger.holder import this_process
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.ledger.sqlite_file import refuse_lost
from rucio_inject.ledger.tables import VERSION_TABLE, campaigns, files, leases
from rucio_inject.ports import Clock

SHOWN_NAMES = 5
# Names that difflib looks at; those next to the wanted one in the order of names.
_NEIGHBOURS = 200


@dataclass(frozen=True, slots=True)
class Look:
    """A campaign's ledger that is read, perhaps while a run goes on: through its own methods, and
    by SQL on the rows of campaign `number`."""

    name: str
    ledger: SqlLedger
    database: Database
    number: int


@contextmanager
def looking(place: str | Path, name: str, clock: Clock) -> Iterator[Look]:
    """Open a campaign's ledger, a path or URL, for reading only. LedgerError if it is not there or
    damaged."""
    _refuse_unused(place)
    with (
        SqlLedger(place, name, clock=clock, reading=True) as ledger,
        _opened(place) as database,
    ):
        with database.reading() as connection:
            mine = select(campaigns.c.id).where(campaigns.c.name == name)
            number = int(connection.execute(mine).scalar_one())
        yield Look(name, ledger, database, number)


def is_begun(campaign: Campaign) -> bool:
    """Whether a campaign is in its ledger; changes nothing. False if there is no such ledger yet.

    LedgerError if that cannot be known, as the ledger is damaged, of another schema or cannot be
    reached.
    """
    place = campaign.ledger_place
    if not is_url(place):
        refuse_lost(Path(place))
        if not Path(place).exists():
            return False
    with _opened(place) as database:
        # A file without a ledger is somebody else's: whoever opens it as one is told so.
        if not database.is_sqlite and not _is_used(database):
            return False
        schema.check(database)
        with database.reading() as connection:
            mine = select(campaigns.c.id).where(campaigns.c.name == campaign.campaign)
            return connection.execute(mine).scalar() is not None


def holds_lease(campaign: Campaign) -> bool:
    """Whether this process has the lease of a campaign; not if its ledger cannot be asked."""
    us = this_process()
    mine = select(leases.c.place, leases.c.process).join(campaigns)
    try:
        with _opened(campaign.ledger_place) as database, database.reading() as connection:
            row = connection.execute(mine.where(campaigns.c.name == campaign.campaign)).first()
    except LedgerError:
        return False
    return row is not None and tuple(row) == (us.place, us.process)


@contextmanager
def _opened(place: str | Path) -> Iterator[Database]:
    database = (
        postgresql_database(str(place), read_only=True)
        if is_url(place)
        else sqlite_database(Path(place), read_only=True)
    )
    try:
        yield database
    finally:
        database.close()


def _is_used(database: Database) -> bool:
    """Whether anybody has begun a ledger in a database."""
    with database.reading() as connection:
        return bool(inspect(connection).has_table(VERSION_TABLE))


def _refuse_unused(place: str | Path) -> None:
    """LedgerError for a server's database without a ledger: it was made to be filled, and unlike
    in a file nothing is lost there."""
    if not is_url(place):
        return
    with _opened(place) as database:
        if not _is_used(database):
            raise LedgerError(
                f"{database.place} holds no ledger yet",
                hint="run the campaign first, or name another ledger",
            )


def dataset_did(text: str, scope: str) -> DID:
    """A dataset as it was typed, with or without its scope. UsageError if it is no DID."""
    text = as_text(text)
    try:
        return DID.parse(text) if ":" in text else DID(scope, text)
    except ValueError as error:
        raise UsageError(str(error), hint="name it as SCOPE:NAME, or NAME alone") from None


def find_file(look: Look, text: str) -> DID:
    """The one file on record, of whichever cycle, that a name stands for.

    The name may lack its scope and its end. UsageError if it stands for none, which tells the
    nearest names, or for several.
    """
    # What is no text is in no database: it is looked for as what it would be shown as.
    scope, colon, name = as_text(text).rpartition(":")
    if not name:
        raise UsageError("a name is empty", hint="see: rucio-inject files list")
    chosen = [files.c.scope == scope] if colon else []
    # By its characters: LIKE would take small letters for capitals in SQLite.
    begins = func.substr(files.c.name, 1, len(name)) == name
    with_that_name = _dids(look, *chosen, files.c.name == name)
    known = with_that_name or _dids(look, *chosen, begins, limit=SHOWN_NAMES + 1)
    if len(known) == 1:
        return known[0]
    if known:
        more = ["…"] if len(known) > SHOWN_NAMES else []
        shown = ", ".join([*map(str, known[:SHOWN_NAMES]), *more])
        raise UsageError(
            f"{text} stands for more than one file on record: {shown}",
            hint="give more of the name" if not with_that_name else "give its scope, too",
        )
    near = _nearest(look, name)
    raise UsageError(
        f"{text} is not on record in campaign {look.name}",
        hint=f"the nearest names: {', '.join(near)}" if near else "see: rucio-inject files list",
    )


def _dids(look: Look, *conditions: ColumnElement[bool], limit: int = SHOWN_NAMES + 1) -> list[DID]:
    statement = (
        select(files.c.scope, files.c.name)
        .where(files.c.campaign == look.number, *conditions)
        .order_by(files.c.scope, files.c.name)
        .limit(limit)
    )
    with look.database.reading() as connection:
        return [DID(scope, name) for scope, name in connection.execute(statement)]


def _nearest(look: Look, name: str) -> Sequence[str]:
    """Names like this one, the likest first: of few names all are compared, of many those next to
    it, as each comparison takes some time."""
    mine = select(files.c.name).where(files.c.campaign == look.number)
    before = mine.where(files.c.name < name).order_by(files.c.name.desc()).limit(_NEIGHBOURS)
    after = mine.where(files.c.name >= name).order_by(files.c.name).limit(_NEIGHBOURS)
    with look.database.reading() as connection:
        names = [
            *connection.execute(before).scalars(),
            *connection.execute(after).scalars(),
        ]
    return get_close_matches(name, dict.fromkeys(names), n=3)
