"""Bringing a ledger to the schema that this code writes, when nobody else is at work on it."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, delete

from rucio_inject.ledger import schema
from rucio_inject.ledger.engine import Database
from rucio_inject.ledger.lease import Held, somebody_at_work, wait_for
from rucio_inject.ledger.tables import leases
from rucio_inject.ports import Clock


def ensure_schema(database: Database, clock: Clock, wait: float) -> None:
    """See that the schema is what this code writes; an older one is migrated, in one transaction.

    No run of an older version gets its tables changed under it: as long as one holds a lease, of
    whichever campaign in the ledger, it is waited for, `wait` seconds at most, and then
    LedgerUnavailable names it. One that was taken for dead finds its lease gone, and writes no
    more.
    """
    if schema.is_current(database):
        return

    def attempt(dead: Collection[Held]) -> Held | None:
        def in_the_way(connection: Connection) -> Held | None:
            held = somebody_at_work(database, connection, clock, dead)
            if held is None:
                connection.execute(delete(leases))
            return held

        return schema.bring_up_to_date(database, in_the_way)

    wait_for(attempt, database.place, clock, wait)
