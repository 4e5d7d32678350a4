"""How long the page takes until something is seen, in a real browser:

    python -m benchmarks.web [--files 10000] [--cycles 720] [--json web.json]

A ledger of hourly cycles for a month, the last one of many files, and the counts of its four RSEs,
one a second while a cycle went on. Each page is opened several times, in a browser that has kept
nothing. Times are the browser's own (performance API): until the answer begins, until the first
paint, until the figure is drawn and the matrix is there. The first opening is told apart: the
server has read nothing until then.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser, Page, sync_playwright

from rucio_inject.clock import SystemClock
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.monitor.series import Series
from rucio_inject.ports.board import Posted
from rucio_inject.readings.ledger_board import LedgerBoard
from rucio_inject.testing.scenes import START, Scene, month
from rucio_inject.web.serving import Listening, PageServer

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
TARGET = 1.0
HOURS = 720
NAME = "magic"
MEASURED = """() => {
  const [visit] = performance.getEntriesByType("navigation");
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  return {answer: visit.responseStart, paint: paint ? paint.startTime : null};
}"""
FIGURE = "() => Number(document.getElementById('figure').dataset.points) > 0"
MATRIX = "() => document.querySelector('#passage table') !== null"


@dataclass(frozen=True)
class Opening:
    """One opening of a page, in seconds."""

    page: str
    answer: float
    paint: float
    whole: float


def main() -> None:
    """Make the ledger, open the pages, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--files", type=int, default=10_000, help="in the last cycle")
    parser.add_argument(
        "--cycles",
        type=int,
        default=HOURS,
        choices=range(1, HOURS + 1),
        metavar="N",
        help=f"on record before it, one an hour; counts are always of {HOURS}",
    )
    parser.add_argument("--times", type=int, default=5, help="that each page is opened")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ri-web-") as folder:
        posted = Posted(NAME, Path(folder, "magic.db"), Path(folder, "counts.jsonl"), "PIC-DCACHE")
        begun = time.monotonic()
        samples = _make(posted, chosen.files, chosen.cycles)
        print(f"made in {time.monotonic() - begun:.0f} s: {chosen.cycles} cycles of 14 files, one")
        print(f"of {chosen.files:,}; {samples:,} counts\n")
        openings = _openings(posted, chosen.times)
    _tell(openings)
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(one) for one in openings], indent=2))


def _make(posted: Posted, files: int, cycles: int) -> int:
    """The ledger, with the last cycles of a month and one of many files; and the counts of all of
    the month. How many counts."""
    hourly = list(month(HOURS, trouble=(HOURS // 2, HOURS - 1)))
    last = Scene(HOURS + 1, START + timedelta(hours=HOURS), files=files, stuck=20, failed=12)
    told = 0
    for scene in [*hourly, last]:
        counts = list(scene.counts())
        Series(posted.series).append(counts)
        told += len(counts)
    with SqlLedger(posted.ledger, NAME, clock=SystemClock()) as ledger:
        for scene in [*hourly[HOURS - cycles :], last]:
            for facts in scene.facts():
                ledger.record(facts)
    return told


def _openings(posted: Posted, times: int) -> list[Opening]:
    found = []
    clock = SystemClock()
    pages: list[tuple[str, str, tuple[str, ...]]] = [
        ("campaign", f"/c/{NAME}", (FIGURE, MATRIX)),
        ("campaigns", "/", ()),
        ("files", f"/c/{NAME}/files", ()),
        ("search", f"/c/{NAME}/files?q=36721001", ()),
        ("quarantine", f"/c/{NAME}/quarantine", ()),
    ]
    with (
        LedgerBoard([posted], clock) as board,
        PageServer(board, Listening(port=0), clock) as server,
        _browser() as browser,
    ):
        for name, path, parts in pages:
            for number in range(times):
                with _page(browser, server) as go:
                    which = f"{name}, first time" if number == 0 and name == "campaign" else name
                    found.append(_opened(which, go, path, parts))
    return found


def _opened(name: str, go: Callable[[str], Page], path: str, parts: tuple[str, ...]) -> Opening:
    page = go(path)
    for part in parts:
        page.wait_for_function(part, polling=5)
    whole = page.evaluate("() => performance.now()")
    measured = page.evaluate(MEASURED)
    return Opening(name, measured["answer"] / 1000, measured["paint"] / 1000, whole / 1000)


@contextmanager
def _browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def _page(browser: Browser, server: PageServer) -> Iterator[Callable[[str], Page]]:
    """Opens a page of the site in a browser that has kept nothing but the sign-in."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        # By a request, so that no file of the page is kept from the way in.
        token = (server.sign_in_url or "").partition("#token=")[2]
        context.request.post(f"{server.url}sign-in", form={"token": token})
        page = context.new_page()

        def go(path: str) -> Page:
            page.goto(server.url.rstrip("/") + path)
            page.wait_for_function(
                "() => performance.getEntriesByName('first-contentful-paint').length"
            )
            return page

        yield go


def _tell(openings: list[Opening]) -> None:
    print(f"{'page':<24}{'answer':>10}{'first paint':>14}{'whole':>10}   (median; worst paint)")
    for name in dict.fromkeys(one.page for one in openings):
        these = [one for one in openings if one.page == name]
        paints = [one.paint for one in these]
        answer, whole = median(o.answer for o in these), median(o.whole for o in these)
        line = f"{name:<24}{answer:>8.3f} s{median(paints):>12.3f} s{whole:>8.3f} s"
        print(f"{line}   {max(paints):.3f} s")
    worst = max(one.paint for one in openings)
    print(f"\nfirst paint at most {TARGET:.0f} s: {'yes' if worst <= TARGET else 'NO'}")


if __name__ == "__main__":
    main()
