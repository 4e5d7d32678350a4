"""A service that runs cycle after cycle, watched from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML

from rucio_inject.clock import SystemClock
from rucio_inject.lake.embedded import EmbeddedLake

SCOPE = "MAGIC_PIC_BRUZZESE"
NAME = "soak"
# A night that no other test has.
NIGHT = "2022-02-22"
HOLDERS = ("PIC-INJECT", "PIC-DCACHE", "LAPP-FAST")
CYCLES_KEPT = 3
_PATIENCE = 900.0


def campaign(**changes: Any) -> dict[str, Any]:
    """Small mock files, again and again."""
    return {
        "campaign": NAME,
        "account": "magic",
        "scope": SCOPE,
        "source": {
            "kind": "mock",
            "seed": 22,
            "night": NIGHT,
            "runs": 2,
            "subruns": 3,
            "telescopes": ["M1"],
            "types": ["D"],
            "payload": {"kind": "raw", "size": "20kB"},
        },
        "upload": {"rse": "PIC-INJECT"},
        "rules": [{"rse_expression": "PIC-DCACHE"}, {"rse_expression": "QOS=FAST"}],
        "end": {"lifetime": "1s", "deadline": "600s"},
        "schedule": "1s",
        "retention": {"cycles": CYCLES_KEPT},
        **changes,
    }


@dataclass(frozen=True, slots=True)
class Sample:
    """The service after a run: what its own process holds, and what lies on the disk."""

    runs: int
    cycle: int
    seconds: float
    memory: int
    threads: int
    descriptors: int
    ledger: int
    files: int


class Serving:
    """A service that goes on."""

    def __init__(self, process: subprocess.Popen[str], url: str, folder: Path) -> None:
        self.process = process
        self.url = url
        self.output = folder / "out"
        self._clock = SystemClock()
        self._begun = self._clock.monotonic()

    def metrics(self) -> Mapping[str, float]:
        """Numbers by name and labels, as Prometheus has them."""
        with urllib.request.urlopen(f"{self.url}metrics", timeout=300) as answer:
            text = answer.read().decode()
        rows = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in rows}

    def runs(self, code: int = 0) -> int:
        """How many runs ended so."""
        return int(self.metrics().get(_named("runs_total", f'code="{code}"'), 0))

    def wait_for(self, wanted: Callable[[], bool], seconds: float = _PATIENCE) -> None:
        """Wait until something is so. AssertionError if the service ends, or it takes too long."""
        end = self._clock.monotonic() + seconds
        while not wanted():
            assert self.process.poll() is None, "the service has ended"
            assert self._clock.monotonic() < end, f"nothing came of it in {seconds:.0f} s"
            self._clock.wait(0.2)

    def sample(self) -> Sample:
        """How it is now."""
        numbers, process = self.metrics(), psutil.Process(self.process.pid)
        ledger = self.output / f"{NAME}.db"
        return Sample(
            runs=int(numbers.get(_named("runs_total", 'code="0"'), 0)),
            cycle=int(numbers.get(_named("cycle"), 0)),
            seconds=self._clock.monotonic() - self._begun,
            memory=process.memory_info().rss,
            threads=process.num_threads(),
            descriptors=process.num_fds(),
            ledger=ledger.stat().st_size if ledger.exists() else 0,
            files=sum(path.is_file() for path in self.output.rglob("*")),
        )

    def workers(self) -> list[psutil.Process]:
        """The processes of its runs."""
        children: list[psutil.Process] = psutil.Process(self.process.pid).children()
        return children

    def drain(self) -> int:
        """Let it come to its end; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=_PATIENCE)


def _named(name: str, *labels: str) -> str:
    return f"rucio_inject_{name}{{{','.join((f'campaign={chr(34)}{NAME}{chr(34)}', *labels))}}}"


@contextmanager
def serving(
    lake: EmbeddedLake, folder: Path, keys: Mapping[str, Any], *options: str
) -> Iterator[Serving]:
    """The service on a campaign; killed with its runs if it has not been ended."""
    file = folder / "soak.yaml"
    with file.open("w") as out:
        YAML().dump({**keys, "output": str(folder / "out")}, out)
    command = [sys.executable, "-m", "rucio_inject", "serve", str(file), "--port", "0", *options]
    errors = (folder / "serve.err").open("w")
    process = subprocess.Popen(
        command,
        env={**os.environ, **lake.environment("magic")},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = iter(process.stdout.readline, "")
        url = next((found[1] for line in said if (found := _METRICS.match(line))), None)
        assert url, (folder / "serve.err").read_text()
        yield Serving(process, url, folder)
    finally:
        _end(process)
        errors.close()


_METRICS = re.compile(r"metrics +(http\S+/)metrics")


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        left = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for child in left:
            child.kill()
        psutil.wait_procs(left, timeout=10)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def soak(serving_: Serving, runs: int, told: Callable[[Sample], None]) -> Sequence[Sample]:
    """Watch so many runs, one sample after each."""
    samples: list[Sample] = []
    while len(samples) < runs:
        serving_.wait_for(lambda: serving_.runs() > len(samples))
        samples.append(serving_.sample())
        told(samples[-1])
    return samples


def left_behind(lake: EmbeddedLake, client: Any, folder: Path) -> Mapping[str, Sequence[str]]:
    """What is left of the campaign, by kind; the catalogue is asked through Rucio's own client."""
    night = NIGHT.replace("-", "")
    dids = list(client.list_dids(SCOPE, [{"name": f"{night}*"}], did_type="file"))
    containers = list(client.list_dids(SCOPE, [{}], did_type="container"))
    return {
        "processes": [
            " ".join(process.info["cmdline"])
            for process in psutil.process_iter(["cmdline"])
            if str(folder / "soak.yaml") in (process.info["cmdline"] or ())
        ],
        "files in the catalogue": dids,
        "containers": [name for name in containers if name.startswith(NIGHT.replace("-", "_"))],
        "rules": [
            rule["id"]
            for rule in client.list_replication_rules({"scope": SCOPE, "account": "magic"})
            if rule["name"] in _datasets(folder)
        ],
        "replicas on the storages": [
            str(path)
            for rse in HOLDERS
            for path in (lake.paths.storage / rse).rglob(f"{night}*")
            if path.is_file()
        ],
        "files in the output folder": [
            str(path)
            for place in ("source", "read-back")
            for path in (folder / "out" / place).rglob("*")
            if path.is_file()
        ],
    }


def _datasets(folder: Path) -> frozenset[str]:
    """Datasets on record, or in the summary of what was on record: all that there ever were."""
    from rucio_inject.ledger.sql_ledger import SqlLedger

    place = folder / "out" / f"{NAME}.db"
    with SqlLedger(place, NAME, clock=SystemClock(), reading=True) as ledger:
        return frozenset(record.dataset.name for record in ledger.all_files())
