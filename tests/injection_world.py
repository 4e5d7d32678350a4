"""A whole campaign on the in-memory lake, and a witness who checks its promises at every fact."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rucio_inject.api import Injector
from rucio_inject.campaign.schema import Campaign
from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.injection import FileRecord, FileState, SourceCopy, reached
from rucio_inject.factory import Ports
from rucio_inject.measuring import measure_file
from rucio_inject.outcome import Outcome
from rucio_inject.plan import Plan
from rucio_inject.ports import Analyser
from rucio_inject.steps.looks import Looks
from rucio_inject.testing.contracts.world import measured
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.testing.memory_catalogue import MemoryCatalogue
from rucio_inject.testing.memory_lake import MemoryLake
from rucio_inject.testing.memory_ledger import MemoryLedger, Shelf
from rucio_inject.testing.memory_storage import MemoryStorage

SCOPE = "MAGIC"
HOLDERS = ("INFN-NA-DPM", "LAPP-FAST", "PIC-DCACHE", "PIC-INJECT")
NAMES = (
    "20200203_M1_05089063.001_Y_CrabNebula-W0.40_035.root",
    "20200203_M1_05089063.002_Y_CrabNebula-W0.40_035.root",
    "20200203_M1_05089064.001_Y_CrabNebula-W0.40_215.root",
)
MOCK = {
    "kind": "mock",
    "runs": 1,
    "subruns": 2,
    "telescopes": ["M1"],
    "types": ["D"],
    "payload": {"kind": "raw", "size": 64},
}


def campaign_keys(folder: Path, **changes: Any) -> dict[str, Any]:
    """The keys of a small campaign; those that are None are left out."""
    keys: dict[str, Any] = {
        "campaign": "test",
        "scope": SCOPE,
        "source": MOCK,
        "upload": {"rse": "PIC-INJECT", "workers": 2},
        "rules": [{"rse_expression": e} for e in ("PIC-DCACHE", "INFN-NA-DPM", "QOS=FAST")],
        "replication": {"deadline": "60s"},
        "access": {"workers": 2},
        "end": {"lifetime": "5s", "deadline": "60s"},
        "monitor": {"interval": 3600},
        "output": str(folder),
        **changes,
    }
    return {key: value for key, value in keys.items() if value is not None}


def telescope_files(folder: Path, names: Sequence[str] = NAMES) -> dict[str, bytes]:
    """Real files in a folder, each with bytes of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {name: f"events of {name}".encode() for name in names}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return contents


class Witness:
    """An onlooker who looks at the lake at every fact: is what was promised still kept?"""

    def __init__(self, lake: MemoryLake, ledger: MemoryLedger) -> None:
        self._lake = lake
        self._ledger = ledger
        self.facts: list[f.Fact] = []
        self.broken: list[str] = []

    def record(self, facts: Sequence[f.Fact]) -> None:
        """See `ports.FactSink`. A crash may happen here, after the ledger has the facts; not in
        the thread that counts the RSEs, which nobody waits for."""
        if all(isinstance(fact, f.RSECounted) for fact in facts):
            return
        with self._lake.call("told"):
            self.facts += facts
            for fact in facts:
                if isinstance(fact, f.SourceFreed | f.FileVerified):
                    self._has_good_replicas(fact.did, HOLDERS, f"at {type(fact).__name__}")
            for record in self._ledger.files():
                self._is_not_lost(record)

    def _is_not_lost(self, record: FileRecord) -> None:
        if record.in_place:
            self._is_not_lost_at_its_origin(record)
        elif record.source is SourceCopy.KEPT and record.measure is not None:
            path = Path(record.path)
            # Between the removal and its fact a verified file is gone from its source.
            there = os.access(path, os.F_OK)
            if not there and not reached(record.state, FileState.VERIFIED):
                self.broken.append(f"the source of {record.did} was freed as {record.state}")
        if record.state is FileState.GONE and record.did in self._lake.files:
            self.broken.append(f"{record.did} is said to be gone and is not")

    def _is_not_lost_at_its_origin(self, record: FileRecord) -> None:
        origin = record.upload_rse
        if origin is None or record.source is not SourceCopy.KEPT or record.measure is None:
            return
        there = record.path in self._lake.rses[origin].bytes
        if not there and record.state is not FileState.QUARANTINED:
            self.broken.append(f"{record.did} is no longer at its origin, as {record.state}")

    def _has_good_replicas(self, did: DID, rses: Sequence[str], when: str) -> None:
        record = self._ledger.file(did)
        assert record is not None
        freed = record.source is not SourceCopy.KEPT
        for rse in rses:
            ending = reached(record.state, FileState.EXPIRING)
            content = self._content(record, rse)
            measure = record.measure
            same = content is not None and measure and not measure.differences(measured(content))
            # A source that is at an RSE is given up together with its replica there.
            good = same or (record.in_place and rse == record.upload_rse and freed)
            if not good and not ending:
                self.broken.append(f"{did} has no good replica at {rse} {when}")

    def _content(self, record: FileRecord, rse: str) -> bytes | None:
        if record.in_place and rse == record.upload_rse:
            return self._lake.rses[rse].bytes.get(record.path)
        return self._lake.content(record.did, rse)


@dataclass
class World:
    """A campaign that can be run, stopped, and run again, each time as a new process would."""

    folder: Path
    changes: dict[str, Any] = field(default_factory=dict)
    analyser: Analyser | None = None

    def __post_init__(self) -> None:
        self.clock = FakeClock()
        self.lake = MemoryLake(self.clock)
        self.catalogue = MemoryCatalogue(self.lake)
        self.storage = MemoryStorage(self.lake)
        self.shelf = Shelf()
        self.witnesses: list[Witness] = []

    @property
    def campaign(self) -> Campaign:
        """The campaign as it is now."""
        return Campaign.model_validate(campaign_keys(self.folder / "out", **self.changes))

    def ledger(self) -> MemoryLedger:
        """The campaign's ledger, to be opened."""
        return MemoryLedger(self.shelf)

    def run(self, *, new_cycle: bool = False, looks: Looks | None = None) -> Outcome:
        """One run of the command, as `rucio-inject run` does it; or one of a watch's `looks`."""
        self.lake.begin_process()
        ports = Ports(self.catalogue, self.storage, self.analyser, self.clock)
        with self.ledger() as ledger:
            witness = Witness(self.lake, ledger)
            self.witnesses.append(witness)
            injector = Injector(
                self.campaign, ports, ledger, [witness], new_cycle=new_cycle, looks=looks
            )
            return injector.run(injector.prepare())

    def plan(self, *, new_cycle: bool = False) -> Plan:
        """What a run would do, as `rucio-inject run --dry-run` asks for it."""
        self.lake.begin_process()
        ports = Ports(self.catalogue, self.storage, self.analyser, self.clock)
        # A ledger may be looked into while somebody has it.
        ledger = MemoryLedger(self.shelf)
        return Injector(self.campaign, ports, ledger, new_cycle=new_cycle).plan()

    def run_to_the_end(self, tries: int = 5) -> Outcome:
        """Run until a run ends with every file GONE; fails if that never comes."""
        for _ in range(tries):
            outcome = self.run()
            if set(outcome.by_state) == {FileState.GONE}:
                return outcome
        raise AssertionError(f"after {tries} runs: {dict(outcome.by_state)}")

    def files(self) -> list[FileRecord]:
        """What is on record now."""
        with self.ledger() as ledger:
            return list(ledger.files())

    def states(self) -> dict[str, str]:
        """States of the files by DID name."""
        return {record.did.name: str(record.state) for record in self.files()}

    def broken(self) -> list[str]:
        """Promises that were not kept in any run so far."""
        return [line for witness in self.witnesses for line in witness.broken]

    def facts(self, kind: type[f.Fact]) -> list[Any]:
        """Facts of a kind that were told in any run so far."""
        told = [fact for witness in self.witnesses for fact in witness.facts]
        return [fact for fact in told if isinstance(fact, kind)]

    def assert_all_is_gone(self) -> None:
        """The state that a mock campaign ends in, whatever happened on the way."""
        assert self.broken() == []
        assert self.lake.files == {}
        assert self.lake.collections == {}
        assert self.lake.rules == {}
        assert {rse: known.bytes for rse, known in self.lake.rses.items() if known.bytes} == {}
        assert len(self.lake.registrations) == len(set(self.lake.registrations))
        with self.ledger() as ledger:
            assert ledger.cycle_ended
            assert {record.state for record in ledger.files()} == {FileState.GONE}
            assert {record.source for record in ledger.files()} == {SourceCopy.FREED}
            assert ledger.collections() == frozenset()
            assert [rule for rule in ledger.rules() if rule.gone_at is None] == []
            for record in ledger.files():
                read = {rse: known.read_back for rse, known in record.replicas.items()}
                assert read == dict.fromkeys(HOLDERS, record.measure)
        assert not list((self.folder / "out" / "source").glob("*"))


def blind(patch: pytest.MonkeyPatch, name: str) -> None:
    """The system tells nothing of files of a name from now on, as when their disk is faulty."""

    def blinded(look: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def refuse(path: Any, **options: Any) -> os.stat_result:
            if not isinstance(path, int) and Path(path).name == name:
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
            return look(path, **options)

        return refuse

    patch.setattr(os, "stat", blinded(os.stat))
    patch.setattr(os, "lstat", blinded(os.lstat))


def source_measures(folder: Path) -> dict[str, Any]:
    """The measures of the files in a folder, by name."""
    return {path.name: measure_file(path) for path in folder.iterdir()}
