"""A sample that is read back speaks for its run; what is not read is proved by its storages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
from pydantic import ValidationError
from tests.injection_world import HOLDERS, SCOPE, World, telescope_files

from rucio_inject.cli.exit_codes import ExitCode, of_outcome
from rucio_inject.domain import facts as f
from rucio_inject.domain.checksum import Announced
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError
from rucio_inject.domain.injection import FileRecord, FileState, ReplicaRecord, SourceCopy
from rucio_inject.domain.story import advance
from rucio_inject.steps.sampling import Sample, Sampling
from rucio_inject.testing.contracts.world import measured
from rucio_inject.testing.fake_clock import START

MANY = tuple(
    f"20200203_M1_0508906{run}.{subrun:03d}_Y_CrabNebula-W0.40_035.root"
    for run in (3, 4)
    for subrun in range(1, 11)
)
RUNS = [DID(SCOPE, run) for run in ("05089063", "05089064")]


@pytest.fixture
def world(tmp_path: Path) -> World:
    telescope_files(tmp_path / "inbox", MANY)
    source = {"kind": "directory", "path": str(tmp_path / "inbox")}
    return World(tmp_path, {"end": None, "source": source, "access": {"sample": "20%"}})


def free(world: World) -> None:
    """From now on the campaign gives up its sources."""
    world.changes["source"] = {**world.changes["source"], "free": True}


def sampled(world: World) -> dict[str, bool]:
    """Whether files were not read, by name."""
    return {record.did.name: record.sampled for record in world.files()}


@pytest.mark.parametrize(
    ("sample", "files", "read"),
    [
        (Sample(share=0.1), 10, 1),
        (Sample(share=0.1), 11, 2),
        (Sample(share=0.001), 3, 1),
        (Sample(share=1.0), 7, 7),
        (Sample(files=3), 10, 3),
    ],
)
def test_how_many_are_read(sample: Sample, files: int, read: int) -> None:
    assert sample.size(files) == read


@pytest.mark.parametrize("sample", [0, -1, "0%", "101%", "a few", 1.5, True])
def test_what_is_no_sample(world: World, sample: Any) -> None:
    world.changes["access"] = {"sample": sample}
    with pytest.raises(ValidationError):
        _ = world.campaign


def test_a_share_of_every_run_is_read(world: World) -> None:
    outcome = world.run()
    assert of_outcome(outcome) is ExitCode.DONE
    assert set(world.states().values()) == {"VERIFIED"}
    for run in RUNS:
        inside = [record for record in world.files() if record.dataset == run]
        assert sum(not record.sampled for record in inside) == 2
    for record in world.files():
        for rse in HOLDERS:
            known = record.replicas[rse]
            assert (known.read_back is None) is record.sampled
            assert (known.told is not None) is record.sampled
    assert outcome.totals.sampled == 16
    assert outcome.totals.replicas_told == 64
    assert outcome.totals.replicas_verified == 16
    assert world.broken() == []
    assert not world.run().changed


def test_the_same_files_are_chosen_again(world: World, tmp_path: Path) -> None:
    world.run()
    other = World(tmp_path / "again", dict(world.changes))
    other.run()
    assert sampled(other) == sampled(world)


def test_so_many_files_of_a_run(world: World) -> None:
    world.changes["access"] = {"sample": 3}
    world.run()
    assert sum(not left_out for left_out in sampled(world).values()) == 6


def test_a_corrupt_replica_that_is_not_read_is_found_by_its_storage(world: World) -> None:
    world.changes["replication"] = {"deadline": "60s"}
    world.run()
    names = [name for name, left_out in sampled(world).items() if left_out]
    world.lake.corrupt(DID(SCOPE, names[0]), "LAPP-FAST")
    free(world)
    outcome = world.run()
    assert of_outcome(outcome) is ExitCode.CHECKSUM
    kept = [record.did.name for record in world.files() if record.source is SourceCopy.KEPT]
    assert names[0] in kept
    assert world.broken() == []


def test_sources_are_freed_when_the_sample_was_read(world: World) -> None:
    free(world)
    outcome = world.run()
    assert of_outcome(outcome) is ExitCode.DONE
    assert {record.source for record in world.files()} == {SourceCopy.FREED}
    assert list((world.folder / "inbox").iterdir()) == []
    assert world.broken() == []


def test_a_sample_that_is_bad_keeps_every_source_of_its_run(world: World) -> None:
    world.run()
    chosen = next(r for r in world.files() if not r.sampled and r.dataset == RUNS[0])
    world.lake.corrupt(chosen.did, "PIC-DCACHE")
    free(world)
    world.run()
    kept = {r.did.name for r in world.files() if r.source is SourceCopy.KEPT}
    assert kept == {
        name for name in MANY if RUNS[0].name in name and not _freed_before(world, name)
    }
    assert chosen.did.name in kept
    freed = {r.dataset for r in world.files() if r.source is SourceCopy.FREED and r.sampled}
    assert freed == {RUNS[1]}
    assert world.broken() == []


def _freed_before(world: World, name: str) -> bool:
    """Of the run with the bad one, those that were read and good may go."""
    record = next(r for r in world.files() if r.did.name == name)
    return record.source is SourceCopy.FREED and not record.sampled


def test_who_asks_for_all_later_has_all_read_before_they_go(world: World) -> None:
    world.run()
    world.changes["access"] = {}
    free(world)
    world.run()
    assert {record.source for record in world.files()} == {SourceCopy.FREED}
    assert not any(record.sampled for record in world.files())
    for record in world.files():
        assert {known.read_back for known in record.replicas.values()} == {record.measure}


def test_files_that_come_later_keep_what_was_proved(world: World) -> None:
    world.run()
    before = {name for name, left_out in sampled(world).items() if not left_out}
    telescope_files(
        world.folder / "inbox",
        [f"20200203_M1_05089063.{n:03d}_Y_CrabNebula-W0.40_035.root" for n in range(11, 41)],
    )
    world.run()
    after = {name for name, left_out in sampled(world).items() if not left_out}
    assert before <= after
    assert len([name for name in after if RUNS[0].name in name]) >= 8


def test_what_is_verified_is_not_gone_through_again_for_every_few_files(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.changes["limits"] = {"files_in_flight": 2}
    asked: Counter[DID] = Counter()
    reads = Sampling.reads

    def counted(sampling: Sampling, record: FileRecord) -> bool:
        asked[record.did] += record.state is FileState.VERIFIED
        return reads(sampling, record)

    monkeypatch.setattr(Sampling, "reads", counted)
    world.run()
    assert len(asked) == len(MANY)
    assert max(asked.values()) <= 1


def test_a_sample_is_chosen_once_though_many_ask(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.run()
    with world.ledger() as ledger:
        records = list(ledger.files())[:4]
        many = Barrier(2)
        choices: list[DID | None] = []
        files = ledger.files

        def slow(*, dataset: DID | None = None) -> Iterator[FileRecord]:
            choices.append(dataset)
            with suppress(BrokenBarrierError):
                many.wait(timeout=0.2)
            return files(dataset=dataset)

        monkeypatch.setattr(ledger, "files", slow)
        with ThreadPoolExecutor(len(records)) as crew:
            list(crew.map(Sampling(ledger, Sample(files=1)).reads, records))
    assert choices == [RUNS[0]]


class TestInvariants:
    """What a record refuses, whatever a step tells."""

    @pytest.fixture
    def record(self) -> FileRecord:
        """A file that is everywhere, and that nobody has looked at."""
        return FileRecord(
            did=DID(SCOPE, "a"),
            path="/x",
            dataset=RUNS[0],
            containers=(),
            cycle=1,
            found_at=START,
            generated=False,
            state=FileState.REPLICATED,
            measure=measured(b"events"),
            replicas={"A": ReplicaRecord(pfn="a"), "B": ReplicaRecord(pfn="b")},
        )

    def told(self, rse: str, content: bytes = b"events") -> f.ReplicaTold:
        measure = measured(content)
        return f.ReplicaTold(
            at=START,
            did=DID(SCOPE, "a"),
            rse=rse,
            pfn="p",
            size=measure.size,
            adler32=measure.adler32,
        )

    def verified(self, *, sampled: bool) -> f.FileVerified:
        return f.FileVerified(at=START, did=DID(SCOPE, "a"), sampled=sampled)

    def test_what_storages_told_is_enough_for_a_sample_only(self, record: FileRecord) -> None:
        for rse in "AB":
            record = advance(record, self.told(rse))
        with pytest.raises(LedgerError, match="not verified"):
            advance(record, self.verified(sampled=False))
        assert advance(record, self.verified(sampled=True)).sampled

    @pytest.mark.parametrize("second", [None, b"other!"])
    def test_every_storage_must_tell_the_same(
        self, record: FileRecord, second: bytes | None
    ) -> None:
        record = advance(record, self.told("A"))
        if second is not None:
            record = advance(record, self.told("B", second))
        with pytest.raises(LedgerError, match=r"not the same bytes at \['B'\]"):
            advance(record, self.verified(sampled=True))

    def test_half_a_word_is_none(self, record: FileRecord) -> None:
        told = Announced(size=measured(b"events").size)
        replicas = {rse: replace(r, told=told, told_at=START) for rse, r in record.replicas.items()}
        with pytest.raises(LedgerError):
            advance(replace(record, replicas=replicas), self.verified(sampled=True))

    def test_what_was_read_and_different_is_not_made_good_by_an_older_word(
        self, record: FileRecord
    ) -> None:
        for rse in "AB":
            record = advance(record, self.told(rse))
        later = START.replace(hour=START.hour + 1)
        read = f.ReplicaRead(
            at=later, did=record.did, rse="A", pfn="p", measure=measured(b"other!")
        )
        with pytest.raises(LedgerError):
            advance(advance(record, read), self.verified(sampled=True))

    def test_a_file_that_is_on_no_rse_is_not_verified(self, record: FileRecord) -> None:
        with pytest.raises(LedgerError):
            advance(replace(record, replicas={}), self.verified(sampled=True))


def test_a_run_that_nobody_chose_from_is_spoken_for_by_none(world: World) -> None:
    with world.ledger() as ledger:
        sampling = Sampling(ledger, Sample(files=1))
        assert not any(sampling.reads(record) for record in ledger.files())
    world.run()
    with world.ledger() as ledger:
        sampling = Sampling(ledger, Sample(share=0.2))
        assert all(sampling.speaks(run) for run in RUNS)
