"""The port behind which bytes move: what a copier must do, and how it is stopped."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from rucio_inject.lake.transfers.digest import ADLER32, Expected, parse_checksum
from rucio_inject.lake.transfers.model import Task, Verify

EXISTS = "Destination file exists and overwrite is not enabled"
"""Rucio looks for this very sentence in the reason."""


class Side(Enum):
    """Who is to blame for a failed copy; the first word of FTS3's reasons."""

    SOURCE = "SOURCE"
    """The file that is read."""
    DESTINATION = "DESTINATION"
    """The file that is written."""
    TRANSFER = "TRANSFER"
    """Neither, or what lies between them."""


class CopyFailed(Exception):
    """One copy did not succeed. `reason` reads as FTS3's reasons do."""

    def __init__(self, side: Side, number: int, text: str = "") -> None:
        self.reason = f"{side.value} [{number}] {text or os.strerror(number)}"
        super().__init__(self.reason)


class CopyStopped(Exception):
    """Somebody ended the copy; nothing is at the destination that was not there before."""


class CopyControl:
    """The string on one running copy: it can be stopped until the file gets its final name.

    Stopping and naming exclude each other, so whoever stops a copy knows whether it took hold.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = False
        self._published = False

    def stop(self) -> bool:
        """End the copy; False if the file already has its final name."""
        with self._lock:
            if not self._published:
                self._stopped = True
            return self._stopped

    def check(self) -> None:
        """Raise CopyStopped if somebody ended the copy. Called between two blocks."""
        if self._stopped:
            raise CopyStopped

    def publish(self, give_final_name: Callable[[], None]) -> None:
        """Do the one step that makes the copy visible, unless it was stopped (CopyStopped)."""
        with self._lock:
            self.check()
            give_final_name()
            self._published = True


class Copier(Protocol):
    """Copies one file. Called from several threads at once."""

    def copy(self, task: Task, control: CopyControl) -> None:
        """Have the file of `task` whole and verified under its destination's name, or raise.

        Nobody ever sees a part of a file under that name. A file that is there already is
        replaced if `task.overwrite`, else refused, except for a resumed task that finds the
        very content it was to bring: that is its own work, done before the crash. Raises
        CopyFailed, or CopyStopped when `control` was stopped; in both cases nothing stays behind
        but empty folders, and doing it again is safe.
        """
        ...

    def forget(self, task: Task) -> None:
        """Remove what a killed process may have left of `task`. Never raises for a task whose
        URLs cannot be used: there is nothing of it then."""
        ...


def expected_of(task: Task) -> Expected:
    """The checksum that a task asks for; CopyFailed if it makes no sense."""
    if task.verify is Verify.NONE:
        return Expected(ADLER32, None)
    try:
        return parse_checksum(task.checksum)
    except ValueError as wrong:
        raise CopyFailed(Side.TRANSFER, errno.EINVAL, str(wrong)) from wrong
