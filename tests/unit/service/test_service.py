"""What goes wrong with one campaign, or at the start, ends neither the others nor the service."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import text
from tests.ledger_databases import as_first_schema

from rucio_inject.apart import PATIENCE, Answers, Asked, Asking, apart
from rucio_inject.campaign.load import load_campaign
from rucio_inject.campaign.schema import Campaign
from rucio_inject.cli.main import cli
from rucio_inject.cli.serve import Command
from rucio_inject.clock import PipeBell
from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError, LedgerUnavailable, UsageError
from rucio_inject.domain.facts import Fact, RunBegun, RunEnded
from rucio_inject.domain.usage import Usage
from rucio_inject.ledger.engine import sqlite_database
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.ledger.tables import VERSION_TABLE
from rucio_inject.monitor.series import Series
from rucio_inject.ports.board import Phase
from rucio_inject.rucio.session import SignIn
from rucio_inject.service.events import EventServer, scopes
from rucio_inject.service.post import LATER
from rucio_inject.service.service import Service
from rucio_inject.testing.contracts.ledger import FILE, NOON, begun, found, life
from rucio_inject.testing.fake_clock import FakeClock

Told = Callable[[Sequence[Fact]], None]


def answered_at_once(question: Callable[[], Any]) -> Future[Any]:
    """Ask in this thread."""
    answer: Future[Any] = Future()
    try:
        answer.set_result(question())
    except LedgerError as error:
        answer.set_exception(error)
    return answer


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

    def service(self, *files: Path, at_once: int = 4, asking: Asking = answered_at_once) -> Service:
        """A service that has begun."""
        return Service(
            files,
            load_campaign,
            self.hire,
            self.clock,
            at_once=at_once,
            complain=self.complaints.append,
            asking=asking,
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


def no_room(thread: threading.Thread) -> None:
    """As Python says it."""
    raise RuntimeError("can't start new thread")


def test_a_machine_without_room_for_a_thread_ends_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = "notify: {webhook: {url: 'http://127.0.0.1:1/'}}\n"
    good, told = scene.write("good"), scene.write("told", more=hook)
    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", no_room)
    service = scene.service(good, told, asking=apart)
    scene.steps(service, 5)
    assert service.health().checks == {
        "scheduler": "at work",
        "good": "its ledger cannot be asked: can't start new thread",
        "told.yaml": f"{told} cannot be taken up now: can't start new thread",
    }
    monkeypatch.setattr(threading.Thread, "start", start)
    until(lambda: scene.steps(service, 20) and set(scene.runs) == {"good", "told"})
    service.close()


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


def test_a_campaign_file_that_was_away_for_a_moment(scene: Scene) -> None:
    file = scene.write("good")
    service = scene.service(file)
    scene.steps(service, 5)
    scene.runs["good"][0][0].code = 0
    away = file.rename(scene.folder / "away")
    scene.steps(service, 15)
    assert "cannot be read" in service.health().checks["good"]
    # With the time of change that it had.
    away.rename(file)
    scene.steps(service, 15)
    assert service.health().checks["good"] == "waiting"


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


@pytest.mark.parametrize("schedule", ["1h", '"0 0 1 1 *"'])
def test_a_ledger_of_an_older_schema_is_brought_up_to_date_by_a_run(
    scene: Scene, schedule: str
) -> None:
    file, place = scene.write("good", schedule), scene.folder / "good" / "good.db"
    with SqlLedger(place, "good", clock=scene.clock) as ledger:
        ledger.record([begun(), found(FILE)])
    database = sqlite_database(place)
    as_first_schema(database)
    service = scene.service(file)
    scene.steps(service, 5)
    assert len(scene.runs["good"]) == 1
    # Somebody of the older version is at work still: it is tried again.
    scene.runs["good"][0][0].code = LATER
    scene.steps(service, 60)
    (_, (run, told)) = scene.runs["good"]
    with SqlLedger(place, "good", clock=scene.clock) as ledger:
        facts = [RunBegun(at=scene.clock.now(), process="p")]
        ledger.record(facts)
        told(facts)
    run.code = 0
    scene.steps(service, 60)
    assert len(scene.runs["good"]) == 2
    assert 'rucio_inject_cycle{campaign="good"} 1.0' in service.metrics()
    # One of a version that is not known yet is nobody's to change.
    with database.writing() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    database.close()
    service = scene.service(file)
    scene.steps(service, 60)
    assert len(scene.runs["good"]) == 2
    assert "is of schema 9999" in service.health().checks["good"]


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


def test_one_at_once_is_one_after_the_other_however_often_they_are_due(scene: Scene) -> None:
    service = scene.service(*(scene.write(name, "1s") for name in ("a", "b", "c")), at_once=1)
    order = []
    for _ in range(9):
        scene.steps(service, 3)
        (name,) = [name for name, runs in scene.runs.items() if runs[-1][0].code is None]
        order.append(name)
        scene.runs[name][-1][0].code = 0
    assert order[:3] * 3 == order
    assert sorted(order[:3]) == ["a", "b", "c"]


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


@pytest.fixture
def black_hole() -> Iterator[str]:
    """The URL of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}"
        yield f"postgresql://me@{place}/ledgers?connect_timeout=600"
        # Who is connected still is cut off, so that its thread ends.
        server.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                server.accept()[0].close()


def asking() -> list[threading.Thread]:
    """Those that wait for the answer of a ledger."""
    return [thread for thread in threading.enumerate() if thread.name == "asking"]


def until(wanted: Callable[[], bool]) -> None:
    """Wait for other threads."""
    end = time.monotonic() + 300
    while not wanted():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_ledger_that_never_answers_holds_up_nobody_else(
    scene: Scene, black_hole: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rucio_inject.service.census.PATIENCE", 2.0)
    away, good = scene.write("a", more=f"ledger: {black_hole}\n"), scene.write("b")
    service = scene.service(away, good, asking=apart)

    def good_runs() -> bool:
        service.step()
        return "b" in scene.runs

    until(good_runs)
    # The other one is waited for still.
    until(lambda: len(asking()) == 1)
    place = scene.folder / "b" / "b.db"
    with SqlLedger(place, "b", clock=scene.clock) as ledger:
        ledger.record([begun()])

    def good_shows() -> bool:
        # A good one, too, may be too slow for one look on a busy machine.
        text = service.metrics()
        assert 'campaign="a"' not in text
        return 'rucio_inject_cycle{campaign="b"} 1.0' in text

    for _ in range(2):
        until(good_shows)
    # One question of the scheduler's, and one for all who look.
    until(lambda: len(asking()) == 2)
    assert (service.ready().ok, service.health().ok) == (False, True)
    for _ in range(int(PATIENCE) + 1):
        scene.steps(service, 1)
        # Time goes on when the good one has answered.
        until(lambda: len(asking()) == 2)
    assert "its ledger has not answered for 1" in service.health().checks["a"]
    assert (service.ready().ok, service.health().ok) == (True, True)
    service.ask_to_stop()
    scene.runs["b"][0][0].code = 130
    assert not scene.steps(service, 1)
    until(lambda: len(asking()) == 2)  # nobody has waited for it


def test_an_answer_that_comes_too_late_is_asked_for_again() -> None:
    clock, questions = FakeClock(), list[Future[str]]()

    def ask(question: Callable[[], str]) -> Future[str]:
        questions.append(Future())
        return questions[-1]

    asked: Asked[str] = Asked(str, clock, ask)
    assert asked.answer() is None
    clock.advance(PATIENCE)
    with pytest.raises(LedgerUnavailable, match="has not answered for 15 s"):
        asked.answer()
    questions[0].set_result("long ago")
    assert asked.answer() is None
    questions[1].set_result("now")
    assert asked.answer() == "now"
    assert asked.answer() is None
    questions[2].set_exception(LedgerError("it is away"))
    with pytest.raises(LedgerError, match="it is away"):
        asked.answer()
    assert len(questions) == 3


def test_who_was_waited_for_once_is_not_waited_for_again() -> None:
    clock, silent = FakeClock(), Future[str]()
    asked: list[str] = []

    def ask(question: Callable[[], str]) -> Future[str]:
        asked.append(question())
        return silent if asked[-1] == "silent" else answered_at_once(question)

    answers: Answers[str] = Answers(clock, 0.2, ask)
    questions = {name: partial(str, name) for name in ("silent", "good")}
    for _ in range(2):
        assert {name: found.result() for name, found in answers.of(questions).items()} == {
            "good": "good"
        }
        clock.advance(3600)
    silent.set_result("late")
    assert answers.of(questions)["silent"].result() == "late"
    assert asked == ["silent", "good", "good", "silent", "good"]


def test_between_runs_graphite_gets_what_prometheus_is_shown(scene: Scene) -> None:
    counted = f.RSECounted(at=NOON, rse="A", catalogue=Usage(3, 30), storage=Usage(2, 20))
    with socket.create_server(("127.0.0.1", 0)) as graphite:
        graphite.settimeout(300)
        server = f"127.0.0.1:{graphite.getsockname()[1]}"
        more = f"metrics: {{graphite: {{server: '{server}', interval: 10s}}}}\n"
        service = scene.service(scene.write("a", "0 0 1 1 *", more))
        with SqlLedger(scene.folder / "a" / "a.db", "a", clock=scene.clock) as ledger:
            ran = RunEnded(at=NOON, code=3, words="5 set aside", seconds=60)
            ledger.record([RunBegun(at=NOON, process="p"), begun(), ran])
        # Of an earlier service's run.
        Series(scene.folder / "a" / "counts.jsonl").append([counted])
        scene.steps(service, 20)
        assert not scene.runs
        connection, _ = graphite.accept()
        with connection, connection.makefile() as read:
            told = {line.split()[0].partition(".rucio")[2]: line.split()[1] for line in read}
        service.close()
    assert told["_inject.a.rse.a.storage.files"] == "2"
    assert told[".usage.a.total_bytes_used"] == "30"
    assert told["_inject.a.run.exit_code"] == "3"
    last = service.campaigns()[0].last_run
    assert last is not None
    assert (last.code, last.words) == (3, "5 set aside")
    shown = service.metrics()
    assert 'rucio_inject_rse_files{campaign="a",rse="A",witness="storage"} 2.0' in shown
    assert 'rucio_inject_run_exit_code{campaign="a"} 3.0' in shown
    assert "rucio_inject_runs_total{" not in shown, "it began none itself"


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
            with socket.create_connection(("127.0.0.1", server.port), timeout=300) as client:
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
    assert given[1:] == [
        *("-P", "-m", "rucio_inject"),
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
        push = scene.write("a", "0 0 1 1 *", f"push: {{listen: '127.0.0.1:{port}'}}\n")
        events = CliRunner().invoke(cli, ["serve", str(push), "--no-web"])
    assert isinstance(answer.exception, UsageError)
    assert "it is in use" in answer.exception.message
    assert isinstance(events.exception, UsageError)
    assert "cannot listen for events" in events.exception.message


def test_several_campaigns_cannot_share_an_output_folder(scene: Scene) -> None:
    files = [str(scene.write(name)) for name in ("a", "b")]
    answer = CliRunner().invoke(cli, ["serve", *files, "--output", "out"])
    assert isinstance(answer.exception, UsageError)
    assert "cannot share one output folder" in answer.exception.message
