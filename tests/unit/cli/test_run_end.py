"""What a run leaves beside its ledger, however it ends."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import update

from rucio_inject.cli import kept, run
from rucio_inject.cli.ledger_look import relocated
from rucio_inject.cli.main import cli
from rucio_inject.clock import SystemClock
from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import DeadlinePassed, InjectError, LedgerError
from rucio_inject.domain.injection import FileRecord
from rucio_inject.domain.story import advance, begin_file
from rucio_inject.factory import Ports
from rucio_inject.ledger.engine import sqlite_database
from rucio_inject.ledger.look import holds_lease
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.ledger.tables import leases
from rucio_inject.ports import Identity
from rucio_inject.steps.prepare import Lake
from rucio_inject.testing.contracts.ledger import FILE, begun, found, life

CAMPAIGN = """\
campaign: magic
scope: magic
source: {kind: directory, path: inbox}
upload: {rse: A}
rules: [{rse_expression: QOS=FAST}]
seed_ledger: seed.json
"""


class BrokenRun:
    """Stands for an Injector whose run ends by an error."""

    error: InjectError
    taken_over = False

    def __init__(self, campaign: Any, ports: Any, ledger: SqlLedger, *_: Any, **__: Any) -> None:
        self._ledger = ledger
        self.folders = SimpleNamespace(
            series=campaign.output_folder / "counts.jsonl",
            figure_1=campaign.output_folder / "figure1.png",
        )
        self.counting_failure = None

    def prepare(self) -> Lake:
        """A lake where all is well."""
        return Lake(Identity("magic", {}), "A", {"QOS=FAST": ("A",)})

    def run(self, lake: Lake) -> None:
        """Record something, and fail."""
        self._ledger.record([begun(), found(FILE), *life(FILE)[:1]])
        if self.taken_over:
            database = sqlite_database(self.folders.series.with_name("magic.db"))
            with database.writing() as connection:
                theirs = {"token": "0" * 32, "process": "1 1", "holder": "another run"}
                connection.execute(update(leases).values(theirs))
            database.close()
        raise self.error

    def draw_figure_1(self, lake: Lake) -> Path:
        """A figure."""
        self.folders.figure_1.write_text("a figure")
        path: Path = self.folders.figure_1
        return path


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A campaign whose run ends by an error."""
    monkeypatch.setattr(run, "rucio_ports", lambda *_, **__: Ports(None, None, None, SystemClock()))  # type: ignore[arg-type]
    monkeypatch.setattr(run, "Injector", BrokenRun)
    monkeypatch.setattr(kept, "find_spec", lambda name: object())
    monkeypatch.setattr(BrokenRun, "error", DeadlinePassed("it took too long"), raising=False)
    path = tmp_path / "c.yaml"
    path.write_text(f"{CAMPAIGN}output: {tmp_path / 'out'}\n")
    return path


def given(campaign: Path) -> Result:
    """The command, as it ends."""
    return CliRunner().invoke(cli, ["run", "--progress", "none", str(campaign)])


def test_what_was_done_until_then_is_written(campaign: Path) -> None:
    assert isinstance(given(campaign).exception, DeadlinePassed)
    seed = campaign.parent / "out" / "seed.json"
    assert list(json.loads(seed.read_text())) == [FILE.name]
    assert seed.stat().st_mode & 0o777 == 0o600
    assert (campaign.parent / "out" / "figure1.png").exists()


@pytest.mark.parametrize("error", [LedgerError("taken over"), DeadlinePassed("it took too long")])
def test_a_run_that_lost_its_lease_writes_no_more(
    campaign: Path, error: InjectError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BrokenRun, "taken_over", True)
    monkeypatch.setattr(BrokenRun, "error", error)
    assert given(campaign).exception is error
    names = {path.name for path in (campaign.parent / "out").iterdir()}
    assert not names & {"seed.json", "figure1.png"}


def test_the_first_error_is_told(campaign: Path) -> None:
    (campaign.parent / "out" / "seed.json").mkdir(parents=True)
    answer = given(campaign)
    assert isinstance(answer.exception, DeadlinePassed)
    assert "also: cannot write " in answer.stderr


def test_the_seed_ledger_takes_no_memory(tmp_path: Path) -> None:
    def many(files: int = 2_000) -> Iterator[FileRecord]:
        for number in range(files):
            record = begin_file(found(DID("magic", f"{number:05}.root")))
            for fact in life(record.did)[:1]:
                assert isinstance(fact, f.FileFact)
                record = advance(record, replace(fact, did=record.did))
            yield record

    seed = tmp_path / "seed.json"
    ledger: Any = SimpleNamespace(files=many, rules=list)
    # What is loaded when it is first needed is not what is asked for here.
    first: Any = SimpleNamespace(files=lambda: many(1), rules=list)
    kept._write_seed(seed, first)
    tracemalloc.start()
    try:
        kept._write_seed(seed, ledger)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(json.loads(seed.read_text())) == 2_000
    assert peak < 500_000


def test_the_lease_is_known_by_its_process(campaign: Path) -> None:
    known = relocated(campaign, None)
    assert not holds_lease(known)
    with SqlLedger(known.ledger_place, "magic", clock=SystemClock()):
        assert holds_lease(known)
    assert not holds_lease(known)
