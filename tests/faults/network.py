"""Faults between the command and Rucio's server."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.faults.field import Field, prove
from tests.faults.proxy import FaultProxy, Kind, Trouble
from tests.faults.work import Job

FILES_FAILED = 3
LATER = 5
SIGN_IN = 6
# Rucio's client makes so many tries of a call by itself; a fault that meets all of them is heard.
ALL_TRIES = 3
# About as many calls as an act makes.
_CALLS = 60
# Seconds: what an odd answer hides is not waited for.
_SHORT = 15


@dataclass(frozen=True, slots=True)
class Net:
    """A plan for a proxy, and what it explains.

    `tries` is how often the command is run while the fault lasts; `timeout` its own option, in
    seconds. `somewhere`: each run first meets no fault for a while, so that faults which a run does
    not survive are spread over all of its calls, and are not all met by the first.
    """

    plan: tuple[Trouble, ...]
    codes: tuple[int, ...] = (LATER,)
    tries: int = 4
    timeout: int | None = None
    somewhere: bool = False


def under(net: Net) -> Callable[[Field], None]:
    """A scenario: a made job in both acts, and a real one, whose requests meet a plan."""

    def play(field: Field) -> None:
        for real in (False, True):
            suffer_and_prove(field, net, real=real)

    return play


def suffer_and_prove(field: Field, net: Net, *, real: bool) -> None:
    """One job whose requests meet a plan, until the plan is lifted."""
    options = () if net.timeout is None else ("--timeout", str(net.timeout))
    job = field.job("net", real=real, options=options)
    with field.watched(job), field.proxied(job) as proxy:
        draw = field.draw(f"net/{real}/{net.plan}")
        _suffer(job, proxy, net, draw, end=False)
        prove(field, job, net.codes, ending=lambda: _suffer(job, proxy, net, draw, end=True))


def _suffer(job: Job, proxy: FaultProxy, net: Net, draw: random.Random, *, end: bool) -> None:
    """Run a job under a plan some times, or until it is done all the same; then lift the fault."""
    proxy.follow(*net.plan)
    for _ in range(net.tries):
        if net.somewhere:
            after = draw.randrange(_CALLS)
            proxy.follow(*(replace(trouble, after=after) for trouble in net.plan))
        if job.run(end=end, deadline=_SHORT).code == 0:
            break
    proxy.follow()


ERRORS = Net((Trouble(Kind.ERROR, 0.3),), tries=6, somewhere=True)
RESETS = Net((Trouble(Kind.RESET, 0.15),))
LOST = Net((Trouble(Kind.LOST, 0.2, path="^(POST|PUT|DELETE)"),))
LOST_FOR_GOOD = Net((Trouble(Kind.LOST, path="^(POST|PUT|DELETE)", limit=ALL_TRIES),), tries=16)
LATE = Net((Trouble(Kind.LATE, 0.08, seconds=3.0),), timeout=2)
CUT = Net((Trouble(Kind.CUT, 0.3),), tries=6, somewhere=True)
# Half a body may end with a line, and passes for fewer of them then.
SHORT = Net((Trouble(Kind.SHORT, 0.3),), codes=(FILES_FAILED, LATER), tries=6, somewhere=True)
FEWER = Net((Trouble(Kind.FEWER, 0.3),), codes=(FILES_FAILED, LATER), tries=6, somewhere=True)
PAGES = Net((Trouble(Kind.PAGE, 0.3),), tries=6, somewhere=True)
TOKENS = Net((Trouble(Kind.EXPIRED, 0.1),), codes=())
EVERYTHING = Net(
    (
        Trouble(Kind.ERROR, 0.03),
        Trouble(Kind.RESET, 0.03),
        Trouble(Kind.LOST, 0.05),
        Trouble(Kind.CUT, 0.03),
        Trouble(Kind.EXPIRED, 0.03),
    ),
    # A token that expires in the last of the client's tries is not renewed any more.
    codes=(LATER, SIGN_IN),
)
