"""The page as people see it, in a real browser."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect
from tests.web.browser import Visit, visit
from tests.web.made import TOKEN, Shown

from rucio_inject.clock import SystemClock
from rucio_inject.domain import facts as f
from rucio_inject.domain.injection import FileState
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.monitor.series import Series
from rucio_inject.testing.scenes import START, Scene

pytestmark = pytest.mark.xdist_group("web")

PAGES = ("/", "/c/magic", "/c/magic?cycle=2", "/c/magic/files", "/c/magic/quarantine")


def test_the_printed_token_signs_in_and_out(browser: Browser, month_shown: Shown) -> None:
    with visit(browser, month_shown.url) as guest:
        guest.go("/c/magic")
        expect(guest.page.get_by_role("heading", name="Sign in")).to_be_visible()
        guest.page.get_by_label("Token").fill(TOKEN)
        guest.page.get_by_role("button", name="Sign in").click()
        expect(guest.page.get_by_role("heading", name="Campaigns")).to_be_visible()
        cookie = guest.page.context.cookies()[0]
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert TOKEN not in guest.page.content()
        guest.page.get_by_role("button", name="Sign out").click()
        expect(guest.page.get_by_role("heading", name="Sign in")).to_be_visible()
        guest.go("/")
        expect(guest.page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_another_token_does_not(browser: Browser, month_shown: Shown) -> None:
    with visit(browser, month_shown.url) as guest:
        guest.go("/sign-in")
        guest.page.get_by_label("Token").fill("another")
        guest.page.get_by_role("button", name="Sign in").click()
        expect(guest.page.get_by_role("alert")).to_contain_text("not the token")
        assert guest.page.context.cookies() == []
        # The browser tells of the 403 that it was answered, and that is all.
        assert [problem.partition(" (")[0] for problem in guest.complaints(1)] == [
            "console: Failed to load resource: the server responded with a status of 403"
        ]


def test_campaigns_are_seen_at_a_glance(visitor: Visit) -> None:
    magic = visitor.page.get_by_role("article", name="magic")
    expect(magic).to_contain_text("2 set aside")
    expect(magic).to_contain_text("rules stuck")
    expect(magic.get_by_role("link", name="cycle 2, files set aside")).to_be_visible()
    never = visitor.page.get_by_role("article", name="never-run")
    expect(never.get_by_role("alert")).to_contain_text("run the campaign first")


def test_a_campaign_shows_funnel_rules_matrix_and_cycles(visitor: Visit) -> None:
    visitor.page.get_by_role("link", name="magic", exact=True).click()
    funnel = visitor.page.get_by_role("region", name="From found to gone")
    expect(funnel.get_by_role("listitem").first).to_contain_text("70")
    expect(funnel).to_contain_text("1 set aside")
    rules = visitor.page.get_by_role("region", name="Rules")
    expect(rules).to_contain_text("507 Insufficient Storage")
    matrix = visitor.page.get_by_role("region", name="From RSE to RSE")
    expect(matrix).to_contain_text("3 held up")
    expect(matrix).to_contain_text("p95")
    expect(matrix.get_by_role("row", name="proof")).to_contain_text("13.3")
    cycles = visitor.page.get_by_role("region", name="Cycles")
    cycles.get_by_role("link", name="2", exact=True).click()
    expect(funnel.get_by_role("listitem").first).to_contain_text("14")


def test_figure_1_is_drawn_and_tells_its_counts(visitor: Visit) -> None:
    visitor.go("/c/magic?cycle=3")
    figure = visitor.page.locator("#figure")
    expect(figure.locator("canvas")).to_be_visible()
    # Of two figures, or more, and above 20.
    expect(figure).to_have_attribute("data-points", re.compile(r"^(2[1-9]|[3-9]\d|\d{3,})$"))
    counts = visitor.page.get_by_role("table", name="Last counts of each RSE")
    expect(counts.get_by_role("row")).to_have_count(5)
    expect(counts.get_by_role("row").nth(1)).to_contain_text("PIC-DCACHE")
    visitor.page.get_by_role("button", name="Volume").click()
    expect(visitor.page.get_by_role("button", name="Volume")).to_have_attribute(
        "aria-pressed", "true"
    )
    visitor.page.get_by_role("button", name="30 d").click()
    expect(figure.locator("canvas")).to_be_visible()


def test_figure_1_grows_and_the_funnel_moves_while_a_run_goes_on(
    browser: Browser, own_shown: Shown
) -> None:
    scene = Scene(2, START + timedelta(hours=1), files=5, ends=False)
    posted = own_shown.posted
    with visit(browser, own_shown.url) as watcher:
        watcher.sign_in()
        watcher.go("/c/magic")
        expect(watcher.page.get_by_role("status").first).to_have_text("live")
        expect(watcher.page.locator("#figure canvas")).to_be_visible()
        before = int(watcher.page.locator("#figure").get_attribute("data-points") or 0)
        with SqlLedger(posted.ledger, posted.name, clock=SystemClock()) as ledger:
            for facts in scene.facts():
                ledger.record(facts)
            Series(posted.series).append(list(scene.counts(until=20)))
            expect(watcher.page.locator(".tiles")).to_contain_text("running")
        expect(watcher.page.locator(".funnel li").first).to_contain_text("5")
        watcher.page.wait_for_function(
            # A function: an expression would be given to eval(), which the page's policy forbids.
            f"() => document.getElementById('figure').dataset.points > {before}"
        )


def test_a_file_is_found_as_its_name_is_typed_and_tells_its_story(visitor: Visit) -> None:
    visitor.go("/c/magic/files")
    visitor.page.get_by_label("Name or dataset").press_sequentially("36004001.003", delay=20)
    table = visitor.page.locator("table.files")
    expect(table.get_by_role("row")).to_have_count(2)
    expect(visitor.page).to_have_url(re.compile("q=36004001.003"))
    table.get_by_role("link").click()
    expect(visitor.page.get_by_role("region", name="What happened")).to_contain_text("verified")
    expect(visitor.page.get_by_role("region", name="Replicas")).to_contain_text("PIC-DCACHE")
    expect(visitor.page.get_by_role("region", name="Its dataset and its rules")).to_contain_text(
        "STUCK"
    )


def test_files_are_chosen_by_state(visitor: Visit) -> None:
    visitor.go("/c/magic/files")
    visitor.page.get_by_label("State").select_option("QUARANTINED")
    expect(visitor.page.locator(".total")).to_have_text("4\u00a0files")
    expect(visitor.page.locator("table.files")).to_contain_text("checksum-mismatch")


def test_the_retry_button_lets_the_chosen_files_go_on(browser: Browser, own_shown: Shown) -> None:
    posted = own_shown.posted
    with visit(browser, own_shown.url) as operator:
        operator.sign_in()
        operator.go("/c/magic/quarantine")
        boxes = operator.page.locator('input[name="did"]')
        expect(boxes).to_have_count(4)
        boxes.first.uncheck()
        operator.page.get_by_role("button", name="Retry the chosen files").click()
        expect(operator.page.get_by_role("status").last).to_contain_text("3\u00a0files go on")
        expect(boxes).to_have_count(1)
    with SqlLedger(posted.ledger, posted.name, clock=SystemClock(), reading=True) as ledger:
        assert ledger.counts()[FileState.QUARANTINED] == 1


def test_a_retry_while_a_run_goes_on_is_refused_with_its_holder(
    browser: Browser, own_shown: Shown
) -> None:
    posted = own_shown.posted
    with (
        SqlLedger(posted.ledger, posted.name, clock=SystemClock()),
        visit(browser, own_shown.url) as operator,
    ):
        operator.sign_in()
        operator.go("/c/magic/quarantine")
        operator.page.get_by_role("button", name="Retry the chosen files").click()
        expect(operator.page.get_by_role("alert")).to_contain_text("process ")
        (told,) = operator.complaints(1)
        assert "409" in told, "the browser tells of the 409"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_can_be_read_by_everybody(browser: Browser, month_shown: Shown, scheme: str) -> None:
    with visit(browser, month_shown.url, color_scheme=scheme) as reader:
        reader.sign_in()
        for path in PAGES:
            reader.go(path)
            expect(reader.page.get_by_role("heading", level=1)).to_be_visible()
            found = Axe().run(reader.page)
            assert found.violations_count == 0, f"{path}: {found.generate_report()}"


def test_colours_follow_the_button_and_are_remembered(visitor: Visit) -> None:
    root = visitor.page.locator("html")
    expect(root).to_have_attribute("data-theme", "auto")
    visitor.page.get_by_role("button", name="Colours: as the system has them").click()
    visitor.page.get_by_role("button", name="Colours: light").click()
    expect(root).to_have_attribute("data-theme", "dark")
    visitor.go("/c/magic")
    expect(root).to_have_attribute("data-theme", "dark")
    paper = visitor.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert paper == "rgb(15, 21, 28)"


def test_a_phone_shows_all_of_a_page(browser: Browser, month_shown: Shown) -> None:
    phone = {"width": 360, "height": 740}
    with visit(browser, month_shown.url, viewport=phone) as reader:
        reader.sign_in()
        for path in PAGES:
            reader.go(path)
            expect(reader.page.get_by_role("heading", level=1)).to_be_visible()
            wide = reader.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= phone["width"], path


def test_names_are_text_and_nothing_else(browser: Browser, own_shown: Shown) -> None:
    posted = own_shown.posted
    scene = Scene(1, files=1)
    name = replace(scene.did(0), name="<img src=x onerror=alert(1)>.root")
    found = next(fact for facts in scene.facts() for fact in facts if isinstance(fact, f.FileFound))
    with SqlLedger(posted.ledger, posted.name, clock=SystemClock()) as ledger:
        ledger.record([replace(found, did=name, path="/data/'\"><script>alert(1)</script>")])
    with visit(browser, own_shown.url) as reader:
        reader.sign_in()
        reader.go("/c/magic/files?q=onerror")
        reader.page.get_by_role("link", name="onerror").click()
        expect(reader.page.get_by_role("heading", level=1)).to_have_text(name.name)
