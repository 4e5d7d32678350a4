"""One run of a campaign at a time, over machines: a row that its holder renews.

Time decides only when somebody else may take a lease over, never whether a write is allowed. Every
write checks in its own transaction that the row still bears our token, and locks it. So a run that
was stopped, suspended or cut off for longer than its lease lasts can go on if nobody took over, and
otherwise writes nothing; and since intents are on disk before their effects it begins nothing new
in the lake. What it had begun when it was stopped may still come to its end there: uploads replace
nothing, and registering and ending can be done twice. Clocks that jump or differ make a take-over
early or late, but never unsafe.

The times are the database server's own on PostgreSQL: one clock for all machines. SQLite has no
server; there it is the machine's clock. Who waits for a lease trusts none of them: a lease whose
row has not changed for as long as it lasts, counted without a clock that can be set, is dead.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    cast,
    delete,
    extract,
    func,
    insert,
    literal,
    select,
    update,
)

from rucio_inject.domain.errors import LedgerError, LedgerUnavailable
from rucio_inject.ledger import schema
from rucio_inject.ledger.engine import Database
from rucio_inject.ledger.holder import Holder, is_gone, this_process
from rucio_inject.ledger.tables import campaigns, leases
from rucio_inject.ports import Clock

LEASE_SECONDS = 60.0
_PAUSE = 1.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Held:
    """A lease as somebody holds it; times in microseconds since 1970."""

    token: str
    holder: Holder
    acquired_at: int
    expires_at: int


def wait_for(
    attempt: Callable[[Collection[Held]], Held | None],
    place: str,
    clock: Clock,
    wait: float,
    seconds: float = LEASE_SECONDS,
) -> None:
    """Attempt what a lease may forbid until it is done.

    `attempt` is told which leases are dead, as they have not changed for `seconds`, and gives the
    one that is in its way. LedgerUnavailable, which names the holder, if there is one still after
    `wait` seconds.
    """
    begun = clock.monotonic()
    first_seen: dict[Held, float] = {}
    while True:
        now = clock.monotonic()
        held = attempt([lease for lease, at in first_seen.items() if now - at >= seconds])
        if held is None:
            return
        now = clock.monotonic()
        first_seen.setdefault(held, now)
        if now - begun >= wait:
            raise _in_use(place, held)
        clock.wait(min(_PAUSE, wait - (now - begun)))


def somebody_at_work(
    database: Database, connection: Connection, clock: Clock, dead: Collection[Held]
) -> Held | None:
    """Within a transaction that writes: a lease, of whichever campaign, that is in force; None if
    there is none, and then until the transaction has ended."""
    database.serialise(connection, leases)
    now = connection.execute(select(_now(database, clock))).scalar_one()
    for row in connection.execute(select(leases)):
        held = _held(row)
        if is_in_force(held, now, dead):
            return held
    return None


def is_in_force(held: Held, now: int, dead: Collection[Held]) -> bool:
    """Whether a lease keeps others off still."""
    return held.expires_at > now and held not in dead and not is_gone(held.holder)


class Lease:
    """The right to write one campaign's ledger."""

    def __init__(
        self, database: Database, campaign: int, clock: Clock, seconds: float = LEASE_SECONDS
    ) -> None:
        self._database = database
        self._campaign = campaign
        self._clock = clock
        self._seconds = seconds
        self._token = secrets.token_hex(16)
        # The end that we gave the lease last.
        self._end: int | None = None
        self._ended = threading.Event()
        self._renewer: threading.Thread | None = None

    def acquire(self, wait: float = 0) -> None:
        """Take the lease, and keep renewing it until `release`.

        LedgerUnavailable, which names the holder, if somebody else still has it after `wait`
        seconds.
        """
        wait_for(self._try, self._database.place, self._clock, wait, self._seconds)
        self._renewer = threading.Thread(target=self._keep, name="ledger lease", daemon=True)
        self._renewer.start()

    def hold(self, connection: Connection) -> bool:
        """Check, inside a transaction that writes, that the lease is ours until that has ended,
        and renew it. LedgerError if somebody took it over.

        False if the lease is not as we left it, though ours: a transaction of ours came to nothing,
        or the database was put back to an earlier moment, as a server that takes over from another
        one may do. What we remember of the ledger is then not to be relied on.
        """
        self._lock(connection)
        row = self._row(connection)
        if row is None or row.token != self._token:
            by = f" by {row.holder.name}" if row else ""
            raise LedgerError(
                f"ledger {self._database.place} was taken over{by}: this run may write no more",
                hint="it was taken for dead, as it did not renew its lease in time;"
                " let that run go on, and start no other one beside it",
            )
        as_left = row.expires_at == self._end
        self._end = self._renewed_end(connection)
        mine = leases.c.campaign == self._campaign
        connection.execute(update(leases).where(mine).values(expires_at=self._end))
        return as_left

    def renew(self) -> None:
        """Put the lease's end off. LedgerError if it is lost, or the database cannot be written."""
        with self._database.writing() as connection:
            self.hold(connection)

    def release(self) -> None:
        """Give the lease back, if it is still ours."""
        self._ended.set()
        if self._renewer is not None:
            self._renewer.join()
        # What cannot be given back is taken over from us, once we are gone.
        with suppress(LedgerError), self._database.writing() as connection:
            connection.execute(
                delete(leases)
                .where(leases.c.campaign == self._campaign)
                .where(leases.c.token == self._token)
            )

    def _keep(self) -> None:
        # Not the clock's wait: that ends when a stop is asked for, and a run that winds down
        # needs its lease still.
        while not self._ended.wait(self._seconds / 3):
            # A database that is away may be back at the next third; a lease that is lost is
            # noticed by the next write, which is the one that may not happen.
            with suppress(LedgerError):
                self.renew()

    def _try(self, dead: Collection[Held]) -> Held | None:
        """Take the lease if it is free, or dead; otherwise who has it. LedgerError if the tables
        are not ours any more: somebody brought them up to date since we looked."""
        with self._database.writing() as connection:
            self._lock(connection)
            schema.check_within(connection, self._database)
            row = self._row(connection)
            now = connection.execute(select(_now(self._database, self._clock))).scalar_one()
            if row is not None and is_in_force(row, now, dead):
                return row
            us = this_process()
            connection.execute(delete(leases).where(leases.c.campaign == self._campaign))
            connection.execute(
                insert(leases).values(
                    campaign=self._campaign,
                    token=self._token,
                    holder=us.name,
                    place=us.place,
                    process=us.process,
                    acquired_at=now,
                    expires_at=now + self._microseconds(),
                )
            )
            return None

    def _lock(self, connection: Connection) -> None:
        """Everybody locks the campaign first: of two who find its lease free only one takes it,
        and no two who write wait for each other's rows. (SQLite locks all of the file anyway.)"""
        mine = campaigns.c.id == self._campaign
        connection.execute(select(campaigns.c.id).where(mine).with_for_update(key_share=True))

    def _row(self, connection: Connection) -> Held | None:
        mine = select(leases).where(leases.c.campaign == self._campaign)
        row = connection.execute(mine).one_or_none()
        return None if row is None else _held(row)

    def _renewed_end(self, connection: Connection) -> int:
        now: int = connection.execute(select(_now(self._database, self._clock))).scalar_one()
        return now + self._microseconds()

    def _microseconds(self) -> int:
        return int(self._seconds * 1_000_000)


def _held(row: Row[Any]) -> Held:
    holder = Holder(row.holder, row.place, row.process)
    return Held(row.token, holder, row.acquired_at, row.expires_at)


def _now(database: Database, clock: Clock) -> ColumnElement[int]:
    if database.is_sqlite:
        return literal((clock.now() - _EPOCH) // timedelta(microseconds=1), BigInteger)
    return cast(extract("epoch", func.clock_timestamp()) * 1_000_000, BigInteger)


def _in_use(place: str, held: Held) -> LedgerUnavailable:
    return LedgerUnavailable(
        f"ledger {place} is in use by {held.holder.name}"
        f" since {_shown(held.acquired_at)}, with a lease until {_shown(held.expires_at)}",
        hint="try again when it has ended, or wait for it: rucio-inject run --wait 10m, which "
        "also takes over a lease that nobody renews, whatever its end",
        holder=held.holder.name,
    )


def _shown(microseconds: int) -> str:
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
