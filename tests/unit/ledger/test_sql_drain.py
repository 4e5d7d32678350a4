"""A drain is ordered from outside, while a run holds the ledger or not, on both databases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from tests.injection_world import campaign_keys
from tests.ledger_databases import Location, clock, location, open_database

from rucio_inject.cli.main import main
from rucio_inject.domain.errors import LedgerError
from rucio_inject.domain.facts import DrainOrdered
from rucio_inject.ledger.drain import order_drain
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.testing.contracts.ledger import FILE, NOON, begun, found, life
from rucio_inject.testing.fake_clock import FakeClock

__all__ = ["clock", "location", "open_database"]

ON = DrainOrdered(at=NOON, on=True, by="me on here", reason="new disks")
OFF = DrainOrdered(at=NOON, on=False, by="you on there")


def test_a_run_that_holds_the_ledger_sees_the_order_and_goes_on(
    location: Location, clock: FakeClock
) -> None:
    with SqlLedger(location, "magic", clock=clock) as ledger:
        ledger.record([begun(), found(FILE)])
        assert order_drain(location, "magic", ON)
        assert ledger.drain == ON
        # Who ordered it needs no lease, and takes none away.
        ledger.record(life(FILE))
        assert order_drain(location, "magic", OFF)
        assert ledger.drain is None


def test_an_order_that_is_given_already_changes_nothing(
    location: Location, clock: FakeClock
) -> None:
    with SqlLedger(location, "magic", clock=clock) as ledger:
        assert not order_drain(location, "magic", OFF)
        assert order_drain(location, "magic", ON)
        assert not order_drain(location, "magic", DrainOrdered(at=NOON, on=True, by="late"))
        assert ledger.drain == ON


def test_a_campaign_drains_alone(location: Location, clock: FakeClock) -> None:
    for name in ("magic", "lst1"):
        with SqlLedger(location, name, clock=clock):
            pass
    order_drain(location, "magic", ON)
    with SqlLedger(location, "lst1", clock=clock) as ledger:
        assert ledger.drain is None
    with pytest.raises(LedgerError, match="holds no campaign hess"):
        order_drain(location, "hess", ON)


@pytest.fixture
def campaign(location: Location, tmp_path: Path, clock: FakeClock) -> Path:
    """A campaign that was begun, with its ledger in the database."""
    path = tmp_path / "magic.yaml"
    keys = campaign_keys(tmp_path / "out", campaign="magic", ledger=str(location))
    with path.open("w") as file:
        YAML().dump(keys, file)
    with SqlLedger(location, "magic", clock=clock) as ledger:
        ledger.record([begun(), found(FILE)])
    return path


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_the_command_drains_and_status_shows_it(
    campaign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = told(capsys, "drain", "--reason", "new disks", str(campaign))
    assert "magic is drained, since " in text
    assert text.endswith(": new disks\n")
    assert "already drained" in told(capsys, "drain", str(campaign))
    status = told(capsys, "status", str(campaign))
    assert "drained       since " in status
    assert "drain --off" in status
    found_: dict[str, Any] = json.loads(told(capsys, "status", "--json", str(campaign)))
    assert found_["drained"]["reason"] == "new disks"
    off: dict[str, Any] = json.loads(told(capsys, "drain", "--off", "--json", str(campaign)))
    assert (off["changed"], off["drained"]) == (True, None)
    assert "drained" not in told(capsys, "status", str(campaign)).partition("last event")[0]


def test_what_was_never_begun_cannot_be_drained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "magic.yaml"
    with path.open("w") as file:
        YAML().dump(campaign_keys(tmp_path / "out"), file)
    with pytest.raises(SystemExit) as ended:
        main(["drain", str(path)])
    assert ended.value.code == 1
    assert "is not on record" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
