"""What goes wrong with one campaign, or at the start, ends neither the others nor the service."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from rucio_inject.campaign.load import load_campaign
from rucio_inject.campaign.schema import Campaign
from rucio_inject.cli.main import cli
from rucio_inject.cli.serve import Command
from rucio_inject.clock import PipeBell
from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError, UsageError
from rucio_inject.domain.facts import Fact, RunBegun, RunEnded
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.ports.board import Health, Phase
from rucio_inject.rucio.session import SignIn
from rucio_inject.service.events import EventServer, scopes
from rucio_inject.service.service import Service
from rucio_inject.testing.contracts.ledger import FILE, NOON, begun, found, life
from rucio_inject.testing.fake_clock import FakeClock

Told = Callable[[Sequence[Fact]], None]


class FakeRun:
    """A run that ends when the test says so."""

    def __init__(self) -> None:
        self.code: int | None = None
        self.rings = 0

    def poll(self) -> int | None:
        """See `Worker`."""
        return self.code

    def last_words(self) -> str:
        """See `Worker`."""
        return "error: nothing"

    def ring(self) -> None:
        """See `Worker`."""
        self.rings += 1

    def stop(self) -> None:
        """It stops when it has come so far."""

    def kill(self) -> None:
        """See `Worker`."""
        self.code = -9


class Scene:
    """A service, its campaign files, and the runs that it began by campaign."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.runs: dict[str, list[tuple[FakeRun, Told]]] = {}
        self.complaints: list[str] = []

    def write(self, name: str, schedule: str | None = "1h", more: str = "") -> Path:
        """A campaign file."""
        path = self.folder / f"{name}.yaml"
        when = f"schedule: {schedule}\n" if schedule else ""
        path.write_text(
            f"campaign: {name}\nscope: {name}\nsource: {{kind: mock}}\nupload: {{rse: A}}\n"
            f"rules: [{{rse_expression: B}}]\noutput: {self.folder / name}\n{when}{more}"
        )
        # Written within the same moment as before, it would look as if it had not changed.
        os.utime(path, (time.time(), path.stat().st_mtime + len(self.runs) + len(more) + 1))
        return path

    def hire(self, path: Path, campaign: Campaign, told: Told) -> FakeRun:
        """Begin a run."""
        run = FakeRun()
        self.runs.setdefault(campaign.campaign, []).append((run, told))
        return run

    def service(self, *files: Path, at_once: int = 4) -> Service:
        """A service that has begun."""
        return Service(
            files,
            load_campaign,
            self.hire,
            self.clock,
            at_once=at_once,
            complain=self.complaints.append,
        ).start()

    def steps(self, service: Service, seconds: float) -> bool:
        """Let time pass; whether the service goes on."""
        on = True
        for _ in range(int(seconds)):
            self.clock.advance(1)
            on = service.step()
        return on


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_bad_campaign_stops_no_other_and_is_taken_up_when_it_is_mended(scene: Scene) -> None:
    good, bad = scene.write("good"), scene.write("bad", '"61 * * * *"')
    service = scene.service(good, bad, scene.folder / "absent.yaml")
    scene.steps(service, 5)
    assert list(scene.runs) == ["good"]
    assert any("'61' is no minute" in words for words in scene.complaints)
    assert any("absent.yaml cannot be read" in words for words in scene.complaints)
    assert service.health().ok
    assert "'61' is no minute" in service.health().checks["bad.yaml"]
    scene.write("bad", "1h", "# mended\n")
    scene.steps(service, 15)
    assert list(scene.runs) == ["good", "bad"]


def test_a_campaign_that_is_spoilt_goes_on_as_it_was(scene: Scene) -> None:
    file = scene.write("good")
    service = scene.service(file)
    scene.steps(service, 5)
    scene.runs["good"][0][0].code = 0
    scene.write("good", "every now and then", "# spoilt\n")
    scene.steps(service, 2 * 3600)
    assert len(scene.runs["good"]) == 2
    assert any("it goes on as it was before" in words for words in scene.complaints)
    assert len([words for words in scene.complaints if "goes on" in words]) == 1


def test_none_that_can_be_run(scene: Scene) -> None:
    with pytest.raises(UsageError, match=r"no campaign can be run: .* has no schedule"):
        scene.service(scene.write("idle", None))


def test_two_files_of_one_name(scene: Scene) -> None:
    first = scene.write("one")
    second = scene.folder / "copy.yaml"
    second.write_text(first.read_text())
    service = scene.service(first, second)
    assert len(service.posts) == 1
    assert "are one campaign, by their name" in scene.complaints[0]


def test_so_many_at_once_and_who_waited_longest_first(scene: Scene) -> None:
    files = [scene.write(name) for name in ("a", "b", "c")]
    service = scene.service(*files, at_once=2)
    scene.steps(service, 5)
    assert sum(len(runs) for runs in scene.runs.values()) == 2
    waiting = ({"a", "b", "c"} - set(scene.runs)).pop()
    for runs in scene.runs.values():
        runs[0][0].code = 0
    scene.steps(service, 5)
    assert waiting in scene.runs


def test_draining_waits_and_killing_does_not(scene: Scene) -> None:
    service = scene.service(scene.write("a"))
    scene.steps(service, 5)
    service.ask_to_stop()
    service.ask_to_stop()
    assert scene.steps(service, 100), "asked twice in one moment is asked once"
    assert not service.ready().ok
    assert service.campaigns()[0].phase is Phase.DRAINING
    scene.runs["a"][0][0].code = 130
    assert not scene.steps(service, 1)

    again = Scene(scene.folder)
    service = again.service(again.write("a"))
    again.steps(service, 5)
    service.ask_to_stop()
    again.clock.advance(5)
    service.ask_to_stop()
    bell = PipeBell()
    assert service.run(bell) == 1
    assert again.runs["a"][0][0].code == -9
    bell.close()


def test_listeners_are_shown_facts_and_numbers_are_made_of_them(scene: Scene) -> None:
    service = scene.service(scene.write("a"), scene.write("b"))
    assert not service.ready().ok, "no ledger was asked yet"
    assert service.metrics().count('rucio_inject_cycle{campaign="a"}') == 0
    scene.steps(service, 5)
    assert service.ready().ok
    seen: list[tuple[str, Sequence[Fact]]] = []
    cancel = service.subscribe(lambda name, facts: seen.append((name, facts)))
    told = [RunBegun(at=NOON, process="p"), begun(), found(FILE), *life(FILE)[:2]]
    place = scene.folder / "a" / "a.db"
    with SqlLedger(place, "a", clock=scene.clock) as ledger:
        ledger.record(told)
    scene.runs["a"][0][1](told)
    assert seen == [("a", told)]
    cancel()
    cancel()
    scene.runs["a"][0][1]([RunEnded(at=NOON, code=0, words="", seconds=1)])
    assert len(seen) == 1
    text = service.metrics()
    assert 'rucio_inject_files{campaign="a",state="MEASURED"} 1.0' in text
    assert 'rucio_inject_facts_total{campaign="a",kind="FileFound"} 1.0' in text
    assert 'rucio_inject_next_run_timestamp_seconds{campaign="a"}' in text
    assert 'campaign="b"' not in text


def test_a_ledger_that_does_not_answer_holds_up_no_reader(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = scene.service(scene.write("a"), scene.write("b"))
    scene.steps(service, 5)
    for runs in scene.runs.values():
        runs[0][0].code = 0
    scene.steps(service, 5)
    asked, answer = threading.Event(), threading.Event()

    def stuck(*_: object) -> None:
        asked.set()
        assert answer.wait(60)

    monkeypatch.setattr("rucio_inject.service.service.living_holder", stuck)
    scene.clock.advance(2 * 3600)
    stepping = threading.Thread(target=service.step)
    stepping.start()

    def read() -> tuple[Health, Health, list[str]]:
        service.subscribe(lambda *_: None)()
        names = [posted.name for posted in service.campaigns()]
        return service.health(), service.ready(), names

    with ThreadPoolExecutor(1) as readers:
        try:
            assert asked.wait(60)
            scene.clock.advance(100)
            health, ready, names = readers.submit(read).result(timeout=10)
        finally:
            answer.set()
            stepping.join()
    assert not health.ok
    assert health.checks == {"scheduler": "silent for 100 s", "a": "waiting", "b": "waiting"}
    assert (ready.ok, names) == (True, ["a", "b"])


def test_many_ledgers_that_are_away_are_not_a_service_that_is_stuck(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = scene.service(*(scene.write(name) for name in "abcde"))
    well: list[bool] = []

    def away(*_: object) -> None:
        scene.clock.advance(20)
        well.append(service.health().ok)
        raise LedgerError("the ledger is away")

    monkeypatch.setattr("rucio_inject.service.service.history", away)
    scene.steps(service, 1)
    assert well == [True] * 5
    assert service.health().checks["e"] == "the ledger is away"


def test_retrying_what_was_set_aside(scene: Scene) -> None:
    service = scene.service(scene.write("a"))
    with SqlLedger(scene.folder / "a" / "a.db", "a", clock=scene.clock) as ledger:
        failed = f.FileFailed(at=NOON, did=FILE, code="x", reason="y", hint=None)
        ledger.record([begun(), found(FILE), failed])
    assert service.retry("a", []) == 0
    with pytest.raises(UsageError, match="no campaign zzz"):
        service.retry("zzz", [FILE])
    with pytest.raises(UsageError, match="not on record"):
        service.retry("a", [DID("magic", "other")])
    assert service.retry("a", [FILE]) == 1


def test_events_ring_in_their_scope(scene: Scene) -> None:
    service = scene.service(scene.write("a"), scene.write("b"))
    scene.steps(service, 5)
    service.heard(frozenset({"a", "zzz"}))
    assert (scene.runs["a"][0][0].rings, scene.runs["b"][0][0].rings) == (1, 0)


EVENTS = b"""{"index": {"_id": "1"}}
{"event_type": "transfer-done", "payload": {"scope": "a", "name": "x"}}
{"event_type": "RULE_OK", "payload": "{\\"scope\\": \\"b\\"}"}
{"event_type": "CREATE_DTS", "payload": {"scope": "c"}}
{"event_type": "deletion-done", "payload": {}}
not JSON
[1]
"""


def test_what_hermes_posts() -> None:
    assert scopes(EVENTS) == {"a", "b"}
    assert scopes(b"") == scopes(b"\xff\x00") == frozenset()


def test_an_event_server_takes_what_is_posted_and_survives_rubbish() -> None:
    heard: list[frozenset[str]] = []
    with EventServer(("127.0.0.1", 0), heard.append) as server:
        for request in (
            b"POST / HTTP/1.1\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
            % (len(EVENTS), EVENTS),
            b"POST / HTTP/1.1\r\nConnection: close\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\nConnection: close\r\n\r\n",
            b"\x00\x01 rubbish\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
                client.sendall(request)
                client.recv(100)
        with pytest.raises(UsageError, match="cannot listen for events"):
            EventServer(("127.0.0.1", server.port), heard.append)
    assert heard == [frozenset({"a", "b"})]


def test_the_command_of_a_run_shows_no_password(scene: Scene) -> None:
    sign_in = SignIn(
        account="magic",
        auth_strategy="userpass",
        host="http://rucio",
        user="me",
        password="s3cret",
        oidc_polling=True,
        timeout=30.0,
    )
    command = Command(None, Path("/lake"), sign_in)
    campaign = load_campaign(scene.write("a"))
    given = command.line(Path("a.yaml"), campaign)
    assert given[3:] == [
        *("run", "a.yaml", "--quiet", "--lake", "/lake", "--new-cycle"),
        *("--account", "magic", "--auth-strategy", "userpass", "--host", "http://rucio"),
        *("--user", "me", "--oidc-polling", "--timeout", "30.0"),
    ]
    assert command.environment()["RUCIO_PASSWORD"] == "s3cret"


def test_a_port_that_is_in_use_is_told(scene: Scene) -> None:
    file = scene.write("a", "0 0 1 1 *")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        answer = CliRunner().invoke(cli, ["serve", str(file), "--port", port])
    assert isinstance(answer.exception, UsageError)
    assert "it is in use" in answer.exception.message
    push = scene.write("a", "0 0 1 1 *", f"push: {{listen: '127.0.0.1:{port}'}}\n")
    with socket.create_server(("127.0.0.1", int(port))):
        answer = CliRunner().invoke(cli, ["serve", str(push), "--no-web"])
    assert isinstance(answer.exception, UsageError)
    assert "cannot listen for events" in answer.exception.message


def test_several_campaigns_cannot_share_an_output_folder(scene: Scene) -> None:
    files = [str(scene.write(name)) for name in ("a", "b")]
    answer = CliRunner().invoke(cli, ["serve", *files, "--output", "out"])
    assert isinstance(answer.exception, UsageError)
    assert "cannot share one output folder" in answer.exception.message
