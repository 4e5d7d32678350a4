"""Who holds a lease: a process, told apart from a later one with its pid."""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds a lease.

    `name` is for people. `place` stands for this boot of this machine and, in a container, for its
    own count of processes; `process` for the pid and the moment of its start.
    """

    name: str
    place: str
    process: str


def this_process() -> Holder:
    """The process that we are."""
    pid = os.getpid()
    name = f"process {pid} on {socket.gethostname()} by {_user()}"
    return Holder(name, _place(), f"{pid} {_started(pid)}")


def is_gone(holder: Holder) -> bool:
    """Whether that process has certainly ended: it ran on this machine, and is not there now."""
    place = _place()
    if not place or holder.place != place:
        return False
    pid, _, recorded = holder.process.partition(" ")
    started = _started(int(pid))
    return started is not None and started != recorded


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run us under a number that has no name
        return f"user {os.getuid()}"


def _place() -> str:
    """Empty where the system does not tell: then nobody is ever taken for gone."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When a process began, in ticks since the machine did; empty if it has ended, None if the
    system does not tell."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None if _is_there(pid) else ""
    # The program's name, in parentheses, may hold anything, parentheses and blanks, too.
    state, *rest = fields.rpartition(")")[2].split()
    return "" if state in {"Z", "X"} else rest[18]


def _is_there(pid: int) -> bool:
    """A system may hide the processes of other users from /proc, but not that they are there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
