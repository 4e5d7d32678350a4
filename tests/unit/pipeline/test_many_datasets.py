"""What many datasets and files cost: nothing is asked of all for each, nor written for each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.injection_world import MOCK, World, telescope_files

from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import CatalogueUnavailable
from rucio_inject.domain.injection import FileState, RuleRecord, SourceCopy
from rucio_inject.domain.rule import RuleRequest
from rucio_inject.steps.expire import ENDED_AT_ONCE
from rucio_inject.steps.free import PORTION_FILES
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.locks import rules_that_keep
from rucio_inject.steps.organise import Organise, ending_datasets
from rucio_inject.testing.memory_catalogue import MemoryCatalogue
from rucio_inject.testing.memory_ledger import MemoryLedger

MANY = 2 * ENDED_AT_ONCE + 5


class CountingLedger(MemoryLedger):
    """A ledger that counts what it is asked and told."""

    def __init__(self, world: CountingWorld) -> None:
        super().__init__(world.shelf)
        self._world = world

    def rules(self, *, datasets: Collection[DID] | None = None) -> Sequence[RuleRecord]:
        """See the port."""
        self._world.asked_for_all += datasets is None
        return super().rules(datasets=datasets)

    def record(self, facts: Sequence[f.Fact]) -> None:
        """See the port."""
        self._world.told.append([type(fact) for fact in facts])
        super().record(facts)


@dataclass
class CountingWorld(World):
    """A world whose ledgers count: how often they were asked for all rules, and each record."""

    asked_for_all: int = 0
    told: list[list[type[f.Fact]]] = field(default_factory=list)

    def ledger(self) -> CountingLedger:
        """The campaign's ledger, to be opened."""
        return CountingLedger(self)


def world_of(folder: Path, runs: int, **changes: Any) -> CountingWorld:
    """A world in which each of some runs has a file."""
    source = {**MOCK, "runs": runs, "subruns": 1}
    return CountingWorld(folder, {"source": source, **changes})


def test_all_rules_are_asked_for_as_often_for_many_datasets(tmp_path: Path) -> None:
    few, many = (world_of(tmp_path / str(runs), runs) for runs in (1, MANY))
    for world in (few, many):
        world.run()
        world.assert_all_is_gone()
    assert few.asked_for_all == many.asked_for_all


def test_what_is_asked_for_a_few_datasets_is_asked_of_theirs_alone(tmp_path: Path) -> None:
    world = world_of(tmp_path, MANY, end=None)
    world.run()
    files = world.files()
    datasets = sorted({record.dataset for record in files})
    asked_before = world.asked_for_all
    with world.ledger() as ledger:
        journal = Journal(ledger, [], world.clock)
        rules = [RuleRequest("PIC-DCACHE"), RuleRequest("INFN-NA-DPM")]
        organise = Organise(journal, world.catalogue, account=world.lake.account, rules=rules)
        organise.make_early(files[:1])
        assert [rule.dataset for rule in rules_that_keep(ledger, datasets[1:2])[datasets[1]]]
        assert ending_datasets(ledger, datasets[:2]) == frozenset()
    assert world.asked_for_all == asked_before


def test_some_datasets_get_their_end_at_once(tmp_path: Path) -> None:
    world = world_of(tmp_path, MANY)
    world.run()
    ends = [facts for facts in world.told if f.RuleEnding in facts]
    assert [len(facts) for facts in ends] == [80, 80, 20]
    # None of its files may be on record as ending before all of its rules are.
    assert not any(f.FileExpiring in facts for facts in ends)
    assert sum(f.FileExpiring in facts for facts in world.told) == len(ends)


@pytest.mark.parametrize("made", [True, False])
def test_many_sources_go_with_few_writes(tmp_path: Path, made: bool) -> None:
    world = world_of(tmp_path, PORTION_FILES // 2, end=None)
    if not made:
        stem = "20200203_M1_05089063.{:03}_Y_CrabNebula-W0.40_035.root"
        telescope_files(tmp_path / "inbox", [stem.format(n + 1) for n in range(PORTION_FILES // 2)])
        source = {"kind": "directory", "path": str(tmp_path / "inbox"), "free": True}
        world.changes["source"] = source
    world.run()
    assert {record.source for record in world.files()} == {SourceCopy.FREED}
    for kind in (f.SourceFreeing, f.SourceFreed):
        assert [len(facts) for facts in world.told if kind in facts] == [PORTION_FILES // 2]


def test_what_ended_before_rucio_went_away_is_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = world_of(tmp_path, 4)
    end_rule, asked = MemoryCatalogue.end_rule, list[str]()

    def away(self: MemoryCatalogue, rule_id: str, lifetime: int, *child: str) -> None:
        asked.append(rule_id)
        if len(asked) > 9:
            raise CatalogueUnavailable("no answer")
        end_rule(self, rule_id, lifetime, *child)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryCatalogue, "end_rule", away)
        with pytest.raises(CatalogueUnavailable):
            world.run()
    states = [record.state for record in world.files()]
    assert states == [FileState.EXPIRING] * 2 + [FileState.VERIFIED] * 2
    world.run()
    world.assert_all_is_gone()
