"""What Rucio's client is asked for rules: few questions, and the right options."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from rucio_inject.domain.did import DID
from rucio_inject.rucio.rules import RucioRules

EXPRESSIONS = {"ORIGIN": "ORIGIN", "TIER": "A|B"}
HELD = {"ORIGIN": "ORIGIN", "TIER": "A"}
FILES = [DID("s", f"f{number}") for number in range(10)]


class Client:
    """Rules `ORIGIN` and `TIER` on ten files; notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def list_associated_rules_for_file(self, *_: str) -> Iterator[dict[str, str]]:
        for rule_id, expression in EXPRESSIONS.items():
            yield {"id": rule_id, "account": "a", "rse_expression": expression}

    def list_rses(self, expression: str) -> Iterator[dict[str, str]]:
        return ({"rse": rse} for rse in expression.split("|"))

    def list_replica_locks(self, rule_id: str) -> Iterator[dict[str, str]]:
        self.asked.append(("locks", rule_id))
        for did in FILES:
            yield {"scope": did.scope, "name": did.name, "rse": HELD[rule_id], "state": "OK"}

    def update_replication_rule(self, rule_id: str, options: dict[str, Any]) -> None:
        self.asked.append((rule_id, options))

    def get_replication_rule(self, rule_id: str) -> dict[str, Any]:
        return {"id": rule_id, "child_rule_id": "child" if rule_id == "parent" else None}


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def rules(client: Client) -> RucioRules:
    session: Any = SimpleNamespace(client=lambda: client)
    return RucioRules(session)


def test_rules_that_are_not_asked_about_cost_nothing(client: Client, rules: RucioRules) -> None:
    """Else each file of a dataset would have all of its locks listed."""
    for did in FILES:
        assert not rules.holders(did, "ORIGIN", but=EXPRESSIONS)
        assert [holder.rule_id for holder in rules.holders(did, "ORIGIN", but={"TIER"})] == [
            "ORIGIN"
        ]
    assert client.asked == []
    assert [holder.rule_id for holder in rules.holders(FILES[0], "A")] == ["TIER"]


def test_a_rule_that_is_kept_purges_no_more(client: Client, rules: RucioRules) -> None:
    """Whoever deletes it later decides that."""
    kept = {"lifetime": None, "purge_replicas": False}
    rules.keep_rule("rule")
    assert client.asked == [("rule", kept)]
    rules.keep_rule("parent")
    assert client.asked[1:] == [("parent", kept), ("parent", {"child_rule_id": None})]
