"""`run --watch`: the command goes on looking, on the in-memory lake, until it is stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.injection_world import NAMES, SCOPE

from rucio_inject.cli import kept, run
from rucio_inject.cli.main import cli
from rucio_inject.domain.errors import CatalogueUnavailable, Interrupted, SignInFailed
from rucio_inject.factory import Ports
from rucio_inject.ports import Bell
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.testing.memory_catalogue import MemoryCatalogue
from rucio_inject.testing.memory_lake import MemoryLake
from rucio_inject.testing.memory_storage import MemoryStorage

CAMPAIGN = """\
campaign: stream
scope: {scope}
source: {{kind: {kind}, path: origin{more}}}
upload: {{rse: PIC-INJECT}}
rules: [{{rse_expression: PIC-DCACHE}}]
monitor: {{interval: 3600}}
retry: {{attempts: 1}}
output: {folder}/out
"""
EVERY = 77


class Watched:
    """The command with a clock of its own, on which things happen between two looks."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.origin = folder / "origin"
        self.origin.mkdir()
        self.clock = FakeClock()
        self.lake = MemoryLake(self.clock)
        self.between: list[Callable[[], None]] = []
        ports = Ports(MemoryCatalogue(self.lake), MemoryStorage(self.lake), None, self.clock)
        wait = self.clock.wait

        def waited(seconds: float, bell: Bell | None = None) -> None:
            if seconds == EVERY:
                if not self.between:
                    raise Interrupted("stopped as the test asked")
                self.between.pop(0)()
            wait(seconds, bell)

        @contextmanager
        def stoppable(clock: Any) -> Any:
            yield

        monkeypatch.setattr(self.clock, "wait", waited)
        monkeypatch.setattr(run, "SystemClock", lambda: self.clock)
        monkeypatch.setattr(run, "stoppable", stoppable)
        monkeypatch.setattr(run, "rucio_ports", lambda *_, **__: ports)
        monkeypatch.setattr(kept, "find_spec", lambda name: None)

    def arrive(self, name: str) -> None:
        """A file arrives, complete."""
        (self.origin / name).write_bytes(name.encode())
        digest = hashlib.md5(name.encode()).hexdigest()
        (self.origin / f"{name}.md5").write_text(digest)

    def given(self, *options: str, kind: str = "inbox") -> Result:
        """The command, as it ends."""
        more = f", every: {EVERY}" if kind == "inbox" else ""
        text = CAMPAIGN.format(scope=SCOPE, kind=kind, folder=self.folder, more=more)
        path = self.folder / "c.yaml"
        path.write_text(text)
        command = ["run", "--watch", "--progress", "none", *options, str(path)]
        return CliRunner().invoke(cli, command)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(tmp_path, monkeypatch)


def ends(output: str) -> list[dict[str, Any]]:
    """The JSON objects that were printed."""
    decoder, found, left = json.JSONDecoder(), [], output.strip()
    while left:
        one, end = decoder.raw_decode(left)
        found.append(one)
        left = left[end:].strip()
    return found


def test_files_are_taken_as_they_come(watched: Watched) -> None:
    watched.arrive(NAMES[0])
    watched.between = [lambda: None, lambda: watched.arrive(NAMES[1]), lambda: None]
    result = watched.given("--json")
    assert result.exit_code == 0, result.output
    # One at the beginning, one for what came; looks that found nothing say nothing.
    assert [end["files"] for end in ends(result.stdout)] == [{"VERIFIED": 1}, {"VERIFIED": 2}]
    assert {did.name for did in watched.lake.files} == set(NAMES[:2])


def test_a_lake_that_is_away_for_a_while_is_outlived(watched: Watched) -> None:
    def away() -> None:
        watched.lake.down = "connection refused"
        watched.arrive(NAMES[0])

    def back() -> None:
        watched.lake.down = None

    watched.between = [away, lambda: None, back]
    result = watched.given("--json")
    assert result.exit_code == 0, result.output
    assert "connection refused" in result.stderr
    assert [end["files"] for end in ends(result.stdout)] == [{}, {"VERIFIED": 1}]


def test_the_code_is_that_of_the_last_look(watched: Watched) -> None:
    watched.between = [lambda: setattr(watched.lake, "down", "connection refused")]
    assert watched.given().exit_code == 5


def test_a_lake_that_is_away_at_the_beginning_is_told_at_once(watched: Watched) -> None:
    watched.lake.down = "connection refused"
    assert isinstance(watched.given().exception, CatalogueUnavailable)


def test_who_is_not_known_any_more_is_not_asked_again(watched: Watched) -> None:
    watched.between = [lambda: setattr(watched.lake, "signed_in", False), lambda: None]
    assert isinstance(watched.given().exception, SignInFailed)
    assert len(watched.between) == 1


def test_a_folder_of_finished_files_is_not_watched(watched: Watched) -> None:
    result = watched.given(kind="directory")
    assert "--watch is for sources that grow" in str(result.exception)
