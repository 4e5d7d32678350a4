"""The fault runner: `python -m tests.faults`. Exit code 1 if any promise was broken."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.faults.field import Field
from tests.faults.judge import Broken, Promise
from tests.faults.lake import Lake
from tests.faults.scenarios import SCENARIOS, Scenario

_COUNTED = (Promise.LOST, Promise.DOUBLED, Promise.FREED)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a scenario; `skipped` says why it was not played."""

    name: str
    what: str
    faults: int = 0
    tried: int = 0
    recovered: int = 0
    seconds: float = 0.0
    broken: tuple[Broken, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: str | None = None

    def count(self, promise: Promise) -> int:
        """How often a promise was broken."""
        return Counter(one.promise for one in self.broken)[promise]

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if self.skipped:
            return "skipped"
        return f"{len(self.broken)} BROKEN" if self.broken else "held"


def main() -> None:
    """Play the scenarios on a lake of their own, tell each, and sum up."""
    arguments = _arguments()
    # So that a runner that is stopped takes its lake along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    seed = arguments.seed if arguments.seed is not None else random.randrange(10**6)
    _say(f"seed {seed}: python -m tests.faults --seed {seed} --kills {arguments.kills}")
    chosen = [one for one in SCENARIOS if not arguments.only or one.name in arguments.only]
    folder = Path(tempfile.mkdtemp(prefix="rf-", dir="/tmp"))
    folder.chmod(0o711)
    lakes = {False: Lake(folder / "lake"), True: Lake(folder / "grid", "xrootd")}
    results: list[Result] = []
    try:
        # One after the other: a lake that waits for its turn would burden that which is played on.
        for grid, lake in lakes.items():
            for scenario in (one for one in chosen if one.grid == grid):
                field = Field(lake, folder / scenario.name, seed, arguments.kills)
                results.append(_play(scenario, field))
            lake.reset()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for lake in lakes.values():
            lake.reset()
        _table(results)
        if arguments.json:
            told = {"seed": seed, "results": [asdict(one) for one in results]}
            arguments.json.write_text(json.dumps(told, indent=1) + "\n")
        if not any(one.broken for one in results):
            shutil.rmtree(folder)
        else:
            _say(f"what the runs said and left is in {folder}")
    sys.exit(1 if any(one.broken for one in results) else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, help="what all chance is drawn from")
    parser.add_argument("--kills", type=int, default=200, help="how often `kill` does it")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[s.name for s in SCENARIOS])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results there")
    return parser.parse_args()


def _play(scenario: Scenario, field: Field) -> Result:
    reason = scenario.unfit()
    if reason is not None:
        return _tell(Result(scenario.name, scenario.what, skipped=reason))
    played, began = field.played, time.monotonic()
    try:
        field.lake.start()
        scenario.play(field)
    # A scenario that fails by itself must not end the others, and is no promise held either.
    except Exception:  # noqa: BLE001
        played.found([Broken(Promise.WORDS, f"the scenario failed: {traceback.format_exc()}")])
    done = sum(bool(job.ran) and job.ran[-1].code == 0 for job in played.jobs)
    return _tell(
        Result(
            scenario.name,
            scenario.what,
            faults=played.faults,
            tried=played.tried,
            recovered=done,
            seconds=time.monotonic() - began,
            broken=tuple(played.broken),
            notes=tuple(played.notes),
        )
    )


def _tell(result: Result) -> Result:
    _say(
        f"{result.name:<16} {result.what}: {result.faults} faults, {result.tried} campaigns, "
        f"{result.verdict}, {result.seconds:.0f} s"
    )
    for note in (*result.notes, *([result.skipped] if result.skipped else [])):
        _say(f"    {note}")
    for broken in result.broken:
        _say(f"  ! {broken.promise}: {broken.how}")
    return result


def _table(results: list[Result]) -> None:
    _say(
        f"\n{'fault':<16} {'faults':>6} {'tried':>6} {'recovered':>9} {'lost':>5} {'doubled':>7} "
        f"{'freed early':>11} {'other':>5}  result"
    )
    for one in results:
        counts = [one.count(promise) for promise in _COUNTED]
        _say(
            f"{one.name:<16} {one.faults:>6} {one.tried:>6} {one.recovered:>9} {counts[0]:>5} "
            f"{counts[1]:>7} {counts[2]:>11} {len(one.broken) - sum(counts):>5}  {one.verdict}"
        )


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  the runner's own words


if __name__ == "__main__":
    main()
