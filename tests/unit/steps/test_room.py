"""Whether there is room for what is to come, asked before the first byte is brought."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import QuotaExceeded
from rucio_inject.domain.facts import Fact, FileMeasured, FileRegistered
from rucio_inject.domain.injection import FileRecord
from rucio_inject.domain.rule import RuleRequest
from rucio_inject.measuring import readable_stat
from rucio_inject.ports import Ledger, NewFile
from rucio_inject.steps.prepare import survey
from rucio_inject.steps.room import CheckRoom
from rucio_inject.testing.contracts.ledger import FILE, NOON, SIBLING, begun, found, life
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.testing.memory_catalogue import MemoryCatalogue
from rucio_inject.testing.memory_lake import MemoryLake
from rucio_inject.testing.memory_ledger import MemoryLedger, Shelf

FAST = RuleRequest("QOS=FAST")
LANDING = RuleRequest("PIC-INJECT")


@pytest.fixture
def lake() -> MemoryLake:
    return MemoryLake(FakeClock())


def measured(size: int) -> FileMeasured:
    """The fact that the file has so many bytes."""
    return FileMeasured(at=NOON, did=FILE, measure=Measure(size, "1", "0" * 32))


@contextmanager
def coming(*facts: Fact) -> Iterator[Ledger]:
    """A ledger of a cycle in which this has happened."""
    with MemoryLedger(Shelf()) as ledger:
        ledger.record([begun(), *facts])
        yield ledger


def room(lake: MemoryLake, ledger: Ledger, *rules: RuleRequest) -> CheckRoom:
    """The room at the RSEs of some rules."""
    catalogue = MemoryCatalogue(lake)
    surveyed = survey(catalogue, account=None, upload_rse="PIC-INJECT", rules=rules, attributes={})
    return CheckRoom(ledger, catalogue, surveyed, (LANDING, *rules), size_of)


def size_of(record: FileRecord) -> int | None:
    """The bytes of a file that nobody has measured."""
    if record.announced is not None:
        return record.announced.size
    return readable_stat(Path(record.path)).st_size


class TestQuota:
    """What Rucio holds an account to."""

    def check(self, lake: MemoryLake, size: int, *rules: RuleRequest) -> None:
        with coming(found(FILE), measured(size)) as ledger:
            room(lake, ledger, *rules).check(lambda: None)

    def test_no_limit_is_room_enough(self, lake: MemoryLake) -> None:
        self.check(lake, 10**18, FAST)

    @pytest.mark.parametrize("rse", ["PIC-INJECT", "LAPP-FAST"])
    def test_a_limit_is_kept(self, lake: MemoryLake, rse: str) -> None:
        lake.rses[rse].limits["magic"] = 10
        self.check(lake, 9, FAST)
        with pytest.raises(QuotaExceeded, match=f"{rse}: 10 bytes") as caught:
            self.check(lake, 10, FAST)
        assert "account limit" in str(caught.value.hint)

    def test_one_of_two_with_room_is_enough_for_one_copy(self, lake: MemoryLake) -> None:
        lake.rses["PIC-DCACHE"].limits["magic"] = 0
        self.check(lake, 10, RuleRequest("LAPP-FAST|PIC-DCACHE"))
        with pytest.raises(QuotaExceeded, match="PIC-DCACHE"):
            self.check(lake, 10, RuleRequest("LAPP-FAST|PIC-DCACHE", 2))

    def test_rules_to_one_rse_add_up(self, lake: MemoryLake) -> None:
        lake.rses["LAPP-FAST"].limits["magic"] = 19
        both = (FAST, RuleRequest("LAPP-FAST"))
        self.check(lake, 9, *both)
        with pytest.raises(QuotaExceeded, match="LAPP-FAST: 9 bytes"):
            self.check(lake, 10, *both)

    def test_what_is_held_counts(self, lake: MemoryLake) -> None:
        catalogue = MemoryCatalogue(lake)
        catalogue.ensure_scope("MAGIC", "magic")
        file = DID("MAGIC", "held")
        catalogue.add_files("LAPP-FAST", [NewFile(file, Measure(7, "1", "0" * 32))])
        catalogue.add_rules([file], FAST, "magic")
        lake.rses["LAPP-FAST"].limits["magic"] = 10
        with pytest.raises(QuotaExceeded, match="LAPP-FAST: 3 bytes"):
            self.check(lake, 4, FAST)


class TestWhatIsComing:
    """Bytes that the rules will ask for, as far as they are known."""

    @pytest.fixture(autouse=True)
    def ten_bytes_left(self, lake: MemoryLake) -> None:
        lake.rses["LAPP-FAST"].limits["magic"] = 10

    def test_a_file_that_is_only_found_counts_what_is_on_disk(
        self, lake: MemoryLake, tmp_path: Path
    ) -> None:
        path = tmp_path / "a.root"
        path.write_bytes(b"x" * 10)
        with (
            coming(replace(found(FILE), path=str(path), generated=False)) as ledger,
            pytest.raises(QuotaExceeded, match="no quota for 10 bytes"),
        ):
            room(lake, ledger, FAST).check(lambda: None)

    def test_a_file_that_went_away_counts_nothing(self, lake: MemoryLake) -> None:
        with coming(replace(found(FILE), path="/no/such/file")) as ledger:
            room(lake, ledger, FAST).check(lambda: None)

    def test_what_the_catalogue_has_already_may_make_room(self, lake: MemoryLake) -> None:
        with coming(found(FILE), found(SIBLING), measured(10)) as ledger:

            def settle() -> None:
                there = FileRegistered(at=NOON, did=FILE, rse="A", pfn=None, adopted=True)
                ledger.record([there, *life(FILE)[4:5]])

            room(lake, ledger, FAST).check(settle)

    def test_nobody_settles_where_there_is_room(self, lake: MemoryLake) -> None:
        with coming(found(FILE), measured(9)) as ledger:
            room(lake, ledger, FAST).check(lambda: pytest.fail("settled for nothing"))

    def test_nothing_is_asked_when_nothing_comes(self, lake: MemoryLake) -> None:
        lake.rses["PIC-INJECT"].limits["magic"] = 0
        with coming(*(found(FILE), *life(FILE)[:5])) as ledger:
            room(lake, ledger, FAST).check(lambda: pytest.fail("settled for nothing"))
