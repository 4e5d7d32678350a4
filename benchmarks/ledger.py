"""How the ledger does with many files: `python -m benchmarks.ledger 10000 100000 1000000`.

For each number of files, in a new process: facts recorded a second, the time that the processor
spends on each (this process's, in microseconds), the time that `status` needs for its counts, the
time to the first file at a resume, and the memory that all of this takes. `--batch` is how many
facts go into one call. A ledger at `--at` (a folder, or a PostgreSQL URL whose tables are then
filled) is left there.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rucio_inject.batches import BATCH, batches
from rucio_inject.clock import SystemClock
from rucio_inject.domain import facts as f
from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.injection import FileState
from rucio_inject.ledger.engine import is_url
from rucio_inject.ledger.sql_ledger import SqlLedger

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MEASURE = Measure(1_000_000_000, "0a1b2c3d", "0123456789abcdef0123456789abcdef")
FILES_A_DATASET = 1000
# A crash leaves the last files behind: these are what a resume looks for.
LEFT_BEHIND = 1000


def did(number: int) -> DID:
    """The DID of one file, as long as the telescopes' are."""
    return DID("magic", f"20200203_M1_05089063.{number:07}_Y_CrabNebula-W0.40+035.root")


def life(number: int, *, whole: bool) -> Sequence[f.Fact]:
    """What happens to one file until it is registered, or until it is measured."""
    name = did(number)
    pfn = f"root://storage.example.org:1094//magic/{name.name}"
    found = f.FileFound(
        at=NOON,
        did=name,
        path=f"/data/magic/2020/02/03/{name.name}",
        dataset=DID("magic", f"05089063-{number // FILES_A_DATASET:05}"),
        containers=(DID("magic", "2020_02_03"),),
        cycle=1,
        generated=False,
        metadata={"night": "2020_02_03", "run_number": 5089063, "telescope": "M1"},
    )
    measured = f.FileMeasured(at=NOON, did=name, measure=MEASURE)
    if not whole:
        return found, measured
    return (
        found,
        measured,
        f.UploadBegun(at=NOON, did=name, rse="PIC"),
        f.FileUploaded(at=NOON, did=name, rse="PIC", pfn=pfn),
        f.FileRegistered(at=NOON, did=name, rse="PIC", pfn=pfn),
        f.FileOrganised(at=NOON, did=name),
    )


def steps(files: int, size: int = BATCH) -> Iterator[list[f.Fact]]:
    """Facts in the batches and in the order in which a run records them: one step after another."""
    for numbers in batches(range(files), size):
        lives = [life(n, whole=n < files - LEFT_BEHIND) for n in numbers]
        for step in range(len(lives[0])):
            yield [facts[step] for facts in lives if step < len(facts)]


def peak() -> float:
    """The most memory that this process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(location: str, campaign: str, files: int, size: int) -> dict[str, float]:
    """Fill a ledger, and ask it what a run and a status ask."""
    clock = SystemClock()
    place = location if is_url(location) else Path(location, f"{campaign}.db")
    figures: dict[str, float] = {"files": files}
    with SqlLedger(place, campaign, clock=clock) as ledger:
        ledger.record([f.CycleBegun(at=NOON, cycle=1)])
        memory, facts, seconds, busy = peak(), 0, 0.0, 0.0
        for batch in steps(files, size):
            begun, begun_busy = clock.monotonic(), time.process_time()
            ledger.record(batch)
            seconds += clock.monotonic() - begun
            busy += time.process_time() - begun_busy
            facts += len(batch)
    figures |= {"facts": facts, "facts_per_second": facts / seconds}
    figures["cpu_us_a_fact"] = busy / facts * 1e6

    begun = clock.monotonic()
    with SqlLedger(place, campaign, clock=clock, reading=True) as ledger:
        counts = ledger.counts()
        figures["status_seconds"] = clock.monotonic() - begun
        begun = clock.monotonic()
        ledger.usage()
        figures["usage_seconds"] = clock.monotonic() - begun
    if sum(counts.values()) != files:
        raise SystemExit(f"{sum(counts.values())} files are on record, not {files}")

    begun = clock.monotonic()
    with SqlLedger(place, campaign, clock=clock) as ledger:
        ledger.datasets({FileState.MEASURED})
        first = next(ledger.files({FileState.FOUND, FileState.MEASURED}))
        figures["resume_seconds"] = clock.monotonic() - begun
        begun = clock.monotonic()
        drawn = sum(1 for _ in ledger.files())
        figures["files_drawn_per_second"] = drawn / (clock.monotonic() - begun)
    if first.did != did(files - LEFT_BEHIND):
        raise SystemExit(f"a resume would begin with {first.did}")
    figures |= {"memory_mb": peak(), "memory_growth_mb": peak() - memory}
    if isinstance(place, Path):
        figures["disk_mb"] = place.stat().st_size / 1_000_000
    return figures


def table(rows: Sequence[dict[str, float]]) -> str:
    """Figures in columns, a line for each number of files."""
    names = list(rows[0])
    lines = [names, *([f"{row[name]:,.3f}".removesuffix(".000") for name in names] for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(names))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def main() -> None:
    """Measure each number of files in a process of its own, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=int, default=[10_000, 100_000])
    parser.add_argument("--batch", type=int, default=BATCH, help="facts in one call (%(default)s)")
    parser.add_argument("--at", help="a folder or a PostgreSQL URL (default: a temporary folder)")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if min(chosen.files) <= LEFT_BEHIND:
        parser.error(f"measure more than {LEFT_BEHIND} files")
    if chosen.one:
        (files,) = chosen.files
        print(
            json.dumps(measure(chosen.at, f"bench-{files}-{time.time_ns()}", files, chosen.batch))
        )
        return
    with tempfile.TemporaryDirectory(prefix="rucio-inject-bench-") as folder:
        rows = []
        for files in chosen.files:
            command = [sys.executable, "-m", "benchmarks.ledger", "--one", str(files)]
            command += ["--batch", str(chosen.batch), "--at", chosen.at or folder]
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            rows.append(json.loads(answer.stdout))
    print(table(rows))
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
