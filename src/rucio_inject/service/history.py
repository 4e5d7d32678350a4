"""How the runs of a campaign went, by its ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, select

from rucio_inject.campaign.schema import Campaign
from rucio_inject.domain.errors import LedgerOlder
from rucio_inject.domain.facts import RunBegun, RunEnded
from rucio_inject.ledger.fact_json import fact_from
from rucio_inject.ledger.holder import Holder, is_gone
from rucio_inject.ledger.look import is_begun, looking
from rucio_inject.ledger.tables import events, leases
from rucio_inject.ledger.working_set import RUN
from rucio_inject.ports import Clock

_LOOKED_AT = 10
_INTERRUPTED = 130
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class History:
    """The last run: when it began, and how it ended; `ended` is None if it was cut off, or goes on.
    Nothing of both: there was none."""

    begun_at: datetime | None = None
    ended: RunEnded | None = None

    @property
    def cut_off(self) -> bool:
        """Whether the last run left something to be gone on with at once."""
        if self.begun_at is None:
            return False
        return self.ended is None or self.ended.code == _INTERRUPTED


@dataclass(frozen=True, slots=True)
class Record:
    """What a ledger tells of a campaign's runs: the last one, and who holds the ledger and is, as
    far as can be told, at work. `older`: it cannot tell before a run has brought it up to date."""

    last: History
    holder: str | None = None
    older: bool = False


def on_record(campaign: Campaign, clock: Clock) -> Record:
    """Ask the ledger. LedgerError if it cannot be asked now."""
    try:
        if not is_begun(campaign):
            return Record(History())
    except LedgerOlder:
        # Only a run changes a ledger: whoever waited until it can be read would wait for ever.
        return Record(History(), older=True)
    place, name = campaign.ledger_place, campaign.campaign
    with looking(place, name, clock) as look, look.database.reading() as connection:
        holder = _living_holder(connection, look.number, clock)
        return Record(_history(connection, look.number), holder)


def _living_holder(connection: Connection, campaign: int, clock: Clock) -> str | None:
    row = connection.execute(select(leases).where(leases.c.campaign == campaign)).first()
    if row is None or row.expires_at < (clock.now() - _EPOCH) // timedelta(microseconds=1):
        return None
    found = Holder(row.holder, row.place, row.process)
    return None if is_gone(found) else found.name


def _history(connection: Connection, campaign: int) -> History:
    rows = connection.execute(
        select(events.c.kind, events.c.fact)
        .where(events.c.campaign == campaign, events.c.subject == RUN)
        .order_by(events.c.id.desc())
        .limit(_LOOKED_AT)
    ).all()
    ended: RunEnded | None = None
    for kind, text in rows:
        fact = fact_from(kind, text)
        if isinstance(fact, RunEnded):
            ended = ended or fact
        elif isinstance(fact, RunBegun):
            return History(fact.at, ended)
    return History()
