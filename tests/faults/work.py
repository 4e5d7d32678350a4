"""A small campaign with names of its own, and the processes that run it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from hashlib import md5
from itertools import count
from pathlib import Path
from typing import Any

import psutil
from tests.faults.lake import ACCOUNT, RULES, UPLOAD, Lake
from tests.lake.campaigns import ORIGIN

MARK = "FAULTS_JOB"
"""In the environment of every process of a job: the job's folder."""

TARGET = "Perseus-MA"
_SIZE = 20_000
_HANGS = 900.0
# Where no fault is to last for as long: a busy lake takes its time.
_DEADLINE = 300
_RUN = 6_000_000
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run of the command gave; `code` is minus the signal for one that was killed."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def end(self) -> dict[str, Any]:
        """The JSON object that it ended with; empty if it came to none."""
        try:
            found: dict[str, Any] = json.loads(self.out)
        except ValueError:
            return {}
        return found

    @property
    def phase(self) -> str:
        """The last milestone that it told."""
        told = [line for line in self.err.splitlines() if line.endswith(" files")]
        return told[-1].split("Z ", 1)[-1].split(":")[0] if told else "beginning"

    def __str__(self) -> str:
        said = " | ".join(self.err.strip().splitlines()[-4:])
        return f"exit code {self.code} after {self.seconds:.1f} s ({self.phase}): {said}"


@dataclass(slots=True)
class Job:
    """A campaign in a scope, a night and runs of its own, so that nothing else counts there.

    `real`: files in a folder that are freed, rather than ones that the command makes; with
    `origin` they lie at an RSE, where they live on for `lifetime` once they are proved. `proxy` is
    where the command looks for Rucio; None: the lake itself.

    Files that are made come to their end in a second act, and so does the origin.
    """

    folder: Path
    name: str
    lake: Lake
    real: bool = False
    origin: bool = False
    lifetime: str = "1s"
    size: int = _SIZE
    runs: int = 2
    subruns: int = 3
    proxy: str | None = None
    options: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    ran: list[Ran] = field(default_factory=list)
    number: int = field(default_factory=lambda: next(_numbers))
    contents: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        if self.real:
            self._write_sources()
        else:
            (self.folder / "names.txt").write_text("".join(f"{name}\n" for name in self.names))

    @property
    def scope(self) -> str:
        """Its scope, which the command makes."""
        return f"F{self.number:03d}_{self.name}"[:25].upper().replace(" ", "_")

    @property
    def night(self) -> date:
        """Its night."""
        return date(2021, 1, 1) + timedelta(days=self.number)

    @property
    def datasets(self) -> dict[str, list[str]]:
        """The names of its files by dataset, which is called after the run."""
        return {
            f"{run:08d}": [
                f"{self.night:%Y%m%d}_M1_{run:08d}.{subrun:03d}_D_{TARGET}-W0.26-288.root"
                for subrun in range(1, self.subruns + 1)
            ]
            for run in (_RUN + 10 * self.number + index for index in range(self.runs))
        }

    @property
    def names(self) -> list[str]:
        """The names of its files."""
        return [name for names in self.datasets.values() for name in names]

    @property
    def containers(self) -> tuple[str, ...]:
        """The names of its containers."""
        night = f"{self.night:%Y_%m_%d}"
        return (night, f"{night}.{TARGET}", f"{night}.{TARGET}.Calibrated_M1")

    @property
    def upload(self) -> str:
        """The RSE from which Rucio copies."""
        return ORIGIN if self.origin else UPLOAD

    @property
    def has_end(self) -> bool:
        """Whether there is a second act."""
        return self.origin or not self.real

    def is_done(self, ran: Ran) -> bool:
        """Whether a run has come to the end of its act; an origin may be freed a while later."""
        return ran.code == 0 and not ran.end["leaving"]

    @property
    def output(self) -> Path:
        """Where the command keeps what it makes."""
        return self.folder / "out"

    @property
    def sources(self) -> Path:
        """Where real files lie."""
        return self.lake.storage(ORIGIN) / self.scope if self.origin else self.folder / "inbox"

    def _write_sources(self) -> None:
        if self.origin:
            self.lake.make_origin()
        self.sources.mkdir()
        for name in self.names:
            self.contents[name] = random.Random(name).randbytes(self.size)
            (self.sources / name).write_bytes(self.contents[name])
            # Long ago: nobody writes to it any more.
            os.utime(self.sources / name, (1.6e9, 1.6e9))

    def checksums(self, name: str) -> tuple[str, str]:
        """adler32 and md5 of a real file."""
        content = self.contents[name]
        return f"{zlib.adler32(content):08x}", md5(content).hexdigest()

    def write(self, *, end: bool, deadline: int) -> Path:
        """Write the campaign file; JSON is YAML, too."""
        keys = {
            "campaign": "faulty",
            "account": ACCOUNT,
            "scope": self.scope,
            "source": self._source(end=end),
            "upload": {"rse": self.upload},
            "rules": [{"rse_expression": expression} for expression in RULES],
            "replication": {"deadline": f"{deadline}s"},
            # A fault outlasts a run; what is tried within it shall not take minutes.
            "retry": {"attempts": 4, "longest": "2s"},
        }
        if self.origin:
            keys["naming"] = {"closing": {"quiet": "1s"}}
        elif end:
            keys["end"] = {"lifetime": "1s", "deadline": f"{deadline}s"}
        path = self.folder / ("ended.yaml" if end else "kept.yaml")
        path.write_text(json.dumps(keys, indent=1))
        return path

    def _source(self, *, end: bool) -> dict[str, Any]:
        if self.origin:
            freeing = {"free": True, "lifetime": self.lifetime} if end else {}
            return {"kind": "rse", "folder": self.scope, "read": True, **freeing}
        if self.real:
            return {"kind": "directory", "path": str(self.sources), "free": True}
        payload, names = {"kind": "raw", "size": self.size}, str(self.folder / "names.txt")
        return {"kind": "listing", "path": names, "payload": payload, "seed": self.number}

    def start(self, *options: str, end: bool = False, deadline: int = _DEADLINE) -> Run:
        """Start the command."""
        line = [sys.executable, "-m", "rucio_inject", "run", "--json", "--progress", "plain"]
        where = ["--output", str(self.output)]
        storages = self.lake.environment()
        environment = {**os.environ, **storages, MARK: str(self.folder), **self.extra}
        if self.proxy is None:
            where += ["--lake", str(self.lake.root)]
        else:
            home = self.folder / "home"
            config = str(self.lake.rewritten(self.proxy, home))
            environment |= {"RUCIO_HOME": str(home), "RUCIO_CONFIG": config}
        campaign = str(self.write(end=end, deadline=deadline))
        words = [*self.prefix, *line, *where, *self.options, *options, campaign]
        return Run(self, words, environment)

    def run(self, *options: str, end: bool = False, deadline: int = _DEADLINE) -> Ran:
        """Run the command to its end."""
        return self.start(*options, end=end, deadline=deadline).finish()

    def repair(self) -> Ran:
        """Run `audit --fix` on it."""
        line = [sys.executable, "-m", "rucio_inject", "audit", "--fix", "--json"]
        where = ["--output", str(self.output), "--lake", str(self.lake.root)]
        environment = {**os.environ, MARK: str(self.folder)}
        campaign = str(self.write(end=False, deadline=_DEADLINE))
        return Run(self, [*line, *where, campaign], environment).finish()

    def processes(self) -> list[psutil.Process]:
        """Processes of this job that still run."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get(MARK) == str(self.folder)
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:  # ended meanwhile, or another user's: none of ours
                continue
        return found


class Run:
    """One process of a job. What it says goes to files, so that it never waits for a reader."""

    def __init__(self, job: Job, line: Sequence[str], environment: Mapping[str, str]) -> None:
        self._job = job
        self._began = time.monotonic()
        number = next(_numbers)
        self._out, self._err = (job.folder / f"{number}.{name}" for name in ("out", "err"))
        with self._out.open("w") as out, self._err.open("w") as err:
            self._process = subprocess.Popen(
                line, stdout=out, stderr=err, env=dict(environment), cwd=job.folder
            )

    def wait(self, seconds: float) -> bool:
        """Wait for its end; whether it came."""
        try:
            self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def told(self, milestone: str, seconds: float = 60.0) -> bool:
        """Wait until it has told a milestone (its words, or their beginning); False at its end."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            if f"Z {milestone}" in self._err.read_text():
                return True
            if self.wait(0.02):
                return False
        return False

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()

    def kill_after(self, seconds: float) -> Ran:
        """kill -9 after some seconds, unless it ends before."""
        if not self.wait(seconds):
            self.kill()
        return self.finish()

    def finish(self) -> Ran:
        """Wait for its end and put what it gave on the job's record.

        One that hangs is ended; its exit code then is that of the signal.
        """
        if not self.wait(_HANGS):
            self.kill()
            self._process.wait()
        seconds = time.monotonic() - self._began
        code = self._process.returncode
        ran = Ran(code, self._out.read_text(), self._err.read_text(), seconds)
        with _RECORD:
            self._job.ran.append(ran)
        return ran


_RECORD = threading.Lock()
