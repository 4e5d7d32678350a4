"""Starting, stopping, killing and deleting lakes of their own, beside the one of the session."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from rucio_inject.clock import SystemClock
from rucio_inject.domain.errors import LakeError, UsageError
from rucio_inject.lake import process
from rucio_inject.lake.bringup import StartOptions
from rucio_inject.lake.content import default_text
from rucio_inject.lake.embedded import EmbeddedLake
from rucio_inject.lake.postgres_binaries import find_binaries
from rucio_inject.lake.state import Member, load_state
from rucio_inject.lake.waiting import wait_until

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("lakes")]


@pytest.fixture
def running_lake(fresh_lake: EmbeddedLake) -> EmbeddedLake:
    return fresh_lake


@pytest.fixture(scope="module")
def other_lake(short_folder: Callable[[], Path]) -> Iterator[EmbeddedLake]:
    """A second lake, on the wheel's PostgreSQL; each test leaves it running."""
    lake = EmbeddedLake(short_folder() / "Müller + Co")
    lake.start(StartOptions(postgres="wheel"))
    yield lake
    lake.reset()


def _processes(lake: EmbeddedLake) -> list[int]:
    found = process.left_over(lake.paths.root, lake.paths.postgres_data)
    return [member.pid for member in found]


def _rses(lake: EmbeddedLake) -> set[str]:
    """The RSEs of a lake as the official command lists them."""
    environment = {**os.environ, **lake.environment()}
    answer = process.run(
        [str(Path(sys.executable).with_name("rucio")), "rse", "list"],
        environment=environment,
        folder=Path("/"),
        seconds=600,
    )
    assert answer.returncode == 0, answer.stdout
    return set(answer.stdout.split())


def test_both_kinds_of_postgresql_run_side_by_side(
    running_lake: EmbeddedLake, other_lake: EmbeddedLake
) -> None:
    wheel = find_binaries("wheel", os.environ)
    system = find_binaries("system", os.environ)
    states = [load_state(lake.paths.state) for lake in (running_lake, other_lake)]
    assert [state.postgres_bin for state in states] == [system.folder, wheel.folder]
    assert running_lake.status().running
    assert other_lake.status().running
    assert running_lake.status().url != other_lake.status().url
    assert _rses(other_lake) == _rses(running_lake)


@pytest.mark.parametrize("victims", [("postgres",), ("postgres", "transfers", "server", "daemons")])
def test_start_recovers_from_kill_9(other_lake: EmbeddedLake, victims: tuple[str, ...]) -> None:
    state = load_state(other_lake.paths.state)
    victims_now = [state.members[name] for name in victims]
    kill = ((signal.SIGKILL, 10.0),)
    assert process.stop(victims_now, kill, SystemClock()) == []
    assert not other_lake.status().running
    info = other_lake.start()
    assert not info.already_running
    assert other_lake.status().running
    assert "PIC-INJECT" in _rses(other_lake)
    after = load_state(other_lake.paths.state)
    assert (after.port, after.postgres_bin) == (state.port, state.postgres_bin)
    assert not {member.pid for member in state.members.values()} & set(_processes(other_lake))


@pytest.mark.parametrize("victim", ["supervisor", "loop"])
def test_the_processes_of_the_daemons_end_together(other_lake: EmbeddedLake, victim: str) -> None:
    supervisor = psutil.Process(load_state(other_lake.paths.state).members["daemons"].pid)
    loops = supervisor.children()
    assert len(loops) > 1
    everybody = [Member(pid=one.pid, created=one.create_time()) for one in (supervisor, *loops)]
    (supervisor if victim == "supervisor" else loops[-1]).kill()
    # The others first finish the pass that they are in.
    assert wait_until(
        lambda: not any(process.is_alive(member) for member in everybody),
        clock=SystemClock(),
        seconds=600,
    )
    assert not other_lake.status().running
    other_lake.start()
    assert other_lake.status().running


def test_stop_leaves_no_process_and_start_brings_it_back(other_lake: EmbeddedLake) -> None:
    members = process.left_over(other_lake.paths.root, other_lake.paths.postgres_data)
    assert len(members) >= 4
    assert other_lake.stop()
    assert _processes(other_lake) == []
    # By pid and time of birth: where nobody reaps orphans a pid stays, of a process that has ended.
    assert not any(process.is_alive(member) for member in members)
    assert not other_lake.status().running
    assert not other_lake.stop()
    other_lake.start()
    assert other_lake.status().running


def test_stop_ends_processes_whose_record_is_lost(other_lake: EmbeddedLake) -> None:
    state = load_state(other_lake.paths.state)
    forgotten = state.model_copy(update={"members": {}})
    other_lake.paths.state.write_text(forgotten.model_dump_json())
    assert other_lake.stop()
    assert _processes(other_lake) == []
    other_lake.start()


def test_a_changed_content_adds_what_is_missing(other_lake: EmbeddedLake, tmp_path: Path) -> None:
    changed = tmp_path / "content.yaml"
    changed.write_text(default_text().replace("rses:\n", "rses:\n  CTA-TAPE: {}\n"))
    assert other_lake.start(StartOptions(content=changed)).already_running
    assert "CTA-TAPE" in _rses(other_lake)
    assert {"PIC-INJECT", "LAPP-FAST"} < _rses(other_lake)


def test_a_running_lake_refuses_another_port(other_lake: EmbeddedLake) -> None:
    port = load_state(other_lake.paths.state).port
    assert port is not None
    with pytest.raises(LakeError, match="running with another --port"):
        other_lake.start(StartOptions(port=port + 1))


def test_a_taken_port_is_named_and_nothing_is_started(short_folder: Callable[[], Path]) -> None:
    lake = EmbeddedLake(short_folder() / "lake")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LakeError, match=f"port {port} on 127.0.0.1 is taken"):
            lake.start(StartOptions(port=port))
    assert _processes(lake) == []


def test_a_server_that_does_not_come_up_is_explained_and_the_rest_stopped(
    short_folder: Callable[[], Path],
) -> None:
    folder = short_folder()
    broken = folder / "modules" / "gunicorn"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("")
    (broken / "__main__.py").write_text("raise SystemExit('no server today')")
    base = {**os.environ, "PYTHONPATH": str(broken.parent)}
    lake = EmbeddedLake(folder / "lake", base_environment=base)
    with pytest.raises(LakeError, match="no server today") as caught:
        lake.start()
    assert str(lake.paths.log("server")) in caught.value.message
    assert _processes(lake) == []
    assert not lake.status().running


def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    lake = EmbeddedLake(tmp_path)
    with pytest.raises(LakeError, match="is not a lake"):
        lake.start()
    with pytest.raises(LakeError, match="is not a lake"):
        lake.reset()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_that_cannot_be_made_is_named(short_folder: Callable[[], Path]) -> None:
    folder = short_folder()
    (folder / "file").write_text("")
    with pytest.raises(LakeError, match="cannot be written"):
        EmbeddedLake(folder / "file" / "lake").start()


def test_a_wrong_content_file_is_a_usage_error_and_makes_nothing(
    short_folder: Callable[[], Path], tmp_path: Path
) -> None:
    wrong = tmp_path / "content.yaml"
    wrong.write_text("injecting_account: magic\naccounts: {magic: {colour: red}}\nrses: {A: {}}\n")
    root = short_folder() / "lake"
    with pytest.raises(UsageError, match=r"accounts\.magic\.colour"):
        EmbeddedLake(root).start(StartOptions(content=wrong))
    assert not root.exists()


def test_a_lake_that_was_never_started(tmp_path: Path) -> None:
    lake = EmbeddedLake(tmp_path / "none")
    assert not lake.status().exists
    assert not lake.stop()
    assert not lake.reset()
    with pytest.raises(LakeError, match="there is no lake"):
        lake.environment()


def test_an_account_that_the_lake_does_not_have(running_lake: EmbeddedLake) -> None:
    with pytest.raises(LakeError, match="no account nobody"):
        running_lake.environment("nobody")
