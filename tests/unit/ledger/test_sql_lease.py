"""One run of a campaign at a time: refused, waited for, taken over, and fenced off."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from tests.ledger_databases import Location, clock, location, open_database

from rucio_inject.domain.errors import Interrupted, LedgerError
from rucio_inject.domain.injection import FileState
from rucio_inject.ledger import holder
from rucio_inject.ledger.engine import Database
from rucio_inject.ledger.holder import Holder, is_gone, this_process
from rucio_inject.ledger.lease import LEASE_SECONDS, Lease
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.ledger.tables import leases
from rucio_inject.testing.contracts.ledger import FILE, SIBLING, begun, found, life
from rucio_inject.testing.fake_clock import START, FakeClock

__all__ = ["clock", "location", "open_database"]

Change = Callable[..., None]

FAR_AWAY = 4_000_000_000_000_000
"""A moment, in microseconds since 1970, that no clock here has come to."""


@pytest.fixture
def ledger(location: Location, clock: FakeClock) -> SqlLedger:
    """A ledger that is not open, with one file in it."""
    made = SqlLedger(location, "magic", clock=clock)
    with made:
        made.record([begun(), found(FILE)])
    return made


@pytest.fixture
def change(
    location: Location, ledger: SqlLedger, open_database: Callable[[Location], Database]
) -> Change:
    """Changes the lease in the database, as another machine would."""
    database = open_database(location)

    def change(**values: Any) -> None:
        with database.writing() as connection:
            assert connection.execute(update(leases).values(**values)).rowcount == 1

    return change


@pytest.fixture
def held_elsewhere(
    location: Location, ledger: SqlLedger, open_database: Callable[[Location], Database]
) -> None:
    """A lease of a process on another machine, which seems to last for ever."""
    with open_database(location).writing() as connection:
        connection.execute(
            insert(leases).values(
                campaign=1,
                token="theirs",
                holder="process 7 on far by jo",
                place="far",
                process="7 1",
                acquired_at=0,
                expires_at=FAR_AWAY,
            )
        )


def refused(ledger: SqlLedger) -> LedgerError:
    """Why a ledger cannot be opened."""
    with pytest.raises(LedgerError) as caught, ledger:
        pass
    return caught.value


def test_the_holder_and_the_times_are_named(
    ledger: SqlLedger, location: Location, clock: FakeClock
) -> None:
    with ledger:
        error = refused(SqlLedger(location, "magic", clock=clock))
        assert f"in use by {this_process().name} since 2" in error.message
        assert f"process {os.getpid()} on " in error.message
        if isinstance(location, Path):
            ends = START + timedelta(seconds=LEASE_SECONDS)
            assert f"until {ends:%Y-%m-%d %H:%M:%S} UTC" in error.message
        ledger.record([found(SIBLING)])


def test_a_lease_of_another_machine_is_kept_until_it_ends(
    ledger: SqlLedger, change: Change, held_elsewhere: None
) -> None:
    assert "in use by process 7 on far by jo" in refused(ledger).message
    change(expires_at=1)
    with ledger:
        ledger.record([found(SIBLING)])


def test_a_lease_ends_when_its_time_has_passed(
    ledger: SqlLedger, change: Change, location: Location
) -> None:
    later = FakeClock()
    with ledger:
        change(place="far")
        second = SqlLedger(location, "magic", clock=later)
        later.advance(LEASE_SECONDS - 1)
        refused(second)
        if not isinstance(location, Path):
            return  # the server's clock counts, and nobody sets it here
        later.advance(1)
        with second:
            assert second.cycle == 1


@pytest.mark.parametrize(
    "process", [f"{os.getpid()} 1", "4194999 5"], ids=["another with its pid", "none"]
)
def test_a_lease_of_a_process_that_is_gone_is_free_at_once(
    ledger: SqlLedger, change: Change, held_elsewhere: None, process: str
) -> None:
    change(place=this_process().place, process=process)
    with ledger:
        ledger.record([found(SIBLING)])


def test_a_run_that_was_taken_over_writes_nothing(
    ledger: SqlLedger, change: Change, location: Location, clock: FakeClock
) -> None:
    with ledger:
        change(expires_at=1)
        with SqlLedger(location, "magic", clock=clock) as second:
            with pytest.raises(LedgerError, match=r"taken over by process \d+ on ") as caught:
                ledger.record([found(SIBLING)])
            assert "may write no more" in caught.value.message
            with pytest.raises(LedgerError, match="taken over"):
                ledger.forget(FILE)
            assert second.file(SIBLING) is None
            second.record([life(FILE)[0]])
            # Going, the first one must not take the second one's lease along.
            ledger.__exit__(None, None, None)
            second.record(life(FILE)[1:3])
            assert second.counts() == {FileState.UPLOADED: 1}


def test_a_lease_that_ended_and_was_not_taken_is_ours_still(
    ledger: SqlLedger, change: Change, location: Location, clock: FakeClock
) -> None:
    with ledger:
        change(expires_at=1)
        clock.advance(3600)
        ledger.record([found(SIBLING)])
        # And now it lasts again.
        refused(SqlLedger(location, "magic", clock=clock))


def test_a_lease_is_given_back(
    ledger: SqlLedger, location: Location, open_database: Callable[[Location], Database]
) -> None:
    with pytest.raises(RuntimeError), ledger:
        raise RuntimeError
    with open_database(location).reading() as connection:
        assert connection.execute(select(leases)).all() == []


def test_waiting_until_the_holder_lets_go(
    ledger: SqlLedger, location: Location, clock: FakeClock
) -> None:
    ledger.__enter__()
    waited = []

    def pass_by() -> None:
        waited.append(clock.monotonic())
        if len(waited) == 3:
            ledger.__exit__(None, None, None)

    clock.on_passing(pass_by)
    with SqlLedger(location, "magic", clock=clock, wait=30) as second:
        assert second.cycle == 1
    assert len(waited) == 3


def test_waiting_in_vain(
    location: Location, ledger: SqlLedger, held_elsewhere: None, clock: FakeClock
) -> None:
    error = refused(SqlLedger(location, "magic", clock=clock, wait=10))
    assert "in use by process 7 on far" in error.message
    assert clock.monotonic() == 10


def test_who_waits_believes_no_clock(
    location: Location, ledger: SqlLedger, held_elsewhere: None, clock: FakeClock
) -> None:
    # The lease's end is years away, but it was not renewed for as long as a lease lasts.
    with SqlLedger(location, "magic", clock=clock, wait=LEASE_SECONDS + 5) as second:
        second.record([found(SIBLING)])
    assert clock.monotonic() == LEASE_SECONDS


def test_a_lease_that_is_renewed_is_not_taken(
    location: Location, ledger: SqlLedger, change: Change, held_elsewhere: None, clock: FakeClock
) -> None:
    ends = iter(range(FAR_AWAY, FAR_AWAY + 1000))
    clock.on_passing(lambda: change(expires_at=next(ends)))
    refused(SqlLedger(location, "magic", clock=clock, wait=1.5 * LEASE_SECONDS))
    assert clock.monotonic() == 1.5 * LEASE_SECONDS


def test_who_waits_can_be_stopped(
    location: Location, ledger: SqlLedger, held_elsewhere: None, clock: FakeClock
) -> None:
    clock.stop()
    with pytest.raises(Interrupted), SqlLedger(location, "magic", clock=clock, wait=10):
        pass


def test_a_lease_is_renewed_beside_the_work(
    location: Location,
    ledger: SqlLedger,
    change: Change,
    open_database: Callable[[Location], Database],
    clock: FakeClock,
) -> None:
    database = open_database(location)
    renewed = threading.Event()
    lease = Lease(database, 1, clock, seconds=0.03)
    real = lease.renew

    def renew() -> None:
        real()
        renewed.set()

    lease.renew = renew  # type: ignore[method-assign]
    lease.acquire()
    try:
        change(expires_at=1)
        # The first may have been under way before the change; the second began after it.
        for _ in range(2):
            renewed.clear()
            assert renewed.wait(300)
        with database.reading() as connection:
            assert connection.execute(select(leases.c.expires_at)).scalar_one() > 1
        # A lease that is lost ends nothing but the writes.
        change(token="theirs")
    finally:
        lease.release()
    with database.reading() as connection:
        assert connection.execute(select(leases.c.token)).scalar_one() == "theirs"


def test_a_process_is_known_by_its_start_and_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    us = this_process()
    assert not is_gone(us)
    assert is_gone(Holder(us.name, us.place, us.process + "1"))
    assert not is_gone(Holder(us.name, f"{us.place} elsewhere", us.process + "1"))
    monkeypatch.setattr(holder, "_place", lambda: "")
    assert not is_gone(Holder(us.name, "", us.process + "1"))


def test_a_zombie_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    them = Holder("", this_process().place, f"{child.pid} {holder._started(child.pid)}")
    assert not is_gone(them)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(them)
    child.communicate()
    assert is_gone(them)


def test_a_process_that_is_hidden_is_not_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    us = this_process()
    monkeypatch.setattr(holder, "_place", lambda: us.place)
    monkeypatch.setattr(holder, "_PROC", tmp_path)
    assert not is_gone(us)
