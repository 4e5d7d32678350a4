"""The room that Rucio leaves an account, as `rucio.core.rse_selector` reckons it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.rucio.fake_rucio import Answer, FakeServer

from rucio_inject.ports import Quota

if TYPE_CHECKING:
    from rucio_inject.rucio.catalogue import RucioCatalogue

ACCOUNT = "/accounts/magic"
INFINITE = float("inf")


def _local(server: FakeServer, *rows: dict[str, Any]) -> None:
    server.answers[f"{ACCOUNT}/usage/local/RSE"] = Answer.stream(*rows)


def _global(server: FakeServer, **limits: tuple[int | float, int, list[str]]) -> None:
    """Limits on RSE expressions: bytes, bytes used, RSEs."""
    server.answers[f"{ACCOUNT}/limits/global"] = Answer.of(
        {name: {"resolved_rses": rses, "limit": limit} for name, (limit, _, rses) in limits.items()}
    )
    server.answers[f"{ACCOUNT}/usage/global"] = Answer.stream(
        *(
            {"rse_expression": name, "bytes": used, "bytes_limit": limit}
            for name, (limit, used, _) in limits.items()
        )
    )


@pytest.fixture
def server(server: FakeServer) -> FakeServer:
    """An account with 60 of 100 bytes left, no global limit, and an RSE without attributes."""
    server.answers[f"{ACCOUNT}/attr/"] = Answer.of([{"key": "country", "value": "es"}])
    server.answers["/rses/RSE/attr/"] = Answer.of({"QOS": "FAST"})
    _local(server, {"rse": "RSE", "bytes": 40, "bytes_limit": 100})
    _global(server)
    return server


def test_a_local_limit(server: FakeServer, catalogue: RucioCatalogue) -> None:
    assert catalogue.quota("magic", "RSE") == Quota("RSE", 100, 40)


def test_no_local_limit_is_no_room(server: FakeServer, catalogue: RucioCatalogue) -> None:
    _local(server)
    assert catalogue.quota("magic", "RSE") == Quota("RSE", 0, 0)


@pytest.mark.parametrize("limit", [INFINITE, -1])
def test_an_infinite_local_limit(
    server: FakeServer, catalogue: RucioCatalogue, limit: float
) -> None:
    _local(server, {"rse": "RSE", "bytes": 40, "bytes_limit": limit})
    assert catalogue.quota("magic", "RSE") == Quota("RSE", None, 40)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"QOS=FAST": (200, 190, ["RSE", "OTHER"])}, Quota("RSE", 200, 190)),
        ({"QOS=FAST": (900, 190, ["RSE", "OTHER"])}, Quota("RSE", 100, 40)),
        ({"QOS=TAPE": (1, 1, ["OTHER"])}, Quota("RSE", 100, 40)),
        ({"QOS=FAST": (INFINITE, 190, ["RSE"])}, Quota("RSE", 100, 40)),
        ({"*": (100, 50, ["RSE"]), "RSE": (60, 30, ["RSE"])}, Quota("RSE", 60, 30)),
        ({"*": (100, 300, ["RSE"])}, Quota("RSE", 100, 300)),
    ],
    ids=["tighter", "wider", "elsewhere", "infinite", "two", "passed"],
)
def test_global_limits(
    server: FakeServer, catalogue: RucioCatalogue, limits: Any, expected: Quota
) -> None:
    _global(server, **limits)
    assert catalogue.quota("magic", "RSE") == expected


def test_a_global_limit_holds_beside_an_infinite_local_one(
    server: FakeServer, catalogue: RucioCatalogue
) -> None:
    _local(server, {"rse": "RSE", "bytes": 40, "bytes_limit": INFINITE})
    _global(server, RSE=(70, 40, ["RSE"]))
    assert catalogue.quota("magic", "RSE") == Quota("RSE", 70, 40)


@pytest.mark.parametrize("value", [True, False, "no"])
def test_an_admin_is_held_to_no_limit(
    server: FakeServer, catalogue: RucioCatalogue, value: object
) -> None:
    server.answers[f"{ACCOUNT}/attr/"] = Answer.of([{"key": "admin", "value": value}])
    _global(server, RSE=(1, 1, ["RSE"]))
    assert not catalogue.held_to_limits("magic")
    assert catalogue.quota("magic", "RSE") == Quota("RSE", None, 40)


def test_a_mock_rse_has_no_limit(server: FakeServer, catalogue: RucioCatalogue) -> None:
    server.answers["/rses/RSE/attr/"] = Answer.of({"mock": True})
    assert catalogue.quota("magic", "RSE") == Quota("RSE", None, 40)


def test_the_accounts_attributes_are_asked_for_once(
    server: FakeServer, catalogue: RucioCatalogue
) -> None:
    for _ in range(3):
        catalogue.quota("magic", "RSE")
        assert catalogue.held_to_limits("magic")
    assert server.asked.count(f"{ACCOUNT}/attr/") == 1
    assert server.asked.count(f"{ACCOUNT}/usage/global") == 0
