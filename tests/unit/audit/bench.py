"""A campaign that is VERIFIED and has no end, on the in-memory lake, and its audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from tests.injection_world import NAMES, SCOPE, World, telescope_files

from rucio_inject.audit.audit import Audit
from rucio_inject.audit.findings import Finding, Kind, Repaired, Report
from rucio_inject.audit.world import Plan
from rucio_inject.audit.world import World as AuditWorld
from rucio_inject.domain.did import DID
from rucio_inject.domain.facts import Fact
from rucio_inject.domain.injection import FileState
from rucio_inject.ports import NewFile
from rucio_inject.testing.contracts.world import measured
from rucio_inject.testing.memory_daemons import pfn_of
from rucio_inject.testing.memory_lake import MemoryLake
from rucio_inject.testing.memory_ledger import MemoryLedger

CRAB, SIBLING, OTHER_RUN = (DID(SCOPE, name) for name in NAMES)
RUN, OTHER = DID(SCOPE, "05089063"), DID(SCOPE, "05089064")
PARTIAL = ".0123456789ab.rucio.upload"


class HearingLedger(MemoryLedger):
    """A ledger that tells which facts it was given."""

    heard: list[Fact]

    def record(self, facts: Sequence[Fact]) -> None:
        """See the port."""
        super().record(facts)
        self.heard += facts


@dataclass
class Bench:
    """The campaign's world, and audits of it."""

    world: World
    inbox: Path
    checksums: bool = False
    closes: bool = False
    facts: list[Fact] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def lake(self) -> MemoryLake:
        """The lake."""
        return self.world.lake

    def world_and_plan(self, ledger: MemoryLedger) -> tuple[AuditWorld, Plan]:
        """What an audit with a ledger works with."""
        world = AuditWorld(ledger, self.world.catalogue, self.world.storage, self.world.clock)
        plan = Plan(
            scope=SCOPE,
            account=self.world.lake.account,
            upload_rse="PIC-INJECT",
            workers=2,
            checksums=self.checksums,
            closes=self.closes,
        )
        return world, plan

    def audit(self, ledger: MemoryLedger) -> Audit:
        """An audit with a ledger that is opened, or only looked at."""
        return Audit(*self.world_and_plan(ledger), self.lines.append)

    def report(self) -> Report:
        """What an audit finds now."""
        # Not opened: who only looks needs no lock.
        return self.audit(self.world.ledger()).look()

    def look(self) -> list[Finding]:
        """Its findings."""
        return [finding for held in self.report().kept.values() for finding in held]

    def one(self, kind: Kind) -> Finding:
        """The one finding there is, of a kind."""
        (finding,) = self.look()
        assert finding.kind is kind, finding
        return finding

    def fix(self) -> list[Repaired]:
        """Repair what an audit finds now."""
        ledger = HearingLedger(self.world.shelf)
        ledger.heard = self.facts
        with ledger:
            audit = self.audit(ledger)
            return list(audit.fix(audit.look()))

    def fixed(self) -> None:
        """Repair it all; fails if something could not be."""
        repaired = self.fix()
        assert repaired
        assert [outcome for outcome in repaired if outcome.error] == []

    def rewrite(self, did: DID, **changes: object) -> None:
        """Change what is on record of a file."""
        files = self.world.shelf.pages.files
        files[did] = replace(files[did], **changes)  # type: ignore[arg-type]

    def stored(self) -> dict[str, dict[str, bytes]]:
        """Everything on every storage."""
        return {rse: dict(known.bytes) for rse, known in self.lake.rses.items()}


def rule_id(bench: Bench, dataset: DID, expression: str) -> str:
    """A rule of the campaign."""
    rules = bench.lake.rules.items()
    (key,) = (k for k, r in rules if (r.did, r.request.rse_expression) == (dataset, expression))
    return key


def partial(bench: Bench, *, hours: float = 2) -> str:
    """Part of an upload that was killed, and the record of it; its PFN."""
    pfn = pfn_of("PIC-INJECT", CRAB) + PARTIAL
    bench.lake.rses["PIC-INJECT"].bytes[pfn] = b"eve"
    bench.world.storage.modified[pfn] = bench.lake.clock.now() - timedelta(hours=hours)
    bench.rewrite(CRAB, state=FileState.FOUND)
    return pfn


def unmounted(bench: Bench, rse: str) -> None:
    """The folder of a storage is there, and nothing is mounted on it."""
    bench.lake.rses[rse].bytes.clear()


def left_behind(bench: Bench) -> None:
    """End the campaign where the storages do not let the reaper delete."""
    for known in bench.lake.rses.values():
        known.refuses_deletion = True
    bench.world.changes["end"] = {"lifetime": "5s", "deadline": "20s"}
    bench.world.run()


def add_stranger(bench: Bench) -> DID:
    """Somebody's file in a dataset of ours."""
    did = DID(SCOPE, "theirs")
    bench.world.storage.put("PIC-INJECT", bench.inbox / NAMES[0], did)
    content = (bench.inbox / NAMES[0]).read_bytes()
    bench.world.catalogue.add_files("PIC-INJECT", [NewFile(did, measured(content))])
    bench.world.catalogue.attach({RUN: [did]})
    # Rules find it, then transfers bring it.
    for _ in range(2):
        bench.lake.clock.advance(1)
    return did


def verified(folder: Path) -> Bench:
    """Three files of two runs, verified."""
    world = World(folder)
    inbox = folder / "inbox"
    telescope_files(inbox)
    world.changes |= {"end": None, "source": {"kind": "directory", "path": str(inbox)}}
    assert set(world.run().by_state) == {FileState.VERIFIED}
    return Bench(world, inbox)
