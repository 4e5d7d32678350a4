"""Bringing a lake up, step by step, with its state on disk before and after each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, cast

from rucio_inject.domain.errors import LakeError
from rucio_inject.lake import (
    config,
    content,
    environment,
    grid,
    nobody,
    process,
    sockets,
    xrootd,
)
from rucio_inject.lake.config import ClientFacts, ServerFacts
from rucio_inject.lake.files import tail
from rucio_inject.lake.paths import LakePaths
from rucio_inject.lake.pki import Authority
from rucio_inject.lake.postgres import Cluster
from rucio_inject.lake.postgres_binaries import Binaries, find_binaries, within_reach
from rucio_inject.lake.process import Command, Identity
from rucio_inject.lake.requirements import mail_templates
from rucio_inject.lake.server import Programs
from rucio_inject.lake.state import LakeState, save_state
from rucio_inject.lake.waiting import wait_until
from rucio_inject.lake.xrootd import Servers, Site
from rucio_inject.ports import Clock
from rucio_inject.whole_files import write_durably

MEMBERS = ("postgres", "transfers", "server", "daemons")
"""The processes of a lake, in the order in which they start."""

# On a machine that does other things meanwhile it takes minutes; one that ended is told at once.
_READY_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class StartOptions:
    """What a user may choose at a start.

    `port` None: that of the run before while it is free, else any free one. `content` None: what
    the lake had before, or the packaged one. `postgres` is auto (as before, if there was a before),
    system, wheel or a folder. `storage` (posix, xrootd) and `sign_in` (userpass, x509, x509_proxy)
    None: as before, or the first of these. For this run only: `durable` writes every commit to the
    disk, and `hermes` is the address that events are posted to.
    """

    port: int | None = None
    content: Path | None = None
    postgres: str = "auto"
    durable: bool = False
    hermes: str | None = None
    storage: str | None = None
    sign_in: str | None = None


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
        self._programs = Programs(paths, base, wanted.name_characters)

    def run(self, options: StartOptions, identity: Identity | None) -> None:
        """Bring up everything, when nothing of it runs. LakeError says what did not come up."""
        self._choose_kinds(options)
        self._choose_ports(options.port)
        cluster = self._cluster(options, identity)
        self._provide(identity)
        servers = [f"{xrootd.HOST}:{site.http_port}" for site in self._sites()]
        self._launch("transfers", self._programs.transfers(self._transfer_port, servers))
        self._launch_database(cluster, options)
        self._write_configuration(options)
        # The server takes seconds to load, and asks the database nothing meanwhile. The daemons ask
        # it as soon as they have loaded, and one that was killed may have to recover first.
        self._launch("server", self._programs.server())
        cluster.await_ready(self._state.members["postgres"], self._clock)
        if not self._state.database_ready:
            self._programs.make_schema(str(self._state.socket_folder))
            self._state.database_ready = True
        self._launch_daemons()
        self._await("server", lambda: sockets.answers(self._port, "/ping", self._trusted))
        self._await("transfers", lambda: sockets.answers(self._transfer_port, "/"))
        for site in self._sites():
            self._await(site.member, partial(_serves, site))
        self._furnish()
        self._await("daemons", self._paths.daemon_report.exists)

    def adjust(self, options: StartOptions) -> None:
        """The lake runs already: apply a changed content; refuse what needs a restart."""
        asked = (
            ("--port", options.port is not None and options.port != self._state.port),
            ("--durable", options.durable and not self._state.durable),
            ("--hermes", options.hermes is not None and options.hermes != self._state.hermes),
            ("--storage", options.storage not in {None, self._state.storage}),
            ("--sign-in", options.sign_in not in {None, self._state.sign_in}),
            (
                "set of sites",
                xrootd.sites_of(self._wanted).keys() - self._state.storage_ports.keys()
                if self._state.storage == "xrootd"
                else False,
            ),
        )
        for name, differs in asked:
            if differs:
                raise LakeError(
                    f"the lake in {self._paths.root} is running with another {name}",
                    hint="stop it first: rucio-inject lake stop",
                )
        own = content.parse(content.read_text(self._paths.content), str(self._paths.content))
        if own.name_characters != self._wanted.name_characters:
            raise LakeError(
                f"the lake in {self._paths.root} is running with other name_characters",
                hint="stop it first: rucio-inject lake stop",
            )
        if self._state.has_authority:
            self._provide_certificates()
        self._write_clients()
        self._furnish()

    def _choose_kinds(self, options: StartOptions) -> None:
        """What kinds of storage and of signing in the lake has, for good."""
        state = self._state
        if state.database_ready and options.storage not in {None, state.storage}:
            raise LakeError(
                f"the lake in {self._paths.root} was made with --storage {state.storage}:"
                " where its files lie cannot be changed",
                hint="begin afresh with `rucio-inject lake reset`, or name another --folder",
            )
        if options.storage == "xrootd" or (options.storage is None and state.storage == "xrootd"):
            state.storage = "xrootd"
        if options.sign_in in {"userpass", "x509", "x509_proxy"}:
            state.sign_in = cast("Literal['userpass', 'x509', 'x509_proxy']", options.sign_in)

    def _sites(self) -> list[Site]:
        """The XRootD servers, if the lake has such storages."""
        if self._state.storage != "xrootd":
            return []
        ports = self._state.storage_ports
        return [
            Site(name, rses, *ports[name]) for name, rses in xrootd.sites_of(self._wanted).items()
        ]

    def _provide(self, identity: Identity | None) -> None:
        """Certificates and storages, as far as this lake has them."""
        if not self._state.has_authority:
            return
        authority = self._provide_certificates()
        if not self._sites():
            return
        xrootd.find_server()
        grid.link_modules(self._paths)
        self._paths.storage.chmod(0o711)
        self._make_folders(identity)
        self._paths.xrootd.mkdir(mode=0o711, exist_ok=True)
        servers = Servers(self._paths, identity, self._base, self._clock.now())
        servers.check(self._state.storage_ports)
        for site in self._sites():
            accounts = {*self._wanted.accounts, "root"}
            self._launch(site.member, servers.command(site, authority, accounts))

    def _provide_certificates(self) -> Authority:
        return grid.give_certificates(self._paths, self._wanted.accounts, self._clock.now())

    def _make_folders(self, identity: Identity | None) -> None:
        for name in self._wanted.rses:
            folder = self._paths.storage / name
            if not folder.exists():
                folder.mkdir()
                nobody.give(folder, identity)

    @property
    def _trusted(self) -> Path | None:
        """The authority of the server's certificate, if it has one."""
        return self._paths.pki / "ca.pem" if self._state.tls else None

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
        taken = {state.port, state.transfer_port}
        if state.storage == "xrootd":
            for site in xrootd.sites_of(self._wanted):
                earlier = state.storage_ports.get(site, (None, None))
                first = sockets.choose(None, earlier[0], but=taken)
                second = sockets.choose(None, earlier[1], but={*taken, first})
                taken |= {first, second}
                state.storage_ports = {**state.storage_ports, site: (first, second)}
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
        facts = ServerFacts(
            self._port,
            self._state.socket_folder,
            mail_templates(),
            options.hermes,
            tls=self._state.tls,
            scheme="davs" if self._state.storage == "xrootd" else "file",
        )
        config.write_server(self._paths, facts)
        self._write_clients()

    def _write_clients(self) -> None:
        facts = ClientFacts(self._port, self._state.sign_in)
        config.write_clients(self._paths, self._wanted.accounts, facts)

    def _furnish(self) -> None:
        """Put the content into the lake unless this very content is in it already."""
        transfer_url = f"http://{sockets.HOST}:{self._transfer_port}"
        fingerprint = content.digest(
            self._wanted, transfer_url, *map(str, self._sites()), str(self._state.has_authority)
        )
        if self._state.content_digest == fingerprint:
            return
        text = self._wanted.model_dump_json(indent=2)
        self._make_folders(nobody.database_identity() if self._sites() else None)
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
        # It is not asked once more: what has answered may be too busy to do it again at once.
        settled = wait_until(
            lambda: ready() or not process.is_alive(member),
            clock=self._clock,
            seconds=_READY_SECONDS,
        )
        if settled and process.is_alive(member):
            return
        log = self._paths.log(name)
        raise LakeError(
            f"the lake's {name} did not come up; the end of its log {log}:\n{tail(log)}",
            hint="everything that had been started was stopped again; mend the reason and"
            " start the lake again",
        )


def _serves(site: Site) -> bool:
    return sockets.accepts(site.root_port) and sockets.accepts(site.http_port)
