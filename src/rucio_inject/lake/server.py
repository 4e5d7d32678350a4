"""The commands of the lake's servers: Rucio's REST application, its daemons, transfers, schema."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rucio_inject.domain.errors import LakeError
from rucio_inject.lake import environment, process
from rucio_inject.lake.config import ROOT
from rucio_inject.lake.paths import LakePaths
from rucio_inject.lake.process import Command
from rucio_inject.lake.sockets import HOST

APPLICATION = "rucio_inject.lake.application:application"


class Programs:
    """Makes the commands of one lake; `base` is the environment that they inherit, `names` are
    further characters of DID names."""

    def __init__(self, paths: LakePaths, base: Mapping[str, str], names: str = "") -> None:
        self._names = names
        self._paths = paths
        self._base = base

    def _python(self, name: str, *arguments: str) -> Command:
        return Command(
            (sys.executable, "-m", *arguments),
            self._paths.log(name),
            environment.for_server(self._paths, self._base, self._names),
            self._paths.server_home,
        )

    def server(self) -> Command:
        """Rucio's REST server."""
        return self._python(
            "server", "gunicorn", "-c", str(self._paths.gunicorn_config), APPLICATION
        )

    def daemons(self, *, hermes: bool) -> Command:
        """Rucio's daemons, which report to the lake's daemon report."""
        asked = ["--hermes"] if hermes else []
        return self._python(
            "daemons",
            "rucio_inject.lake.daemons",
            "--log",
            str(self._paths.log("daemons")),
            "--report",
            str(self._paths.daemon_report),
            *asked,
        )

    def transfers(self, port: int, servers: Sequence[str] = ()) -> Command:
        """The transfer service, which may copy between the lake's RSEs and nowhere else; those on
        XRootD `servers` (host:port) are reached with root's certificate."""
        paths = self._paths
        certificate, key = paths.client_certificate(ROOT), paths.client_key(ROOT)
        grid = ["--certificate", str(certificate), "--key", str(key)]
        grid += ["--trust", str(paths.pki / "ca.pem")]
        for server in servers:
            grid += ["--allow-server", server]
        return self._python(
            "transfers",
            "rucio_inject.lake.transfers",
            "--host",
            HOST,
            "--port",
            str(port),
            "--state-dir",
            str(self._paths.transfers),
            "--allow-roots-in",
            str(self._paths.storage),
            *(grid if servers else []),
        )

    def make_schema(self, socket_folder: str) -> None:
        """Make Rucio's tables. LakeError with its words when that fails."""
        command = self._python("schema", "rucio_inject.lake.schema", socket_folder)
        environ = {**command.environment, "RUCIO_CONFIG": str(self._paths.schema_config)}
        command = replace(command, environment=environ)
        self._finish(command, "Rucio's tables could not be made")

    def furnish(self, transfer_url: str) -> None:
        """Put the lake's content into it. LakeError with its words when that fails."""
        command = self._python(
            "content", "rucio_inject.lake.furnish", str(self._paths.root), transfer_url
        )
        environ = environment.for_furnishing(self._paths, self._base)
        command = replace(command, environment=environ)
        self._finish(command, "the lake's content could not be put into it")

    def _finish(self, command: Command, failure: str, seconds: float = 600) -> None:
        try:
            answer = process.run(
                command.arguments,
                environment=command.environment,
                folder=command.folder,
                seconds=seconds,
            )
        except subprocess.TimeoutExpired as error:
            raise LakeError(f"{failure} within {seconds:.0f} s") from error
        command.log.write_text(answer.stdout, encoding="utf-8")
        if answer.returncode != 0:
            last = "\n".join(answer.stdout.splitlines()[-15:])
            raise LakeError(
                f"{failure}; the end of {command.log}:\n{last}",
                hint="`rucio-inject lake reset` deletes this lake and begins afresh",
            )
