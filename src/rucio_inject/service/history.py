"""How the runs of a campaign went, by its ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from rucio_inject.campaign.schema import Campaign
from rucio_inject.domain.errors import LedgerError
from rucio_inject.domain.facts import RunBegun, RunEnded
from rucio_inject.ledger.fact_json import fact_from
from rucio_inject.ledger.holder import Holder, is_gone
from rucio_inject.ledger.look import is_begun, looking
from rucio_inject.ledger.tables import campaigns, events, leases
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


def living_holder(campaign: Campaign, clock: Clock) -> str | None:
    """Who holds the ledger and is, as far as can be told, at work. None also if it cannot be
    asked: whoever opens it then is told why."""
    theirs = select(leases).join(campaigns).where(campaigns.c.name == campaign.campaign)
    try:
        if not is_begun(campaign):
            return None
        with (
            looking(campaign.ledger_place, campaign.campaign, clock) as look,
            look.database.reading() as connection,
        ):
            row = connection.execute(theirs).first()
    except LedgerError:
        return None
    if row is None or row.expires_at < (clock.now() - _EPOCH) // timedelta(microseconds=1):
        return None
    found = Holder(row.holder, row.place, row.process)
    return None if is_gone(found) else found.name


def history(campaign: Campaign, clock: Clock) -> History:
    """What is on record of the last run. LedgerError if that cannot be known now."""
    if not is_begun(campaign):
        return History()
    place, name = campaign.ledger_place, campaign.campaign
    with looking(place, name, clock) as look, look.database.reading() as connection:
        rows = connection.execute(
            select(events.c.kind, events.c.fact)
            .where(events.c.campaign == look.number, events.c.subject == RUN)
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
