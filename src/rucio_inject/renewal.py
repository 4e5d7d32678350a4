"""Keeping alive what a run signs in with, as a wrapper around ports: renewed before it ends, or its
end told in time."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from rucio_inject.domain.errors import SignInFailed
from rucio_inject.domain.facts import CredentialEnds, Fact
from rucio_inject.ports import Clock

P = TypeVar("P")

_LOOK_EVERY = 10.0
_COMMAND_SECONDS = 120
_SHOWN = 300


class Perishable(Protocol):
    """What identifies us; `used` says that somebody has asked for it."""

    used: bool

    def ends(self) -> datetime | None:
        """When it expires; None if it does not."""
        ...

    def missing(self) -> bool:
        """Whether there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Renewal:
    """`command` for a shell makes a new one where the old one lies, or the first one; None if
    nothing can; `before`
    seconds before the end that is done, and without a command `warn` seconds before it is told."""

    command: str | None = None
    before: float = 600.0
    warn: float = 3600.0


class Keeper:
    """Looks now and then, in whichever thread comes by; one at a time renews."""

    def __init__(
        self, held: Perishable, renewal: Renewal, clock: Clock, mention: Callable[[Fact], None]
    ) -> None:
        self._held = held
        self._renewal = renewal
        self._clock = clock
        self._mention = mention
        self._lock = threading.Lock()
        self._looked: float | None = None
        self._failed: SignInFailed | None = None
        self._told: datetime | None = None
        self._unused: datetime | None = None
        self._made = False

    def look(self) -> None:
        """Renew, or tell, if it is time. SignInFailed if it has ended and cannot be renewed."""
        # Without the lock: a thread that comes by twice does no harm, and most have nothing to do.
        if self._is_to_look():
            with self._lock:
                if self._is_to_look():
                    self._failed = self._tried()
                    self._looked = self._clock.monotonic()
        failed = self._failed
        if failed is not None:
            raise SignInFailed(failed.message, hint=failed.hint)

    def _is_to_look(self) -> bool:
        looked = self._looked
        return looked is None or self._clock.monotonic() - looked >= _LOOK_EVERY

    def _tried(self) -> SignInFailed | None:
        """Why there is nothing to sign in with. It holds until the next look: the command may take
        long to fail, and is not to do so for each thread that waits."""
        try:
            self._look()
        except SignInFailed as error:
            return error
        return None

    def _look(self) -> None:
        ends = self._held.ends()
        if self._renewal.command is not None and not self._made and self._held.missing():
            self._make(ends)
            ends = self._held.ends()
        if ends is None:
            return
        left = ends - self._clock.now()
        if self._renewal.command is not None:
            idle = self._unused == ends and not self._held.used
            if left < timedelta(seconds=self._renewal.before) and not idle:
                self._renew(ends, expired=left <= timedelta(0))
        elif self._held.used and left < timedelta(seconds=self._renewal.warn):
            self._tell(ends, "nothing renews it: sign_in.renew in the campaign may name a command")

    def _make(self, ends: datetime | None) -> None:
        """The first one; once, as it may be that nobody needs any. `ends` is that of something
        else that does as well."""
        told = _run(str(self._renewal.command))
        if told is None or ends is not None:
            self._made = True
        if told is None:
            return
        reason = f"the command sign_in.renew failed: {told}"
        if ends is not None:
            self._tell(ends, reason)
            return
        raise SignInFailed(
            f"there is nothing to sign in with yet, and {reason}", hint="try the command by hand"
        )

    def _renew(self, ends: datetime, *, expired: bool) -> None:
        told = _run(str(self._renewal.command))
        after = self._held.ends()
        if told is None and after is not None and after <= ends:
            if not self._held.used:
                # As a token left in the environment, while the command makes what is used.
                self._unused = ends
                return
            told = "it made none that lasts longer"
        if told is None:
            return
        reason = f"the command sign_in.renew failed: {told}"
        if expired:
            raise SignInFailed(
                f"what we sign in with expired at {ends:%Y-%m-%dT%H:%M:%SZ}, and {reason}",
                hint="try the command by hand",
            )
        self._tell(ends, reason)

    def _tell(self, ends: datetime, reason: str) -> None:
        if self._told != ends:
            self._told = ends
            self._mention(CredentialEnds(at=self._clock.now(), ends=ends, reason=reason))


def _run(command: str) -> str | None:
    """Why a command failed; None if it did not. What it prints is not shown: it may be a token."""
    try:
        done = subprocess.run(
            # The site's own words, from the campaign file.
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=_COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it took more than {_COMMAND_SECONDS} s"
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return None
    words = " ".join(done.stderr.split())[-_SHOWN:]
    return f"exit code {done.returncode}{': ' if words else ''}{words}"


def kept_alive(port: P, keeper: Keeper) -> P:
    """The same port; before each of its calls the keeper has a look."""
    return cast("P", _Kept(port, keeper))


class _Kept:
    """Stands before a port."""

    def __init__(self, port: object, keeper: Keeper) -> None:
        self._port = port
        self._keeper = keeper

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        return partial(self._call, found) if callable(found) else found

    def _call(self, method: Callable[..., object], *args: object, **named: object) -> object:
        self._keeper.look()
        return method(*args, **named)
