"""No source is given up for copies that the lake will not keep: what it has may end, or be bad."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.injection_world import NAMES, World, telescope_files
from tests.unit.pipeline.test_freed_at_origin import (
    DIDS,
    FIRST,
    FREES,
    ORIGIN,
    SECOND,
    at_origin,
    freed,
    going,
    origin_rules,
    pass_by,
    sources,
    world_at_origin,
)

from rucio_inject.cli.exit_codes import ExitCode, of_outcome
from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import CatalogueRefused, UsageError
from rucio_inject.domain.injection import FileState, SourceCopy
from rucio_inject.domain.replica import ReplicaState
from rucio_inject.domain.rule import LockState
from rucio_inject.testing import memory_daemons
from rucio_inject.testing.lake_values import LakeLock, LakeReplica, LakeRule
from rucio_inject.testing.memory_catalogue import MemoryCatalogue
from rucio_inject.testing.memory_lake import MemoryLake

KEEPS = {**FREES, "free": False, "lifetime": None}
HOUR = {**FREES, "lifetime": "1h"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two runs at an origin, of which another copy is promised."""
    world = world_at_origin(tmp_path)
    world.changes["rules"] = [{"rse_expression": "PIC-DCACHE"}]
    return world


@pytest.fixture
def kept(world: World) -> World:
    """All is proved, the datasets are closed, and nothing is given up yet."""
    world.changes["source"] = KEEPS
    world.run()
    pass_by(world, 2)
    world.run()
    world.changes["source"] = FREES
    return world


@pytest.fixture
def leaving(world: World) -> World:
    """The origin's rules end in an hour."""
    world.changes["source"] = HOUR
    going(world)
    assert sources(world) == {SourceCopy.FREEING}
    return world


def promised_rules(world: World) -> list[LakeRule]:
    return [rule for rule in world.lake.rules.values() if rule.request.rse_expression != ORIGIN]


def give_end(world: World, seconds: int) -> None:
    """Somebody lets what is promised end, with its replicas."""
    for rule in promised_rules(world):
        rule.expires_at = world.clock.now() + timedelta(seconds=seconds)
        rule.purge = True


def assert_freed(world: World, *promised: str) -> None:
    """All is at the RSEs that are promised, and nowhere else."""
    assert at_origin(world) == []
    assert {r.state for r in world.files()} == {FileState.VERIFIED}
    assert sources(world) == {SourceCopy.FREED}
    for did in DIDS:
        assert set(world.lake.files[did].replicas) == set(promised or ["PIC-DCACHE"])


def assert_nothing_is_lost(world: World) -> None:
    """Also when all that was given an end has come to it."""
    pass_by(world, 3700)
    for did in DIDS:
        replicas = world.lake.files[did].replicas
        contents = [world.lake.rses[r].bytes.get(known.pfn) for r, known in replicas.items()]
        assert f"events of {did.name}".encode() in contents


class TestWhatEnds:
    """A rule that ends keeps nothing, whoever gave it its end."""

    def test_its_end_is_taken_back_first(self, kept: World) -> None:
        give_end(kept, 600)
        freed(kept)
        assert_freed(kept)
        assert {rule.expires_at for rule in promised_rules(kept)} == {None}
        assert_nothing_is_lost(kept)

    def test_one_that_comes_in_the_middle_of_a_run(
        self, kept: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = MemoryCatalogue.holders

        def holders(self: MemoryCatalogue, did: DID, rse: str, **but: Any) -> Any:
            give_end(kept, 600)
            return real(self, did, rse, **but)

        with monkeypatch.context() as patch:
            patch.setattr(MemoryCatalogue, "holders", holders)
            assert of_outcome(kept.run()) is ExitCode.FILES_FAILED
        assert sources(kept) == {SourceCopy.KEPT}
        assert all("ends at" in r.failure.reason for r in kept.files() if r.failure)
        freed(kept)
        assert_freed(kept)
        assert_nothing_is_lost(kept)

    def test_one_that_comes_while_the_origin_s_end_runs(self, leaving: World) -> None:
        give_end(leaving, 7200)
        leaving.run()
        assert {rule.expires_at for rule in promised_rules(leaving)} == {None}
        pass_by(leaving, 3700)
        leaving.run()
        assert_freed(leaving)
        assert_nothing_is_lost(leaving)

    def test_one_that_rucio_does_not_take_back(
        self, leaving: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        give_end(leaving, 7200)

        def refused(*_: object) -> None:
            raise CatalogueRefused("not today")

        with monkeypatch.context() as patch:
            patch.setattr(leaving.catalogue, "add_rules", refused)
            assert of_outcome(leaving.run()) is ExitCode.FILES_FAILED
        assert sources(leaving) == {SourceCopy.KEPT}
        assert {rule.expires_at for rule in origin_rules(leaving)} == {None}
        assert_nothing_is_lost(leaving)

    def test_a_dataset_that_ends(self, kept: World) -> None:
        """It would take all its rules with it."""
        for dataset in (FIRST, SECOND):
            end = kept.clock.now() + timedelta(hours=2)
            kept.lake.collections[dataset].expired_at = end
        assert of_outcome(freed(kept)) is ExitCode.FILES_FAILED
        assert at_origin(kept) == list(NAMES)
        assert sources(kept) == {SourceCopy.KEPT}
        for dataset in (FIRST, SECOND):
            kept.lake.collections[dataset].expired_at = None
        freed(kept)
        assert_freed(kept)

    def test_a_dataset_that_is_to_end_while_the_origin_s_end_runs(self, leaving: World) -> None:
        end = leaving.clock.now() + timedelta(hours=2)
        leaving.lake.collections[FIRST].expired_at = end
        leaving.run()
        assert [r.source for r in leaving.files()] == [SourceCopy.KEPT] * 2 + [SourceCopy.FREEING]
        assert f"{FIRST} itself ends at" in leaving.facts(f.RuleKept)[0].reason

    @pytest.mark.parametrize("what", ["rule", "dataset"])
    def test_for_a_local_source(
        self, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world, inbox = World(tmp_path / "world"), tmp_path / "inbox"
        contents = telescope_files(inbox)
        world.changes |= {"end": None, "source": {"kind": "directory", "path": str(inbox)}}
        world.run()
        end = world.clock.now() + timedelta(seconds=600)
        for dataset in (FIRST, SECOND) if what == "dataset" else ():
            world.lake.collections[dataset].expired_at = end
        real = MemoryCatalogue.locks

        def locks(self: MemoryCatalogue, rule_id: str) -> Any:
            if what == "rule":
                world.lake.rules[rule_id].expires_at = end
            return real(self, rule_id)

        world.changes["source"] = {"kind": "directory", "path": str(inbox), "free": True}
        with monkeypatch.context() as patch:
            patch.setattr(MemoryCatalogue, "locks", locks)
            assert of_outcome(world.run()) is ExitCode.FILES_FAILED
        assert {path.name for path in inbox.iterdir()} == set(contents)
        for dataset in (FIRST, SECOND):
            world.lake.collections[dataset].expired_at = None
        assert of_outcome(world.run()) is ExitCode.DONE
        assert list(inbox.iterdir()) == []
        assert {rule.expires_at for rule in world.lake.rules.values()} == {None}


class TestWhatIsFoundBad:
    """The end of an origin's rule is taken back for what this very run finds out."""

    def test_a_copy(self, world: World) -> None:
        world.changes |= {"access": {"sample": 1}, "source": HOUR}
        going(world)
        assert sources(world) == {SourceCopy.FREEING}
        (bad,) = (record.did for record in world.files() if record.sampled)
        world.lake.corrupt(bad, "PIC-DCACHE")
        world.changes["access"] = {"sample": 2}
        assert of_outcome(world.run()) is ExitCode.CHECKSUM
        assert [r.source for r in world.files()] == [SourceCopy.KEPT] * 2 + [SourceCopy.FREEING]
        assert "QUARANTINED" in world.facts(f.RuleKept)[0].reason
        assert_nothing_is_lost(world)

    def test_a_copy_that_is_promised_since(
        self, leaving: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = memory_daemons._transfer

        def rotten(lake: MemoryLake, did: DID, rse: str, lock: LakeLock) -> None:
            real(lake, did, rse, lock)
            if (did, rse) == (DIDS[0], "LAPP-FAST"):
                lake.corrupt(did, rse)

        leaving.changes["rules"] = [{"rse_expression": e} for e in ("PIC-DCACHE", "QOS=FAST")]
        with monkeypatch.context() as patch:
            patch.setattr(memory_daemons, "_transfer", rotten)
            assert of_outcome(leaving.run()) is ExitCode.CHECKSUM
        assert [r.source for r in leaving.files()] == [SourceCopy.KEPT] * 2 + [SourceCopy.FREEING]

    def test_a_promise_that_rucio_refuses(
        self, leaving: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = leaving.catalogue.add_rules

        def add(dids: Any, request: Any, account: str) -> Any:
            if request.rse_expression == "QOS=FAST":
                raise CatalogueRefused("somebody must approve it")
            return real(dids, request, account)

        leaving.changes["rules"] = [{"rse_expression": e} for e in ("PIC-DCACHE", "QOS=FAST")]
        with monkeypatch.context() as patch:
            patch.setattr(leaving.catalogue, "add_rules", add)
            leaving.run()
            assert sources(leaving) == {SourceCopy.KEPT}
            assert {f.reason for f in leaving.facts(f.RuleKept)} == {"no rule to QOS=FAST keeps it"}
            pass_by(leaving, 3700)
            assert at_origin(leaving) == list(NAMES)
        leaving.changes["source"] = FREES
        freed(leaving)
        assert_freed(leaving, "PIC-DCACHE", "LAPP-FAST")


class TestErased:
    """A replica at the origin may be the last one by the time it was to go."""

    def erase(self, world: World, dataset: DID) -> None:
        """As the undertaker does, with all copies but those at the origin."""
        lake = world.lake
        for rule_id in [key for key, rule in lake.rules.items() if rule.did == dataset]:
            del lake.rules[rule_id]
        inside = list(lake.collections.pop(dataset).contents)
        lake.closed.discard(dataset)
        for did in inside:
            for rse in [rse for rse in lake.files[did].replicas if rse != ORIGIN]:
                lake.rses[rse].bytes.pop(lake.files[did].replicas.pop(rse).pfn)

    def test_it_gets_its_rule_again(self, leaving: World) -> None:
        self.erase(leaving, FIRST)
        leaving.lake.rses["PIC-DCACHE"].hangs = True
        leaving.changes["replication"] = {"deadline": "5s"}
        leaving.run()
        assert [r.source for r in leaving.files()] == [SourceCopy.KEPT] * 2 + [SourceCopy.FREEING]
        # Its dataset's rule went with the dataset: each file has one of its own.
        ends = {rule.did: rule.expires_at for rule in origin_rules(leaving)}
        assert set(ends) == {*DIDS[:2], SECOND}
        assert (ends[DIDS[0]], ends[DIDS[1]]) == (None, None)
        assert_nothing_is_lost(leaving)
        leaving.lake.heal("PIC-DCACHE")
        leaving.changes |= {"replication": None, "source": FREES}
        leaving.run()
        freed(leaving)
        assert_freed(leaving)

    def test_what_is_freed_gets_none(self, kept: World) -> None:
        freed(kept)
        lake = kept.lake
        for rule_id in [key for key, rule in lake.rules.items() if rule.did == FIRST]:
            del lake.rules[rule_id]
        kept.run()
        assert origin_rules(kept) == []
        assert at_origin(kept) == []


class TestWhereTheyAre:
    """A copy counts where it was proved, and nowhere else."""

    @pytest.fixture
    def choice(self, world: World) -> World:
        """Rucio may choose where the copy is."""
        world.changes["rules"] = [{"rse_expression": "QOS=SAFE|QOS=CHEAP"}]
        return world

    def move(self, world: World, content: bytes | None = None) -> str:
        """Rucio made the lost copy of the second dataset anew, elsewhere; gives where."""
        (rule,) = (rule for rule in promised_rules(world) if rule.did == SECOND)
        ((did, old),) = rule.locks
        new = {"PIC-DCACHE": "INFN-NA-DPM", "INFN-NA-DPM": "PIC-DCACHE"}[old]
        lost = world.lake.files[did].replicas.pop(old)
        there = world.lake.rses[old].bytes.pop(lost.pfn)
        rule.locks = {(did, new): LakeLock(LockState.OK)}
        pfn = memory_daemons.pfn_of(new, did)
        world.lake.files[did].replicas[new] = LakeReplica(pfn, ReplicaState.AVAILABLE)
        world.lake.rses[new].bytes[pfn] = there if content is None else content
        return new

    def proved(self, world: World) -> World:
        world.changes["source"] = KEEPS
        world.run()
        pass_by(world, 2)
        world.run()
        world.changes["source"] = FREES
        return world

    def test_one_that_was_moved_is_read_there(self, choice: World) -> None:
        new = self.move(self.proved(choice))
        assert of_outcome(choice.run()) is ExitCode.FILES_FAILED
        assert choice.files()[2].source is SourceCopy.KEPT
        freed(choice)
        assert at_origin(choice) == []
        assert set(choice.lake.files[DIDS[2]].replicas) == {new}

    def test_one_that_was_moved_and_is_bad(self, choice: World) -> None:
        """The old copy is there still."""
        self.proved(choice)
        before = dict(choice.lake.files[DIDS[2]].replicas)
        contents = {rse: dict(known.bytes) for rse, known in choice.lake.rses.items()}
        new = self.move(choice, b"rotten")
        for rse, replica in before.items():
            choice.lake.files[DIDS[2]].replicas[rse] = replica
            choice.lake.rses[rse].bytes[replica.pfn] = contents[rse][replica.pfn]
        for _ in range(3):
            assert of_outcome(freed(choice)) is not ExitCode.DONE
        assert choice.files()[2].source is SourceCopy.KEPT
        assert at_origin(choice) == [NAMES[2]]
        assert new in choice.lake.files[DIDS[2]].replicas

    def test_one_that_is_moved_while_the_origin_s_end_runs(self, choice: World) -> None:
        choice.changes["source"] = HOUR
        going(choice)
        self.move(choice, b"rotten")
        choice.run()
        assert [r.source for r in choice.files()] == [SourceCopy.FREEING] * 2 + [SourceCopy.KEPT]
        pass_by(choice, 3700)
        assert at_origin(choice) == [NAMES[2]]


def test_a_clock_that_was_put_back_makes_no_proof_young(
    kept: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By NTP, or as the next run is on another machine."""
    kept.lake.corrupt(DIDS[0], "PIC-DCACHE")
    now = kept.clock.now
    with monkeypatch.context() as patch:
        patch.setattr(kept.clock, "now", lambda: now() - timedelta(hours=1))
        assert of_outcome(kept.run()) is ExitCode.CHECKSUM
    assert [r.source for r in kept.files()] == [SourceCopy.KEPT] * 2 + [SourceCopy.FREEING]


class TestAnEndThatIsToBeTakenBack:
    """What stands against it is told, and nothing else happens to it."""

    def test_it_purges_no_more(self, leaving: World) -> None:
        leaving.changes["source"] = KEEPS
        leaving.run()
        assert {(r.expires_at, r.purge) for r in origin_rules(leaving)} == {(None, False)}

    def test_rucio_may_refuse_that(self, leaving: World, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(*_: object) -> None:
            raise CatalogueRefused("not today")

        leaving.changes["source"] = KEEPS
        with monkeypatch.context() as patch:
            patch.setattr(leaving.catalogue, "keep_rule", refused)
            outcome = leaving.run()
        assert of_outcome(outcome) is ExitCode.FILES_FAILED
        why = "the campaign frees nothing any more, but not today"
        assert outcome.staying == dict.fromkeys((FIRST, SECOND), why)
        assert sources(leaving) == {SourceCopy.FREEING}
        leaving.run()
        assert sources(leaving) == {SourceCopy.KEPT}

    def test_no_other_origin_meanwhile(self, leaving: World) -> None:
        """Nobody would look at what ends at the first one."""
        leaving.lake.rses["LAPP-FAST"].bytes["memory://LAPP-FAST/raw/.keep"] = b""
        leaving.changes["upload"] = {"rse": "LAPP-FAST"}
        with pytest.raises(UsageError, match=rf"upload\.rse has changed .* {ORIGIN}"):
            leaving.run()
        assert {rule.request.rse_expression for rule in leaving.lake.rules.values()} == {
            ORIGIN,
            "PIC-DCACHE",
        }


def test_rules_of_ours_are_not_asked_about_for_each_file(
    kept: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rucio would list all locks of each for each file of the dataset."""
    asked: list[set[str]] = []
    ours = {rule_id: rule.did for rule_id, rule in kept.lake.rules.items()}

    def holders(*_: object, but: Any = ()) -> Any:
        asked.append(set(but))
        return []

    monkeypatch.setattr(kept.catalogue, "holders", holders)
    kept.run()
    assert sources(kept) == {SourceCopy.FREEING}
    of = {dataset: {r for r, did in ours.items() if did == dataset} for dataset in (FIRST, SECOND)}
    assert asked == [of[FIRST], of[FIRST], of[SECOND]]
