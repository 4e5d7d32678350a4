"""Files of an origin RSE: its rules end once all is proved to be in the lake; Rucio frees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.injection_world import HOLDERS, NAMES, SCOPE, World, campaign_keys

from rucio_inject.campaign.schema import Campaign
from rucio_inject.cli.exit_codes import ExitCode, of_outcome
from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID, DIDType
from rucio_inject.domain.errors import CatalogueRefused, LedgerError, NotFound, UsageError
from rucio_inject.domain.injection import FileState, SourceCopy
from rucio_inject.domain.replica import ReplicaState
from rucio_inject.domain.rule import RuleRequest
from rucio_inject.domain.story import advance
from rucio_inject.outcome import Outcome
from rucio_inject.plan import Fate
from rucio_inject.ports import NewFile
from rucio_inject.testing.fake_clock import START
from rucio_inject.testing.lake_values import LakeCollection, LakeRule
from rucio_inject.testing.memory_catalogue import MemoryCatalogue
from rucio_inject.testing.memory_lake import Crash

DIDS = [DID(SCOPE, name) for name in NAMES]
FIRST, SECOND = DID(SCOPE, "05089063"), DID(SCOPE, "05089064")
ORIGIN = "PIC-INJECT"
FREES = {"kind": "rse", "folder": "raw", "free": True, "lifetime": "10s"}


def pfn(name: str) -> str:
    """Where a file lies at the origin."""
    return f"memory://{ORIGIN}/raw/{name}"


def world_at_origin(folder: Path) -> World:
    """Two runs at an origin, which are closed when they are proved."""
    changes = {"end": None, "source": FREES, "naming": {"closing": {"quiet": "1s"}}}
    world = World(folder, changes)
    for name in NAMES:
        world.lake.rses[ORIGIN].bytes[pfn(name)] = f"events of {name}".encode()
    # Folders of this storage are where files are.
    world.lake.rses[ORIGIN].bytes[pfn(".keep")] = b""
    return world


@pytest.fixture
def world(tmp_path: Path) -> World:
    """The world of these tests."""
    return world_at_origin(tmp_path)


def at_origin(world: World) -> list[str]:
    """Names of the files whose bytes are at the origin."""
    held = world.lake.rses[ORIGIN].bytes
    return [name for name in NAMES if pfn(name) in held]


def sources(world: World) -> set[SourceCopy]:
    return {record.source for record in world.files()}


def origin_rules(world: World) -> list[LakeRule]:
    rules = world.lake.rules.values()
    return [rule for rule in rules if rule.request.rse_expression == ORIGIN]


def pass_by(world: World, seconds: int = 15) -> None:
    for _ in range(seconds):
        world.clock.advance(1)


def going(world: World) -> Outcome:
    """The outcome of the run that lets files go: their datasets are closed by then."""
    world.run()
    pass_by(world, 2)
    return world.run()


def freed(world: World) -> Outcome:
    """The outcome of the run that finds all freed."""
    going(world)
    pass_by(world)
    return world.run()


def assert_all_is_freed(world: World) -> None:
    assert world.broken() == []
    assert at_origin(world) == []
    assert origin_rules(world) == []
    assert {r.state for r in world.files()} == {FileState.VERIFIED}
    assert sources(world) == {SourceCopy.FREED}
    for did in DIDS:
        assert set(world.lake.files[did].replicas) == set(HOLDERS) - {ORIGIN}


def test_an_origin_that_is_no_rse(tmp_path: Path) -> None:
    world = world_at_origin(tmp_path)
    world.changes = {**world.changes, "upload": {"rse": "ORM-ORIGAMI"}}
    with pytest.raises(UsageError, match=r"upload\.rse: .*ORM-ORIGAMI"):
        world.run()


def test_they_go_when_all_is_proved(world: World) -> None:
    outcome = going(world)
    assert of_outcome(outcome) is ExitCode.DONE
    assert sources(world) == {SourceCopy.FREEING}
    assert {rule.purge for rule in origin_rules(world)} == {True}
    assert set(outcome.leaving) == {FIRST, SECOND}
    assert at_origin(world) == list(NAMES)
    pass_by(world)
    outcome = world.run()
    assert (of_outcome(outcome), outcome.totals.freed) == (ExitCode.DONE, 3)
    assert outcome.totals.bytes_freed == outcome.totals.bytes
    assert_all_is_freed(world)
    assert not world.run().changed


def test_a_dry_run_takes_none_that_went_for_lost(world: World) -> None:
    going(world)
    assert world.plan().files.count == {Fate.DONE: 3}
    pass_by(world)
    world.run()
    assert_all_is_freed(world)
    assert world.plan().files.count == {Fate.DONE: 3}
    # One copy is made anew: it goes on.
    first, second, _ = DIDS
    world.lake.replica(first, "PIC-DCACHE").state = ReplicaState.BAD
    files = world.shelf.pages.files
    files[first] = replace(files[first], state=FileState.REPLICATING)
    # This one is nowhere any more.
    for replica in world.lake.files[second].replicas.values():
        replica.state = ReplicaState.BAD
    plan = world.plan().files
    assert plan.count == {Fate.DONE: 1, Fate.UNDER_WAY: 1, Fate.ASIDE: 1}
    assert [refused.did for refused in plan.aside] == [second]


def test_their_intent_and_their_end_are_on_record(world: World) -> None:
    freed(world)
    ending = world.facts(f.RuleEnding)
    assert [(fact.lifetime, fact.at_origin) for fact in ending] == [(10, True)] * 2
    for did in DIDS:
        told = [fact for fact in world.facts(f.FileFact) if fact.did == did]
        kinds = [type(fact).__name__ for fact in told]
        assert kinds.index("FileVerified") < kinds.index("SourceFreeing")
        assert kinds[-2:] == ["ReplicaGone", "SourceFreed"]


def test_the_rules_live_on_for_a_minute(world: World) -> None:
    world.changes["source"] = {k: v for k, v in FREES.items() if k != "lifetime"}
    going(world)
    assert {fact.lifetime for fact in world.facts(f.RuleEnding)} == {60}


def test_rucio_is_asked_before_it_is_said(world: World) -> None:
    """The end of a rule is no proof: the reaper may take its time."""
    going(world)
    for rule in origin_rules(world):
        rule.expires_at = world.clock.now()
    world.lake.daemons_run = False
    pass_by(world)
    assert world.run().totals.freed == 0
    assert sources(world) == {SourceCopy.FREEING}
    world.lake.daemons_run = True
    pass_by(world)
    world.run()
    assert_all_is_freed(world)


def test_the_storage_is_asked_too(world: World) -> None:
    world.lake.rses[ORIGIN].refuses_deletion = True
    outcome = freed(world)
    assert of_outcome(outcome) is ExitCode.FILES_FAILED
    assert sources(world) == {SourceCopy.FREEING}
    assert set(outcome.staying) == {FIRST, SECOND}
    assert "has no replica at PIC-INJECT any more" in outcome.staying[FIRST]
    for name in NAMES:
        del world.lake.rses[ORIGIN].bytes[pfn(name)]
    world.run()
    assert_all_is_freed(world)


def test_a_dataset_that_may_grow_stays(world: World) -> None:
    world.changes["naming"] = {"closing": {"next_run": True}}
    outcome = freed(world)
    assert of_outcome(outcome) is ExitCode.DONE
    assert at_origin(world) == [NAMES[2]]
    assert outcome.leaving == {SECOND: "it is not closed: more may come (naming.closing)"}
    assert [r.source for r in world.files()] == [SourceCopy.FREED] * 2 + [SourceCopy.KEPT]


@pytest.mark.parametrize("trouble", ["hangs", "fails_transfers"])
def test_nothing_goes_while_a_copy_is_missing(world: World, trouble: str) -> None:
    setattr(world.lake.rses["LAPP-FAST"], trouble, trouble == "hangs" or "no route")
    world.changes["replication"] = {"deadline": "5s"}
    going(world)
    pass_by(world, 90)
    world.run()
    assert at_origin(world) == list(NAMES)
    assert world.facts(f.SourceFreeing) == []
    world.lake.heal("LAPP-FAST")
    freed(world)
    assert_all_is_freed(world)


@pytest.mark.parametrize("spoil", ["corrupt", "lose", "declare_bad"])
def test_what_was_proved_is_proved_once_more(world: World, spoil: str) -> None:
    world.changes["source"] = {**FREES, "free": False, "lifetime": None}
    world.run()
    getattr(world.lake, spoil)(DIDS[0], "PIC-DCACHE")
    # Nobody mends it: what Rucio declared bad would be made again.
    world.lake.rses["PIC-DCACHE"].hangs = True
    world.changes["source"] = FREES
    freed(world)
    assert at_origin(world) == list(NAMES[:2])
    assert [r.source for r in world.files()] == [SourceCopy.KEPT] * 2 + [SourceCopy.FREED]


@pytest.mark.parametrize(("size", "code"), [(62, ExitCode.CHECKSUM), (61, ExitCode.FILES_FAILED)])
def test_one_that_was_rewritten_at_the_origin_stays(
    world: World, size: int, code: ExitCode
) -> None:
    """A listing tells another size; what is as long as before is read before it would go."""
    world.changes["source"] = {**FREES, "free": False, "lifetime": None}
    world.run()
    assert len(world.lake.rses[ORIGIN].bytes[pfn(NAMES[2])]) == 62
    world.lake.rses[ORIGIN].bytes[pfn(NAMES[2])] = b"x" * size
    world.changes["source"] = FREES
    outcome = freed(world)
    assert at_origin(world) == [NAMES[2]]
    assert of_outcome(outcome) is code


class TestOfOthers:
    """What others keep at the origin is not freed, and that is said."""

    def test_another_accounts_rule(self, world: World) -> None:
        world.changes["source"] = {**FREES, "free": False, "lifetime": None}
        world.run()
        theirs = LakeRule(DIDS[1], RuleRequest(ORIGIN), "telescope")
        world.lake.rules["theirs"] = theirs
        pass_by(world)
        world.changes["source"] = FREES
        outcome = freed(world)
        assert outcome.staying == {
            FIRST: f"rule theirs of account telescope to {ORIGIN} holds {DIDS[1]} at {ORIGIN}, too"
        }
        assert of_outcome(outcome) is ExitCode.FILES_FAILED
        assert at_origin(world) == list(NAMES[:2])
        del world.lake.rules["theirs"]
        freed(world)
        assert_all_is_freed(world)

    def test_one_that_comes_later(self, world: World) -> None:
        going(world)
        world.lake.rules["theirs"] = LakeRule(FIRST, RuleRequest(ORIGIN), "telescope")
        pass_by(world)
        outcome = world.run()
        assert "rule theirs of account telescope" in outcome.staying[FIRST]
        assert [r.source for r in world.files()] == [SourceCopy.FREEING] * 2 + [SourceCopy.FREED]
        assert world.lake.content(DIDS[0], "PIC-DCACHE") is not None
        assert at_origin(world) == list(NAMES[:2])

    def test_one_on_a_single_file_that_comes_later(self, world: World) -> None:
        """It stays, and the others of its dataset go."""
        going(world)
        world.lake.rules["theirs"] = LakeRule(DIDS[0], RuleRequest(ORIGIN), "telescope")
        pass_by(world)
        outcome = world.run()
        assert set(outcome.staying) == {FIRST}
        assert [r.source for r in world.files()] == [SourceCopy.FREEING] + [SourceCopy.FREED] * 2
        assert at_origin(world) == [NAMES[0]]

    def test_a_rule_of_ours_that_found_its_copy_there(self, world: World) -> None:
        """A replica that counts for two rules is the only one."""
        world.changes["rules"] = [{"rse_expression": "QOS=BUFFER|PIC-DCACHE"}]
        outcome = freed(world)
        assert "to QOS=BUFFER|PIC-DCACHE holds" in outcome.staying[FIRST]
        assert at_origin(world) == list(NAMES)
        assert world.facts(f.SourceFreeing) == []

    def test_files_that_were_registered_before(self, world: World) -> None:
        name = NAMES[2]
        measure = world.storage.measure(ORIGIN, pfn(name))
        world.catalogue.ensure_scope(SCOPE, "magic")
        world.catalogue.add_files(ORIGIN, [NewFile(DIDS[2], measure, pfn(name))])
        world.lake.registrations.clear()
        outcome = freed(world)
        assert at_origin(world) == [name]
        assert outcome.staying == {
            SECOND: "it holds files that were in the lake before this campaign"
        }

    def test_a_rule_that_was_there_before(self, world: World) -> None:
        world.catalogue.ensure_scope(SCOPE, "magic")
        world.lake.collections[FIRST] = LakeCollection(DIDType.DATASET)
        world.lake.rules["before"] = LakeRule(FIRST, RuleRequest(ORIGIN), "magic")
        freed(world)
        # We did not make it, so we do not close it either.
        assert FIRST not in world.lake.closed
        world.lake.closed.add(FIRST)
        outcome = freed(world)
        assert outcome.staying == {FIRST: f"its rule at {ORIGIN} was there before this campaign"}
        assert at_origin(world) == list(NAMES[:2])

    def test_strangers_in_the_dataset(self, world: World) -> None:
        stranger = DID(SCOPE, "stranger")

        def come(self: MemoryCatalogue, collection: DID) -> None:
            held = {"LAPP-FAST": world.lake.replica(DIDS[0], "LAPP-FAST")}
            world.lake.files[stranger] = replace(world.lake.files[DIDS[0]], replicas=held)
            world.lake.collections[SECOND].contents[stranger] = None
            world.lake.closed.add(collection)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MemoryCatalogue, "close", come)
            outcome = freed(world)
        assert outcome.staying == {SECOND: "it holds 1 files that this campaign did not verify"}


class TestOnRestart:
    """Rucio is asked what became of what was asked for."""

    def test_an_end_that_never_came_is_asked_for_again(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def killed(*_: object) -> None:
            raise Crash("before end_rule")

        with monkeypatch.context() as patch:
            patch.setattr(world.catalogue, "end_rule", killed)
            with pytest.raises(Crash):
                going(world)
        assert SourceCopy.FREEING in sources(world)
        assert all(rule.expires_at is None for rule in origin_rules(world))
        world.run()
        assert "never came to it" in world.facts(f.RuleKept)[0].reason
        freed(world)
        assert_all_is_freed(world)

    def test_an_end_that_came_is_not_asked_for_again(self, world: World) -> None:
        world.lake.crash_after(1, "end_rule")
        with pytest.raises(Crash):
            going(world)
        world.lake.no_crash()
        ends = [rule.expires_at for rule in origin_rules(world)]
        world.run()
        assert origin_rules(world)[0].expires_at == ends[0]
        pass_by(world)
        world.run()
        assert_all_is_freed(world)

    def test_a_refused_end_is_told_and_nothing_goes(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refused(*_: object) -> None:
            raise CatalogueRefused("not today")

        with monkeypatch.context() as patch:
            patch.setattr(world.catalogue, "end_rule", refused)
            outcome = going(world)
        assert outcome.staying == dict.fromkeys((FIRST, SECOND), "not today")
        assert sources(world) == {SourceCopy.KEPT}
        freed(world)
        assert_all_is_freed(world)

    def test_a_rule_that_was_gone_already(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It was deleted by hand, and purged nothing: the site has to say what becomes of them."""

        def gone(rule_id: str, *_: object) -> None:
            del world.lake.rules[rule_id]
            raise NotFound("there is no such rule")

        with monkeypatch.context() as patch:
            patch.setattr(world.catalogue, "end_rule", gone)
            going(world)
        assert at_origin(world) == list(NAMES)
        outcome = world.run()
        assert outcome.leaving[FIRST] == f"Rucio has yet to remove {DIDS[1]} (AVAILABLE)"
        assert origin_rules(world) == []


class TestTakenBack:
    """A rule that has not ended yet is kept where its end would be too early."""

    @pytest.fixture
    def ending(self, world: World) -> World:
        world.changes["source"] = {**FREES, "lifetime": "1h"}
        going(world)
        assert sources(world) == {SourceCopy.FREEING}
        return world

    def assert_kept(self, world: World, why: str) -> None:
        assert sources(world) == {SourceCopy.KEPT}
        assert all(rule.expires_at is None for rule in origin_rules(world))
        assert all(why in fact.reason for fact in world.facts(f.SourceKept))
        pass_by(world, 3700)
        assert at_origin(world) == list(NAMES)

    def test_not_while_all_is_as_it_was(
        self, ending: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each look asks Rucio little of it."""

        def listed(*_: object) -> None:
            raise AssertionError("locks are dear to list")

        monkeypatch.setattr(MemoryCatalogue, "locks", listed)
        for _ in range(2):
            outcome = ending.run()
            assert set(outcome.leaving) == {FIRST, SECOND}
            assert not outcome.changed

    def test_when_the_campaign_frees_no_more(self, ending: World) -> None:
        ending.changes["source"] = {**FREES, "free": False, "lifetime": None}
        ending.run()
        self.assert_kept(ending, "frees nothing any more")

    def test_when_somebody_takes_a_copy_away(self, ending: World) -> None:
        rules = ending.lake.rules.items()
        theirs = [key for key, rule in rules if rule.request.rse_expression == "PIC-DCACHE"]
        for rule_id in theirs:
            ending.catalogue.end_rule(rule_id, 1)
        ending.lake.rses["PIC-DCACHE"].hangs = True
        ending.changes["replication"] = {"deadline": "5s"}
        pass_by(ending, 5)
        ending.run()
        self.assert_kept(ending, "is no")
        ending.lake.heal("PIC-DCACHE")
        ending.changes["source"] = FREES
        ending.run()
        freed(ending)
        assert_all_is_freed(ending)

    def test_when_the_campaign_promises_more(self, ending: World) -> None:
        ending.lake.rses["EXTRA"] = replace(ending.lake.rses["LAPP-FAST"], attributes={})
        ending.lake.rses["EXTRA"].attributes["EXTRA"] = True
        ending.lake.rses["EXTRA"].bytes = {}
        ending.lake.rses["EXTRA"].hangs = True
        rules = [{"rse_expression": e} for e in ("PIC-DCACHE", "INFN-NA-DPM", "QOS=FAST", "EXTRA")]
        ending.changes |= {"rules": rules, "replication": {"deadline": "5s"}}
        ending.run()
        self.assert_kept(ending, "EXTRA")

    def test_when_its_end_was_taken_back_by_somebody(self, ending: World) -> None:
        for rule in origin_rules(ending):
            rule.expires_at = None
        ending.changes["source"] = FREES
        ending.run()
        assert {"taken back" in fact.reason for fact in ending.facts(f.RuleKept)} == {True}
        freed(ending)
        assert_all_is_freed(ending)

    def test_when_one_is_written_anew_at_the_origin(self, ending: World) -> None:
        """What nobody has would go with it."""
        ending.lake.rses[ORIGIN].bytes[pfn(NAMES[0])] = b"something longer than what was there"
        outcome = ending.run()
        assert of_outcome(outcome) is ExitCode.FILES_FAILED
        assert outcome.skipped == 1
        assert [r.source for r in ending.files()] == [SourceCopy.KEPT] * 2 + [SourceCopy.FREEING]
        assert "was written anew" in outcome.staying[FIRST]
        pass_by(ending, 3700)
        ending.run()
        assert at_origin(ending) == list(NAMES[:2])

    def test_what_somebody_linked_to_it_is_waited_for(self, ending: World) -> None:
        rule = origin_rules(ending)[0]
        rule.child_rule_id = "c" * 32
        outcome = ending.run()
        assert "has the unfinished child rule" in outcome.staying[FIRST]
        assert at_origin(ending) == list(NAMES)


def test_the_end_waits_for_a_promised_copy_that_fails_at_that_moment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rucio's own lock: the origin's rule is the parent of one that is promised."""
    real = world.catalogue.end_rule

    def fails_first(rule_id: str, lifetime: int, child: str | None = None) -> None:
        if world.lake.rules[rule_id].did == FIRST:
            world.lake.declare_bad(DIDS[0], "PIC-DCACHE")
        real(rule_id, lifetime, child)

    with monkeypatch.context() as patch:
        patch.setattr(world.catalogue, "end_rule", fails_first)
        going(world)
    world.lake.rses["PIC-DCACHE"].fails_transfers = "destination refused"
    chained = [rule.did for rule in origin_rules(world) if rule.child_rule_id is not None]
    assert chained == [FIRST]
    pass_by(world, 60)
    assert at_origin(world) == list(NAMES[:2])


class TestWatermark:
    """The oldest proved ones go when there is no room."""

    def test_only_what_makes_room(self, world: World) -> None:
        used = sum(map(len, world.lake.rses[ORIGIN].bytes.values()))
        marks = {"high": 0.9, "low": 0.5, "capacity": used}
        world.changes["source"] = {**FREES, "watermark": marks}
        outcome = freed(world)
        assert at_origin(world) == [NAMES[2]]
        assert outcome.origin is not None
        assert outcome.origin.used == used - outcome.totals.bytes_freed
        # What goes counts as room already, and there is enough of it now.
        assert not world.run().changed
        assert at_origin(world) == [NAMES[2]]

    def test_nothing_while_there_is_room(self, world: World) -> None:
        marks = {"high": "80%", "low": "70%", "capacity": "1kB"}
        world.changes["source"] = {**FREES, "watermark": marks}
        freed(world)
        assert at_origin(world) == list(NAMES)

    def test_a_younger_one_goes_where_the_oldest_must_stay(self, world: World) -> None:
        used = sum(map(len, world.lake.rses[ORIGIN].bytes.values()))
        world.lake.rules["theirs"] = LakeRule(DIDS[0], RuleRequest(ORIGIN), "telescope")
        marks = {"high": 0.9, "low": 0.7, "capacity": used}
        world.changes["source"] = {**FREES, "watermark": marks}
        outcome = freed(world)
        assert at_origin(world) == list(NAMES[:2])
        assert set(outcome.staying) == set()
        world.lake.rses[ORIGIN].bytes["memory://PIC-INJECT/other"] = b"x" * used
        assert set(world.run().staying) == {FIRST}

    def test_by_what_rucio_was_told(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        marks = {"high": "80%", "low": "70%"}
        world.changes["source"] = {**FREES, "watermark": marks}
        with pytest.raises(UsageError, match="was not told how large PIC-INJECT is"):
            world.run()
        space = MemoryCatalogue.space
        told: Callable[..., Any] = lambda self, rse: replace(space(self, rse), free=10, total=100)  # noqa: E731
        monkeypatch.setattr(MemoryCatalogue, "space", told)
        outcome = freed(world)
        assert outcome.origin is not None
        assert (outcome.origin.total, outcome.origin.free) == (100, 10)
        # Ten bytes were lacking: one dataset is enough, and the rest once it is told again.
        assert NAMES[0] not in at_origin(world)

    def test_nothing_more_until_rucio_is_told_again(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A site tells Rucio once in a while: what went since is no reason to free more."""
        world.changes["source"] = {**FREES, "watermark": {"high": "80%", "low": "70%"}}
        told_at = START
        space = MemoryCatalogue.space
        told: Callable[..., Any] = lambda self, rse: replace(  # noqa: E731
            space(self, rse), free=150, total=1000, told_at=told_at
        )
        monkeypatch.setattr(MemoryCatalogue, "space", told)
        for name in NAMES:
            world.lake.rses[ORIGIN].bytes[pfn(name)] = b"x" * 80
        freed(world)
        freed(world)
        # 150 bytes were lacking, and 160 went.
        assert at_origin(world) == [NAMES[2]]
        told_at = world.clock.now() + timedelta(seconds=1)
        pass_by(world, 2)
        freed(world)
        assert at_origin(world) == []


def test_what_is_there_again_is_told_and_stays(world: World) -> None:
    freed(world)
    world.lake.rses[ORIGIN].bytes[pfn(NAMES[0])] = b"events again"
    for _ in range(2):
        outcome = world.run()
        assert (of_outcome(outcome), outcome.skipped) == (ExitCode.FILES_FAILED, 1)
    assert at_origin(world) == [NAMES[0]]


def test_a_list_that_names_it_still_is_no_mistake(world: World) -> None:
    listing = world.folder / "pfns.txt"
    listing.write_text("\n".join(map(pfn, NAMES)))
    world.changes["source"] = {"kind": "rse", "free": True, "pfns": str(listing)}
    going(world)
    pass_by(world, 70)
    world.run()
    assert_all_is_freed(world)
    assert of_outcome(world.run()) is ExitCode.DONE


def test_a_late_file_gets_no_rule_that_brings_the_others_back(world: World) -> None:
    freed(world)
    late = NAMES[0].replace(".001_", ".009_")
    world.lake.rses[ORIGIN].bytes[pfn(late)] = b"late"
    world.lake.closed.clear()
    world.run()
    pass_by(world)
    world.run()
    assert origin_rules(world) == []
    assert at_origin(world) == []
    assert pfn(late) in world.lake.rses[ORIGIN].bytes


def test_a_new_rule_of_a_freed_dataset_is_served_from_the_lake(world: World) -> None:
    world.changes["rules"] = [{"rse_expression": "PIC-DCACHE"}]
    freed(world)
    world.changes["rules"] = [{"rse_expression": e} for e in ("PIC-DCACHE", "QOS=FAST")]
    outcome = world.run()
    assert of_outcome(outcome) is ExitCode.DONE
    assert set(world.states().values()) == {"VERIFIED"}
    assert origin_rules(world) == []
    assert world.lake.content(DIDS[0], "LAPP-FAST") is not None


def test_a_sample_stands_for_all(world: World) -> None:
    world.changes["access"] = {"sample": 1}
    freed(world)
    assert_all_is_freed(world)
    assert [record.sampled for record in world.files()].count(True) == 1


class TestStory:
    """What the record does not let anybody say."""

    def test_no_last_replica(self, world: World) -> None:
        world.changes["source"] = {**FREES, "free": False, "lifetime": None}
        world.run()
        record = world.files()[0]
        alone = replace(record, replicas={ORIGIN: record.replicas[ORIGIN]})
        freeing = f.SourceFreeing(at=START, did=record.did)
        with pytest.raises(LedgerError, match="proved nowhere else"):
            advance(alone, freeing)
        going = advance(record, freeing)
        with pytest.raises(LedgerError, match="is said to be freed, and is at PIC-INJECT"):
            advance(going, f.SourceFreed(at=START, did=record.did))
        with pytest.raises(LedgerError, match="is kept, and was KEPT"):
            advance(record, f.SourceKept(at=START, did=record.did, reason=""))

    @pytest.mark.parametrize("state", [s for s in FileState if s is not FileState.VERIFIED])
    def test_only_what_is_verified(self, world: World, state: FileState) -> None:
        world.changes["source"] = {**FREES, "free": False, "lifetime": None}
        world.run()
        record = replace(world.files()[0], state=state)
        with pytest.raises(LedgerError, match="is given up while"):
            advance(record, f.SourceFreeing(at=START, did=record.did))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"naming": {}}, "needs naming.closing"),
        ({"source": {**FREES, "free": False}}, "free: true is missing"),
        ({"rules": [{"rse_expression": ORIGIN}]}, "promises a copy at upload.rse"),
        ({"end": {"lifetime": "5s"}}, "where they were before us"),
        ({"rules": [{"rse_expression": "A", "lifetime": "1d"}]}, "counts from the end"),
        ({"naming": {"closing": {"trigger": "{run}.done"}}}, "lies in source.path"),
    ],
)
def test_what_does_not_go_together(world: World, changes: dict[str, Any], why: str) -> None:
    keys = campaign_keys(world.folder, **{**world.changes, **changes})
    with pytest.raises(ValidationError, match=why):
        Campaign.model_validate(keys)
