"""Processes of a lake."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from rucio_inject.clock import SystemClock
from rucio_inject.lake import process
from rucio_inject.lake.process import MARK, Command
from rucio_inject.lake.state import Member

UP = "print('up', flush=True)\n"
STUBBORN = f"import signal, time; signal.signal(15, signal.SIG_IGN); {UP}"
TERM = ((signal.SIGTERM, 0.3), (signal.SIGKILL, 10.0))


def _launch(tmp_path: Path, code: str) -> Member:
    return process.launch(
        Command(
            (sys.executable, "-c", code + "import time; time.sleep(60)"),
            tmp_path / "log",
            {MARK: str(tmp_path)},
            tmp_path,
        )
    )


def _wait_until_up(tmp_path: Path) -> None:
    while (tmp_path / "log").read_text() != "up\n":
        SystemClock().wait(0.02)


def test_a_process_is_found_by_its_mark_and_stopped(tmp_path: Path) -> None:
    member = _launch(tmp_path, UP)
    # A moment after it was started the system may show no environment of it yet.
    _wait_until_up(tmp_path)
    assert process.is_alive(member)
    assert member.pid in {one.pid for one in process.left_over(tmp_path, tmp_path / "pg")}
    assert process.memory_of(member) > 1_000_000
    assert process.stop([member], TERM, SystemClock()) == []
    assert not process.is_alive(member)
    assert process.left_over(tmp_path, tmp_path / "pg") == []
    assert process.memory_of(member) == 0


def test_a_process_that_ignores_a_signal_gets_the_next(tmp_path: Path) -> None:
    member = _launch(tmp_path, STUBBORN)
    _wait_until_up(tmp_path)
    assert process.stop([member], TERM[:1], SystemClock()) == [member]
    assert process.stop([member], TERM, SystemClock()) == []


def test_a_later_process_with_the_same_pid_is_left_alone(tmp_path: Path) -> None:
    member = _launch(tmp_path, "")
    earlier = Member(pid=member.pid, created=member.created - 100)
    assert not process.is_alive(earlier)
    assert process.stop([earlier], TERM, SystemClock()) == []
    assert process.is_alive(member)
    process.stop([member], TERM, SystemClock())


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    command = Command((str(tmp_path / "none"),), tmp_path / "log", {}, tmp_path)
    with pytest.raises(FileNotFoundError):
        process.launch(command)
