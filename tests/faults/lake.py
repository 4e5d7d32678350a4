"""The lake that faults are done to: its processes, its storages, and the official client."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from configparser import RawConfigParser
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from tests.lake.campaigns import ORIGIN, make_origin

from rucio_inject.lake.embedded import EmbeddedLake

if TYPE_CHECKING:
    from rucio.client.client import Client

UPLOAD = "PIC-INJECT"
PROMISED = ("INFN-NA-DPM", "LAPP-FAST", "PIC-DCACHE")
HOLDERS = (UPLOAD, *PROMISED)
RULES = ("PIC-DCACHE", "INFN-NA-DPM", "QOS=FAST")
ACCOUNT = "magic"
_ROOT_ONLY = threading.Lock()


class Lake:
    """An embedded lake in a folder, driven by its command as anybody would; its storages are
    folders, or XRootD servers."""

    def __init__(self, root: Path, storage: str = "posix") -> None:
        self.root = root
        self._storage = storage

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`rucio-inject lake WORDS`, with everything that it said."""
        line = [sys.executable, "-m", "rucio_inject", "lake", *words, "--folder", str(self.root)]
        return subprocess.run(
            line, cwd=self.root.parent, capture_output=True, text=True, check=False, timeout=900
        )

    def start(self) -> None:
        """Bring it up, or up again; RuntimeError with its words if it does not come.

        Durable: a quick lake's PostgreSQL, when killed, forgets the last commits that it confirmed.
        """
        done = self.command("start", "--durable", "--storage", self._storage)
        if done.returncode:
            raise RuntimeError(f"the lake does not start: {done.stdout}{done.stderr}")

    def reset(self) -> None:
        """Stop and delete it."""
        done = self.command("reset", "--yes")
        if done.returncode:
            raise RuntimeError(f"the lake cannot be deleted: {done.stdout}{done.stderr}")

    def environment(self) -> dict[str, str]:
        """What a user's processes need to know of its storages."""
        if self._storage == "posix":
            return {}
        return EmbeddedLake(self.root).environment(ACCOUNT)

    def members(self) -> dict[str, int]:
        """The pids of its processes, by what they are."""
        state = json.loads((self.root / "state.json").read_text())
        return {name: member["pid"] for name, member in state["members"].items()}

    def family(self, member: str) -> list[psutil.Process]:
        """A process of the lake and its children."""
        try:
            process = psutil.Process(self.members()[member])
            return [process, *process.children(recursive=True)]
        except (KeyError, psutil.NoSuchProcess):
            return []

    def kill(self, member: str) -> None:
        """kill -9 a process of the lake, and its children."""
        for process in self.family(member):
            _signal(process, signal.SIGKILL)

    @contextmanager
    def frozen(self, member: str) -> Iterator[None]:
        """A process of the lake neither works nor answers meanwhile."""
        held = self.family(member)
        for process in held:
            _signal(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in held:
                _signal(process, signal.SIGCONT)

    def config(self, account: str) -> Path:
        """The rucio.cfg of an account."""
        return self.root / "clients" / account / "etc" / "rucio.cfg"

    @property
    def url(self) -> str:
        """Where its REST server is."""
        parser = RawConfigParser()
        parser.read(self.config(ACCOUNT))
        return parser["client"]["rucio_host"]

    def rewritten(self, url: str, home: Path) -> Path:
        """A rucio.cfg below `home` that leads to `url` instead, with a token of its own."""
        parser = RawConfigParser()
        parser.read(self.config(ACCOUNT))
        for key in ("rucio_host", "auth_host"):
            parser["client"][key] = url
        parser["client"]["auth_token_file_path"] = str(home / "token")
        path = home / "etc" / "rucio.cfg"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            parser.write(file)
        return path

    @contextmanager
    def official(self) -> Iterator[Client]:
        """Rucio's own client, as root. One at a time: its configuration is the process's."""
        with _ROOT_ONLY:
            before = {key: os.environ.get(key) for key in _ENVIRONMENT}
            os.environ.update(self._as_root())
            from rucio.common.config import clean_cached_config

            clean_cached_config()
            from rucio.client.client import Client

            client = Client()
            try:
                yield client
            finally:
                client.session.close()
                for key, value in before.items():
                    os.environ.pop(key, None)
                    if value is not None:
                        os.environ[key] = value
                clean_cached_config()

    def _as_root(self) -> dict[str, str]:
        path = self.config("root")
        values = (str(path.parent.parent), str(path), "root", "userpass")
        return dict(zip(_ENVIRONMENT, values, strict=True))

    def stored(self, rse: str, scope: str) -> dict[str, Path]:
        """The files of a scope on a storage, by the name that they have there."""
        return {p.name: p for p in (self.storage(rse) / scope).rglob("*") if p.is_file()}

    def storage(self, rse: str) -> Path:
        """The folder of an RSE."""
        return self.root / "storage" / rse

    def make_origin(self) -> None:
        """An RSE that has files of its own, `campaigns.ORIGIN`."""
        with self.official() as client:
            make_origin(client, self.storage(ORIGIN))

    def daemon(self, *words: str) -> str:
        """Run one of Rucio's own daemons, once, on the lake's database; what it said."""
        config = self.root / "server" / "etc" / "rucio.cfg"
        home = {"RUCIO_HOME": str(self.root / "server"), "RUCIO_CONFIG": str(config)}
        done = subprocess.run(
            [str(Path(sys.executable).with_name(words[0])), *words[1:]],
            env={**os.environ, **home, "RUCIO_POLICY_PACKAGE": "rucio_inject.lake.policy"},
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        return done.stdout + done.stderr

    def boost(self, scope: str) -> None:
        """Let Rucio try the stuck rules of a scope again now, as a site's operator does."""
        with self.official() as client:
            for rule in _rules(client, scope):
                if rule["state"] in {"STUCK", "SUSPENDED"}:
                    client.update_replication_rule(rule["id"], {"boost_rule": True})


_ENVIRONMENT = ("RUCIO_HOME", "RUCIO_CONFIG", "RUCIO_ACCOUNT", "RUCIO_AUTH_TYPE")


def _rules(client: Client, scope: str) -> list[dict[str, Any]]:
    return list(client.list_replication_rules({"scope": scope}))


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return  # ended in this very moment
