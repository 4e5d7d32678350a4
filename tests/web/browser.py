"""A real browser, which complains of whatever a page does wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Route, expect, sync_playwright
from tests.web.made import TOKEN

# A machine that does other things meanwhile is slow, and that is no fault of the page.
PATIENCE = 120_000  # ms
CHROMIUM = "/usr/bin/chromium"
# What the browser says of a font when it comes to drawing seconds after the page was loaded.
LATE = "was preloaded using link preload but not used within a few seconds"
# As root, without a screen, and without looking for its maker's hosts.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def browsing() -> Iterator[Browser]:
    """Debian's Chromium, for as long as the block lasts."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=PATIENCE)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page in a browser of its own, and all that went wrong in it."""

    page: Page
    url: str
    problems: list[str] = field(default_factory=list)

    def sign_in(self) -> None:
        """Sign in as a person does who opens the address that was printed."""
        self.page.goto(f"{self.url}/sign-in#token={TOKEN}")
        self.page.wait_for_url(f"{self.url}/")

    def complaints(self, count: int) -> list[str]:
        """So many things that the browser complains of, as is right: they are no problems. They may
        come later than what is seen."""
        for _ in range(PATIENCE // 50):
            if len(self.problems) >= count:
                break
            self.page.wait_for_timeout(50)
        told = list(self.problems)
        self.problems.clear()
        return told

    def go(self, path: str) -> None:
        """Open a page of the site."""
        self.page.goto(self.url + path)


@contextmanager
def visit(browser: Browser, url: str, **options: Any) -> Iterator[Visit]:
    """Look at a site; at the end nothing may have gone wrong, and nothing left the host."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    visited = Visit(page, url)
    host = urlsplit(url).netloc

    def guarded(route: Route) -> None:
        asked = urlsplit(route.request.url)
        if asked.scheme in {"http", "https"} and asked.netloc != host:
            visited.problems.append(f"asked {asked.netloc}")
            route.abort()
        else:
            route.continue_()

    page.route("**/*", guarded)
    page.on("pageerror", lambda error: visited.problems.append(f"error: {error}"))
    page.on(
        "console",
        lambda told: (
            visited.problems.append(f"console: {told.text} {told.location}")
            if told.type in {"error", "warning"} and LATE not in told.text
            else None
        ),
    )
    yield visited
    context.close()
    assert visited.problems == [], visited.problems
