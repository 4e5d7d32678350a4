"""What Rucio's events gain: how long after Rucio knows something a run knows it.

    python -m benchmarks.push [--tries 3] [--held 20] [--lifetime 40]

Each try is one cycle on an embedded lake whose hermes posts its events, with and without `push:` in
turn. The transfer service is stopped for a while (`--held`), as where a queue is long: a run that
polls asks seldom by then. Rucio's own database is looked at ten times a second: when the last lock
became OK, and when the last replica was gone. A run's delay is how much later its own record says
so.
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
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from ruamel.yaml import YAML
from sqlalchemy import create_engine, text

from rucio_inject.clock import SystemClock
from rucio_inject.lake.bringup import StartOptions
from rucio_inject.lake.embedded import EmbeddedLake
from rucio_inject.lake.postgres import url
from rucio_inject.lake.state import load_state
from rucio_inject.ledger.sql_ledger import SqlLedger

DESTINATIONS = ("PIC-DCACHE", "LAPP-FAST")
_LOOK = 0.1
_FILES = 100
# One where they were uploaded, and one at each destination.
_LOCKS = _FILES * (1 + len(DESTINATIONS))
_COUNTED = text(
    "SELECT (SELECT count(*) FROM locks WHERE name LIKE :names),"
    " (SELECT count(*) FROM locks WHERE name LIKE :names AND state = 'O'),"
    " (SELECT count(*) FROM replicas WHERE name LIKE :names)"
)


@dataclass(frozen=True, slots=True)
class Delay:
    """Seconds until a run knew that all replicas were there, and that all were gone."""

    there: float
    gone: float


class Witness:
    """Looks into Rucio's database while a run goes on; lets transfers begin some time after the
    files were registered."""

    def __init__(self, lake: EmbeddedLake, night: str, held: float) -> None:
        state = load_state(lake.paths.state)
        self._database = create_engine(url(state.socket_folder or lake.paths.postgres_socket))
        self._transfers = state.members["transfers"].pid
        self._names = {"names": f"{night.replace('-', '')}%.root"}
        self._held = held
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.all_there: datetime | None = None
        self.all_gone: datetime | None = None

    def __enter__(self) -> Self:
        """Begin to look."""
        os.kill(self._transfers, signal.SIGSTOP)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join()
        os.kill(self._transfers, signal.SIGCONT)
        self._database.dispose()

    def _watch(self) -> None:
        begun = None
        while not self._ended.wait(_LOOK):
            locks, ok, replicas = self._look()
            now = datetime.now(UTC)
            if begun is None and locks == _LOCKS:
                begun = now
            if begun is not None and (now - begun).total_seconds() >= self._held:
                os.kill(self._transfers, signal.SIGCONT)
            if self.all_there is None and ok == _LOCKS:
                self.all_there = now
            if self.all_there is not None and self.all_gone is None and not replicas:
                self.all_gone = now

    def _look(self) -> tuple[int, int, int]:
        with self._database.connect() as connection:
            row = connection.execute(_COUNTED, self._names).one()
        return row[0], row[1], row[2]


def campaign(folder: Path, night: str, lifetime: int, listen: str | None) -> Path:
    """A cycle with a wait for transfers and a longer one for deletion."""
    keys: dict[str, Any] = {
        "campaign": f"push-{night}",
        "account": "magic",
        "scope": "MAGIC_PIC_BRUZZESE",
        "source": {
            "kind": "mock",
            "night": night,
            "runs": 2,
            "subruns": _FILES // 2,
            "types": ["D"],
            "payload": {"kind": "raw", "size": "100kB"},
        },
        "upload": {"rse": "PIC-INJECT"},
        "rules": [{"rse_expression": "PIC-DCACHE"}, {"rse_expression": "QOS=FAST"}],
        "end": {"lifetime": lifetime, "deadline": "300s"},
        "output": str(folder / night),
        **({"push": {"listen": listen}} if listen else {}),
    }
    path = folder / f"{night}.yaml"
    with path.open("w") as out:
        YAML().dump(keys, out)
    return path


def one_try(lake: EmbeddedLake, folder: Path, file: Path, held: float) -> Delay:
    """Run a cycle, and compare its record with what Rucio's database showed."""
    night = file.stem
    command = [sys.executable, "-m", "rucio_inject", "run", "--quiet", str(file)]
    environment = {**os.environ, **lake.environment("magic")}
    with Witness(lake, night, held) as witness:
        subprocess.run(command, env=environment, check=True)
    assert witness.all_there is not None
    assert witness.all_gone is not None
    place = folder / night / f"push-{night}.db"
    with SqlLedger(place, f"push-{night}", clock=SystemClock(), reading=True) as ledger:
        dids = [record.did for record in ledger.files()]
        told = [stored for did in dids for stored in ledger.story(did)]
    there = max(stored.at for stored in told if stored.kind == "FileReplicated")
    gone = max(stored.at for stored in told if stored.kind == "FileGone")
    return Delay(
        (there - witness.all_there).total_seconds(), (gone - witness.all_gone).total_seconds()
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
    parser.add_argument("--held", type=float, default=20, help="seconds, of the transfers")
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
                # A night of its own: nothing of another try counts.
                night = f"{date(2023, 3, 1) + timedelta(days=2 * number + half)}"
                file = campaign(root, night, options.lifetime, place)
                results[name].append(one_try(lake, root, file, options.held))
                print(name, results[name][-1], flush=True)
    finally:
        lake.reset()
        shutil.rmtree(root)
    print(table(dict(results)))


if __name__ == "__main__":
    main()
