"""The embedded lake: start, stop, status, reset, and what its users need to know."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rucio_inject.clock import SystemClock
from rucio_inject.domain.errors import LakeError
from rucio_inject.lake import (
    content,
    environment,
    folder,
    grid,
    nobody,
    postgres,
    process,
    xrootd,
)
from rucio_inject.lake.bringup import MEMBERS, BringUp, StartOptions
from rucio_inject.lake.paths import LakePaths
from rucio_inject.lake.requirements import check_packages
from rucio_inject.lake.sockets import HOST, accepts, answers
from rucio_inject.lake.state import LakeState, load_state, save_state
from rucio_inject.ports import Clock

# As long as the start of another command may take on a busy machine.
_LOCK_SECONDS = 300.0
_TERM = ((signal.SIGTERM, 6.0), (signal.SIGKILL, 5.0))


@dataclass(frozen=True, slots=True)
class LakeInfo:
    """A lake that runs. `seconds` is how long it took; `account` the one to inject with."""

    folder: Path
    url: str
    account: str
    accounts: tuple[str, ...]
    rses: tuple[str, ...]
    postgres: str
    durable: bool
    storage: str
    sign_in: str
    already_running: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process of the lake; `memory` in bytes, its children included, shared pages once."""

    name: str
    pid: int | None
    alive: bool
    memory: int


@dataclass(frozen=True, slots=True)
class LakeStatus:
    """How a lake is. `running`: every process is alive and the servers answer."""

    folder: Path
    exists: bool
    running: bool
    url: str | None
    durable: bool
    storage: str
    sign_in: str
    processes: tuple[ProcessStatus, ...]
    daemon_failures: Mapping[str, int]
    last_failure: str | None

    @property
    def memory(self) -> int:
        """Bytes of all processes."""
        return sum(one.memory for one in self.processes)


class EmbeddedLake:
    """The lake in one folder. Several commands at once are safe: they wait for each other."""

    def __init__(
        self,
        root: Path,
        *,
        clock: Clock | None = None,
        base_environment: Mapping[str, str] | None = None,
    ) -> None:
        self.paths = LakePaths(root.expanduser().resolve())
        self._clock = clock if clock is not None else SystemClock()
        self._base = dict(os.environ if base_environment is None else base_environment)

    def start(self, options: StartOptions | None = None) -> LakeInfo:
        """Bring the lake up; say so when it is up already. What fails is stopped again.

        UsageError for a wrong option or content file, LakeError for everything else.
        """
        began = self._clock.monotonic()
        options = options or StartOptions()
        check_packages()
        folder.refuse_odd_path(self.paths)
        folder.refuse_foreign(self.paths)
        wanted = self._content(options.content)
        identity = nobody.database_identity()
        nobody.check_reachable(self.paths.root, identity)
        folder.prepare(self.paths, passable=identity is not None)
        # Parents that were made just now may be closed to others, too.
        nobody.check_reachable(self.paths.postgres, identity)
        with folder.locked(self.paths, self._clock, _LOCK_SECONDS):
            state = load_state(self.paths.state)
            bring_up = BringUp(self.paths, state, wanted, self._clock, self._base)
            running = self._is_running(state)
            if running:
                bring_up.adjust(options)
            else:
                with ExitStack() as undo:
                    # Whatever ends the start early (an error, Ctrl-C): nothing is left running.
                    undo.callback(self._stop_everything, state)
                    self._stop_everything(state)
                    bring_up.run(options, identity)
                    undo.pop_all()
            return self._info(
                state, wanted, running=running, seconds=self._clock.monotonic() - began
            )

    def _content(self, path: Path | None) -> content.Content:
        """The content asked for; else the lake's own; else the packaged one."""
        if path is not None:
            return content.parse(content.read_text(path), str(path))
        if self.paths.content.exists():
            return content.parse(content.read_text(self.paths.content), str(self.paths.content))
        return content.parse(content.default_text(), "the packaged content file")

    def _info(
        self, state: LakeState, wanted: content.Content, *, running: bool, seconds: float
    ) -> LakeInfo:
        return LakeInfo(
            folder=self.paths.root,
            url=_url(state),
            storage=state.storage,
            sign_in=state.sign_in,
            account=wanted.injecting_account,
            accounts=("root", *wanted.accounts),
            rses=tuple(wanted.rses),
            postgres=f"PostgreSQL {state.postgres_major} from {state.postgres_bin}",
            durable=state.durable,
            already_running=running,
            seconds=seconds,
        )

    def _is_running(self, state: LakeState) -> bool:
        members = _members(state)
        alive = all(
            name in state.members and process.is_alive(state.members[name]) for name in members
        )
        if not alive or state.port is None or state.transfer_port is None:
            return False
        trusted = self.paths.pki / "ca.pem" if state.tls else None
        storages = (port for ports in state.storage_ports.values() for port in ports)
        return (
            answers(state.port, "/ping", trusted)
            and answers(state.transfer_port, "/")
            and all(accepts(port) for port in storages)
        )

    def stop(self) -> bool:
        """Stop every process of the lake. False when there was nothing to stop.

        LakeError when a process does not end even when it is killed.
        """
        if not folder.is_lake(self.paths):
            return False
        with folder.locked(self.paths, self._clock, _LOCK_SECONDS):
            return self._stop_everything(load_state(self.paths.state))

    def _stop_everything(self, state: LakeState) -> bool:
        paths = self.paths
        database = state.members.get("postgres")
        found = process.left_over(paths.root, paths.postgres_data)
        # The database goes last; its own children go with it.
        is_database = {one.pid for one in found if process.works_in(one, paths.postgres_data)}
        others = [one for one in found if one.pid not in is_database]
        ran = bool(found)
        left = process.stop(others, _TERM, self._clock)
        if database is not None:
            left += process.stop([database], postgres.STOP_SIGNALS, self._clock)
        # Orphans of a database that was killed end by SIGQUIT; else they hold its shared memory.
        strays = process.left_over(paths.root, paths.postgres_data)
        hard = ((signal.SIGQUIT, 3.0), (signal.SIGKILL, 5.0))
        left += process.stop(strays, hard, self._clock)
        if left:
            pids = ", ".join(str(member.pid) for member in left)
            raise LakeError(
                f"processes of the lake do not end, not even when killed: {pids}",
                hint="they hang in the kernel, mostly on a storage that does not answer",
            )
        if state.socket_folder not in {None, paths.postgres_socket}:
            shutil.rmtree(str(state.socket_folder), ignore_errors=True)
        paths.daemon_report.unlink(missing_ok=True)
        if state.members:
            state.members = {}
            save_state(paths.state, state)
        return ran

    def status(self) -> LakeStatus:
        """How the lake is now. Takes no lock: it may be asked while the lake starts."""
        exists = folder.is_lake(self.paths)
        state = load_state(self.paths.state) if exists else LakeState()
        failures, last = self._daemon_report()
        return LakeStatus(
            folder=self.paths.root,
            exists=exists,
            running=self._is_running(state),
            url=_url(state) if state.port and state.members else None,
            storage=state.storage,
            sign_in=state.sign_in,
            durable=state.durable,
            processes=tuple(self._process(state, name) for name in _members(state)),
            daemon_failures=failures,
            last_failure=last,
        )

    def _process(self, state: LakeState, name: str) -> ProcessStatus:
        member = state.members.get(name)
        if member is None:
            return ProcessStatus(name, None, alive=False, memory=0)
        alive = process.is_alive(member)
        return ProcessStatus(name, member.pid, alive, process.memory_of(member) if alive else 0)

    def _daemon_report(self) -> tuple[dict[str, int], str | None]:
        if not self.paths.daemon_report.exists():
            return {}, None
        report = json.loads(self.paths.daemon_report.read_text(encoding="utf-8"))
        return report["failures"], report["last_failure"]

    def reset(self) -> bool:
        """Stop the lake and delete its folder. False when there is none.

        LakeError when the folder is not a lake: then nothing is deleted.
        """
        folder.refuse_foreign(self.paths)
        if not folder.is_lake(self.paths):
            return False
        with folder.locked(self.paths, self._clock, _LOCK_SECONDS):
            state = LakeState()
            try:
                state = load_state(self.paths.state)
            except LakeError:
                # A state that cannot be read is what a reset is for: processes are found anyhow.
                self.paths.state.unlink()
            self._stop_everything(state)
            folder.delete(self.paths)
        return True

    def accounts(self) -> tuple[str, ...]:
        """The accounts that one can sign in with; the first is the one to inject with."""
        wanted = self._content(None)
        rest = [name for name in wanted.accounts if name != wanted.injecting_account]
        return (wanted.injecting_account, *rest, "root")

    def environment(self, account: str | None = None) -> dict[str, str]:
        """The variables that make the official Rucio client use this lake as `account`.

        LakeError when the lake was never started or has no such account.
        """
        known = self.accounts()
        name = known[0] if account is None else account
        if not self.paths.state.exists():
            raise LakeError(
                f"there is no lake in {self.paths.root}",
                hint="make one with `rucio-inject lake start`",
            )
        if name not in known or not self.paths.client_config(name).exists():
            raise LakeError(
                f"the lake in {self.paths.root} has no account {name}",
                hint=f"it has: {', '.join(sorted(known))}",
            )
        strategy = load_state(self.paths.state).sign_in
        return environment.for_user(self.paths, name, self._base, strategy)

    def renew_proxy(self, account: str | None, lives: timedelta) -> Path:
        """A new proxy for an account: where it lies. LakeError if it cannot have one."""
        name = self.accounts()[0] if account is None else account
        return grid.renew(self.paths, name, self._clock.now(), lives)

    def renew_token(self, account: str | None, lives: timedelta) -> Path:
        """A new bearer token for an account: where it lies. LakeError if it cannot have one."""
        name = self.accounts()[0] if account is None else account
        return grid.renew_token(self.paths, name, self._clock.now(), lives)


def _url(state: LakeState) -> str:
    return f"{'https' if state.tls else 'http'}://{HOST}:{state.port}"


def _members(state: LakeState) -> tuple[str, ...]:
    """The processes of a lake, in the order in which they start."""
    storages = tuple(xrootd.member_of(site) for site in state.storage_ports)
    return (*storages, *MEMBERS)
