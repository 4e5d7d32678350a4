"""What is told of a ledger, in words that say no more than is known."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.test_status_files import (
    CAMPAIGN,
    campaign,
    invoke,
    ledger_at,
    one,
    refused,
    run,
)

from rucio_inject.cli import audit
from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.rule import RuleState
from rucio_inject.testing.contracts.ledger import FILE, NOON, begun, found, life, rule_facts
from rucio_inject.words.facts import told

__all__ = ["campaign"]


@pytest.fixture
def waiting(tmp_path: Path) -> Path:
    """A campaign with a file that waits, and a rule."""
    path = tmp_path / "w.yaml"
    path.write_text(f"{CAMPAIGN}output: {tmp_path}\n")
    with ledger_at(tmp_path) as ledger:
        ledger.record([begun(), found(FILE), *life(FILE)[:6], rule_facts()[1]])
    return path


def rule_is(folder: Path, state: RuleState, locks: int) -> f.RuleChanged:
    """Rucio shows the rule in a state, with so many locks that are OK."""
    changed = next(fact for fact in rule_facts() if isinstance(fact, f.RuleChanged))
    view = replace(
        changed.view, state=state, locks_ok=locks, locks_replicating=0, locks_stuck=0, error=None
    )
    fact = f.RuleChanged(at=NOON, view=view)
    with ledger_at(folder) as ledger:
        ledger.record([fact])
    return fact


def test_a_rule_that_rucio_has_not_looked_at_is_told_as_such(waiting: Path) -> None:
    assert "INJECT: Rucio has yet to make their locks" in run("status", waiting)
    fact = rule_is(waiting.parent, RuleState.OK, 0)
    text = run("status", waiting)
    assert "1 file replicating all the same" in text
    assert "INJECT" not in text
    assert told(fact) == "OK, without a lock: Rucio has yet to look at the files"
    assert "OK, without a lock" in run("files", "show", waiting, FILE)


def test_a_rule_with_locks_is_told_with_them(waiting: Path) -> None:
    assert told(rule_is(waiting.parent, RuleState.OK, 1)).startswith("OK; locks: 1 OK")


def test_a_cycle_that_was_to_be_analysed_and_was_not_is_not_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"{CAMPAIGN}output: {tmp_path}\naccess: {{analyse: true}}\n")
    with ledger_at(tmp_path) as ledger:
        ledger.record([begun(), found(FILE), *life(FILE)[:10], f.CycleEnded(at=NOON, cycle=1)])
    (what,) = one("status", path, "--json")["next"]
    assert what.startswith("nothing was analysed")
    assert "analyse: false" in what
    with ledger_at(tmp_path) as ledger:
        ledger.record([f.AnalysisMade(at=NOON, files=1, events=2, headline="h", paths=())])
    assert one("status", path, "--json")["next"] == ["nothing: the cycle has come to its end"]


@pytest.mark.parametrize(
    "options", [["--dataset", "nosuch"], ["--state", "gone"], ["--limit", "0"]]
)
def test_an_empty_list_says_so_aside(campaign: Path, options: list[str]) -> None:
    answer = invoke("files", "list", campaign, *options)
    assert answer.stdout == ""
    empty = "" if options[0] == "--limit" else "no file on record is like that\n"
    assert answer.stderr == empty
    assert answer.exit_code == 0


def test_a_file_is_found_by_the_name_of_its_source(campaign: Path) -> None:
    did = DID("magic", "20201026_M1_1ES1959_650.root")
    with ledger_at(campaign.parent) as ledger:
        ledger.record([found(did)])
    for name in ("20201026_M1_1ES1959+650.root", "/data/20201026_M1_1ES1959+650.root"):
        assert one("files", "show", campaign, name, "--json")["did"] == str(did)
    # Also when it is off the record.
    run("files", "forget", campaign, did.name)
    assert "it was forgotten" in run("files", "show", campaign, "20201026_M1_1ES1959+650.root")
    assert "no+ne.root is not on record" in refused("files", "show", campaign, "no+ne.root")


def test_an_import_tells_why_files_are_set_aside(tmp_path: Path) -> None:
    path, seed = tmp_path / "c.yaml", tmp_path / "seed.json"
    path.write_text(f"{CAMPAIGN}output: {tmp_path}/out\n")
    name = "20200203_M1_05089063.001_Y_CrabNebula-W0.40_035.root"
    local = {"path": str(tmp_path / name), "md5": "0" * 32}
    seed.write_text(json.dumps({name: {"Scope": "magic", "Replicated": {"Local": local}}}))
    text = run("ledger", "import", path, seed, "-n")
    assert "set aside  1 file: source-unreadable" in text
    assert f"such as magic:{name}: " in text
    shown: Any = one("ledger", "import", path, seed, "-n", "--json")
    assert [(aside["code"], aside["did"]) for aside in shown["set_aside"]] == [
        ("source-unreadable", f"magic:{name}")
    ]
    assert shown["set_aside"][0]["reason"]


def test_an_audit_tells_a_new_try_without_names_of_ours(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fact = f.CallRetried(
        at=NOON + timedelta(1), call="look_up", reason="cannot look up 6 DIDs: away.", pause=0.9
    )
    audit._mention(fact)
    assert capsys.readouterr().err == "cannot look up 6 DIDs: away: trying again in 0.9 s\n"
