"""The contract of `ports.Storage`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain
from pathlib import Path

import pytest

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import (
    DiskFull,
    PlaceTaken,
    ReplicaMissing,
    SourceChanged,
    SourceUnreadable,
)
from rucio_inject.ports import Porters, Stored, StoredFile
from rucio_inject.testing.contracts.world import ContractWorld, measured


class PortersContract:
    """The contract of `ports.Porters`, of a storage that has some."""

    def test_they_bring_files_and_look_at_them(self, world: ContractWorld) -> None:
        files = sources_of(world, b"events", b"", bytes(range(256)) * 5000)
        with closing(porters_of(world)) as porters:
            arrived = porters.carry(files)
            assert porters.carry([]) == []
        for (path, did), found in zip(files, arrived, strict=True):
            measure = measured(path.read_bytes())
            pfn = world.storage.taken(world.rse, did)
            assert pfn is not None
            assert found is not None
            assert found.stored == Stored(pfn, measure)
            assert found.found == StoredFile(pfn, measure.size, measure.adler32)
            assert world.storage.measure(world.rse, pfn) == measure

    def test_what_they_cannot_bring_keeps_nobody(self, world: ContractWorld) -> None:
        there, _, pfn = world.stored(b"somebody's")
        first, last = sources_of(world, b"first", b"last")
        absent = (world.folder / "nothing", world.name())
        taken = (first[0], there)
        with closing(porters_of(world)) as porters:
            outcomes = porters.carry([first, absent, taken, last])
        assert [found is None for found in outcomes] == [False, True, True, False]
        assert world.storage.measure(world.rse, pfn) == measured(b"somebody's")
        assert world.storage.taken(world.rse, absent[1]) is None

    def test_several_threads_have_them_carry(self, world: ContractWorld) -> None:
        files = [sources_of(world, b"a", bytes([number])) for number in range(20)]
        with closing(porters_of(world)) as porters, ThreadPoolExecutor(4) as threads:
            outcomes = chain.from_iterable(threads.map(porters.carry, files))
            for (path, did), found in zip(chain.from_iterable(files), outcomes, strict=True):
                # Whoever finds none free does it by himself.
                stored = found.stored if found else world.storage.put(world.rse, path, did)
                assert world.storage.measure(world.rse, stored.pfn) == measured(path.read_bytes())

    def test_those_that_are_not_needed_any_more_carry_nothing(self, world: ContractWorld) -> None:
        ((path, did),) = sources_of(world, b"late")
        porters = porters_of(world)
        porters.close()
        assert porters.carry([(path, did)]) == [None]
        porters.close()
        assert world.storage.taken(world.rse, did) is None


def sources_of(world: ContractWorld, *contents: bytes) -> list[tuple[Path, DID]]:
    """Local files with these contents, each with the DID that it is to have."""
    files = []
    for content in contents:
        did = world.name()
        path = world.folder / did.name
        path.write_bytes(content)
        files.append((path, did))
    return files


def porters_of(world: ContractWorld) -> Porters:
    """Porters to the RSE that takes uploads."""
    porters = world.storage.porters(world.rse, 2)
    assert porters is not None
    return porters


class StorageContract:
    """Every sentence of the port's docstrings. A subclass gives the fixture `world`."""

    @pytest.mark.parametrize("content", [b"", b"events", bytes(range(256)) * 5000])
    def test_what_is_put_can_be_got(self, world: ContractWorld, content: bytes) -> None:
        _, _, pfn = world.stored(content)
        copy = world.folder / "copy"
        assert world.storage.get(world.rse, pfn, copy) == measured(content)
        assert copy.read_bytes() == content

    @pytest.mark.parametrize("content", [b"", b"events", bytes(range(256)) * 5000])
    def test_what_is_put_is_measured(self, world: ContractWorld, content: bytes) -> None:
        path = world.folder / "source"
        path.write_bytes(content)
        stored = world.storage.put(world.rse, path, world.name())
        assert stored.measure == measured(content)
        assert world.storage.measure(world.rse, stored.pfn) == measured(content)
        told = world.storage.checksum(world.rse, stored.pfn)
        assert told == StoredFile(stored.pfn, len(content), measured(content).adler32)

    def test_a_measure_is_of_what_the_storage_holds_now(self, world: ContractWorld) -> None:
        did, _, pfn = world.stored(b"a first try")
        world.storage.remove(world.rse, pfn)
        path = world.folder / "source"
        path.write_bytes(b"second")
        world.storage.put(world.rse, path, did)
        assert world.storage.measure(world.rse, pfn) == measured(b"second")
        assert world.storage.checksum(world.rse, pfn).adler32 == measured(b"second").adler32

    def test_measuring_keeps_nothing(self, world: ContractWorld) -> None:
        _, _, pfn = world.stored()
        before = sorted(world.folder.rglob("*"))

        def measure() -> None:
            world.storage.measure(world.rse, pfn)
            world.storage.checksum(world.rse, pfn)

        self.adds(world, 0, 0, measure)
        assert sorted(world.folder.rglob("*")) == before

    def test_getting_overwrites(self, world: ContractWorld) -> None:
        _, _, pfn = world.stored(b"new")
        copy = world.folder / "copy"
        copy.write_bytes(b"something longer that was there")
        world.storage.get(world.rse, pfn, copy)
        assert copy.read_bytes() == b"new"

    def test_putting_leaves_what_lies_there(self, world: ContractWorld) -> None:
        did, _, pfn = world.stored(b"somebody's")
        path = world.folder / "source"
        path.write_bytes(b"ours")
        with pytest.raises(PlaceTaken, match="already") as taken:
            world.storage.put(world.rse, path, did)
        assert taken.value.pfn == pfn
        world.storage.get(world.rse, pfn, path)
        assert path.read_bytes() == b"somebody's"

    def test_the_source_stays(self, world: ContractWorld) -> None:
        path = world.folder / "source"
        path.write_bytes(b"precious")
        world.storage.put(world.rse, path, world.name())
        assert path.read_bytes() == b"precious"

    def test_the_pfn_is_the_one_that_the_catalogue_gives(self, world: ContractWorld) -> None:
        did = world.registered()
        pfn = world.catalogue.look_up([did])[did].replicas[world.rse].pfn
        assert pfn is not None
        assert world.storage.exists(world.rse, pfn)

    def test_a_source_that_cannot_be_read(self, world: ContractWorld) -> None:
        did = world.name()

        def put() -> None:
            for path in (world.folder / "nothing", world.folder):
                with pytest.raises(SourceUnreadable):
                    world.storage.put(world.rse, path, did)

        self.adds(world, 0, 0, put)

    def test_a_source_that_changes_while_it_is_read(self, world: ContractWorld) -> None:
        did, path = world.name(), world.folder / "source"
        # The system says that it is empty, and it is not.
        path.symlink_to("/proc/self/status")

        def put() -> None:
            with pytest.raises(SourceChanged, match="changed while it was read"):
                world.storage.put(world.rse, path, did)

        self.adds(world, 0, 0, put)
        assert world.storage.taken(world.rse, did) is None

    def test_nothing_cannot_be_read(self, world: ContractWorld) -> None:
        _, _, pfn = world.stored()
        world.storage.remove(world.rse, pfn)
        copy = world.folder / "copy"
        reads: list[Callable[[], object]] = [
            lambda: world.storage.get(world.rse, pfn, copy),
            lambda: world.storage.measure(world.rse, pfn),
            lambda: world.storage.checksum(world.rse, pfn),
        ]
        for read in reads:
            with pytest.raises(ReplicaMissing, match="cannot read"):
                read()
        assert not copy.exists()

    def test_a_copy_for_which_there_is_no_room(self, world: ContractWorld) -> None:
        _, _, pfn = world.stored()
        copy = world.folder / "copy"
        copy.symlink_to("/dev/full")
        with pytest.raises(DiskFull):
            world.storage.get(world.rse, pfn, copy)
        assert not copy.is_symlink()

    def test_a_removed_file_does_not_exist(self, world: ContractWorld) -> None:
        _, _, pfn = world.stored()
        assert world.storage.exists(world.rse, pfn) is True
        world.storage.remove(world.rse, pfn)
        assert world.storage.exists(world.rse, pfn) is False

    def test_what_is_gone_may_be_removed_again(self, world: ContractWorld) -> None:
        _, _, pfn = world.stored()
        for _ in range(2):
            world.storage.remove(world.rse, pfn)
        assert world.storage.exists(world.rse, pfn) is False

    def test_a_listing_counts_files_and_bytes(self, world: ContractWorld) -> None:
        def store() -> None:
            world.stored(b"123")
            world.stored(b"4567")

        self.adds(world, 2, 7, store)
        pfns = [world.stored(b"4567")[2] for _ in range(5)]
        self.adds(world, -1, -4, lambda: world.storage.remove(world.rse, pfns.pop()))

    def adds(
        self, world: ContractWorld, files: int, size: int, doing: Callable[[], object]
    ) -> None:
        """Something puts so much on the storage. It is done again if others, whose files go when
        their time has come, come in between."""

        def counted() -> bool:
            before = world.storage.count(world.rse)
            doing()
            after = world.storage.count(world.rse)
            assert before is not None
            assert after is not None
            return (after.files - before.files, after.bytes - before.bytes) == (files, size)

        world.settle(counted)

    def test_a_file_is_told_with_its_size(self, world: ContractWorld) -> None:
        _, measure, pfn = world.stored(b"12345")
        found = world.storage.stat(world.rse, pfn)
        assert found is not None
        assert (found.pfn, found.size) == (pfn, 5)
        assert found.adler32 in {None, measure.adler32}
        world.storage.remove(world.rse, pfn)
        assert world.storage.stat(world.rse, pfn) is None

    def test_a_listing_names_what_each_place_is_for(self, world: ContractWorld) -> None:
        did, _, pfn = world.stored(b"12345")
        found = [file for file in self.listed(world) if file.pfn == pfn]
        assert found == [StoredFile(pfn, 5, did=did)]
        world.storage.remove(world.rse, pfn)
        assert pfn not in {file.pfn for file in self.listed(world)}

    def test_a_scope_that_holds_nothing_is_listed(self, world: ContractWorld) -> None:
        listing = world.storage.listing(world.rse, world.name("scope").name)
        assert listing is not None
        assert list(listing) == []

    def test_what_lies_below_a_folder(self, world: ContractWorld) -> None:
        _, _, pfn = world.stored(b"12345")
        everything = self.below(world, "")
        (mine,) = [file for file in everything if file.pfn == pfn]
        assert mine.size == 5
        assert mine.modified is not None
        inside = pfn.partition(world.rse)[2].strip("/").partition("/")[0]
        assert pfn in {file.pfn for file in self.below(world, inside)}
        world.storage.remove(world.rse, pfn)
        assert pfn not in {file.pfn for file in self.below(world, "")}

    def test_no_folder_is_not_an_empty_one(self, world: ContractWorld) -> None:
        with pytest.raises(ReplicaMissing, match="no folder"):
            self.below(world, f"{world.tag}/nothing")

    def below(self, world: ContractWorld, folder: str) -> list[StoredFile]:
        """What lies below a folder of the RSE."""
        found = world.storage.files_below(world.rse, folder)
        assert found is not None
        return list(found)

    def listed(self, world: ContractWorld) -> list[StoredFile]:
        """What lies below the scope's place."""
        listing = world.storage.listing(world.rse, world.scope)
        assert listing is not None
        return list(listing)

    def test_many_threads_at_once(self, world: ContractWorld) -> None:
        def there_and_back(number: int) -> bytes:
            _, _, pfn = world.stored(str(number).encode())
            copy = world.folder / f"copy{number}"
            world.storage.get(world.rse, pfn, copy)
            return copy.read_bytes()

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(there_and_back, range(12))) == [str(n).encode() for n in range(12)]
