"""How the ledger does with many files: `python -m benchmarks.ledger 10000 100000 1000000`.

For each number of files, in a new process: facts recorded a second, the time that the processor
spends on each (this process's, in microseconds), the time of a whole `rucio-inject status` and of
the counts in it, the time to the first file at a resume, the time of a run that has nothing to do
(so many other files that have come to their end, on an in-memory lake), the time to give the rules
of datasets of twenty files their end (a tenth as many files), and the memory that all of this
takes. `--batch` is how many facts go into one call. A ledger at `--at` (a folder, or a PostgreSQL
URL whose tables are then filled) is left there.
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
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select

from rucio_inject.api import Injector
from rucio_inject.batches import BATCH, batches
from rucio_inject.campaign.schema import Campaign
from rucio_inject.clock import SystemClock
from rucio_inject.domain import facts as f
from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.domain.rule import RuleRequest, RuleView
from rucio_inject.domain.story import advance, begin_file
from rucio_inject.factory import Ports
from rucio_inject.ledger.engine import is_url, postgresql_database, sqlite_database
from rucio_inject.ledger.many_rows import MOVED_FILES, Values, write_rows
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.ledger.tables import campaigns
from rucio_inject.ledger.working_set import file_row
from rucio_inject.steps.expire import EndRules
from rucio_inject.steps.journal import Journal
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.testing.memory_catalogue import MemoryCatalogue
from rucio_inject.testing.memory_lake import MemoryLake
from rucio_inject.testing.memory_storage import MemoryStorage

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MEASURE = Measure(1_000_000_000, "0a1b2c3d", "0123456789abcdef0123456789abcdef")
# As subruns have three digits.
FILES_A_DATASET = 999
A_NIGHTS_RUN = 20
FIRST_RUN = 5_089_063
CONTAINERS = ("", ".CrabNebula", ".CrabNebula.Calibrated_M1")
# A crash leaves the last files behind: these are what a resume looks for.
LEFT_BEHIND = 1000


def did(number: int) -> DID:
    """The DID of one file, as long as the telescopes' are."""
    run, subrun = divmod(number, FILES_A_DATASET)
    name = f"20200203_M1_{FIRST_RUN + run:08}.{subrun + 1:03}_Y_CrabNebula-W0.40_035.root"
    return DID("magic", name)


def dataset(number: int) -> DID:
    """The dataset of one file, its run."""
    return DID("magic", f"{FIRST_RUN + number // FILES_A_DATASET:08}")


def life(number: int, *, whole: bool) -> Sequence[f.Fact]:
    """What happens to one file until it is registered, or until it is measured."""
    name = did(number)
    pfn = f"root://storage.example.org:1094//magic/{name.name}"
    found = f.FileFound(
        at=NOON,
        did=name,
        path=f"/data/magic/2020/02/03/{name.name}",
        dataset=dataset(number),
        containers=tuple(DID("magic", f"2020_02_03{end}") for end in CONTAINERS),
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
    figures["status_command_seconds"] = status_command(location, campaign)
    figures |= idle_run(place, f"{campaign}-ended", files)
    figures |= {"memory_mb": peak(), "memory_growth_mb": peak() - memory}
    if isinstance(place, Path):
        figures["disk_mb"] = place.stat().st_size / 1_000_000
    figures["end_rules_seconds"] = end_rules(place, f"{campaign}-ends", files // 10)
    return figures


def keys(campaign: str, place: str | Path, folder: Path) -> dict[str, object]:
    """A campaign of real files, all of which have been freed."""
    inbox = folder / "inbox"
    inbox.mkdir(exist_ok=True)
    return {
        "campaign": campaign,
        "scope": "magic",
        "source": {"kind": "directory", "path": str(inbox)},
        "upload": {"rse": "PIC-INJECT"},
        "rules": [{"rse_expression": "PIC-DCACHE"}],
        "end": {"lifetime": "1s"},
        "ledger": str(place),
        "output": str(folder / "out"),
    }


def status_command(location: str, campaign: str) -> float:
    """How long `rucio-inject status` takes, from its start to its end."""
    with tempfile.TemporaryDirectory(prefix="rucio-inject-bench-") as name:
        file = Path(name, "campaign.yaml")
        place = location if is_url(location) else Path(location, f"{campaign}.db")
        file.write_text(json.dumps(keys(campaign, place, Path(name))))
        begun = time.monotonic()
        command = [sys.executable, "-m", "rucio_inject", "status", str(file)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - begun


def idle_run(place: str | Path, campaign: str, files: int) -> dict[str, float]:
    """How long a run takes whose files have all come to their end, and how long the processor is
    busy with it: on a machine with other work only that is the run's own."""
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="rucio-inject-bench-") as name:
        model = Campaign.model_validate(keys(campaign, place, Path(name)))
        with SqlLedger(place, campaign, clock=clock) as ledger:
            ledger.record([f.CycleBegun(at=NOON, cycle=1)])
        put_ended(place, campaign, files)
        with SqlLedger(place, campaign, clock=clock) as ledger:
            ledger.record([f.CycleEnded(at=NOON, cycle=1)])
        lake = MemoryLake(FakeClock())
        lake.scopes["magic"] = "magic"
        ports = Ports(MemoryCatalogue(lake), MemoryStorage(lake), None, clock)
        begun, begun_busy = clock.monotonic(), time.process_time()
        with SqlLedger(place, campaign, clock=clock) as ledger:
            injector = Injector(model, ports, ledger)
            outcome = injector.run(injector.prepare())
        figures = {
            "idle_run_seconds": clock.monotonic() - begun,
            "idle_run_cpu_seconds": time.process_time() - begun_busy,
        }
    if outcome.by_state != {FileState.GONE: files}:
        raise SystemExit(f"a run left {dict(outcome.by_state)}, and {files} files were gone")
    return figures


class Held(MemoryCatalogue):
    """A catalogue whose every dataset holds what the record says, and whose rules end at once."""

    def __init__(self, contents: dict[DID, list[DID]]) -> None:
        super().__init__(MemoryLake(FakeClock()))
        self._contents = contents

    def rules(self, dids: Sequence[DID], account: str) -> Sequence[RuleView]:  # noqa: ARG002
        """None is chained."""
        return []

    def contents(self, collection: DID) -> Sequence[DID]:
        """See the port."""
        return self._contents[collection]

    def end_rule(self, rule_id: str, lifetime: int, child: str | None = None) -> None:
        """See the port."""


def made_rule(run: DID, request: RuleRequest) -> f.RuleMade:
    """The fact that a dataset got a rule of ours."""
    rule = f"{run.name}-{request.rse_expression}"
    return f.RuleMade(at=NOON, dataset=run, rule_id=rule, request=request, adopted=False)


def end_rules(place: str | Path, campaign: str, files: int) -> float:
    """How long it takes to give the rules of small datasets, as a night's runs are, their end."""
    clock, contents = SystemClock(), dict[DID, list[DID]]()
    requests = [RuleRequest(rse, lifetime=60) for rse in ("PIC", "INFN", "LAPP")]
    with SqlLedger(place, campaign, clock=clock) as ledger:
        ledger.record([f.CycleBegun(at=NOON, cycle=1)])
        for numbers in batches(range(files)):
            facts = list[f.Fact]()
            for number in numbers:
                run, name = DID("magic", f"run-{number // A_NIGHTS_RUN}"), did(number)
                lived = [*life(number, whole=True), *ending(name)[:5]]
                facts += [
                    replace(g, dataset=run) if isinstance(g, f.FileFound) else g for g in lived
                ]
                contents.setdefault(run, []).append(name)
            ledger.record(facts)
        ledger.record([made_rule(run, request) for run in contents for request in requests])
        journal, begun = Journal(ledger, [], clock), clock.monotonic()
        kept = EndRules(journal, Held(contents), account="magic", lifetimes={}, default=60).run()
        seconds = clock.monotonic() - begun
        if kept or ledger.counts() != {FileState.EXPIRING: files}:
            raise SystemExit(f"{len(kept)} datasets were not ended: {dict(ledger.counts())}")
    return seconds


def put_ended(place: str | Path, campaign: str, files: int) -> None:
    """Rows of files that are gone, without what has happened to them: quicker than to tell it."""
    story = [*life(0, whole=True), *ending(did(0))]
    record = begin_file(story[0]) if isinstance(story[0], f.FileFound) else None
    for fact in story[1:]:
        record = advance(record, fact) if record and isinstance(fact, f.FileFact) else None
    assert record is not None
    database = postgresql_database(str(place)) if is_url(place) else sqlite_database(Path(place))
    with database.writing() as connection:
        mine = select(campaigns.c.id).where(campaigns.c.name == campaign)
        number = connection.execute(mine).scalar_one()
        for numbers in batches(range(files), 10_000):
            rows = [ended_row(number, record, n) for n in numbers]
            write_rows(connection, MOVED_FILES, rows)
    database.close()


def ended_row(campaign: int, record: FileRecord, number: int) -> Values:
    """The row of one file that is gone."""
    name = did(number)
    path = f"/data/magic/2020/02/03/{name.name}"
    return file_row(campaign, replace(record, did=name, path=path, dataset=dataset(number)))


def ending(name: DID) -> Sequence[f.FileFact]:
    """What happens to a file from its replication to its end."""
    rses, pfn = ("PIC", "INFN", "LAPP"), f"root://storage.example.org:1094//magic/{name.name}"
    read = [f.ReplicaRead(at=NOON, did=name, rse=r, pfn=pfn, measure=MEASURE) for r in rses]
    return (
        f.FileReplicated(at=NOON, did=name, rses=rses),
        *read,
        f.FileVerified(at=NOON, did=name),
        f.FileExpiring(at=NOON, did=name),
        *(f.ReplicaGone(at=NOON, did=name, rse=rse) for rse in rses),
        f.FileGone(at=NOON, did=name),
    )


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
