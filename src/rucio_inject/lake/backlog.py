"""How much work waits for each of Rucio's daemons, asked of the database in one query.

Imported only inside the daemons' process: it needs the server's rucio.cfg.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from rucio.db.sqla import models
from rucio.db.sqla.constants import ReplicaState, RequestState, RuleState
from rucio.db.sqla.session import get_session
from sqlalchemy import DateTime, bindparam, func, select, update

_FINISHED = (
    RequestState.DONE,
    RequestState.FAILED,
    RequestState.LOST,
    RequestState.SUBMISSION_FAILED,
    RequestState.NO_SOURCES,
    RequestState.ONLY_TAPE_SOURCES,
    RequestState.MISMATCH_SCHEME,
)


_NOW = bindparam("now", type_=DateTime)
_LONG_AGO = bindparam("long_ago", type_=DateTime)


def _conditions() -> dict[str, tuple[Any, list[Any]]]:
    """For each daemon the table that its work waits in, and what makes a row its work."""
    rule, request, replica = models.ReplicationRule, models.Request, models.RSEFileAssociation
    expired = [rule.expires_at < _NOW, rule.locked.is_(False), rule.child_rule_id.is_(None)]
    return {
        "injector": (rule, [rule.state == RuleState.INJECT, rule.created_at <= _NOW]),
        "evaluator": (models.UpdatedDID, []),
        "submitter": (request, [request.state == RequestState.QUEUED]),
        "poller": (request, [request.state == RequestState.SUBMITTED]),
        "finisher": (request, [request.state.in_(_FINISHED)]),
        "repairer": (rule, [rule.state == RuleState.STUCK, rule.updated_at < _LONG_AGO]),
        "necromancer": (replica, [replica.state == ReplicaState.BAD]),
        "undertaker": (models.DataIdentifier, [models.DataIdentifier.expired_at < _NOW]),
        "cleaner": (rule, expired),
        "reaper": (replica, [replica.lock_cnt == 0, replica.tombstone < _NOW]),
        "abacus-rse": (models.UpdatedRSECounter, []),
        "abacus-account": (models.UpdatedAccountCounter, []),
        "abacus-collection-replica": (models.UpdatedCollectionReplica, []),
        "hermes": (models.Message, []),
    }


class Backlog:
    """Asks how many rows wait for each of some daemons; `repair_after` seconds make a stuck rule
    work."""

    def __init__(self, names: Iterable[str], repair_after: float) -> None:
        self._repair_after = timedelta(seconds=repair_after)
        every = _conditions()
        conditions = {name: every[name] for name in names}
        self._names = tuple(conditions)
        # Built once: putting the query together costs more than asking it.
        self._query = select(
            *(
                select(func.count()).select_from(table).where(*where).scalar_subquery()
                for table, where in conditions.values()
            )
        )

    def __call__(self) -> dict[str, int]:
        """The number of rows that wait for each daemon, by its name."""
        # Rucio keeps its times in UTC, without a time zone.
        now = datetime.now(UTC).replace(tzinfo=None)
        times = {"now": now, "long_ago": now - self._repair_after}
        session_scoped = get_session()
        with session_scoped() as session, session.begin():
            row = session.execute(self._query, times).one()
        return dict(zip(self._names, row, strict=True))


def give_up_interrupted_submissions() -> int:
    """Let go of requests that a killed submitter left half submitted; Rucio would wait two hours.

    Returns how many there were.
    """
    request = models.Request
    change = (
        update(request)
        .where(request.state == RequestState.SUBMITTING)
        .values(state=RequestState.SUBMISSION_FAILED)
    )
    session_scoped = get_session()
    with session_scoped() as session, session.begin():
        return int(session.execute(change).rowcount)
