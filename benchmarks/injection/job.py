"""What a contestant is told, and what it tells; both cross a process boundary as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.injection.sources import Source, read_manifest

ACCOUNT = "magic"
RSE = "PIC-INJECT"
"""Where files are uploaded."""
DESTINATIONS = ("PIC-DCACHE", "INFN-NA-DPM")
RULES = (RSE, *DESTINATIONS)
"""What every dataset gets a rule for, whoever injects it."""


@dataclass(frozen=True, slots=True)
class Job:
    """The first `files` files of a folder that `make_sources` made are to be injected into a scope.

    `work` is an empty folder of the contestant's own. `only_inject`: the campaign asks for no other
    copies, and is stopped when all is injected.
    """

    contestant: str
    scope: str
    folder: Path
    files: int
    threads: int
    work: Path
    only_inject: bool = False

    @property
    def sources(self) -> list[Source]:
        """The files to inject."""
        return read_manifest(self.folder, self.files)

    def path(self, source: Source) -> Path:
        """Where a source file lies."""
        return self.folder / "files" / source.name

    def to_json(self) -> str:
        """For `from_json` in another process."""
        return json.dumps(
            {**asdict(self), "folder": str(self.folder), "work": str(self.work)}, indent=1
        )

    @classmethod
    def from_json(cls, text: str) -> Job:
        """What `to_json` wrote."""
        keys = json.loads(text)
        return cls(**{**keys, "folder": Path(keys["folder"]), "work": Path(keys["work"])})


@dataclass(frozen=True, slots=True)
class Done:
    """What a contestant did: `files` of `size` bytes in all in `seconds`, with so many REST
    `calls`, from the first file to the last rule.

    `datasets`: where it put them. `calls_in_all` and `peak_memory` (bytes) are the whole
    process's. `details`: what else it measured.
    """

    files: int
    size: int
    seconds: float
    calls: int
    datasets: tuple[str, ...] = ()
    calls_in_all: int = 0
    peak_memory: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Files a second."""
        return self.files / self.seconds

    def to_json(self) -> str:
        """For `from_json` in another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Done:
        """What `to_json` wrote."""
        keys = json.loads(text)
        return cls(**{**keys, "datasets": tuple(keys["datasets"])})
