"""The contract of `ports.Catalogue`: who we are, files and collections."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from rucio_inject.domain.did import DID, DIDType
from rucio_inject.domain.errors import (
    CatalogueError,
    CatalogueRefused,
    NotFound,
    NotPermitted,
)
from rucio_inject.domain.rule import RuleRequest
from rucio_inject.domain.usage import Usage
from rucio_inject.ports import AttributeValue, KnownCollection, KnownReplica, NewFile
from rucio_inject.testing.contracts.rules import RulesContract
from rucio_inject.testing.contracts.world import ContractWorld, measured

NO_RSE = "NO-SUCH-RSE"
# Looks, one after the other, at a count that no longer changes.
_STILL = 15


class CatalogueContract(RulesContract):
    """Every sentence of the port's docstrings. A subclass gives the fixture `world`."""

    def test_what_is_closed_takes_no_more(self, world: ContractWorld) -> None:
        dataset, first, second = world.name("dataset"), world.registered(), world.registered()
        world.catalogue.add_collections({dataset: DIDType.DATASET})
        world.catalogue.attach({dataset: [first]})
        world.catalogue.close(dataset)
        assert not world.catalogue.look_up_collections([dataset])[dataset].open
        with pytest.raises(CatalogueRefused):
            world.catalogue.attach({dataset: [second]})
        assert world.catalogue.contents(dataset) == (first,)
        world.catalogue.close(dataset)
        with pytest.raises(NotFound):
            world.catalogue.close(world.name("nothing"))

    def test_whoami_names_the_account(self, world: ContractWorld) -> None:
        identity = world.catalogue.whoami()
        assert identity.account == world.account
        assert identity.details["account"] == world.account

    def test_a_scope_is_made_once(self, world: ContractWorld) -> None:
        scope = world.name("s").name.replace("_", "-")
        assert world.catalogue.ensure_scope(scope, world.account) is True
        assert world.catalogue.ensure_scope(scope, world.account) is False

    def test_a_scope_of_another_account_is_not_ours(self, world: ContractWorld) -> None:
        with pytest.raises(NotPermitted, match=world.foreign_scope):
            world.catalogue.ensure_scope(world.foreign_scope, world.account)

    def test_a_scope_has_an_owner_or_is_not_there(self, world: ContractWorld) -> None:
        absent = world.name("s").name.replace("_", "-")
        assert world.catalogue.scope_owner(world.scope) == world.account
        assert world.catalogue.scope_owner(world.foreign_scope) not in {None, world.account}
        assert world.catalogue.scope_owner(absent) is None

    def test_an_rse_tells_of_its_room_what_it_knows(self, world: ContractWorld) -> None:
        space = world.catalogue.space(world.rse)
        assert (space.rse, space.writable) == (world.rse, True)
        assert space.free is None or space.free >= 0
        with pytest.raises(NotFound, match=NO_RSE):
            world.catalogue.space(NO_RSE)

    def test_an_rse_stands_for_itself(self, world: ContractWorld) -> None:
        assert world.catalogue.resolve(world.rse) == (world.rse,)

    def test_expressions_resolve_sorted(self, world: ContractWorld) -> None:
        assert world.catalogue.resolve(world.expression) == (world.other,)
        both = world.catalogue.resolve(f"{world.rse}|{world.other}")
        assert both == tuple(sorted({world.rse, world.other}))

    @pytest.mark.parametrize("expression", [NO_RSE, "QOS=NOBODY-HAS-THIS"])
    def test_an_expression_of_nothing_is_not_found(
        self, world: ContractWorld, expression: str
    ) -> None:
        with pytest.raises(NotFound, match=expression):
            world.catalogue.resolve(expression)

    @pytest.mark.parametrize("expression", ["(", "A||", "QOS=", "&"])
    def test_what_is_no_expression_is_refused(self, world: ContractWorld, expression: str) -> None:
        with pytest.raises(CatalogueRefused):
            world.catalogue.resolve(expression)

    @pytest.mark.parametrize(
        ("value", "kept"), [(False, False), (True, True), ("SAFE", "SAFE"), (7, "7")]
    )
    def test_an_attribute_is_kept_as_rucio_holds_it(
        self, world: ContractWorld, value: AttributeValue, kept: AttributeValue
    ) -> None:
        for _ in range(2):
            world.catalogue.set_rse_attribute(world.rse, "contractKey", value)
            found = world.catalogue.rse_attributes(world.rse)["contractKey"]
            assert (found, type(found)) == (kept, type(kept))

    def test_attributes_of_no_rse(self, world: ContractWorld) -> None:
        with pytest.raises(NotFound):
            world.catalogue.rse_attributes(NO_RSE)
        with pytest.raises(NotFound):
            world.catalogue.set_rse_attribute(NO_RSE, "QOS", "FAST")

    def test_an_account_without_limit_has_all_the_room(self, world: ContractWorld) -> None:
        quota = world.catalogue.quota(world.account, world.rse)
        assert (quota.rse, quota.limit, quota.left) == (world.rse, None, None)
        assert quota.used >= 0

    def test_unknown_files_are_left_out(self, world: ContractWorld) -> None:
        known, unknown = world.registered(), world.name()
        assert set(world.catalogue.look_up([known, unknown])) == {known}
        assert dict(world.catalogue.look_up([unknown])) == {}
        assert dict(world.catalogue.look_up([])) == {}

    def test_a_file_is_known_with_its_checksums_and_replica(self, world: ContractWorld) -> None:
        did, measure, pfn = world.stored(b"nova")
        world.catalogue.add_files(world.rse, [NewFile(did, measure)])
        known = world.catalogue.look_up([did])[did]
        assert (known.did, known.size) == (did, measure.size)
        assert (known.adler32, known.md5) == (measure.adler32, measure.md5)
        assert set(known.replicas) == {world.rse}
        assert known.replicas[world.rse].available
        assert known.replicas[world.rse].pfn == pfn
        assert known.conflict(measure) is None

    def test_whatever_has_a_name_is_found(self, world: ContractWorld) -> None:
        file, dataset, unknown = world.registered(), self.filled(world), world.name()
        found = world.catalogue.find([file, dataset, unknown])
        assert found[file] == world.catalogue.look_up([file])[file]
        assert found[dataset] == KnownCollection(dataset, DIDType.DATASET, open=True)
        assert set(found) == {file, dataset}
        assert dict(world.catalogue.find([])) == {}

    def test_files_are_placed_in_their_datasets(self, world: ContractWorld) -> None:
        files = [NewFile(did, measure) for did, measure, _ in (world.stored(), world.stored())]
        datasets = [world.name("dataset"), world.name("dataset")]
        world.catalogue.add_collections(dict.fromkeys(datasets, DIDType.DATASET))
        for _ in range(2):
            world.catalogue.place_files(
                world.rse, {where: [file] for where, file in zip(datasets, files, strict=True)}
            )
        known = world.catalogue.look_up([file.did for file in files])
        for dataset, file in zip(datasets, files, strict=True):
            assert world.catalogue.contents(dataset) == (file.did,)
            assert known[file.did].conflict(file.measure) is None
            assert known[file.did].replicas[world.rse].available

    def test_a_registered_file_is_placed_beside_new_ones(self, world: ContractWorld) -> None:
        old, dataset = world.registered(b"old"), world.name("dataset")
        new, measure, _ = world.stored(b"new")
        world.catalogue.add_collections({dataset: DIDType.DATASET})
        files = [NewFile(old, measured(b"old")), NewFile(new, measure)]
        world.catalogue.place_files(world.rse, {dataset: files})
        assert set(world.catalogue.contents(dataset)) == {old, new}

    def test_nothing_is_placed_if_one_has_other_content(self, world: ContractWorld) -> None:
        known, dataset = world.registered(b"one thing"), world.name("dataset")
        new, measure, _ = world.stored()
        world.catalogue.add_collections({dataset: DIDType.DATASET})
        files = [NewFile(new, measure), NewFile(known, measured(b"another"))]
        with pytest.raises(CatalogueRefused, match=known.name):
            world.catalogue.place_files(world.rse, {dataset: files})
        assert world.catalogue.contents(dataset) == ()
        assert dict(world.catalogue.look_up([new])) == {}

    def test_nothing_is_placed_in_no_dataset(self, world: ContractWorld) -> None:
        did, measure, _ = world.stored()
        new = [NewFile(did, measure)]
        with pytest.raises(NotFound):
            world.catalogue.place_files(world.rse, {world.name("dataset"): new})
        container = world.name("container")
        world.catalogue.add_collections({container: DIDType.CONTAINER})
        with pytest.raises(CatalogueError):
            world.catalogue.place_files(world.rse, {container: new})
        assert dict(world.catalogue.look_up([did])) == {}

    def test_collections_are_no_files(self, world: ContractWorld) -> None:
        dataset = self.filled(world)
        assert dict(world.catalogue.look_up([dataset])) == {}

    def test_a_file_that_is_there_stays_as_it_is(self, world: ContractWorld) -> None:
        did, measure, pfn = world.stored(b"one")
        world.catalogue.add_files(world.rse, [NewFile(did, measure)])
        before = world.catalogue.look_up([did])
        world.catalogue.add_files(world.rse, [NewFile(did, measure)])
        assert world.catalogue.look_up([did]) == before
        assert before[did].replicas[world.rse].pfn == pfn

    def test_files_are_added_all_or_none(self, world: ContractWorld) -> None:
        good, clash = world.name(), self.filled(world)
        measure = measured(b"x")
        with pytest.raises(CatalogueError):
            world.catalogue.add_files(world.rse, [NewFile(good, measure), NewFile(clash, measure)])
        assert dict(world.catalogue.look_up([good])) == {}

    def test_files_at_no_rse(self, world: ContractWorld) -> None:
        did = world.name()
        with pytest.raises(NotFound):
            world.catalogue.add_files(NO_RSE, [NewFile(did, measured(b"x"))])
        assert world.catalogue.missing([did]) == {did}

    def test_metadata_can_be_set_again(self, world: ContractWorld) -> None:
        dids = [world.registered(), world.registered()]
        for _ in range(2):
            world.catalogue.set_metadata({did: {"run_number": 5089063} for did in dids})

    def test_collections_can_be_made_again(self, world: ContractWorld) -> None:
        dataset, container = world.name("dataset"), world.name("container")
        wanted = {dataset: DIDType.DATASET, container: DIDType.CONTAINER}
        for made in (frozenset(wanted), frozenset()):
            assert world.catalogue.add_collections(wanted) == made
            assert world.catalogue.missing([dataset, container]) == frozenset()
        assert world.catalogue.contents(dataset) == ()

    def test_missing_ones_are_made_beside_others(self, world: ContractWorld) -> None:
        there, new = self.filled(world), world.name("dataset")
        made = world.catalogue.add_collections({there: DIDType.DATASET, new: DIDType.DATASET})
        assert there not in made
        assert world.catalogue.missing([new]) == frozenset()

    def test_a_collection_of_another_type_is_refused(self, world: ContractWorld) -> None:
        dataset, file = self.filled(world), world.registered()
        for did in (dataset, file):
            with pytest.raises(CatalogueRefused, match=did.name):
                world.catalogue.add_collections({did: DIDType.CONTAINER})

    def test_what_is_attached_stays_in(self, world: ContractWorld) -> None:
        dataset, container = world.name("dataset"), world.name("container")
        world.catalogue.add_collections({dataset: DIDType.DATASET, container: DIDType.CONTAINER})
        first, second = world.registered(), world.registered()
        world.catalogue.attach({dataset: [first], container: [dataset]})
        world.catalogue.attach({dataset: [first, second], container: [dataset]})
        assert set(world.catalogue.contents(dataset)) == {first, second}
        assert world.catalogue.contents(container) == (dataset,)

    def test_nothing_is_attached_to_what_is_not_there(self, world: ContractWorld) -> None:
        with pytest.raises(NotFound):
            world.catalogue.attach({world.name("dataset"): [world.registered()]})
        with pytest.raises(NotFound):
            world.catalogue.attach({self.filled(world): [world.name()]})

    def test_contents_of_what_is_not_there(self, world: ContractWorld) -> None:
        with pytest.raises(NotFound):
            world.catalogue.contents(world.name("dataset"))

    def test_collections_are_known_with_their_type(self, world: ContractWorld) -> None:
        file, dataset, container = world.registered(), world.name("d"), world.name("c")
        world.catalogue.add_collections({dataset: DIDType.DATASET, container: DIDType.CONTAINER})
        asked = [file, dataset, container, world.name("d")]
        known = world.catalogue.look_up_collections(asked)
        assert {did: (it.did, it.kind, it.open) for did, it in known.items()} == {
            dataset: (dataset, DIDType.DATASET, True),
            container: (container, DIDType.CONTAINER, True),
        }
        assert dict(world.catalogue.look_up_collections([])) == {}

    def test_missing_takes_every_type(self, world: ContractWorld) -> None:
        there = [world.registered(), self.filled(world)]
        absent = world.name()
        assert world.catalogue.missing([*there, absent]) == {absent}
        assert world.catalogue.missing([]) == frozenset()

    def test_a_collection_ends_and_its_files_stay(self, world: ContractWorld) -> None:
        file, dataset, container = world.registered(), world.name("d"), world.name("c")
        world.catalogue.add_collections({dataset: DIDType.DATASET, container: DIDType.CONTAINER})
        world.catalogue.attach({dataset: [file], container: [dataset]})
        world.catalogue.expire_collection(dataset, 3600)
        known = world.catalogue.look_up_collections([dataset, container])
        assert known[dataset].expires_at is not None
        assert known[container].expires_at is None
        world.catalogue.expire_collection(dataset, 1)
        world.settle(lambda: world.catalogue.missing([dataset]) == {dataset})
        assert world.catalogue.contents(container) == ()
        assert world.catalogue.missing([file]) == frozenset()

    def test_what_is_not_there_cannot_end(self, world: ContractWorld) -> None:
        with pytest.raises(NotFound):
            world.catalogue.expire_collection(world.name("dataset"), 1)

    def test_usage_counts_what_is_registered(self, world: ContractWorld) -> None:
        def still(but: Usage | None = None) -> Usage:
            seen: list[Usage] = []

            def is_still() -> bool:
                seen.append(world.catalogue.usage(world.rse))
                last = seen[-_STILL:]
                return len(last) == _STILL and len(set(last)) == 1 and last[-1] != but

            # Rucio counts late: what was registered before this is to be in first.
            world.settle(is_still)
            return seen[-1]

        def is_counted() -> bool:
            before = still()
            world.registered(b"12345")
            # Something of others may come, or go, just then.
            return still(but=before) == Usage(before.files + 1, before.bytes + 5)

        world.settle(is_counted)


class BadReplicasContract:
    """Declaring replicas bad. A subclass gives the fixture `world`, whose account may do so."""

    def test_a_bad_replica_is_made_anew(self, world: ContractWorld) -> None:
        did, pfn = self.replicated(world, b"photons")
        world.storage.remove(world.other, pfn)
        world.catalogue.mark_bad(world.other, [did], "it is not there")
        known = world.catalogue.look_up([did])[did].replicas
        # One that is there again was made anew meanwhile.
        assert not known[world.other].available or world.storage.exists(world.other, pfn)
        assert known[world.rse].available
        world.settle(lambda: world.catalogue.look_up([did])[did].replicas[world.other].available)
        copy = world.folder / "copy"
        world.storage.get(world.other, pfn, copy)
        assert copy.read_bytes() == b"photons"

    def test_what_is_bad_already_may_be_told_again(self, world: ContractWorld) -> None:
        # Rucio is quick: by the second time it may be at work on the first.
        did, _ = self.replicated(world, b"photons")
        for _ in range(2):
            world.catalogue.mark_bad(world.other, [did], "it is not there")
        world.settle(lambda: world.catalogue.look_up([did])[did].replicas[world.other].available)

    def test_no_replica_cannot_be_bad(self, world: ContractWorld) -> None:
        there, unknown = world.registered(), world.name()
        with pytest.raises(NotFound, match=unknown.name):
            world.catalogue.mark_bad(world.rse, [unknown], "it is not there")
        with pytest.raises(NotFound, match=there.name):
            world.catalogue.mark_bad(world.other, [there], "it is not there")
        assert world.catalogue.look_up([there])[there].replicas[world.rse].available
        with pytest.raises(NotFound):
            world.catalogue.mark_bad(NO_RSE, [there], "it is not there")

    def replicated(self, world: ContractWorld, content: bytes) -> tuple[DID, str]:
        """A file that a rule has brought to `other`, and its PFN there."""
        did, dataset = world.registered(content), world.name("dataset")
        world.catalogue.add_collections({dataset: DIDType.DATASET})
        world.catalogue.attach({dataset: [did]})
        for expression in (world.rse, world.expression):
            world.catalogue.add_rules([dataset], RuleRequest(expression), world.account)

        def replicas() -> Mapping[str, KnownReplica]:
            return world.catalogue.look_up([did])[did].replicas

        world.settle(lambda: world.other in replicas() and replicas()[world.other].available)
        pfn = replicas()[world.other].pfn
        assert pfn is not None
        return did, pfn
