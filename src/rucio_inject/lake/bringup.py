"""Bringing a lake up, step by step, with its state on disk before and after each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rucio_inject.domain.errors import LakeError
from rucio_inject.lake import config, content, environment, nobody, process, sockets
from rucio_inject.lake.config import ServerFacts
from rucio_inject.lake.files import tail
from rucio_inject.lake.paths import LakePaths
from rucio_inject.lake.postgres import Cluster
from rucio_inject.lake.postgres_binaries import Binaries, find_binaries, within_reach
from rucio_inject.lake.process import Command, Identity
from rucio_inject.lake.requirements import mail_templates
from rucio_inject.lake.server import Programs
from rucio_inject.lake.state import LakeState, save_state
from rucio_inject.lake.waiting import wait_until
from rucio_inject.ports import Clock
from rucio_inject.whole_files import write_durably

MEMBERS = ("postgres", "transfers", "server", "daemons")
"""The processes of a lake, in the order in which they start."""

_READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class StartOptions:
    """What a user may choose at a start.

    `port` None: that of the run before while it is free, else any free one. `content` None: what
    the lake had before, or the packaged one. `postgres` is auto (as before, if there was a before),
    system, wheel or a folder. For this run only: `durable` writes every commit to the disk, and
    `hermes` is the address that events are posted to.
    """

    port: int | None = None
    content: Path | None = None
    postgres: str = "auto"
    durable: bool = False
    hermes: str | None = None


class BringUp:
    """One start of one lake. The caller holds its lock, and stops everything when this fails."""

    def __init__(
        self,
        paths: LakePaths,
        state: LakeState,
        wanted: content.Content,
        clock: Clock,
        base: Mapping[str, str],
    ) -> None:
        self._paths = paths
        self._state = state
        self._wanted = wanted
        self._clock = clock
        self._base = base
        self._programs = Programs(paths, base)

    def run(self, options: StartOptions, identity: Identity | None) -> None:
        """Bring up everything, when nothing of it runs. LakeError says what did not come up."""
        self._choose_ports(options.port)
        cluster = self._cluster(options, identity)
        self._launch("transfers", self._programs.transfers(self._transfer_port))
        self._launch_database(cluster, options)
        self._write_configuration(options)
        # The server and the daemons take seconds to load and ask the database nothing meanwhile,
        # so they need not wait for it; the daemons do need its tables when they have loaded.
        self._launch("server", self._programs.server())
        if self._state.database_ready:
            self._launch_daemons()
            cluster.await_ready(self._state.members["postgres"], self._clock)
        else:
            cluster.await_ready(self._state.members["postgres"], self._clock)
            self._programs.make_schema(str(self._state.socket_folder))
            self._state.database_ready = True
            self._launch_daemons()
        self._await("server", lambda: sockets.answers(self._port, "/ping"))
        self._await("transfers", lambda: sockets.answers(self._transfer_port, "/"))
        self._furnish()
        self._await("daemons", self._paths.daemon_report.exists)

    def adjust(self, options: StartOptions) -> None:
        """The lake runs already: apply a changed content; refuse what needs a restart."""
        asked = (
            ("--port", options.port is not None and options.port != self._state.port),
            ("--durable", options.durable and not self._state.durable),
            ("--hermes", options.hermes is not None and options.hermes != self._state.hermes),
        )
        for name, differs in asked:
            if differs:
                raise LakeError(
                    f"the lake in {self._paths.root} is running with another {name}",
                    hint="stop it first: rucio-inject lake stop",
                )
        config.write_clients(self._paths, self._wanted.accounts, self._port)
        self._furnish()

    @property
    def _port(self) -> int:
        assert self._state.port is not None
        return self._state.port

    @property
    def _transfer_port(self) -> int:
        assert self._state.transfer_port is not None
        return self._state.transfer_port

    def _choose_ports(self, wanted: int | None) -> None:
        state = self._state
        state.port = sockets.choose(wanted, state.port)
        state.transfer_port = sockets.choose(None, state.transfer_port, but=[state.port])
        save_state(self._paths.state, state)

    def _cluster(self, options: StartOptions, identity: Identity | None) -> Cluster:
        found = self._binaries(options.postgres)
        binaries = within_reach(found, identity, self._paths.postgres_copy)
        self._paths.postgres.mkdir(mode=0o700, exist_ok=True)
        nobody.give(self._paths.postgres, identity)
        environ = environment.for_postgres(self._paths, self._base)
        self._state.postgres_bin = found.folder
        self._state.postgres_major = binaries.major
        return Cluster(self._paths, binaries, identity, environ)

    def _binaries(self, choice: str) -> Binaries:
        """The binaries asked for; without a wish those that the lake ran on before."""
        earlier = self._state.postgres_bin
        if choice == "auto" and earlier is not None and (earlier / "postgres").exists():
            choice = str(earlier)
        return find_binaries(choice, self._base, major=self._state.postgres_major)

    def _launch_daemons(self) -> None:
        self._launch("daemons", self._programs.daemons(hermes=self._state.hermes is not None))

    def _launch_database(self, cluster: Cluster, options: StartOptions) -> None:
        state = self._state
        if not cluster.exists():
            state.database_ready = False
            state.content_digest = None
        cluster.initialise(durable=options.durable)
        state.socket_folder = cluster.socket_folder(state.socket_folder)
        state.durable = options.durable
        save_state(self._paths.state, state)
        member = cluster.start(state.socket_folder, durable=options.durable)
        state.members = {**state.members, "postgres": member}
        save_state(self._paths.state, state)

    def _write_configuration(self, options: StartOptions) -> None:
        assert self._state.socket_folder is not None
        self._state.hermes = options.hermes
        facts = ServerFacts(self._port, self._state.socket_folder, mail_templates(), options.hermes)
        config.write_server(self._paths, facts)
        config.write_clients(self._paths, self._wanted.accounts, self._port)

    def _furnish(self) -> None:
        """Put the content into the lake unless this very content is in it already."""
        transfer_url = f"http://{sockets.HOST}:{self._transfer_port}"
        fingerprint = content.digest(self._wanted, transfer_url)
        if self._state.content_digest == fingerprint:
            return
        text = self._wanted.model_dump_json(indent=2)
        for name in self._wanted.rses:
            (self._paths.storage / name).mkdir(exist_ok=True)
        # JSON is YAML: the lake keeps what it understood, not the user's file with its comments.
        write_durably(self._paths.content, (text + "\n").encode())
        self._programs.furnish(transfer_url)
        self._state.content_digest = fingerprint
        save_state(self._paths.state, self._state)

    def _launch(self, name: str, command: Command) -> None:
        member = process.launch(command)
        self._state.members = {**self._state.members, name: member}
        save_state(self._paths.state, self._state)

    def _await(self, name: str, ready: Callable[[], bool]) -> None:
        member = self._state.members[name]
        wait_until(
            lambda: ready() or not process.is_alive(member),
            clock=self._clock,
            seconds=_READY_SECONDS,
        )
        if process.is_alive(member) and ready():
            return
        log = self._paths.log(name)
        raise LakeError(
            f"the lake's {name} did not come up; the end of its log {log}:\n{tail(log)}",
            hint="everything that had been started was stopped again; mend the reason and"
            " start the lake again",
        )
