"""All campaigns on one page, one of which has a ledger that never answers."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from tests.unit.readings.made import NAME, record

from rucio_inject.clock import SystemClock
from rucio_inject.ports.board import Posted
from rucio_inject.readings.ledger_board import LedgerBoard
from rucio_inject.testing.scenes import Scene
from rucio_inject.web.gate import Gate
from rucio_inject.web.pages import cards
from rucio_inject.web.site import Site


def test_a_ledger_that_never_answers_hides_no_other_campaign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rucio_inject.web.site.PATIENCE", 2.0)
    clock = SystemClock()
    good = Posted(NAME, tmp_path / "magic.db", tmp_path / "counts.jsonl")
    record(good.ledger, [Scene(files=2)])
    with socket.create_server(("127.0.0.1", 0)) as black_hole:
        place = f"postgresql://me@127.0.0.1:{black_hole.getsockname()[1]}/ledgers"
        away = Posted("away", place, tmp_path / "none.jsonl")
        site = Site(LedgerBoard([away, good], clock), Gate("token"), clock, "")
        found, end = cards(site), time.monotonic() + 300
        # The good one, too, may be too slow for one look on a busy machine.
        while found[1]["error"] is not None:
            assert time.monotonic() < end
            found = cards(site)
        assert [card["posted"].name for card in found] == ["away", NAME]
        assert found[0]["error"].message == "its ledger has not answered yet"
        assert found[1]["status"].cycle == 1
        html = site.painter.render("home.html", session=None, now=clock.now(), cards=found)
        assert "its ledger has not answered yet" in html
        black_hole.accept()[0].close()
    site.close()
