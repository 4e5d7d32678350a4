"""A month in the life of a campaign, told in facts: for tests and benchmarks of what shows it.

Nothing here is random: the same scene is the same facts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from rucio_inject.domain import facts as f
from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.rule import RuleRequest, RuleState, RuleView
from rucio_inject.domain.usage import Usage

SCOPE = "MAGIC_PIC_BRUZZESE"
UPLOAD = "PIC-INJECT"
SLOW = {"PIC-DCACHE": 2.2, "INFN-NA-DPM": 5.1, "LAPP-FAST": 1.4}
"""Seconds that the first file takes to each RSE; the others follow at a tenth of that."""
EXPRESSIONS = {"PIC-DCACHE": "PIC-DCACHE", "INFN-NA-DPM": "INFN-NA-DPM", "LAPP-FAST": "QOS=FAST"}
START = datetime(2026, 10, 26, 11, 0, 0, tzinfo=UTC)
STUCK_REASON = "the destination storage answered 507 Insufficient Storage"
NO_SPACE = ("storage-refused", f"{UPLOAD} refuses to write: no space left", "free some space there")
OTHER_BYTES = (
    "checksum-mismatch",
    "bytes read back from INFN-NA-DPM are not those of the source: adler32: 0a1b2c3d != 11e60398",
    "declare that replica bad: rucio-inject audit --fix",
)


@dataclass(frozen=True, slots=True)
class Scene:
    """One cycle: `files` files, of which the last ones are stuck on their way to INFN-NA-DPM or
    set aside. `ends`: all others come to their end; if not, they stay verified, and the cycle
    open. The first `sampled` files are not read back, as others are their sample."""

    cycle: int = 1
    begun: datetime = START
    files: int = 12
    stuck: int = 0
    failed: int = 0
    ends: bool = True
    files_a_run: int = field(default=50)
    sampled: int = 0

    def did(self, number: int) -> DID:
        """The DID of a file, from 0 on."""
        run, subrun = divmod(number, self.files_a_run)
        name = f"{self.begun:%Y%m%d}_M1_{self._run(run)}.{subrun + 1:03d}_D_1ES1959_650-W0.40_000"
        return DID(SCOPE, f"{name}.root")

    def dataset(self, number: int) -> DID:
        """The dataset of a file."""
        return DID(SCOPE, self._run(number // self.files_a_run))

    def _run(self, run: int) -> str:
        return f"{36_000_000 + 1000 * self.cycle + run:08d}"

    def measure(self, number: int) -> Measure:
        """Size and checksums of a file."""
        return Measure(700_000 + 1_337 * (number % 97), f"{number + 1:08x}", f"{number + 1:032x}")

    def at(self, seconds: float) -> datetime:
        """A moment of the cycle."""
        return self.begun + timedelta(seconds=seconds)

    def pfn(self, rse: str, did: DID) -> str:
        """Where a replica lies."""
        return f"file:///lake/{rse}/{did.scope}/{did.name}"

    @property
    def pace(self) -> float:
        """Seconds between two files: all of a cycle come within a quarter of a minute."""
        return min(0.25, 15 / max(self.files, 1))

    def facts(self) -> Iterator[list[f.Fact]]:
        """All facts in the order in which they were told, in batches that go on record at once."""
        yield [f.CycleBegun(at=self.begun, cycle=self.cycle)]
        for start in range(0, self.files, 250):
            numbers = range(start, min(start + 250, self.files))
            yield [fact for number in numbers for fact in self._brought(number)]
        yield list(self._rules())
        for start in range(0, self.files, 250):
            numbers = range(start, min(start + 250, self.files))
            yield [fact for number in numbers for fact in self._lived(number)]
        if not (self.stuck or self.failed) and self.ends:
            yield [f.CycleEnded(at=self.at(61), cycle=self.cycle)]

    def _brought(self, number: int) -> Iterator[f.Fact]:
        did, begun = self.did(number), number * self.pace
        yield f.FileFound(
            at=self.at(begun),
            did=did,
            path=f"/data/M1/{did.name}",
            dataset=self.dataset(number),
            containers=(DID(SCOPE, f"{self.begun:%Y%m%d}"),),
            cycle=self.cycle,
            generated=True,
            metadata={"telescope": "M1", "night": f"{self.begun:%Y-%m-%d}"},
        )
        yield f.FileMeasured(at=self.at(begun + 0.1), did=did, measure=self.measure(number))
        yield f.UploadBegun(at=self.at(begun + 0.1), did=did, rse=UPLOAD)
        if self._fails(number) and number % 2:
            code, reason, hint = NO_SPACE
            yield f.FileFailed(
                at=self.at(begun + 0.3), did=did, code=code, reason=reason, hint=hint
            )
            return
        pfn = self.pfn(UPLOAD, did)
        yield f.FileUploaded(at=self.at(begun + 0.4), did=did, rse=UPLOAD, pfn=pfn)
        yield f.FileRegistered(at=self.at(begun + 0.9), did=did, rse=UPLOAD, pfn=pfn)
        yield f.FileOrganised(at=self.at(begun + 1.0), did=did)

    def _rules(self) -> Iterator[f.Fact]:
        for dataset in dict.fromkeys(self.dataset(number) for number in range(self.files)):
            for rse, expression in EXPRESSIONS.items():
                request = RuleRequest(expression, lifetime=60)
                rule = self.rule(dataset, rse)
                yield f.RuleAsked(at=self.at(0.2), dataset=dataset, request=request)
                yield f.RuleMade(
                    at=self.at(0.3), dataset=dataset, rule_id=rule, request=request, adopted=False
                )
                stuck = self.stuck > 0 and rse == "INFN-NA-DPM"
                view = RuleView(
                    rule_id=rule,
                    did=dataset,
                    rse_expression=expression,
                    copies=1,
                    state=RuleState.STUCK if stuck else RuleState.OK,
                    locks_ok=self.files - self.stuck if stuck else self.files,
                    locks_replicating=0,
                    locks_stuck=self.stuck if stuck else 0,
                    error=STUCK_REASON if stuck else None,
                )
                yield f.RuleChanged(at=self.at(20), view=view)

    def rule(self, dataset: DID, rse: str) -> str:
        """The id of a rule, in the shape of Rucio's."""
        return f"{int(dataset.name):024x}{sorted(SLOW).index(rse) + 1:08x}"

    def _lived(self, number: int) -> Iterator[f.Fact]:
        did, begun = self.did(number), number * self.pace + 1.0
        if self._fails(number) and number % 2:
            return
        if self._is_stuck(number):
            yield f.FileWaits(at=self.at(25), did=did, rse="INFN-NA-DPM", reason=STUCK_REASON)
            return
        for rse, slow in SLOW.items():
            late = slow * (1 + (number % 11) / 10)
            yield f.ReplicaReady(at=self.at(begun + late), did=did, rse=rse)
        yield f.FileReplicated(at=self.at(begun + 11), did=did, rses=(UPLOAD, *SLOW))
        if self._fails(number):
            code, reason, hint = OTHER_BYTES
            yield f.FileFailed(at=self.at(begun + 13), did=did, code=code, reason=reason, hint=hint)
            return
        for order, rse in enumerate((UPLOAD, *SLOW)):
            at, pfn, measure = begun + 12 + order / 10, self.pfn(rse, did), self.measure(number)
            if number < self.sampled:
                yield f.ReplicaTold(
                    at=self.at(at),
                    did=did,
                    rse=rse,
                    pfn=pfn,
                    size=measure.size,
                    adler32=measure.adler32,
                )
            else:
                yield f.ReplicaRead(at=self.at(at), did=did, rse=rse, pfn=pfn, measure=measure)
        yield f.FileVerified(at=self.at(begun + 12.5), did=did, sampled=number < self.sampled)
        if self.ends:
            yield from self._ended(did, begun)

    def _ended(self, did: DID, begun: float) -> Iterator[f.Fact]:
        yield f.FileExpiring(at=self.at(begun + 15), did=did)
        for order, rse in enumerate((UPLOAD, *SLOW)):
            yield f.ReplicaGone(at=self.at(begun + 30 + order), did=did, rse=rse)
        yield f.FileGone(at=self.at(begun + 33), did=did)

    def _fails(self, number: int) -> bool:
        return number >= self.files - self.failed

    def _is_stuck(self, number: int) -> bool:
        return self.files - self.failed - self.stuck <= number < self.files - self.failed

    def counts(self, every: float = 1.0, until: float = 60) -> Iterator[f.RSECounted]:
        """What the RSEs held while the cycle went on, by the facts above. The storage is behind the
        catalogue by half a second, as deletion is."""
        steps = int(until / every) + 1
        for seconds in (step * every for step in range(steps)):
            for rse in (UPLOAD, *SLOW):
                yield f.RSECounted(
                    at=self.at(seconds),
                    rse=rse,
                    catalogue=self._held(rse, seconds),
                    storage=self._held(rse, max(seconds - 0.5, 0)),
                )

    def _held(self, rse: str, seconds: float) -> Usage:
        """Files that have come, less those that have gone."""
        arrival = 1.9 + SLOW.get(rse, -1.0) * 1.5
        leaving = 32.0 + sorted((UPLOAD, *SLOW)).index(rse)
        living = self.files - self.failed
        mine = living - (self.stuck if rse == "INFN-NA-DPM" else 0)
        come = min(max(int((seconds - arrival) / self.pace), 0), mine)
        gone = min(max(int((seconds - leaving) / self.pace), 0), mine) if self.ends else 0
        return Usage(come - gone, (come - gone) * 764_176)


def month(
    cycles: int = 720, *, files: int = 14, begun: datetime = START, trouble: Sequence[int] = ()
) -> Iterator[Scene]:
    """Hourly cycles; those named in `trouble` have files that are stuck and set aside."""
    for cycle in range(1, cycles + 1):
        bad = cycle in trouble
        yield Scene(
            cycle=cycle,
            begun=begun + timedelta(hours=cycle - 1),
            files=files,
            stuck=2 if bad else 0,
            failed=2 if bad else 0,
        )
