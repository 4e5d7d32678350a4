"""Small campaigns for end-to-end tests, and the command that runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from rucio_inject.cli.exit_codes import ExitCode
from rucio_inject.clock import SystemClock
from rucio_inject.domain.injection import FileRecord
from rucio_inject.lake.content import Rse
from rucio_inject.lake.embedded import EmbeddedLake
from rucio_inject.lake.furnish import _posix, _rse
from rucio_inject.ledger.sql_ledger import SqlLedger

if TYPE_CHECKING:
    from rucio.client.client import Client

SCOPE = "MAGIC_PIC_BRUZZESE"
RULES = ("PIC-DCACHE", "INFN-NA-DPM", "QOS=FAST")
ORIGIN = "ORM-ORIGIN"
"""An RSE that is not deterministic."""
HOLDERS = ("PIC-INJECT", "PIC-DCACHE", "INFN-NA-DPM", "LAPP-FAST")
MOCK = {
    "kind": "mock",
    "runs": 1,
    "subruns": 2,
    "telescopes": ["M1"],
    "types": ["D"],
    "payload": {"kind": "raw", "size": "20kB"},
}
PATIENCE = 600.0
"""Seconds after which it is no busy machine any more that keeps a test waiting."""
END = {"lifetime": "1s", "deadline": "600s"}


def make_origin(client: Client, folder: Path) -> None:
    """An RSE that is not deterministic, as an administrator makes one, if it is not there yet."""
    folder.mkdir(exist_ok=True)
    if ORIGIN in {entry["rse"] for entry in client.list_rses()}:
        return
    client.add_rse(ORIGIN, deterministic=False)
    service = client.list_rse_attributes("PIC-INJECT")["fts"]
    _rse(client, ORIGIN, Rse(deterministic=False), [_posix(folder)], service)
    for other in ("PIC-DCACHE", "INFN-NA-DPM", "LAPP-FAST"):
        client.add_distance(ORIGIN, other, {"distance": 1})
        client.add_distance(other, ORIGIN, {"distance": 1})
    client.set_local_account_limit("magic", ORIGIN, -1)


def campaign(name: str, seed: int, **changes: Any) -> dict[str, Any]:
    """A campaign with two small mock files a cycle; keys that are None are left out."""
    keys = {
        "campaign": name,
        "account": "magic",
        "scope": SCOPE,
        "source": {**MOCK, "seed": seed},
        "upload": {"rse": "PIC-INJECT"},
        "rules": [{"rse_expression": expression} for expression in RULES],
        "replication": {"deadline": "600s"},
        "end": END,
        **changes,
    }
    return {key: value for key, value in keys.items() if value is not None}


@dataclass(frozen=True)
class Ran:
    """What a run of the command gave."""

    code: int
    out: str
    err: str

    @property
    def end(self) -> dict[str, Any]:
        """The JSON object that the run ended with."""
        found: dict[str, Any] = json.loads(self.out)
        return found


@dataclass(frozen=True)
class Bench:
    """A folder to run campaigns in, against one lake."""

    folder: Path
    lake: EmbeddedLake

    def write(self, keys: Mapping[str, Any]) -> Path:
        """Write a campaign file."""
        path = self.folder / f"{keys['campaign']}.yaml"
        with path.open("w") as file:
            YAML().dump(dict(keys), file)
        return path

    def arguments(self, keys: Mapping[str, Any], *options: str) -> list[str]:
        """The command line for a campaign."""
        command = [sys.executable, "-m", "rucio_inject", "run", "--progress", "plain"]
        return [*command, *options, str(self.write(keys))]

    def environment(self) -> dict[str, str]:
        """The environment in which the official command would use the lake, too."""
        return {**os.environ, **self.lake.environment("magic")}

    def run(self, keys: Mapping[str, Any], *options: str) -> Ran:
        """Run a campaign to its end, with a JSON object as its last word."""
        done = subprocess.run(
            self.arguments(keys, "--json", *options),
            env=self.environment(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * PATIENCE,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def command(self, name: str, keys: Mapping[str, Any], *options: str) -> Ran:
        """Give another command the campaign."""
        done = subprocess.run(
            [sys.executable, "-m", "rucio_inject", name, *options, str(self.write(keys))],
            env=self.environment(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def run_until_stuck(self, keys: Mapping[str, Any]) -> Ran:
        """Run a campaign until all that it waits for are STUCK rules: its deadline is short, and a
        busy lake may need longer for what it can do, and to give up the rest."""
        end = time.monotonic() + PATIENCE
        while True:
            ran = self.run(keys)
            states = {rule["state"] for rule in ran.end["rules_not_ok"]}
            if ran.code not in {ExitCode.LATER, ExitCode.STUCK} or states == {"STUCK"}:
                return ran
            assert time.monotonic() < end, ran.err

    def ledger(self, keys: Mapping[str, Any], what: str, *words: str) -> Ran:
        """Import into a campaign's ledger, or export it."""
        command = [sys.executable, "-m", "rucio_inject", "ledger", what, str(self.write(keys))]
        done = subprocess.run(
            [*command, *words],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def output(self, name: str) -> Path:
        """Where a campaign keeps what it makes."""
        return self.folder / "rucio-inject-output" / name

    def records(self, name: str) -> list[FileRecord]:
        """What the ledger of a campaign has on record of its files, of every cycle."""
        place = self.output(name) / f"{name}.db"
        with SqlLedger(place, name, clock=SystemClock(), reading=True) as ledger:
            return list(ledger.all_files())


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for the lake's daemons, or another process, to do something."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it was not done in time"
        time.sleep(0.005)


def bytes_of(path: Path) -> int:
    """How much there is of a file that may be renamed or removed just now: then nothing."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
