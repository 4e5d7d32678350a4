"""Every scenario: its name, the fault, and how it is played."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.faults import grid, kills, local, network, origin, servers, storages
from tests.faults.field import Field
from tests.faults.lake import UPLOAD
from tests.faults.storages import (
    CHECKSUM,
    ERROR,
    FILES_FAILED,
    LATER,
    STUCK,
    VICTIM,
    blocked,
    nothing_stored,
    others_served,
    poor,
    unmounted,
)


def _always() -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fault and how it is played. `unfit` says why it cannot be played on this machine; `grid`:
    on a lake whose storages are XRootD servers."""

    name: str
    what: str
    play: Callable[[Field], None]
    unfit: Callable[[], str | None] = _always
    grid: bool = False


def _on_grid(name: str, what: str, play: Callable[[Field], None]) -> Scenario:
    return Scenario(name, what, play, _no_servers, grid=True)


def _no_servers() -> str | None:
    return None if shutil.which("xrootd") else "XRootD is not installed (scripts/install-xrootd)"


_WAITS = (ERROR, FILES_FAILED, LATER, STUCK)

SCENARIOS = (
    Scenario("kill", "kill -9 at random moments and requests", kills.at_random),
    Scenario("5xx", "Rucio answers 500, 502, 503", network.under(network.ERRORS)),
    Scenario("resets", "connections are reset", network.under(network.RESETS)),
    Scenario("lost", "changes happen, their answers are lost", network.under(network.LOST)),
    Scenario(
        "lost-for-good",
        "the same for every change, in all of the client's tries",
        network.under(network.LOST_FOR_GOOD),
    ),
    Scenario("time-outs", "answers come too late", network.under(network.LATE)),
    Scenario("cut", "connections end amid a body", network.under(network.CUT)),
    Scenario("short", "half a body passes for a whole one", network.under(network.SHORT)),
    Scenario("fewer", "half a stream passes for a whole one", network.under(network.FEWER)),
    Scenario("pages", "a gateway answers HTML with 200", network.under(network.PAGES)),
    Scenario("tokens", "tokens expire", network.under(network.TOKENS)),
    Scenario("everything", "all of these at once", network.under(network.EVERYTHING)),
    Scenario("server", "Rucio's server is killed", servers.killed("server")),
    Scenario("daemons", "Rucio's daemons are killed", servers.killed("daemons")),
    Scenario("postgres", "PostgreSQL is killed", servers.killed("postgres")),
    Scenario("transfers", "the transfer service is killed", servers.killed("transfers")),
    Scenario("slow-storage", "the transfer service stands still", servers.slow_storage),
    Scenario("slow-server", "Rucio's server stands still", servers.slow_server),
    Scenario(
        "no-write",
        "a destination is blocked for writing",
        storages.before(partial(blocked, rse=VICTIM, what="write"), _WAITS, others_served),
    ),
    Scenario(
        "no-write-midway",
        "the same, when files are uploaded already",
        storages.at_rules(partial(blocked, rse=VICTIM, what="write"), _WAITS, others_served),
    ),
    Scenario(
        "no-upload",
        "the upload RSE is blocked for writing",
        storages.before(partial(blocked, rse=UPLOAD, what="write"), _WAITS, nothing_stored),
    ),
    Scenario(
        "no-read",
        "the upload RSE is blocked for reading",
        storages.before(partial(blocked, rse=UPLOAD, what="read"), _WAITS),
    ),
    Scenario(
        "no-delete",
        "an RSE is blocked for deleting at the end",
        storages.at_the_end(partial(blocked, rse=VICTIM, what="delete"), (LATER,)),
    ),
    Scenario(
        "quota",
        "the quota is spent before anything is uploaded",
        storages.before(partial(poor, rse=VICTIM), (ERROR,)),
    ),
    Scenario(
        "quota-midway",
        "the quota is spent when rules are asked for",
        storages.at_rules(partial(poor, rse=VICTIM), _WAITS, others_served),
    ),
    Scenario(
        "unmounted",
        "a destination's storage is away",
        storages.before(partial(unmounted, rse=VICTIM), _WAITS, others_served),
    ),
    Scenario(
        "unmounted-upload",
        "the upload RSE's storage is away when rules are asked for",
        storages.at_rules(partial(unmounted, rse=UPLOAD), _WAITS),
    ),
    Scenario(
        "unmounted-end",
        "a storage is away when replicas are to end",
        storages.at_the_end(partial(unmounted, rse=VICTIM), (LATER,), storages.remove_dark),
    ),
    Scenario(
        "corrupt",
        "a replica is corrupted; its bytes are put back",
        storages.tampered(storages.corrupt, (CHECKSUM,), declare=False),
    ),
    Scenario(
        "corrupt-bad",
        "a replica is corrupted; it is declared bad, Rucio recovers it",
        storages.tampered(storages.corrupt, (CHECKSUM,), declare=True),
    ),
    Scenario(
        "deleted",
        "a replica is deleted; its bytes are put back",
        storages.tampered(storages.delete, (FILES_FAILED,), declare=False),
    ),
    Scenario(
        "deleted-bad",
        "a replica is deleted; it is declared bad, Rucio recovers it",
        storages.tampered(storages.delete, (FILES_FAILED,), declare=True),
    ),
    Scenario(
        "upload-corrupt",
        "the uploaded replica is corrupted before transfers",
        storages.upload_tampered(storages.corrupt, (CHECKSUM, *_WAITS)),
    ),
    Scenario(
        "upload-deleted",
        "the uploaded replica is deleted before transfers",
        storages.upload_tampered(storages.delete, _WAITS),
    ),
    Scenario("origin-kill", "kill -9 while an origin RSE is proved and freed", kills.at_origin),
    Scenario("origin-server", "Rucio's server is killed amid its freeing", origin.server_killed),
    Scenario(
        "origin-corrupt",
        "a promised copy is corrupted when it is proved; its bytes are put back",
        origin.spoiled(storages.corrupt, storages.CHECKSUM, declare=False),
    ),
    Scenario(
        "origin-deleted",
        "a promised copy is deleted when it is proved; Rucio recovers it",
        origin.spoiled(storages.delete, FILES_FAILED, declare=True),
    ),
    Scenario(
        "origin-bad",
        "a promised copy is declared bad, and cannot be recovered",
        origin.taken(origin.bad),
    ),
    Scenario(
        "origin-rule",
        "a promised rule is deleted with its copies",
        origin.taken(origin.rule_deleted),
    ),
    Scenario(
        "origin-late",
        "all promised copies of a file are lost before Rucio's reaper comes",
        origin.before_the_reaper,
    ),
    Scenario("origin-end", "a promised rule is given an end", origin.rule_ends),
    Scenario("forgotten", "Rucio forgets what it had confirmed", local.forgotten),
    Scenario(
        "porters", "processes that copy are killed, and runs after them", local.porters_killed
    ),
    Scenario("full-disk", "the ledger's disk is full", local.full_disk),
    Scenario("clock", "the clock jumps by days", local.clock_jumps, local.no_faketime),
    Scenario("at-once", "three commands of one campaign at once", local.at_once),
    Scenario("twins", "two ledgers of one campaign at once", local.twins),
    _on_grid(
        "xrootd-upload", "a server is killed amid an upload, and is away", grid.killed_for_long
    ),
    _on_grid("xrootd-restart", "the same, and it is back while the run goes on", grid.killed_under),
    _on_grid("xrootd-copy", "a server is killed while it fetches a file", grid.killed_amid_copy),
    _on_grid("xrootd-proxy", "the proxy expires amid a run", grid.expired),
    _on_grid(
        "xrootd-refused",
        "a destination refuses what is new",
        storages.before(partial(grid.refused, rse=VICTIM), _WAITS, others_served),
    ),
    _on_grid(
        "xrootd-no-upload",
        "the upload RSE refuses what is new",
        storages.before(partial(grid.refused, rse=UPLOAD), (FILES_FAILED,), nothing_stored),
    ),
    _on_grid(
        "xrootd-corrupt",
        "a replica is corrupted; it is declared bad, Rucio recovers it",
        storages.tampered(storages.corrupt, (CHECKSUM,), declare=True),
    ),
    _on_grid(
        "xrootd-deleted",
        "a replica is deleted; it is declared bad, Rucio recovers it",
        storages.tampered(storages.delete, (FILES_FAILED,), declare=True),
    ),
)
