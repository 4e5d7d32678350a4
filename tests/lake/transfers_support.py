"""Runs the transfer service as a process of its own, and talks to it as a conveyor would."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import requests

FINAL = {"FINISHED", "FINISHEDDIRTY", "FAILED", "CANCELED"}
PATIENCE = 600.0


def url(path: Path) -> str:
    """The PFN that Rucio's posix protocol gives a path."""
    return f"file://localhost{path}"


def adler(content: bytes) -> str:
    """What Rucio sends as `checksum`."""
    return f"ADLER32:{zlib.adler32(content):08x}"


def until(happened: Callable[[], Any]) -> Any:
    """Ask until the answer is true, and give it; fails the test after a long while."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if answer := happened():
            return answer
        time.sleep(0.005)
    raise AssertionError("it did not happen in time")


class Running:
    """One transfer service in a folder, with the storage folders `a` and `b`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.a, self.b = folder / "rse" / "a", folder / "rse" / "b"
        for root in (self.a, self.b):
            root.mkdir(parents=True)
        self.session = requests.Session()
        self.process: subprocess.Popen[str] | None = None
        self.base = ""

    def start(self, *options: str) -> Running:
        """Begin, on a free port, and wait until it answers."""
        self.process = subprocess.Popen(
            self.command("--port", "0", *options), stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        said = ""
        for line in self.process.stderr:
            said += line
            if found := re.search(r"serving on (http://\S+)", line):
                self.base = found[1]
                return self
        raise AssertionError(f"the service ended: {said}")

    def command(self, *options: str) -> list[str]:
        roots = [word for root in (self.a, self.b) for word in ("--allow-root", str(root))]
        return [
            *(sys.executable, "-m", "rucio_inject.lake.transfers"),
            *("--state-dir", str(self.folder / "state")),
            *roots,
            *options,
        ]

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the exit code."""
        assert self.process is not None
        self.process.send_signal(how)
        code = self.process.wait(PATIENCE)
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.process = None
        return code

    def close(self) -> None:
        self.session.close()
        if self.process is not None:
            self.end(signal.SIGKILL)

    def make(self, name: str, content: bytes) -> Path:
        path = self.a / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def endless(self, name: str) -> Path:
        """A file that takes far longer to copy than any test, and no room."""
        path = self.a / name
        with path.open("wb") as file:
            file.truncate(1 << 40)
        return path

    def post(self, path: str, body: Any, **headers: str) -> requests.Response:
        data = body if isinstance(body, bytes) else json.dumps(body)
        return self.session.post(
            self.base + path, data=data, headers={"Content-Type": "application/json"} | headers
        )

    def get(self, path: str) -> requests.Response:
        return self.session.get(self.base + path)

    def submit(self, files: Iterable[dict[str, Any]], **params: Any) -> str:
        answer = self.post("/jobs", {"files": list(files), "params": params})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["job_id"])

    def job(self, job_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.get(f"/jobs/{job_id}").json()
        return answer

    def done(self, job_id: str) -> dict[str, Any]:
        """Wait for a job's end; returns it."""
        until(lambda: self.job(job_id)["job_state"] in FINAL)
        return self.job(job_id)

    def parts(self) -> list[Path]:
        """Temporary files in the storage."""
        return [path for path in (self.folder / "rse").rglob("*") if ".part-" in path.name]


def entry(source: Path | list[Path], destination: Path, **more: Any) -> dict[str, Any]:
    """One entry of `files`, with the keys that Rucio sends."""
    sources = source if isinstance(source, list) else [source]
    return {
        "sources": [url(path) for path in sources],
        "destinations": [url(destination)],
        "metadata": {"request_id": f"request of {destination.name}", "src_rse": "A"},
        "activity": "User Subscriptions",
        **more,
    }
