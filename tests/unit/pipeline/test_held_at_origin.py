"""The rule of an origin has ended, and Rucio's reaper has yet to come: a file whose promised copy
is lost by then gets a rule of its own there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.injection_world import NAMES, World
from tests.unit.pipeline.test_freed_at_origin import (
    DIDS,
    FIRST,
    ORIGIN,
    at_origin,
    freed,
    going,
    origin_rules,
    pass_by,
    pfn,
    sources,
    world_at_origin,
)
from tests.unit.pipeline.test_last_copies import assert_freed, give_end, promised_rules

from rucio_inject.cli.exit_codes import ExitCode, of_outcome
from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import QuotaExceeded
from rucio_inject.domain.injection import FileState, SourceCopy
from rucio_inject.domain.replica import ReplicaState
from rucio_inject.domain.rule import RuleRequest, RuleState
from rucio_inject.testing.lake_values import LakeRule
from rucio_inject.testing.memory_catalogue import MemoryCatalogue
from rucio_inject.testing.memory_daemons import end_rule_now, evaluate, pfn_of
from rucio_inject.testing.memory_lake import Crash

BAD, GOOD, OTHER = DIDS


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two runs at an origin, of which another copy is promised."""
    world = world_at_origin(tmp_path)
    world.changes |= {
        "rules": [{"rse_expression": "PIC-DCACHE"}],
        "replication": {"deadline": "5s"},
    }
    return world


@pytest.fixture
def let_go(world: World) -> World:
    """The origin's rules have ended, and the reaper stays away."""
    world.lake.rses[ORIGIN].unreaped = True
    going(world)
    pass_by(world)
    assert origin_rules(world) == []
    assert sources(world) == {SourceCopy.FREEING}
    assert at_origin(world) == list(NAMES)
    return world


def lose(world: World, did: DID = BAD) -> None:
    """The only promised copy is bad, and Rucio cannot make it anew."""
    world.lake.rses["PIC-DCACHE"].hangs = True
    world.lake.lose(did, "PIC-DCACHE")
    world.lake.declare_bad(did, "PIC-DCACHE")


def take_away(world: World, did: DID = FIRST) -> None:
    """Somebody deletes the promised rule of a dataset, or ours of a file, with what it keeps."""
    for rule_id, rule in list(world.lake.rules.items()):
        if rule.did == did and (did in DIDS or rule.request.rse_expression != ORIGIN):
            rule.purge = True
            end_rule_now(world.lake, rule_id)
    if did not in DIDS:
        world.lake.rses["PIC-DCACHE"].hangs = True
        pass_by(world, 1)


def reap(world: World) -> None:
    """The reaper comes."""
    world.lake.rses[ORIGIN].unreaped = False
    pass_by(world)


def source_of(world: World, did: DID) -> SourceCopy:
    return next(record.source for record in world.files() if record.did == did)


def assert_held(world: World, *dids: DID) -> None:
    """Files have a rule of their own, which does not end, and outlive the reaper."""
    held = {rule.did: (rule.expires_at, rule.account) for rule in origin_rules(world)}
    assert held == dict.fromkeys(dids, (None, "magic"))
    assert {did for did in DIDS if source_of(world, did) is SourceCopy.KEPT} == {*dids}
    reap(world)
    assert at_origin(world) == [did.name for did in dids]


def assert_freed_at_last(world: World) -> None:
    """Rucio makes the copy anew, which is read, and then the file goes, too."""
    world.lake.rses[ORIGIN].unreaped = False
    world.lake.heal("PIC-DCACHE")
    pass_by(world)
    for _ in range(2):
        freed(world)
    assert_freed(world)
    assert origin_rules(world) == []
    assert not world.run().changed


@pytest.mark.parametrize("known", [True, False])
def test_a_file_whose_copy_is_bad_stays_alone(let_go: World, known: bool) -> None:
    """Whether or not an earlier run has seen that the rules had ended."""
    if known:
        let_go.run()
    lose(let_go)
    outcome = let_go.run()
    assert of_outcome(outcome) is ExitCode.FILES_FAILED
    (kept,) = let_go.facts(f.SourceKept)
    assert (kept.did, kept.reason) == (
        BAD,
        f"{BAD} is no longer at PIC-DCACHE: its source is kept",
    )
    assert_held(let_go, BAD)
    let_go.run()
    assert [r.source for r in let_go.files()] == [SourceCopy.KEPT] + [SourceCopy.FREED] * 2
    assert_freed_at_last(let_go)


def test_its_intent_is_on_record_before(let_go: World) -> None:
    lose(let_go)
    let_go.run()
    told = [
        fact
        for witness in let_go.witnesses
        for fact in witness.facts
        if isinstance(fact, f.RuleAsked | f.RuleMade) and fact.dataset == BAD
    ]
    assert [type(fact) for fact in told] == [f.RuleAsked, f.RuleMade]
    assert {fact.request for fact in told} == {RuleRequest(ORIGIN)}
    with let_go.ledger() as ledger:
        assert [rule.state for rule in ledger.rules() if rule.dataset == BAD] == [RuleState.OK]


def test_what_a_rule_of_the_dataset_no_longer_promises(let_go: World) -> None:
    """All of it: each file gets a rule."""
    take_away(let_go)
    let_go.run()
    assert_held(let_go, BAD, GOOD)
    assert_freed_at_last(let_go)


def test_one_that_was_given_an_end_keeps_nothing(let_go: World) -> None:
    give_end(let_go, 600)
    let_go.run()
    # Its end is taken back by then, and the proof was of this run: all may go again.
    assert {rule.expires_at for rule in promised_rules(let_go) if rule.did not in DIDS} == {None}
    assert {fact.did for fact in let_go.facts(f.SourceKept)} == {*DIDS}
    assert_freed_at_last(let_go)


class TestBeforeItIsWaitedFor:
    """The reaper comes, or a rule ends, while a run waits for a copy that was lost."""

    def assert_there(self, world: World) -> None:
        assert set(at_origin(world)) >= {BAD.name, GOOD.name}
        for did in (BAD, GOOD):
            assert source_of(world, did) is SourceCopy.KEPT
        assert_freed_at_last(world)

    def test_the_reaper(self, let_go: World) -> None:
        take_away(let_go)
        let_go.changes["replication"] = {"deadline": "60s"}
        comes: Any = lambda: setattr(let_go.lake.rses[ORIGIN], "unreaped", False)  # noqa: E731
        let_go.clock.on_passing(comes)
        let_go.run()
        self.assert_there(let_go)

    def test_the_end_of_the_rule(self, world: World) -> None:
        going(world)
        take_away(world)
        world.changes["replication"] = {"deadline": "60s"}
        world.run()
        self.assert_there(world)


class TestOnRestart:
    """Rucio is asked what became of what was asked for."""

    @pytest.mark.parametrize("mended", [False, True])
    def test_a_rule_whose_id_never_came_on_record(self, let_go: World, mended: bool) -> None:
        """Also where all is well by then: a rule that nobody knows would keep the file for ever."""
        lose(let_go)
        let_go.lake.crash_after(1, "hold")
        with pytest.raises(Crash):
            let_go.run()
        let_go.lake.no_crash()
        (made,) = origin_rules(let_go)
        assert source_of(let_go, BAD) is SourceCopy.FREEING
        if mended:
            let_go.lake.heal("PIC-DCACHE")
            pass_by(let_go)
        let_go.run()
        assert [rule for rule in origin_rules(let_go) if rule is not made] == []
        assert [fact.adopted for fact in let_go.facts(f.RuleMade) if fact.dataset == BAD] == [False]
        if not mended:
            assert_held(let_go, BAD)
        assert_freed_at_last(let_go)

    @pytest.mark.parametrize("after", ["told", "hold", "look_up", "rules"])
    @pytest.mark.parametrize("times", range(1, 5))
    def test_a_kill_anywhere(self, let_go: World, after: str, times: int) -> None:
        lose(let_go)
        let_go.lake.crash_after(times, after)
        try:
            let_go.run()
        except Crash:
            let_go.lake.no_crash()
            let_go.run()
        let_go.lake.no_crash()
        assert_held(let_go, BAD)
        assert_freed_at_last(let_go)

    def test_a_rule_that_somebody_took_away(self, let_go: World) -> None:
        lose(let_go)
        let_go.run()
        take_away(let_go, BAD)
        let_go.run()
        assert_held(let_go, BAD)
        assert_freed_at_last(let_go)

    def test_a_rule_that_somebody_gave_an_end(self, let_go: World) -> None:
        lose(let_go)
        let_go.run()
        for rule in origin_rules(let_go):
            rule.expires_at, rule.purge = let_go.clock.now(), True
        let_go.run()
        assert_held(let_go, BAD)
        assert_freed_at_last(let_go)


class TestThatCannotBeHeld:
    """It is told, and nothing is brought to the origin."""

    def test_a_refused_rule_is_told_with_what_to_do(
        self, let_go: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refused(*_: object) -> None:
            raise QuotaExceeded("no room for account magic")

        lose(let_go)
        with monkeypatch.context() as patch:
            patch.setattr(let_go.catalogue, "hold", refused)
            outcome = let_go.run()
        assert of_outcome(outcome) is ExitCode.FILES_FAILED
        (failed,) = outcome.failed
        assert (failed.did, failed.state) == (BAD, FileState.QUARANTINED)
        assert failed.failure is not None
        assert "Rucio refuses a rule that would keep it there: no room" in failed.failure.reason
        assert failed.failure.hint is not None
        assert f"rucio rule add --rses {ORIGIN} --copies 1 {BAD}" in failed.failure.hint
        # The next run asks again.
        let_go.run()
        assert_held(let_go, BAD)
        assert_freed_at_last(let_go)

    def test_one_that_the_reaper_has_begun_with(self, let_go: World) -> None:
        lose(let_go)
        let_go.lake.replica(BAD, ORIGIN).state = ReplicaState.BEING_DELETED
        outcome = let_go.run()
        assert origin_rules(let_go) == []
        assert of_outcome(outcome) is ExitCode.FILES_FAILED
        assert outcome.staying[FIRST] == f"{BAD} is on no other RSE any more"

    def test_one_that_goes_in_this_very_moment(
        self, let_go: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And is not brought back, from the copies that are left."""
        lake, real = let_go.lake, let_go.catalogue.hold
        let_go.changes["rules"] = [{"rse_expression": e} for e in ("PIC-DCACHE", "QOS=FAST")]
        lake.rses["LAPP-FAST"].hangs = True

        def too_late(files: Sequence[DID], *where: str) -> Mapping[DID, str]:
            for did in files:
                del lake.files[did].replicas[ORIGIN]
                del lake.rses[ORIGIN].bytes[pfn(did.name)]
            return real(files, *where)

        with monkeypatch.context() as patch:
            patch.setattr(let_go.catalogue, "hold", too_late)
            let_go.run()
        assert [rule.did for rule in origin_rules(let_go) if not rule.purge] == []
        assert let_go.facts(f.SourceKept) == []
        reap(let_go)
        assert not any(pfn_of(ORIGIN, did) in lake.rses[ORIGIN].bytes for did in DIDS)
        lake.heal("LAPP-FAST")
        freed(let_go)
        assert_freed(let_go, "PIC-DCACHE", "LAPP-FAST")


def test_nothing_is_asked_for_while_all_is_as_it_was(
    let_go: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reaper may stay away for weeks: each look asks Rucio little."""
    let_go.run()

    def listed(*_: object) -> None:
        raise AssertionError("locks are dear to list")

    monkeypatch.setattr(MemoryCatalogue, "locks", listed)
    for _ in range(2):
        outcome = let_go.run()
        assert f"Rucio has yet to remove {GOOD} (AVAILABLE)" in outcome.leaving[FIRST]
        assert not outcome.changed
    assert origin_rules(let_go) == []


def test_a_rule_that_somebody_made_for_it_is_not_ours_to_end(let_go: World) -> None:
    """As the hint says, where Rucio had refused us one."""
    lose(let_go)
    theirs = let_go.lake.rules["theirs"] = LakeRule(BAD, RuleRequest(ORIGIN), "magic")
    evaluate(let_go.lake, theirs)
    let_go.run()
    assert_held(let_go, BAD)
    let_go.lake.heal("PIC-DCACHE")
    for _ in range(2):
        outcome = freed(let_go)
    assert outcome.staying == {FIRST: f"its rule at {ORIGIN} was there before this campaign"}
    assert at_origin(let_go) == [BAD.name]
    assert theirs.expires_at is None


def test_a_file_that_was_held_is_kept_where_others_hold_it(let_go: World) -> None:
    """As with a dataset's rule, that is told."""
    lose(let_go)
    let_go.run()
    theirs = let_go.lake.rules["theirs"] = LakeRule(BAD, RuleRequest(ORIGIN), "telescope")
    evaluate(let_go.lake, theirs)
    let_go.lake.heal("PIC-DCACHE")
    reap(let_go)
    for _ in range(2):
        outcome = freed(let_go)
    assert "rule theirs of account telescope" in outcome.staying[FIRST]
    assert at_origin(let_go) == [BAD.name]
    del let_go.lake.rules["theirs"]
    assert_freed_at_last(let_go)
