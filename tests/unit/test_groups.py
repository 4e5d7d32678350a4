"""How tests are handed out to several processes."""

from __future__ import annotations

import pytest


@pytest.mark.xdist_group("ledger")
def test_tests_of_a_group_are_handed_out_together(request: pytest.FixtureRequest) -> None:
    """pytest-xdist marks them in their identifiers. Where a pytest takes no notice of that, each
    process starts a lake of its own, and another one of XRootD servers."""
    if request.config.getoption("loadgroup", default=False):
        assert request.node.nodeid.endswith("@ledger")
