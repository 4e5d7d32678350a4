"""One made-up month for all tests of the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from tests.web.browser import Visit, visit
from tests.web.made import Shown, make, posted_in, shown

from rucio_inject.testing.scenes import START, Scene, month


# Not for longer: its threads look at files, which other tests play tricks with.
@pytest.fixture(scope="module")
def month_shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """Three cycles, of which the last is open, with files that are stuck and set aside; and a
    campaign that was never run. Only looked at."""
    folder = tmp_path_factory.mktemp("month")
    posted = posted_in(folder)
    last = Scene(4, START.replace(hour=14), files=70, stuck=3, failed=2, ends=False)
    make(posted, [*month(3, trouble=(2,)), last])
    with shown(folder, [posted, posted_in(folder, "never-run")]) as page:
        yield page


@pytest.fixture
def visitor(browser: Browser, month_shown: Shown) -> Iterator[Visit]:
    """Somebody who is signed in to the made-up month."""
    with visit(browser, month_shown.url) as visited:
        visited.sign_in()
        yield visited


@pytest.fixture
def own_shown(tmp_path: Path) -> Iterator[Shown]:
    """A small campaign that a test may change."""
    posted = posted_in(tmp_path)
    make(posted, [Scene(files=8, failed=4, ends=False)])
    with shown(tmp_path, [posted]) as page:
        yield page
