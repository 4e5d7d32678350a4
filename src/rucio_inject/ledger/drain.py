"""Ordering a drain from outside: a campaign's runs take no new files until it is taken back.

The order is a fact like others, and it is the last one of them that counts. It is written without
the lease, which a run may hold: nothing that a run remembers of its files changes by it.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select

from rucio_inject.domain.errors import LedgerError
from rucio_inject.domain.facts import DrainOrdered
from rucio_inject.ledger import queries, schema
from rucio_inject.ledger.engine import is_url, postgresql_database, sqlite_database
from rucio_inject.ledger.many_rows import EVENTS, write_rows
from rucio_inject.ledger.tables import campaigns
from rucio_inject.ledger.working_set import DRAIN, event_rows


def order_drain(place: str | Path, name: str, order: DrainOrdered) -> bool:
    """Put an order on record, in the ledger at a path or URL; False, and nothing is changed, if all
    is so already. LedgerError if the campaign is not on record there."""
    database = postgresql_database(str(place)) if is_url(place) else sqlite_database(Path(place))
    try:
        schema.check(database)
        mine = select(campaigns.c.id).where(campaigns.c.name == name)
        with database.writing() as connection:
            campaign = connection.execute(mine.with_for_update(key_share=True)).scalar()
            if campaign is None:
                raise LedgerError(
                    f"ledger {database.place} holds no campaign {name}",
                    hint="run the campaign first, or name another ledger",
                )
            last = queries.last_fact(connection, campaign, DRAIN)
            if (isinstance(last, DrainOrdered) and last.on) == order.on:
                return False
            write_rows(connection, EVENTS, event_rows(campaign, [order]))
            return True
    finally:
        database.close()
