"""One pass of each of Rucio's daemons, as functions to call.

The calls are internal to Rucio: they are pinned to its version, and the tests of the lake would
show a change. Imported only inside the daemons' processes: it needs the server's rucio.cfg.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from rucio.daemons.abacus import account, collection_replica, rse
from rucio.daemons.badreplicas import necromancer
from rucio.daemons.common import HeartbeatHandler
from rucio.daemons.conveyor import finisher, poller, submitter
from rucio.daemons.hermes import hermes
from rucio.daemons.judge import cleaner, evaluator, injector, repairer
from rucio.daemons.reaper import reaper
from rucio.daemons.undertaker import undertaker

Pass = Callable[[], object]

REPAIR_AFTER = 1800
"""Seconds that a rule is stuck before it is tried again, Rucio's own default."""

_BULK = 1000
_JOB_FILES = 100
_FINISHED_AT_ONCE = 100
"""Requests in one transaction, Rucio's own default: locks become OK while others are still done."""


def make(names: Iterable[str]) -> dict[str, Pass]:
    """For each of these daemons a function that makes one pass of it.

    They work under the process that this is called in: Rucio tells its workers apart by that.
    """
    every = {**_judge(), **_conveyor(), **_bad_replicas(), **_ending(), **_abacus(), **_hermes()}
    return {name: every[name] for name in names}


def _beating(name: str) -> HeartbeatHandler:
    return HeartbeatHandler(name, renewal_interval=30)


def _judge() -> dict[str, Pass]:
    """The judge's passes. What was locked by others is not set aside for minutes, as where its
    daemons run for ever: each pass begins with nothing paused."""
    inject, evaluate = _beating("judge-injector"), _beating("judge-evaluator")
    repair, clean = _beating("judge-repairer"), _beating("judge-cleaner")
    return {
        "injector": lambda: injector.run_once(paused_rules={}, heartbeat_handler=inject),
        "evaluator": lambda: evaluator.run_once(
            paused_dids={}, did_limit=_BULK, heartbeat_handler=evaluate
        ),
        "repairer": lambda: repairer.run_once(
            paused_rules={}, delta=REPAIR_AFTER, heartbeat_handler=repair
        ),
        "cleaner": lambda: cleaner.run_once(paused_rules={}, heartbeat_handler=clean),
    }


def _conveyor() -> dict[str, Pass]:
    once = {"once": True, "partition_wait_time": 0}
    return {
        "submitter": partial(submitter.submitter, **once, bulk=_BULK, group_bulk=_JOB_FILES),
        "poller": partial(poller.poller, **once, older_than=0, db_bulk=_BULK),
        "finisher": partial(finisher.finisher, **once, bulk=_FINISHED_AT_ONCE, db_bulk=_BULK),
    }


def _bad_replicas() -> dict[str, Pass]:
    handler = _beating("necromancer")

    def one_pass() -> object:
        # It remembers for ten minutes how many bad replicas there are; we know that there are some.
        necromancer.REGION.delete("bad_replicas_backlog")
        return necromancer.run_once(handler, bulk=_BULK)

    return {"necromancer": one_pass}


def _ending() -> dict[str, Pass]:
    every_rse: dict[str, Any] = {"rses": [], "include_rses": None, "exclude_rses": None}
    return {
        "undertaker": partial(undertaker.undertaker, once=True, chunk_size=100),
        "reaper": partial(reaper.reaper, **every_rse, once=True, chunk_size=_BULK),
    }


def _abacus() -> dict[str, Pass]:
    handler = _beating("abacus-collection-replica")
    return {
        "abacus-rse": partial(rse.rse_update, once=True),
        "abacus-account": partial(account.account_update, once=True),
        "abacus-collection-replica": partial(
            collection_replica.run_once, limit=_BULK, heartbeat_handler=handler
        ),
    }


def _hermes() -> dict[str, Pass]:
    handler = _beating("hermes")
    return {"hermes": partial(hermes.run_once, bulk=_BULK, heartbeat_handler=handler)}
