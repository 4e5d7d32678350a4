"""Taking the evidence of old cycles off the record, once nothing that it tells of is anywhere.

Only a whole cycle goes, and only if each of its files is GONE, each of its rules is gone and each
of its datasets is: whatever is still in the lake, or was set aside, keeps its cycle on record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Select, delete, func, literal_column, or_, select

from rucio_inject.domain.injection import FileState
from rucio_inject.ledger.fact_json import file_from, rule_from
from rucio_inject.ledger.queries import PAGE
from rucio_inject.ledger.tables import campaigns, collections, events, files, rules
from rucio_inject.ledger.working_set import RUN

RUNS_KEPT = 500
"""Facts of runs that are kept: two a run."""
# What is about no file and no rule, and only tells how a cycle went.
_OF_CYCLES = ("CycleBegun", "CycleEnded", "AnalysisMade", "NameSkipped")


@dataclass(frozen=True, slots=True)
class CycleSummary:
    """What stays of a cycle. Times are of its first file's finding and of its last event."""

    cycle: int
    files: int
    bytes: int
    datasets: int
    rules: int
    replicas_read_back: int
    replicas_gone: int
    begun_at: datetime
    ended_at: datetime


def cycles_before_last(connection: Connection, campaign: int) -> Sequence[int]:
    """Cycles with files on record but the one begun last, the newest first."""
    last = select(campaigns.c.cycle).where(campaigns.c.id == campaign).scalar_subquery()
    rows = connection.execute(
        select(files.c.cycle)
        .where(files.c.campaign == campaign, files.c.cycle != last)
        .distinct()
        .order_by(files.c.cycle.desc())
    )
    return list(rows.scalars())


def summary(connection: Connection, campaign: int, cycle: int) -> CycleSummary | None:
    """What is to stay of a cycle; None if it may not go, as something of it may be somewhere."""
    if _is_somewhere(connection, campaign, cycle):
        return None
    number, size, datasets = connection.execute(
        select(
            func.count(),
            func.coalesce(func.sum(files.c.size), 0),
            func.count(files.c.dataset.distinct()),
        ).where(files.c.campaign == campaign, files.c.cycle == cycle)
    ).one()
    begun: datetime | None = None
    read_back = gone = last = 0
    while page := _page(connection, campaign, cycle, last):
        last = page[-1][0]
        for _, did, text in page:
            record = file_from(text, did)
            begun = min(begun or record.found_at, record.found_at)
            read_back += sum(known.read_back_at is not None for known in record.replicas.values())
            gone += sum(known.gone_at is not None for known in record.replicas.values())
    if begun is None:
        return None
    ended = connection.execute(
        select(func.max(events.c.at)).where(
            events.c.campaign == campaign, events.c.subject.in_(_dids(campaign, cycle))
        )
    ).scalar_one_or_none()
    of_rules = select(func.count()).where(rules.c.campaign == campaign, rules.c.cycle == cycle)
    return CycleSummary(
        cycle=cycle,
        files=number,
        bytes=int(size),
        datasets=datasets,
        rules=connection.execute(of_rules).scalar_one(),
        replicas_read_back=read_back,
        replicas_gone=gone,
        begun_at=begun,
        ended_at=datetime.fromisoformat(ended) if ended else begun,
    )


def _page(
    connection: Connection, campaign: int, cycle: int, last: int
) -> Sequence[tuple[int, str, str]]:
    rows = connection.execute(
        select(files.c.id, files.c.name, files.c.record)
        .where(files.c.campaign == campaign, files.c.cycle == cycle, files.c.id > last)
        .order_by(files.c.id)
        .limit(PAGE)
    )
    return [(row, name, text) for row, name, text in rows]


def _is_somewhere(connection: Connection, campaign: int, cycle: int) -> bool:
    not_gone = select(files.c.id).where(
        files.c.campaign == campaign, files.c.cycle == cycle, files.c.state != FileState.GONE.value
    )
    if connection.execute(not_gone.limit(1)).first() is not None:
        return True
    there = select(collections.c.did).where(
        collections.c.campaign == campaign,
        collections.c.gone_at.is_(None),
        collections.c.did.in_(_datasets(campaign, cycle)),
    )
    if connection.execute(there.limit(1)).first() is not None:
        return True
    texts = connection.execute(
        select(rules.c.rule_id, rules.c.record).where(
            rules.c.campaign == campaign, rules.c.cycle == cycle
        )
    )
    return any(rule_from(text, rule_id).gone_at is None for rule_id, text in texts)


def remove(connection: Connection, campaign: int, cycle: int) -> None:
    """Take a cycle off the record, with all that happened to its files, rules and datasets."""
    of_campaign = events.c.campaign == campaign
    rule_ids = select(rules.c.rule_id).where(rules.c.campaign == campaign, rules.c.cycle == cycle)
    subjects = (_dids(campaign, cycle), rule_ids, _datasets(campaign, cycle))
    newest = connection.execute(
        select(func.max(events.c.id)).where(
            of_campaign, or_(*(events.c.subject.in_(chosen) for chosen in subjects))
        )
    ).scalar_one_or_none()
    for chosen in subjects:
        connection.execute(delete(events).where(of_campaign, events.c.subject.in_(chosen)))
    if newest is not None:
        connection.execute(
            delete(events).where(of_campaign, events.c.id <= newest, events.c.kind.in_(_OF_CYCLES))
        )
    _remove_collections(connection, campaign, cycle)
    connection.execute(delete(rules).where(rules.c.campaign == campaign, rules.c.cycle == cycle))
    connection.execute(delete(files).where(files.c.campaign == campaign, files.c.cycle == cycle))


def _remove_collections(connection: Connection, campaign: int, cycle: int) -> None:
    """Datasets of the cycle, and every container that is gone: one that is made again is another
    one."""
    gone = select(collections.c.did).where(
        collections.c.campaign == campaign, collections.c.gone_at.is_not(None)
    )
    still_told = select(files.c.dataset).where(files.c.campaign == campaign, files.c.cycle != cycle)
    old = gone.where(collections.c.did.not_in(still_told))
    connection.execute(
        delete(events).where(events.c.campaign == campaign, events.c.subject.in_(old))
    )
    connection.execute(
        delete(collections).where(
            collections.c.campaign == campaign,
            collections.c.gone_at.is_not(None),
            collections.c.did.not_in(still_told),
        )
    )


def remove_old_runs(connection: Connection, campaign: int) -> None:
    """Keep what is told of the newest runs only."""
    of_runs = (events.c.campaign == campaign, events.c.subject == RUN)
    oldest_kept = (
        select(events.c.id)
        .where(*of_runs)
        .order_by(events.c.id.desc())
        .offset(RUNS_KEPT - 1)
        .limit(1)
    )
    first = connection.execute(oldest_kept).scalar_one_or_none()
    if first is not None:
        connection.execute(delete(events).where(*of_runs, events.c.id < first))


def _dids(campaign: int, cycle: int) -> Select[tuple[str]]:
    did = files.c.scope.concat(literal_column("':'")).concat(files.c.name)
    return select(did).where(files.c.campaign == campaign, files.c.cycle == cycle)


def _datasets(campaign: int, cycle: int) -> Select[tuple[str]]:
    return (
        select(files.c.dataset)
        .where(files.c.campaign == campaign, files.c.cycle == cycle)
        .distinct()
    )
