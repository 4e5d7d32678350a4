"""The lake's database: a private PostgreSQL cluster that listens on a Unix socket only."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from rucio_inject.domain.errors import LakeError
from rucio_inject.lake import process
from rucio_inject.lake.files import tail
from rucio_inject.lake.nobody import give
from rucio_inject.lake.paths import LakePaths
from rucio_inject.lake.postgres_binaries import Binaries
from rucio_inject.lake.process import Command, Identity
from rucio_inject.lake.state import Member
from rucio_inject.lake.waiting import wait_until
from rucio_inject.ports import Clock

ROLE = "rucio"
DATABASE = "rucio"
SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_LIMIT = 107
"""Bytes that the path of a Unix socket holds on Linux."""

# Fast shutdown, then immediate shutdown, and at last no choice left.
STOP_SIGNALS = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))

_SETTINGS = (
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "max_connections=60",
    "shared_buffers=32MB",
    "timezone=UTC",
    "log_timezone=UTC",
    "wal_level=minimal",
    "max_wal_senders=0",
    "jit=off",
    # The tables begin empty and fill within seconds. Until they are analysed the planner knows
    # nothing of them, and looks through all replicas of an RSE to find a file's.
    "autovacuum_naptime=2s",
)
# Commits are handed to the system at once: what was confirmed outlives a kill of the server, and
# only a power cut may cost it.
_QUICK = ("fsync=off", "full_page_writes=off")


def socket_fits(folder: Path) -> bool:
    """Whether a socket in this folder has a path that the system takes."""
    return len(os.fsencode(folder / SOCKET_NAME)) <= SOCKET_LIMIT


def url(socket_folder: Path) -> str:
    """What SQLAlchemy needs to connect."""
    return f"postgresql+psycopg://{ROLE}@/{DATABASE}?host={quote(str(socket_folder))}"


@dataclass(frozen=True, slots=True)
class Cluster:
    """One PostgreSQL cluster: where it lies, by which binaries and as whom it runs."""

    paths: LakePaths
    binaries: Binaries
    identity: Identity | None
    environment: dict[str, str]

    def exists(self) -> bool:
        """Whether initdb has been here."""
        return (self.paths.postgres_data / "PG_VERSION").exists()

    def initialise(self, *, durable: bool) -> None:
        """Make the cluster if there is none. LakeError with initdb's own words when it fails."""
        data = self.paths.postgres_data
        if self.exists():
            self._check_major()
            return
        # Under another name until it is finished: an initdb that was killed leaves half a cluster.
        fresh = data.with_name("data.new")
        if fresh.exists():
            shutil.rmtree(fresh)
        arguments = ["-D", str(fresh), "-U", ROLE, "-A", "trust", "-E", "UTF8", "--locale=C"]
        if not durable:
            arguments.append("--no-sync")
        answer = self._run("initdb", *arguments)
        if answer.returncode != 0:
            raise LakeError(
                f"initdb could not make the database in {data}:\n{answer.stdout.strip()}",
                hint="see that the disk has space, or try other binaries with --postgres",
            )
        fresh.rename(data)

    def _check_major(self) -> None:
        major = (self.paths.postgres_data / "PG_VERSION").read_text().strip()
        if major != str(self.binaries.major):
            raise LakeError(
                f"this lake's database was made by PostgreSQL {major}, and"
                f" {self.binaries.folder} is PostgreSQL {self.binaries.major}",
                hint=f"name binaries of PostgreSQL {major} with --postgres,"
                " or begin afresh with `rucio-inject lake reset`",
            )

    def socket_folder(self, earlier: Path | None) -> Path:
        """A folder for the socket: the lake's own, or a short one when that path is too long."""
        if earlier is not None and earlier != self.paths.postgres_socket:
            shutil.rmtree(earlier, ignore_errors=True)
        folder = self.paths.postgres_socket
        if not socket_fits(folder):
            folder = Path(tempfile.mkdtemp(prefix="rucio-lake-"))
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        give(folder, self.identity)
        return folder

    def start(self, socket_folder: Path, *, durable: bool) -> Member:
        """Start the server; `await_ready` says when it can be used.

        Nobody else may run it: what an earlier server left is taken away.
        """
        for name in (SOCKET_NAME, f"{SOCKET_NAME}.lock"):
            (socket_folder / name).unlink(missing_ok=True)
        (self.paths.postgres_data / "postmaster.pid").unlink(missing_ok=True)
        settings = [*_SETTINGS, f'unix_socket_directories="{socket_folder}"']
        if not durable:
            settings += _QUICK
        arguments = [str(self.binaries.program("postgres")), "-D", str(self.paths.postgres_data)]
        for setting in settings:
            arguments += ["-c", setting]
        return process.launch(
            Command(
                tuple(arguments),
                self.paths.log("postgres"),
                self.environment,
                self.paths.postgres,
                self.identity,
            )
        )

    def await_ready(self, member: Member, clock: Clock, seconds: float = 300) -> None:
        """Wait until the server takes connections. LakeError with its log when it does not."""
        settled = wait_until(
            lambda: self._is_ready(member) or not process.is_alive(member),
            clock=clock,
            seconds=seconds,
        )
        if settled and process.is_alive(member):
            return
        log = self.paths.log("postgres")
        raise LakeError(
            f"PostgreSQL did not come up; the end of its log {log}:\n{tail(log)}",
            hint="if the machine lost power, the database may be damaged:"
            " `rucio-inject lake reset` begins afresh (--durable lakes survive a power cut)",
        )

    def _is_ready(self, member: Member) -> bool:
        # The eighth line of its pid file is how the server says it: pg_ctl looks there, too. The
        # first tells whose it is: that of a server that was killed still says ready.
        pid_file = self.paths.postgres_data / "postmaster.pid"
        if not pid_file.exists():
            return False
        lines = pid_file.read_text(errors="replace").splitlines()
        mine = lines[:1] == [str(member.pid)]
        return mine and len(lines) >= 8 and lines[7].strip() == "ready"

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return process.run(
            [str(self.binaries.program(program)), *arguments],
            environment=self.environment,
            folder=self.paths.postgres,
            seconds=600,
            identity=self.identity,
        )
