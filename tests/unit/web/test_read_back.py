"""What the page says of files that a sample left out."""

from __future__ import annotations

from pathlib import Path

from tests.unit.readings.made import NAME, record

from rucio_inject.clock import SystemClock
from rucio_inject.ports.board import Posted
from rucio_inject.readings.ledger_board import LedgerBoard
from rucio_inject.testing.scenes import START, Scene
from rucio_inject.web.gate import Gate
from rucio_inject.web.pages import campaign_values, cards
from rucio_inject.web.site import Site


def test_what_only_the_storage_told_is_not_shown_as_read_back(tmp_path: Path) -> None:
    ledger, clock = tmp_path / "magic.db", SystemClock()
    record(ledger, [Scene(1, files=2), Scene(2, START.replace(hour=12), files=4, sampled=3)])
    posted = Posted(name=NAME, ledger=ledger, series=tmp_path / "counts.jsonl", highlight=None)
    site = Site(LedgerBoard([posted], clock), Gate("token"), clock, "")
    home = site.painter.render("home.html", session=None, now=clock.now(), cards=cards(site))
    page = site.painter.render(
        "campaign.html",
        session=None,
        now=clock.now(),
        is_part=False,
        **campaign_values(site, posted, None),
    )
    site.close()
    assert "25.0\u00a0% <small>3 told by the storage</small>" in home
    assert "4 read back, or told" in home
    assert "<dt>Read back</dt><dd>25.0\u00a0%</dd>" in page
    assert "1 the same everywhere; 3 told by the storage" in page
    assert '<td class="right">1 <small class="soft">+ 3 told</small></td>' in page
    assert '<td class="right">2</td>' in page
