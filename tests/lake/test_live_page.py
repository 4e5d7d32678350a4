"""The live page while a campaign runs on a real lake, in a real browser."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from tests.lake.campaigns import END, HOLDERS, Bench, campaign
from tests.web.browser import PATIENCE, visit
from tests.web.made import shown

from rucio_inject.cli.exit_codes import ExitCode
from rucio_inject.ports.board import Posted

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("lake")]

NAME = "seen"
# What the storage of the RSE in the first row holds: other tests' files may lie there.
HELD = "Number(document.querySelectorAll('#counts tbody tr:first-child td')[1]?.textContent)"


def test_the_curve_moves_while_files_come_and_go(
    bench: Bench, tmp_path: Path, browser: Browser
) -> None:
    monitor = {"interval": 0.5, "highlight": "PIC-DCACHE"}
    # Long enough for who counts, and who looks, on a busy machine to see them.
    keys = campaign(NAME, 977, monitor=monitor, end={**END, "lifetime": "8s"})
    output = bench.output(NAME)
    posted = Posted(NAME, output / f"{NAME}.db", output / "counts.jsonl", "PIC-DCACHE")
    dcache = bench.lake.paths.storage / "PIC-DCACHE"
    before = sum(path.is_file() for path in dcache.rglob("*"))
    with shown(tmp_path, [posted]) as site, visit(browser, site.url) as seen:
        seen.sign_in()
        expect(seen.page.get_by_role("alert")).to_contain_text("there is no ledger")
        run = subprocess.Popen(
            bench.arguments(keys, "--quiet"), env=bench.environment(), cwd=bench.folder
        )
        try:
            expect(seen.page.get_by_role("article", name=NAME)).to_contain_text(
                "running", timeout=10 * PATIENCE
            )
            seen.go(f"/c/{NAME}")
            figure = seen.page.locator("#figure")
            expect(figure.locator("canvas")).to_be_visible(timeout=10 * PATIENCE)
            seen.page.wait_for_function(f"() => {HELD} >= {before + 2}", timeout=10 * PATIENCE)
            held = seen.page.locator("#counts tbody tr")
            expect(held).to_have_count(len(HOLDERS))
            assert run.poll() is None, "the curve moved only when the run was over"
            # The curve falls again: the rules have ended, and the files with them.
            seen.page.wait_for_function(f"() => {HELD} <= {before}", timeout=10 * PATIENCE)
            assert run.wait(600) == ExitCode.DONE
        finally:
            run.kill()
            run.wait()
        funnel = seen.page.get_by_role("region", name="From found to gone")
        expect(funnel.get_by_role("listitem").last).to_contain_text("2")
        expect(seen.page.locator(".tiles")).to_contain_text("idle")
