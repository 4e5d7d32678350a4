"""The one lake that all contestants work on."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from benchmarks.injection.job import ACCOUNT

from rucio_inject.lake.embedded import EmbeddedLake


@dataclass(frozen=True, slots=True)
class BenchLake:
    """A lake that runs, and a folder on the same disk to work in.

    `variables` make Rucio's client use it. `borrowed`: it was there before, and stays.
    """

    work: Path
    variables: Mapping[str, str]
    described: str
    borrowed: bool


@contextmanager
def running_lake(at: Path | None) -> Iterator[BenchLake]:
    """A new lake in a temporary folder, stopped and removed at the end; or the one that runs in
    a folder. A signal to end ends it, too.

    SystemExit if no lake runs there, LakeError if a new one does not start.
    """
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        with tempfile.TemporaryDirectory(prefix="ri-bench-") as name:
            folder = Path(name)
            # PostgreSQL runs as nobody when we are root, and must get through to the lake.
            folder.chmod(0o711)
            work = folder / "work"
            work.mkdir()
            if at is not None:
                yield _borrowed(at, work)
                return
            lake = EmbeddedLake(folder / "lake")
            try:
                described = lake.start().postgres
                yield BenchLake(work, _variables(lake), described, borrowed=False)
            finally:
                lake.reset()
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- a signal handler's
    sys.exit(128 + number)


def _borrowed(at: Path, work: Path) -> BenchLake:
    lake = EmbeddedLake(at)
    if not lake.status().running:
        raise SystemExit(f"no lake runs in {at}: rucio-inject lake start --folder {at}")
    return BenchLake(work, _variables(lake), f"the lake in {at}", borrowed=True)


def _variables(lake: EmbeddedLake) -> dict[str, str]:
    return {**lake.environment(ACCOUNT), "RUCIO_CLIENT_MODE": "1"}


def child_environment(lake: BenchLake) -> dict[str, str]:
    """Our environment without anybody's Rucio settings, with those of the lake."""
    kept = {key: text for key, text in os.environ.items() if not key.startswith("RUCIO_")}
    return {**kept, **lake.variables}
