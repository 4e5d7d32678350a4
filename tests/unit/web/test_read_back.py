"""What the page says of files that a sample left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.unit.readings.made import NAME, record

from rucio_inject.clock import SystemClock
from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.facts import Fact, FileMeasured, ReplicaRead
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.ports.board import Posted
from rucio_inject.readings.ledger_board import LedgerBoard
from rucio_inject.readings.stories import story_of
from rucio_inject.testing.scenes import START, Scene
from rucio_inject.web.gate import Gate
from rucio_inject.web.pages import campaign_values, cards
from rucio_inject.web.site import Site

OTHER = Measure(1, "00000001", "0" * 32)


def test_a_file_without_md5_is_the_same_as_what_was_read_of_it(tmp_path: Path) -> None:
    """A storage told its size and adler32; nobody read it before it was copied."""
    scene, place = Scene(files=2, ends=False), tmp_path / "magic.db"
    clock = SystemClock()
    with SqlLedger(place, NAME, clock=clock) as ledger:
        for facts in scene.facts():
            ledger.record([_without_md5(fact) for fact in facts])
        first, odd = (ledger.file(scene.did(number)) for number in range(2))
        assert first is not None
        assert odd is not None
        rse = next(rse for rse, known in odd.replicas.items() if known.read_back)
        other = ReplicaRead(at=scene.at(900), did=odd.did, rse=rse, pfn="p", measure=OTHER)
        ledger.record([other])
    posted = Posted(name=NAME, ledger=place, series=tmp_path / "counts.jsonl", highlight=None)
    site = Site(LedgerBoard([posted], clock), Gate("token"), clock, "")
    look = site.window(posted).look()
    pages = [
        site.painter.render(
            "file.html", session=None, now=clock.now(), posted=posted, story=story_of(look, did)
        )
        for did in (first.did, odd.did)
    ]
    site.close()
    told = [(page.count(">yes</span>"), page.count(">NO</span>")) for page in pages]
    read = sum(known.read_back is not None for known in first.replicas.values())
    assert told == [(read, 0), (read - 1, 1)]
    assert all('md5</dt><dd class="code">\u2013</dd>' in page for page in pages)


def _without_md5(fact: Fact) -> Fact:
    if isinstance(fact, FileMeasured):
        return replace(fact, measure=replace(fact.measure, md5=None))
    return fact


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
