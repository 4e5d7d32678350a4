"""What Rucio's events gain: how long after the lake has done something a run knows it.

    python -m benchmarks.push [--tries 3] [--lifetime 40]

Each try is one cycle on an embedded lake whose hermes posts its events, with and without `push:` in
turn. The storages are looked at ten times a second: when the last replica came, and when the last
one went. A run's delay is how much later its own record says so.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from ruamel.yaml import YAML

from rucio_inject.clock import SystemClock
from rucio_inject.lake.bringup import StartOptions
from rucio_inject.lake.embedded import EmbeddedLake
from rucio_inject.ledger.sql_ledger import SqlLedger

NIGHT = "2023-03-03"
DESTINATIONS = ("PIC-DCACHE", "LAPP-FAST")
_LOOK = 0.1


@dataclass(frozen=True, slots=True)
class Delay:
    """Seconds until a run knew that all replicas were there, and that all were gone."""

    there: float
    gone: float


class Witness:
    """Looks at the storages while a run goes on."""

    def __init__(self, storage: Path) -> None:
        self._storage = storage
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.last_came = self.last_went = datetime.now(UTC)

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        seen: set[Path] = set()
        pattern = f"{NIGHT.replace('-', '')}*.root"
        while not self._ended.wait(_LOOK):
            now = {path for rse in DESTINATIONS for path in (self._storage / rse).rglob(pattern)}
            if now - seen:
                self.last_came = datetime.now(UTC)
            if seen - now:
                self.last_went = datetime.now(UTC)
            seen = now


def campaign(folder: Path, seed: int, lifetime: int, listen: str | None) -> Path:
    """A cycle with a wait for transfers and a longer one for deletion."""
    keys: dict[str, Any] = {
        "campaign": f"push{seed}",
        "account": "magic",
        "scope": "MAGIC_PIC_BRUZZESE",
        "source": {
            "kind": "mock",
            "seed": seed,
            "night": NIGHT,
            "runs": 2,
            "subruns": 50,
            "types": ["D"],
            "payload": {"kind": "raw", "size": "100kB"},
        },
        "upload": {"rse": "PIC-INJECT"},
        "rules": [{"rse_expression": "PIC-DCACHE"}, {"rse_expression": "QOS=FAST"}],
        "end": {"lifetime": lifetime, "deadline": "300s"},
        "output": str(folder / f"out{seed}"),
        **({"push": {"listen": listen}} if listen else {}),
    }
    path = folder / f"{seed}.yaml"
    with path.open("w") as out:
        YAML().dump(keys, out)
    return path


def one_try(
    lake: EmbeddedLake, folder: Path, seed: int, lifetime: int, listen: str | None
) -> Delay:
    """Run a cycle, and compare its record with what the storages showed."""
    file = campaign(folder, seed, lifetime, listen)
    command = [sys.executable, "-m", "rucio_inject", "run", "--quiet", str(file)]
    environment = {**os.environ, **lake.environment("magic")}
    with Witness(lake.paths.storage) as witness:
        subprocess.run(command, env=environment, check=True)
    place = folder / f"out{seed}" / f"push{seed}.db"
    with SqlLedger(place, f"push{seed}", clock=SystemClock(), reading=True) as ledger:
        dids = [record.did for record in ledger.files()]
        told = [stored for did in dids for stored in ledger.story(did)]
    there = max(stored.at for stored in told if stored.kind == "FileReplicated")
    gone = max(stored.at for stored in told if stored.kind == "FileGone")
    return Delay(
        (there - witness.last_came).total_seconds(), (gone - witness.last_went).total_seconds()
    )


def table(results: dict[str, Sequence[Delay]]) -> str:
    """Medians with their spread, in seconds."""
    lines = [f"{'':<14} {'all there, known after':>26} {'all gone, known after':>26}"]
    for name, delays in results.items():
        cells = []
        for what in ("there", "gone"):
            values = sorted(getattr(delay, what) for delay in delays)
            spread = f"({values[0]:.1f} to {values[-1]:.1f})"
            cells.append(f"{statistics.median(values):>8.1f} s {spread:>16}")
        lines.append(f"{name:<14} {cells[0]} {cells[1]}")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print a table."""
    # The lake is stopped however this ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--lifetime", type=int, default=40, help="seconds, of the rules' end")
    options = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    root = Path(tempfile.mkdtemp(prefix="ri-push-", dir="/tmp"))
    root.chmod(0o711)
    lake = EmbeddedLake(root / "lake")
    lake.start(StartOptions(hermes=f"http://{listen}/"))
    results: dict[str, list[Delay]] = {"polling": [], "with events": []}
    try:
        for number in range(options.tries):
            for half, (name, place) in enumerate({"polling": None, "with events": listen}.items()):
                seed = 100 + 2 * number + half
                results[name].append(one_try(lake, root, seed, options.lifetime, place))
                print(name, results[name][-1], flush=True)
    finally:
        lake.reset()
        shutil.rmtree(root)
    print(table(dict(results)))


if __name__ == "__main__":
    main()
