"""What is around a run from cron: it is on record, and people are told."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from rucio_inject.campaign.schema import Campaign
from rucio_inject.cli import surroundings
from rucio_inject.cli.exit_codes import ExitCode
from rucio_inject.cli.own_ledger import own_ledger
from rucio_inject.cli.surroundings import Ties, surrounded, told_if_refused
from rucio_inject.domain import facts as f
from rucio_inject.domain.errors import CatalogueUnavailable, Interrupted, LedgerUnavailable
from rucio_inject.domain.facts import RSECounted
from rucio_inject.factory import Folders
from rucio_inject.ledger import retention
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.ledger.tables import events
from rucio_inject.monitor.series import Series
from rucio_inject.service.history import on_record
from rucio_inject.testing.contracts.ledger import FILE, begun, found, life
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.whole_files import partial_name


def test_a_run_needs_no_extra() -> None:
    program = (
        "import sys, rucio_inject.cli.run, rucio_inject.cli.schedule, rucio_inject.cli.serve; "
        "sys.exit(str({'apscheduler', 'prometheus_client', 'uvicorn'} & set(sys.modules)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert told.stderr.strip() == "set()"


class Hook(HTTPServer):
    """A webhook."""

    def __init__(self) -> None:
        self.got: list[str] = []
        super().__init__(("127.0.0.1", 0), _Take)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self.thread.start()


class _Take(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        """Take a message."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append(json.loads(body)["text"])
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing."""


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A webhook."""
    server = Hook()
    yield server
    server.shutdown()
    server.server_close()
    server.thread.join()


@pytest.fixture
def clock() -> FakeClock:
    """Time."""
    return FakeClock()


def campaign(folder: Path, url: str, **more: Any) -> Campaign:
    """A campaign that tells people of trouble."""
    return Campaign.model_validate(
        {
            "campaign": "magic",
            "scope": "magic",
            "source": {"kind": "mock"},
            "upload": {"rse": "A"},
            "rules": [{"rse_expression": "B"}],
            "output": str(folder),
            "notify": {"webhook": {"url": url}, "group": "0s"},
            **more,
        }
    )


def opened(campaign_: Campaign, clock: FakeClock) -> SqlLedger:
    """Its ledger."""
    return SqlLedger(campaign_.ledger_place, "magic", clock=clock)


def test_a_run_that_fails_is_told_and_the_next_one_that_does_not(
    tmp_path: Path, hook: Hook, clock: FakeClock
) -> None:
    prom = tmp_path / "x.prom"
    wanted = campaign(
        tmp_path, f"http://127.0.0.1:{hook.server_port}/", metrics={"textfile": str(prom)}
    )
    for _ in range(3):
        with (
            pytest.raises(CatalogueUnavailable),
            opened(wanted, clock) as ledger,
            surrounded(wanted, ledger, clock, Ties()),
        ):
            raise CatalogueUnavailable("Rucio is away")
        clock.advance(3600)
        past = on_record(wanted, clock).last
        assert past.ended is not None
        assert (past.ended.code, past.ended.words) == (5, "Rucio is away")
    assert len(hook.got) == 1
    assert "Rucio is away" in hook.got[0]
    assert 'rucio_inject_run_exit_code{campaign="magic"} 5.0' in prom.read_text()
    with (
        opened(wanted, clock) as ledger,
        surrounded(wanted, ledger, clock, Ties()) as around,
    ):
        told = [begun(), found(FILE), *life(FILE)]
        ledger.record(told)
        for onlooker in around.onlookers:
            onlooker.record(told)
        around.record.code, around.record.words = ExitCode.DONE, "done"
    assert len(hook.got) == 2
    assert "is well again" in hook.got[1]
    assert not on_record(wanted, clock).last.cut_off
    assert 'state="GONE"} 1.0' in prom.read_text()


def test_graphite_is_left_to_the_service_that_began_a_run(
    tmp_path: Path, hook: Hook, clock: FakeClock
) -> None:
    reader, writer = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as graphite:
        server = f"127.0.0.1:{graphite.getsockname()[1]}"
        metrics = {"graphite": {"server": server}}
        wanted = campaign(tmp_path, f"http://127.0.0.1:{hook.server_port}/", metrics=metrics)
        graphite.setblocking(False)
        for ties in (Ties(facts=writer), Ties()):
            with pytest.raises(BlockingIOError):
                graphite.accept()
            with opened(wanted, clock) as ledger, surrounded(wanted, ledger, clock, ties) as around:
                around.record.code, around.record.words = ExitCode.DONE, "done"
        connection, _ = graphite.accept()
        connection.setblocking(True)
        with connection, connection.makefile() as lines:
            assert ".rucio_inject.magic.cycle 0 " in lines.read()
    os.close(reader)
    os.close(writer)


def test_a_run_that_was_killed_is_seen_on_record(tmp_path: Path, clock: FakeClock) -> None:
    wanted = campaign(tmp_path, "http://127.0.0.1:1/")
    with opened(wanted, clock) as ledger:
        ledger.record([f.RunBegun(at=clock.now(), process="process 1")])
        # The lease is held by this process, which is at work.
        assert on_record(wanted, clock).holder is not None
    left = on_record(wanted, clock)
    assert left.last.cut_off
    assert left.holder is None


def test_a_run_that_cannot_begin_is_late(tmp_path: Path, hook: Hook, clock: FakeClock) -> None:
    wanted = campaign(tmp_path, f"http://127.0.0.1:{hook.server_port}/")
    with (
        opened(wanted, clock),
        pytest.raises(LedgerUnavailable),
        told_if_refused(wanted, clock),
        own_ledger(wanted, clock, 0),
    ):
        pass
    assert hook.got[0].startswith(":warning: *magic is in trouble: late*")


def test_counts_that_cannot_be_thinned_are_told_and_fail_no_run(
    tmp_path: Path, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = campaign(tmp_path, "http://127.0.0.1:1/")
    counts = Folders(wanted.output_folder).series
    old = clock.now() - timedelta(days=9)
    Series(counts).append([RSECounted(at=old, rse="A", catalogue=None, storage=None)] * 2)
    before = counts.read_bytes()
    # Where the new file would be written, nothing can be.
    partial_name(counts).mkdir()
    with (
        opened(wanted, clock) as ledger,
        surrounded(wanted, ledger, clock, Ties()) as around,
    ):
        around.record.code, around.record.words = ExitCode.DONE, "done"
    assert "old counts are kept: Is a directory" in capsys.readouterr().err
    past = on_record(wanted, clock).last
    assert past.ended is not None
    assert past.ended.code == 0
    assert counts.read_bytes() == before


@pytest.mark.parametrize("code", [ExitCode.DONE, ExitCode.FILES_FAILED, ExitCode.LATER])
def test_what_grows_with_every_run_does_not_grow_for_ever(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, code: ExitCode
) -> None:
    monkeypatch.setattr(retention, "RUNS_KEPT", 6)
    wanted = campaign(tmp_path, "http://127.0.0.1:1/", notify=None)
    series = Series(Folders(wanted.output_folder).series)
    for _ in range(9):
        with (
            suppress(CatalogueUnavailable),
            opened(wanted, clock) as ledger,
            surrounded(wanted, ledger, clock, Ties()) as around,
        ):
            count = RSECounted(at=clock.now(), rse="A", catalogue=None, storage=None)
            series.append([count] * 100)
            around.record.code, around.record.words = code, "as it is"
            if code is ExitCode.LATER:
                raise CatalogueUnavailable("Rucio is away")
        clock.advance(86_400)
    with opened(wanted, clock) as ledger, ledger._database.reading() as connection:
        told = connection.execute(select(func.count()).select_from(events)).scalar_one()
    # Those kept, and the end of the last run.
    assert told == 7
    # Of days before the last two one a minute.
    assert len(series.read()) == 6 + 300


def test_who_stops_a_run_waits_for_no_tidying(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "keep_to_retention", pytest.fail)
    wanted = campaign(tmp_path, "http://127.0.0.1:1/", notify=None)
    with (
        pytest.raises(Interrupted),
        opened(wanted, clock) as ledger,
        surrounded(wanted, ledger, clock, Ties()),
    ):
        raise Interrupted("as asked")


def test_a_webhook_that_is_away_holds_up_nothing(
    tmp_path: Path, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = campaign(tmp_path, "http://127.0.0.1:1/s3cret")
    with (
        opened(wanted, clock) as ledger,
        surrounded(wanted, ledger, clock, Ties()) as around,
    ):
        around.record.code, around.record.words = ExitCode.STUCK, "a rule is STUCK"
    told = capsys.readouterr().err
    assert "not notified: the webhook at 127.0.0.1 cannot be reached" in told
    assert "s3cret" not in told
    assert json.loads((tmp_path / "notified.json").read_text())["the webhook"]["told_at"] is None
