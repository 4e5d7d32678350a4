"""Where everything of an embedded lake lies: one folder, and nothing outside of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER_VARIABLE = "RUCIO_INJECT_LAKE"


def default_folder(environment: Mapping[str, str], *, as_root: bool) -> Path:
    """The folder of a lake when the user names none.

    root gets /var/lib, because the database then runs as `nobody`, who cannot look into /root.
    """
    named = environment.get(FOLDER_VARIABLE)
    if named:
        return Path(named)
    data_home = environment.get("XDG_DATA_HOME")
    # The XDG rules say that a path that is not absolute is to be ignored.
    if data_home and Path(data_home).is_absolute():
        return Path(data_home) / "rucio-inject" / "lake"
    if as_root:
        return Path("/var/lib/rucio-inject/lake")
    return Path(environment.get("HOME") or Path.home()) / ".local/share/rucio-inject/lake"


@dataclass(frozen=True, slots=True)
class LakePaths:
    """The layout of one lake below `root`, which is absolute."""

    root: Path

    @property
    def marker(self) -> Path:
        """Says that this folder is a lake of ours: without it nothing here is ever deleted."""
        return self.root / ".rucio-inject-lake"

    @property
    def lock(self) -> Path:
        """Held (flock) by whoever starts, stops or resets the lake."""
        return self.root / "lock"

    @property
    def state(self) -> Path:
        """What runs, on which ports, and what has been set up: JSON."""
        return self.root / "state.json"

    @property
    def content(self) -> Path:
        """The lake's own copy of its content file."""
        return self.root / "content.yaml"

    @property
    def secrets(self) -> Path:
        """One file an account, 0600."""
        return self.root / "secrets"

    @property
    def server_home(self) -> Path:
        """RUCIO_HOME of server and daemons."""
        return self.root / "server"

    @property
    def server_config(self) -> Path:
        """The server's rucio.cfg (0600: it holds root's secret)."""
        return self.server_home / "etc" / "rucio.cfg"

    @property
    def schema_config(self) -> Path:
        """The rucio.cfg that the tables are made with."""
        return self.server_home / "etc" / "schema.cfg"

    @property
    def alembic_config(self) -> Path:
        """What Rucio stamps its schema version with."""
        return self.server_home / "etc" / "alembic.ini"

    @property
    def gunicorn_config(self) -> Path:
        """gunicorn's settings."""
        return self.server_home / "gunicorn.conf.py"

    @property
    def daemon_report(self) -> Path:
        """Passes and failures of the daemons: JSON, written by their process."""
        return self.root / "daemons.json"

    @property
    def clients(self) -> Path:
        """One RUCIO_HOME an account."""
        return self.root / "clients"

    def client_home(self, account: str) -> Path:
        """RUCIO_HOME of one account."""
        return self.clients / account

    def client_config(self, account: str) -> Path:
        """rucio.cfg of one account (0600: it holds the account's secret)."""
        return self.client_home(account) / "etc" / "rucio.cfg"

    def client_certificate(self, account: str) -> Path:
        """The certificate of one account, if the lake has an authority."""
        return self.client_home(account) / "usercert.pem"

    def client_key(self, account: str) -> Path:
        """The key of that certificate."""
        return self.client_home(account) / "userkey.pem"

    def client_proxy(self, account: str) -> Path:
        """A proxy of that certificate."""
        return self.client_home(account) / "proxy.pem"

    def client_token(self, account: str) -> Path:
        """A bearer token for the storages, where one was asked for."""
        return self.client_home(account) / "bearer-token"

    @property
    def pki(self) -> Path:
        """The lake's certificate authority."""
        return self.root / "pki"

    @property
    def certificates(self) -> Path:
        """What everybody needs who is to trust the authority."""
        return self.pki / "certificates"

    @property
    def xrootd(self) -> Path:
        """A folder for each XRootD server; belongs to the user that they run as."""
        return self.root / "xrootd"

    @property
    def modules(self) -> Path:
        """Python modules of the system that the lake's processes and users are to find."""
        return self.root / "modules"

    @property
    def postgres(self) -> Path:
        """Everything of PostgreSQL; belongs to the user that it runs as."""
        return self.root / "pg"

    @property
    def postgres_data(self) -> Path:
        """The cluster's data directory."""
        return self.postgres / "data"

    @property
    def postgres_socket(self) -> Path:
        """Folder of the Unix socket, unless its path is too long for one."""
        return self.postgres / "s"

    @property
    def postgres_copy(self) -> Path:
        """A copy of the binaries, when the user that runs them cannot reach the originals."""
        return self.root / "pg-binaries"

    @property
    def storage(self) -> Path:
        """One folder an RSE."""
        return self.root / "storage"

    @property
    def transfers(self) -> Path:
        """State of the transfer service."""
        return self.root / "transfers"

    @property
    def logs(self) -> Path:
        """One log a process."""
        return self.root / "log"

    def log(self, process: str) -> Path:
        """The log of one process."""
        return self.logs / f"{process}.log"

    def private_folders(self) -> tuple[Path, ...]:
        """The folders that only the lake's owner may enter."""
        return (
            self.secrets,
            self.server_home,
            self.server_config.parent,
            self.clients,
            self.storage,
            self.transfers,
            self.logs,
        )
