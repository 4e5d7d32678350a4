"""What Rucio's client is asked for rules: few questions, and the right options."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from rucio_inject.domain.did import DID
from rucio_inject.domain.rule import RuleRequest
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

    def add_replication_rule(self, **options: Any) -> list[str]:
        self.asked.append(("add", options))
        return [f"rule {number}" for number in range(len(options["dids"]))]

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


def test_a_rule_that_holds_brings_nothing_and_needs_no_rse_that_is_open(
    client: Client, rules: RucioRules
) -> None:
    """Rucio refuses one to an RSE that nobody may write to, unless it is told to overlook that."""
    assert rules.hold(FILES[:2], "ORIGIN", "a") == {FILES[0]: "rule 0", FILES[1]: "rule 1"}
    rules.add_rules(FILES[:1], RuleRequest("TIER"), "a")
    options = ("rse_expression", "source_replica_expression", "ignore_availability")
    asked = [tuple(told[name] for name in options) for _, told in client.asked]
    assert asked == [("ORIGIN", "ORIGIN", True), ("TIER", None, False)]
