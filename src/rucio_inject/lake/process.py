"""Processes of a lake: started detached, known again by pid and start time, stopped for certain."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from rucio_inject.lake.state import Member
from rucio_inject.lake.waiting import wait_until
from rucio_inject.ports import Clock

MARK = "RUCIO_INJECT_LAKE_MEMBER"
"""In the environment of every process of a lake: the lake's folder."""

# The start time that the system reports may shift a little when the clock is set.
_CREATED_TOLERANCE = 2.0

# Our own children, kept so that those that end are reaped and do not linger as zombies.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, slots=True)
class Identity:
    """Another user to run a process as."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Command:
    """A program to start: its arguments, where its output goes, and as whom it runs."""

    arguments: tuple[str, ...]
    log: Path
    environment: Mapping[str, str]
    folder: Path
    identity: Identity | None = None


def launch(command: Command) -> Member:
    """Start a program in a session of its own, so that it outlives us and our terminal.

    OSError when it cannot be started.
    """
    other = command.identity
    descriptor = os.open(command.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        child = subprocess.Popen(
            command.arguments,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            env=dict(command.environment),
            cwd=command.folder,
            start_new_session=True,
            user=other.uid if other else None,
            group=other.gid if other else None,
            # Without supplementary groups: those of root would come along otherwise.
            extra_groups=() if other else None,
        )
    finally:
        os.close(descriptor)
    _children[child.pid] = child
    return Member(pid=child.pid, created=psutil.Process(child.pid).create_time())


def run(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    seconds: float,
    identity: Identity | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and hand back what it said.

    OSError when it cannot be started, subprocess.TimeoutExpired when it takes too long.
    """
    return subprocess.run(
        list(arguments),
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=dict(environment),
        cwd=folder,
        timeout=seconds,
        user=identity.uid if identity else None,
        group=identity.gid if identity else None,
        extra_groups=() if identity else None,
    )


def is_alive(member: Member) -> bool:
    """Whether this very process still runs: not a later one with its pid, and not a zombie."""
    _reap()
    try:
        process = psutil.Process(member.pid)
        same = abs(process.create_time() - member.created) < _CREATED_TOLERANCE
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def memory_of(member: Member) -> int:
    """Bytes in memory of a process and its children; each of those that share a page counts its
    part of it."""
    try:
        process = psutil.Process(member.pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(_resident(one) for one in family)


def _resident(process: psutil.Process) -> int:
    try:
        try:
            return int(process.memory_full_info().pss)
        except psutil.AccessDenied:  # another user's: only the whole is told
            return int(process.memory_info().rss)
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return 0


def left_over(root: Path, database: Path) -> list[Member]:
    """Every process of the lake at `root` that runs, whether it is on record or not.

    They carry our mark in their environment; PostgreSQL's overwrite theirs, and are known by the
    data directory that they work in.
    """
    _reap()
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if _belongs(process, str(root), str(database)):
                found.append(Member(pid=process.pid, created=process.create_time()))
        except psutil.Error:  # ended meanwhile, or another user's: none of ours
            continue
    return found


def works_in(member: Member, folder: Path) -> bool:
    """Whether a process has this folder as its working directory."""
    try:
        return bool(psutil.Process(member.pid).cwd() == str(folder))
    except psutil.Error:
        return False


def _belongs(process: psutil.Process, root: str, database: str) -> bool:
    return bool(process.environ().get(MARK) == root or process.cwd() == database)


def stop(
    members: Iterable[Member], signals: Sequence[tuple[signal.Signals, float]], clock: Clock
) -> list[Member]:
    """Send each signal in turn and give the processes its seconds to end.

    Returns those that still run after the last one.
    """
    left = [member for member in members if is_alive(member)]
    for number, seconds in signals:
        for member in left:
            _send(member, number)
        wait_until(partial(_all_gone, left), clock=clock, seconds=seconds)
        left = [member for member in left if is_alive(member)]
        if not left:
            break
    return left


def _all_gone(members: Iterable[Member]) -> bool:
    return not any(is_alive(member) for member in members)


def _send(member: Member, number: signal.Signals) -> None:
    if not is_alive(member):
        return
    try:
        os.kill(member.pid, number)
    except ProcessLookupError:
        return  # ended in this very moment, which is what was wanted


def _reap() -> None:
    for pid, child in list(_children.items()):
        if child.poll() is not None:
            del _children[pid]
