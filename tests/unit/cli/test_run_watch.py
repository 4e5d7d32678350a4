"""`run --watch`: the command goes on looking, on the in-memory lake, until it is stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.injection_world import NAMES, SCOPE

from rucio_inject.cli import kept, run, surroundings
from rucio_inject.cli.main import cli
from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import CatalogueUnavailable, Interrupted, SignInFailed
from rucio_inject.factory import Ports
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.ports import Bell
from rucio_inject.service.outlets import Outlets
from rucio_inject.steps import looks
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

    def arrive(self, name: str, content: str | None = None) -> None:
        """A file arrives, complete; with other content than its checksum is of, if any is given."""
        path, now = self.origin / name, self.clock.now().timestamp()
        path.write_text(name if content is None else content)
        os.utime(path, (now, now))
        digest = hashlib.md5(name.encode()).hexdigest()
        (self.origin / f"{name}.md5").write_text(digest)
        self.clock.advance(1)

    def facts(self, name: str) -> list[str]:
        """What is on record of a file, in kinds."""
        with SqlLedger(
            self.folder / "out" / "stream.db", "stream", clock=self.clock, reading=True
        ) as ledger:
            story = list(ledger.story(DID(SCOPE, name)))
        return [type(told.fact).__name__ for told in story]

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


def test_each_look_tells_onlookers_how_it_ended(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[f.Fact] = []
    outlets = Outlets([SimpleNamespace(record=told.extend)], [], watched.clock, pytest.fail)
    monkeypatch.setattr(surroundings, "make_outlets", lambda *_, **__: outlets)

    def away() -> None:
        watched.lake.down = "connection refused"

    def back() -> None:
        watched.lake.down = None
        watched.arrive(NAMES[0], "other bytes")

    def mend() -> None:
        watched.arrive(NAMES[0])

    watched.between = [away, lambda: None, lambda: None, back, mend]
    result = watched.given("-q")
    assert result.exit_code == 0, result.output
    looks = [fact for fact in told if isinstance(fact, f.LookEnded)]
    assert [look.code for look in looks] == [0, 5, 5, 5, 4, 0]
    assert "connection refused" in looks[1].words
    assert looks[4].words == "cycle 1: 1 set aside (source-mismatch)"
    # Who reads along is told once, not at each look.
    assert result.stderr.count("connection refused") == 1
    assert [fact.code for fact in told if isinstance(fact, f.RunEnded)] == [0]


def test_another_outage_is_told_as_well(watched: Watched) -> None:
    reasons = ["connection refused", "connection refused", "no route to host"]

    def away() -> None:
        watched.lake.down = reasons.pop(0)

    watched.between = [away] * 3
    result = watched.given()
    assert result.exit_code == 5
    assert result.stderr.count("connection refused") == 1
    assert result.stderr.count("no route to host") == 1


def test_a_watch_tidies_up_once_a_day(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "TIDY_AGAIN", 3 * EVERY)
    tidied: list[tuple[float, bool]] = []

    def keep_to_retention(*_: Any, cycles: bool) -> None:
        tidied.append((watched.clock.monotonic(), cycles))

    monkeypatch.setattr(surroundings, "keep_to_retention", keep_to_retention)
    watched.between = [lambda: None] * 7
    assert watched.given("-q").exit_code == 0
    times = [0, 3 * EVERY, 6 * EVERY, 7 * EVERY]
    assert tidied == list(zip(times, [False, False, False, True], strict=True))


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


class TestFilesThatWereSetAside:
    """Nobody asks for the looks after the first one: they try only what may come through now."""

    def test_what_nobody_has_mended_is_not_tried_again(self, watched: Watched) -> None:
        watched.arrive(NAMES[0], "other bytes")
        watched.between = [lambda: None] * 5
        result = watched.given("--json")
        assert result.exit_code == 4, result.output
        assert [end["files"] for end in ends(result.stdout)] == [{"QUARANTINED": 1}]
        assert watched.facts(NAMES[0]).count("UploadBegun") == 1
        assert "FileRetried" not in watched.facts(NAMES[0])

    def test_the_first_look_tries_all_of_them(self, watched: Watched) -> None:
        watched.arrive(NAMES[0], "other bytes")
        watched.given()
        watched.between = [lambda: None] * 2
        result = watched.given("--json")
        # It is told, as the command was given; that it failed as before is nothing new.
        assert [end["changed"] for end in ends(result.stdout)] == [False]
        assert watched.facts(NAMES[0]).count("FileRetried") == 1

    @pytest.mark.parametrize("looks_before", [0, 1, 3])
    def test_what_is_sent_again_is_tried_again(self, watched: Watched, looks_before: int) -> None:
        watched.arrive(NAMES[0], "other bytes")
        mend = [lambda: watched.arrive(NAMES[0])]
        watched.between = [lambda: None] * looks_before + mend + [lambda: None] * 2
        result = watched.given("--json")
        assert result.exit_code == 0, result.output
        assert [end["files"] for end in ends(result.stdout)] == [
            {"QUARANTINED": 1},
            {"VERIFIED": 1},
        ]
        assert watched.facts(NAMES[0]).count("FileRetried") == 1

    def test_another_checksum_is_enough(self, watched: Watched) -> None:
        watched.arrive(NAMES[0], "other bytes")
        digest = hashlib.md5(b"other bytes").hexdigest()
        checksum = watched.origin / f"{NAMES[0]}.md5"

        def mend() -> None:
            checksum.write_text(digest)

        watched.between = [lambda: None, mend]
        assert watched.given().exit_code == 0

    def test_what_is_away_and_comes_again_is_tried_again(self, watched: Watched) -> None:
        watched.arrive(NAMES[0], "other bytes")
        path, aside = watched.origin / NAMES[0], watched.folder / "aside"

        def leave() -> None:
            path.rename(aside)

        def come() -> None:
            aside.rename(path)

        watched.between = [lambda: None, leave, come, lambda: None]
        assert watched.given().exit_code == 4
        assert watched.facts(NAMES[0]).count("FileRetried") == 1

    def test_what_may_pass_is_tried_again_and_ever_less_often(
        self, watched: Watched, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pauses = (100.0, 400.0)
        monkeypatch.setattr(looks, "PAUSES", pauses)
        storage = watched.lake.rses["PIC-INJECT"]
        storage.blocked = True
        watched.arrive(NAMES[0])
        tried: list[float] = []

        def note() -> None:
            if watched.facts(NAMES[0]).count("FileRetried") > len(tried):
                tried.append(watched.clock.monotonic())

        watched.between = [note] * 15
        result = watched.given("--json")
        assert result.exit_code == 3
        gaps = [after - before for before, after in pairwise([0.0, *tried])]
        due = [*pauses, pauses[-1]][: len(gaps)]
        assert len(gaps) == 3
        assert all(pause <= gap < pause + 2 * EVERY for gap, pause in zip(gaps, due, strict=True))
        # That it failed as before is nothing new.
        assert len(ends(result.stdout)) == 1

    def test_what_has_passed_goes_on(self, watched: Watched) -> None:
        storage = watched.lake.rses["PIC-INJECT"]
        storage.blocked = True
        watched.arrive(NAMES[0])
        watched.between = [lambda: setattr(storage, "blocked", False), lambda: None]
        result = watched.given("--json")
        assert result.exit_code == 0
        assert [end["files"] for end in ends(result.stdout)] == [
            {"QUARANTINED": 1},
            {"VERIFIED": 1},
        ]
