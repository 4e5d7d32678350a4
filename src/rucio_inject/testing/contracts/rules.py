"""The contract of `ports.Catalogue`: rules, their locks and their end."""

from __future__ import annotations

import pytest

from rucio_inject.domain.did import DID, DIDType
from rucio_inject.domain.errors import CatalogueError, NotFound
from rucio_inject.domain.replica import ReplicaState
from rucio_inject.domain.rule import LockState, RuleRequest, RuleState, RuleView
from rucio_inject.ports import KnownReplica, NewFile
from rucio_inject.testing.contracts.world import ContractWorld

NO_RULE = "0" * 32


class RulesContract:
    """What the catalogue says of rules. A subclass gives the fixture `world`."""

    def test_a_rule_on_an_empty_dataset_is_ok_with_no_locks(self, world: ContractWorld) -> None:
        dataset = self.filled(world)
        rule_id = self.asked(world, dataset)
        view = self.view(world, dataset)
        assert (view.rule_id, view.did, view.copies) == (rule_id, dataset, 1)
        assert (view.rse_expression, view.state) == (world.expression, RuleState.OK)
        assert (view.locks_ok, view.locks_replicating, view.locks_stuck) == (0, 0, 0)
        assert view.expires_at is None
        assert list(world.catalogue.locks(rule_id)) == []

    def test_a_rule_brings_files_attached_later(self, world: ContractWorld) -> None:
        dataset = self.filled(world)
        rule_id = self.asked(world, dataset)
        files = [world.registered(b"one"), world.registered(b"two")]
        world.catalogue.attach({dataset: files})
        world.settle(lambda: self.view(world, dataset).locks_ok == 2)
        assert self.view(world, dataset).state is RuleState.OK
        locks = world.catalogue.locks(rule_id)
        assert {lock.did for lock in locks} == set(files)
        assert {(lock.rse, lock.state) for lock in locks} == {(world.other, LockState.OK)}
        known = world.catalogue.look_up(files)
        assert all(known[did].replicas[world.other].available for did in files)

    def test_the_replica_holds_the_bytes(self, world: ContractWorld) -> None:
        file = world.registered(b"photons")
        dataset = self.filled(world, file)
        self.asked(world, dataset)
        world.settle(lambda: self.view(world, dataset).locks_ok == 1)
        pfn = world.catalogue.look_up([file])[file].replicas[world.other].pfn
        assert pfn is not None
        copy = world.folder / "copy"
        world.storage.get(world.other, pfn, copy)
        assert copy.read_bytes() == b"photons"

    def test_a_second_rule_is_the_first(self, world: ContractWorld) -> None:
        dataset = self.filled(world)
        first = self.asked(world, dataset)
        assert self.asked(world, dataset) == first
        assert len(world.catalogue.rules([dataset], world.account)) == 1

    def test_adopting_a_rule_takes_its_end_back(self, world: ContractWorld) -> None:
        dataset = self.filled(world, world.registered())
        rule_id = self.asked(world, dataset)
        world.catalogue.end_rule(rule_id, 3600)
        assert self.view(world, dataset).expires_at is not None
        assert self.asked(world, dataset) == rule_id
        assert self.view(world, dataset).expires_at is None

    def test_a_rule_to_another_expression_is_another(self, world: ContractWorld) -> None:
        dataset = self.filled(world)
        first = self.asked(world, dataset)
        second = self.asked(world, dataset, RuleRequest(world.rse))
        found = world.catalogue.rules([dataset], world.account)
        assert {view.rule_id for view in found} == {first, second}

    def test_rules_are_shown_of_the_datasets_asked_for(self, world: ContractWorld) -> None:
        mine, other = self.filled(world), self.filled(world)
        rule_id = self.asked(world, mine)
        self.asked(world, other)
        assert [v.rule_id for v in world.catalogue.rules([mine], world.account)] == [rule_id]
        assert list(world.catalogue.rules([world.name("dataset")], world.account)) == []
        assert list(world.catalogue.rules([], world.account)) == []

    def test_a_rule_for_many_datasets_at_once(self, world: ContractWorld) -> None:
        datasets = [world.name("dataset") for _ in range(3)]
        world.catalogue.add_collections(dict.fromkeys(datasets, DIDType.DATASET))
        had = self.asked(world, datasets[1])
        world.catalogue.end_rule(had, 3600)
        made = world.catalogue.add_rules(datasets, RuleRequest(world.expression), world.account)
        assert {*made} == {*datasets}
        assert made[datasets[1]] == had
        found = {v.did: v for v in world.catalogue.rules(datasets, world.account)}
        assert {did: view.rule_id for did, view in found.items()} == made
        assert found[datasets[1]].expires_at is None

    def test_one_that_is_not_there_keeps_all_from_their_rule(self, world: ContractWorld) -> None:
        dataset, none = self.filled(world), world.name("dataset")
        with pytest.raises(NotFound):
            world.catalogue.add_rules([dataset, none], RuleRequest(world.expression), world.account)
        assert list(world.catalogue.rules([dataset], world.account)) == []

    def test_rules_of_many_datasets(self, world: ContractWorld) -> None:
        datasets = [world.name("dataset") for _ in range(25)]
        world.catalogue.add_collections(dict.fromkeys(datasets, DIDType.DATASET))
        for dataset in datasets:
            self.asked(world, dataset)
        found = world.catalogue.rules(datasets[:24], world.account)
        assert sorted(view.did for view in found) == sorted(datasets[:24])

    def test_a_rule_for_what_is_not_there(self, world: ContractWorld) -> None:
        with pytest.raises(NotFound):
            self.asked(world, world.name("dataset"))

    def test_more_copies_than_rses(self, world: ContractWorld) -> None:
        dataset = self.filled(world, world.registered())
        with pytest.raises(CatalogueError):
            self.asked(world, dataset, RuleRequest(world.expression, 2))
        assert list(world.catalogue.rules([dataset], world.account)) == []

    def test_two_copies_are_two_locks(self, world: ContractWorld) -> None:
        file = world.registered()
        dataset = self.filled(world, file)
        request = RuleRequest(f"{world.rse}|{world.other}", 2)
        rule_id = self.asked(world, dataset, request)
        world.settle(lambda: self.view(world, dataset).locks_ok == 2)
        assert {lock.rse for lock in world.catalogue.locks(rule_id)} == {world.rse, world.other}

    def test_no_rule_has_no_locks(self, world: ContractWorld) -> None:
        assert list(world.catalogue.locks(NO_RULE)) == []

    def test_a_rule_that_is_not_stuck_has_no_reasons(self, world: ContractWorld) -> None:
        dataset = self.filled(world, world.registered())
        rule_id = self.asked(world, dataset)
        world.settle(lambda: self.view(world, dataset).locks_ok == 1)
        assert list(world.catalogue.stuck_files(rule_id)) == []

    def test_a_lost_source_is_told_file_by_file(self, world: ContractWorld) -> None:
        file = world.registered()
        pfn = world.catalogue.look_up([file])[file].replicas[world.rse].pfn
        assert pfn is not None
        world.storage.remove(world.rse, pfn)
        dataset = self.filled(world, file)
        rule_id = self.asked(world, dataset)
        world.settle(lambda: self.view(world, dataset).state is RuleState.STUCK)
        assert self.view(world, dataset).locks_stuck == 1
        (stuck,) = world.catalogue.stuck_files(rule_id)
        assert (stuck.did, stuck.rse) == (file, world.other)
        assert stuck.reason

    def test_a_file_that_was_nowhere_is_restored(self, world: ContractWorld) -> None:
        """Its replica was taken while a rule was to bring it elsewhere (rucio issue 6513)."""
        did, measure, pfn = world.stored(b"restored")
        world.catalogue.add_files(world.rse, [NewFile(did, measure)])
        world.storage.remove(world.rse, pfn)
        rule_id = self.asked(world, self.filled(world, did))
        world.settle(lambda: bool(world.catalogue.stuck_files(rule_id)))
        # What a rule was to bring comes by another way; so does a replica that no rule asked for.
        path = world.folder / did.name
        again = world.storage.put(world.other, path, did).pfn
        for _ in range(2):
            world.catalogue.restore_files(world.other, [NewFile(did, measure)])
        replicas = world.catalogue.look_up([did])[did].replicas
        assert replicas[world.other] == KnownReplica(again, ReplicaState.AVAILABLE)
        assert [lock.state for lock in world.catalogue.locks(rule_id)] == [LockState.OK]
        assert world.catalogue.stuck_files(rule_id) == []

    def test_a_replica_that_no_rule_asked_for_is_restored(self, world: ContractWorld) -> None:
        did, measure, _ = world.stored(b"elsewhere")
        world.catalogue.add_files(world.rse, [NewFile(did, measure)])
        world.storage.put(world.other, world.folder / did.name, did)
        for _ in range(2):
            world.catalogue.restore_files(world.other, [NewFile(did, measure)])
        replicas = world.catalogue.look_up([did])[did].replicas
        assert {rse: known.available for rse, known in replicas.items()} == {
            world.rse: True,
            world.other: True,
        }

    def test_what_is_not_in_the_catalogue_is_not_restored(self, world: ContractWorld) -> None:
        did, measure, _ = world.stored()
        with pytest.raises(NotFound):
            world.catalogue.restore_files(world.rse, [NewFile(did, measure)])
        assert world.catalogue.missing([did]) == {did}

    def test_a_parent_does_not_end_before_its_child_is_ok(self, world: ContractWorld) -> None:
        """Rucio issue 60: a parent whose child is deleted unfinished has no end any more."""
        file = world.registered()
        pfn = world.catalogue.look_up([file])[file].replicas[world.rse].pfn
        assert pfn is not None
        world.storage.remove(world.rse, pfn)
        dataset = self.filled(world, file)
        parent = self.asked(world, dataset, RuleRequest(world.rse))
        child = self.asked(world, dataset)
        world.settle(lambda: self.views(world, dataset)[child].state is RuleState.STUCK)
        world.link(parent, child)
        assert self.views(world, dataset)[parent].child_rule_id == child
        assert self.views(world, dataset)[child].child_rule_id is None
        world.catalogue.end_rule(parent, 1)
        world.catalogue.end_rule(child, 3)
        world.settle(lambda: child not in self.views(world, dataset))
        left = self.views(world, dataset)[parent]
        assert (left.child_rule_id, left.expires_at) == (None, None)

    def test_an_end_waits_for_an_unfinished_child(self, world: ContractWorld) -> None:
        file = world.registered()
        pfn = world.catalogue.look_up([file])[file].replicas[world.rse].pfn
        assert pfn is not None
        world.storage.remove(world.rse, pfn)
        dataset = self.filled(world, file)
        parent = self.asked(world, dataset, RuleRequest(world.rse))
        child = self.asked(world, dataset)
        world.settle(lambda: self.views(world, dataset)[child].state is RuleState.STUCK)
        world.catalogue.end_rule(parent, 3600, child)
        ending = self.views(world, dataset)[parent]
        assert ending.child_rule_id == child
        assert ending.expires_at is not None
        for _ in range(2):
            world.catalogue.keep_rule(parent)
            kept = self.views(world, dataset)[parent]
            assert (kept.child_rule_id, kept.expires_at) == (None, None)

    def test_a_child_that_is_ok_is_not_waited_for(self, world: ContractWorld) -> None:
        file = world.registered()
        dataset = self.filled(world, file)
        parent = self.asked(world, dataset, RuleRequest(world.rse))
        child = self.asked(world, dataset)
        world.settle(lambda: self.views(world, dataset)[child].locks_ok == 1)
        world.settle(lambda: self.views(world, dataset)[parent].locks_ok == 1)
        world.catalogue.end_rule(parent, 1, child)
        assert self.views(world, dataset)[parent].child_rule_id is None
        world.settle(lambda: set(self.views(world, dataset)) == {child})
        world.settle(lambda: set(world.catalogue.look_up([file])[file].replicas) == {world.other})

    def test_a_child_of_another_did_or_of_none(self, world: ContractWorld) -> None:
        dataset, other = self.filled(world), self.filled(world)
        rule_id, theirs = self.asked(world, dataset), self.asked(world, other)
        with pytest.raises(CatalogueError):
            world.catalogue.end_rule(rule_id, 60, theirs)
        with pytest.raises(NotFound):
            world.catalogue.end_rule(rule_id, 60, NO_RULE)
        assert self.view(world, dataset).expires_at is None

    def test_no_rule_cannot_be_kept(self, world: ContractWorld) -> None:
        with pytest.raises(NotFound):
            world.catalogue.keep_rule(NO_RULE)

    def test_who_holds_a_replica(self, world: ContractWorld) -> None:
        """Rules of the file's datasets, and of the file itself; by the RSE that they chose."""
        file = world.registered()
        dataset = self.filled(world, file)
        here = self.asked(world, dataset, RuleRequest(world.rse))
        there = self.asked(world, dataset)
        either = RuleRequest(f"{world.rse}|{world.other}")
        mine = self.asked(world, file, either)
        world.settle(lambda: self.views(world, dataset)[there].locks_ok == 1)
        world.settle(lambda: self.views(world, dataset)[here].locks_ok == 1)
        world.settle(lambda: bool(world.catalogue.locks(mine)))
        (lock,) = world.catalogue.locks(mine)
        at = {world.rse: {here}, world.other: {there}}
        at[lock.rse].add(mine)
        for rse, rules in at.items():
            held = world.catalogue.holders(file, rse)
            assert [holder.rule_id for holder in held] == sorted(rules)
            assert {holder.account for holder in held} == {world.account}
            left = world.catalogue.holders(file, rse, but={here, there})
            assert [holder.rule_id for holder in left] == sorted(rules - {here, there})
        assert list(world.catalogue.holders(world.name(), world.rse)) == []

    def test_a_replica_that_was_to_go_is_held(self, world: ContractWorld) -> None:
        file = world.registered()
        before = self.asked(world, self.filled(world, file), RuleRequest(world.rse))
        rules = world.catalogue.hold([file], world.rse, world.account)
        assert world.catalogue.hold([file], world.rse, world.account) == rules
        assert [lock.state for lock in world.catalogue.locks(rules[file])] == [LockState.OK]
        world.catalogue.end_rule(before, 1)
        world.settle(lambda: not world.catalogue.locks(before))
        (holder,) = world.catalogue.holders(file, world.rse)
        assert holder.rule_id == rules[file]
        world.catalogue.end_rule(rules[file], 1)
        world.settle(lambda: world.catalogue.missing([file]) == {file})

    def test_what_is_held_is_not_brought(self, world: ContractWorld) -> None:
        """A rule that holds one file where it is brings no other one there."""
        file, other = world.registered(), world.registered()
        rules = world.catalogue.hold([file], world.other, world.account)
        # Its daemons have done a transfer that was asked for later.
        later = self.asked(world, other)
        world.settle(lambda: LockState.OK in {lock.state for lock in world.catalogue.locks(later)})
        (lock,) = world.catalogue.locks(rules[file])
        assert (lock.did, lock.rse, lock.state) == (file, world.other, LockState.STUCK)
        assert not world.catalogue.look_up([file])[file].replicas[world.other].available
        world.catalogue.end_rule(rules[file], 1)
        world.settle(lambda: set(world.catalogue.look_up([file])[file].replicas) == {world.rse})

    def test_what_is_not_there_is_not_held(self, world: ContractWorld) -> None:
        with pytest.raises(NotFound):
            world.catalogue.hold([world.name()], world.rse, world.account)

    def test_an_ended_rule_takes_its_replicas_with_it(self, world: ContractWorld) -> None:
        file = world.registered()
        dataset = self.filled(world, file)
        rule_id = self.asked(world, dataset)
        world.settle(lambda: self.view(world, dataset).locks_ok == 1)
        pfn = world.catalogue.look_up([file])[file].replicas[world.other].pfn
        assert pfn is not None
        world.catalogue.end_rule(rule_id, 1)
        world.catalogue.end_rule(rule_id, 1)
        world.settle(lambda: not world.catalogue.rules([dataset], world.account))
        world.settle(lambda: set(world.catalogue.look_up([file])[file].replicas) == {world.rse})
        world.settle(lambda: not world.storage.exists(world.other, pfn))
        assert list(world.catalogue.locks(rule_id)) == []

    def test_the_end_counts_from_the_last_call(self, world: ContractWorld) -> None:
        dataset = self.filled(world)
        rule_id = self.asked(world, dataset)
        world.catalogue.end_rule(rule_id, 60)
        sooner = self.view(world, dataset).expires_at
        world.catalogue.end_rule(rule_id, 7200)
        later = self.view(world, dataset).expires_at
        assert sooner is not None
        assert later is not None
        assert (later - sooner).total_seconds() > 3600

    def test_with_its_last_replica_a_file_leaves_the_catalogue(self, world: ContractWorld) -> None:
        file = world.registered()
        dataset = self.filled(world, file)
        rule_id = self.asked(world, dataset, RuleRequest(world.rse))
        world.settle(lambda: self.view(world, dataset).locks_ok == 1)
        world.catalogue.end_rule(rule_id, 1)
        world.settle(lambda: world.catalogue.missing([file]) == {file})
        world.settle(lambda: world.catalogue.contents(dataset) == ())

    def test_no_rule_cannot_end(self, world: ContractWorld) -> None:
        with pytest.raises(NotFound):
            world.catalogue.end_rule(NO_RULE, 1)

    def filled(self, world: ContractWorld, *files: DID) -> DID:
        """A new dataset with some files."""
        did = world.name("dataset")
        world.catalogue.add_collections({did: DIDType.DATASET})
        if files:
            world.catalogue.attach({did: files})
        return did

    def asked(self, world: ContractWorld, dataset: DID, request: RuleRequest | None = None) -> str:
        """The rule that was asked for, or the one that brings a dataset to `other`."""
        wanted = request or RuleRequest(world.expression)
        return world.catalogue.add_rules([dataset], wanted, world.account)[dataset]

    def views(self, world: ContractWorld, dataset: DID) -> dict[str, RuleView]:
        """The rules of a dataset by their ids."""
        return {v.rule_id: v for v in world.catalogue.rules([dataset], world.account)}

    def view(self, world: ContractWorld, dataset: DID) -> RuleView:
        """The one rule of a dataset."""
        (view,) = world.catalogue.rules([dataset], world.account)
        return view
