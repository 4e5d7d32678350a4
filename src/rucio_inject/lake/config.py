"""Writing the configuration files of a lake: server, schema tool, gunicorn and clients."""

from __future__ import annotations

import configparser
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rucio_inject.lake import postgres
from rucio_inject.lake.credentials import secret_of
from rucio_inject.lake.paths import LakePaths
from rucio_inject.lake.sockets import HOST
from rucio_inject.whole_files import write_durably

Sections = Mapping[str, Mapping[str, str]]

ROOT = "root"

# The site's rules, the same on both sides: the generic ones that come with Rucio.
_POLICY = {"permission": "generic", "schema": "generic", "lfn2pfn_algorithm_default": "hash"}

# Rucio's own defaults but for the first line of each section. What is not in the file, Rucio asks
# of its database each time it wants to know, several times a file: a fifth of the daemons' time.
_EXPLICIT: Sections = {
    "conveyor": {
        "transfertool": "fts3",
        "scheme": "file",
        "default-source-strategy": "orderly",
        "activity-source-strategy": "{}",
        "max_time_in_queue": "default:168",
        "bring_online": "43200",
        "poller_oidc_support": "False",
        "retry_protocol_mismatches": "False",
        "use_deterministic_id": "False",
        "use_preparer": "False",
    },
    "transfers": {
        "multihop_rse_expression": "",
        "overwrite_corrupted_files": "False",
        "hop_penalty": "10",
        "multihop_tombstone_delay": "7200",
        "stats_enabled": "True",
        "stats_downsample_period": "3600",
    },
    "reaper": {
        "remove_open_did": "False",
        "max_deletion_threads_localhost": "5",
        "auto_exclude_threshold": "100",
        "auto_exclude_timeout": "600",
    },
    "packet-marking": {"enabled": "False"},
}

_ALEMBIC: Sections = {
    "loggers": {"keys": "root"},
    "handlers": {"keys": "console"},
    "formatters": {"keys": ""},
    "logger_root": {"level": "WARNING", "handlers": "console"},
    "handler_console": {"class": "StreamHandler", "args": "(sys.stderr,)", "formatter": ""},
}

_GUNICORN = """\
# Written by rucio-inject at every start.
import gc

bind = "{host}:{port}"
workers = {workers}
threads = 4
# Loaded once: it starts sooner, and the workers share what they have in common.
preload_app = True
# Two seconds, gunicorn's default, make clients log connections that were reset.
keepalive = 120
graceful_timeout = 1
timeout = 120
# A socket to steer gunicorn by would be one more thing to protect.
control_socket_disable = True
proc_name = "rucio-lake-server"


{tls}

def when_ready(server):
    # What was loaded stays: a worker that looked through it for garbage would copy it.
    gc.collect()
    gc.freeze()
"""
_TLS = """\
import ssl

certfile = "{certificate}"
keyfile = "{key}"
ca_certs = "{authority}"
cert_reqs = ssl.CERT_OPTIONAL


def ssl_context(config, default_ssl_context_factory):
    # Who signs in with a proxy shows a certificate that another user's certificate has signed.
    context = default_ssl_context_factory()
    context.verify_flags |= ssl.VERIFY_ALLOW_PROXY_CERTS
    return context
"""
_MOST_WORKERS = 4


def render(sections: Sections) -> str:
    """The text of an ini file for readers to whom a percent sign is special, as Rucio's is."""
    parser = configparser.RawConfigParser()
    for name, options in sections.items():
        parser[name] = {key: value.replace("%", "%%") for key, value in options.items()}
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What the server's files say beside what never changes.

    `hermes` is the address that hermes posts its events to (newline-delimited JSON), if any.
    """

    port: int
    socket_folder: Path
    templates: Path
    hermes: str | None
    tls: bool = False
    scheme: str = "file"


def _workers() -> int:
    """Processes that answer requests: Rucio's server is busy with Python, which uses one core."""
    return min(_MOST_WORKERS, len(os.sched_getaffinity(0)))


def _hermes(address: str | None) -> dict[str, str]:
    """Where events go. Without hermes only mails are kept: nobody would fetch the other events."""
    if address is None:
        return {"services_list": "email"}
    return {"services_list": "elastic", "elastic_endpoint": address}


def server_sections(paths: LakePaths, facts: ServerFacts, secret: str) -> Sections:
    """rucio.cfg of server and daemons."""
    return {
        "common": {
            "logdir": str(paths.logs),
            "loglevel": "WARNING",
            "mailtemplatedir": str(facts.templates),
        },
        # A port where nobody listens: with a memcached the reaper would pause an idle RSE for two
        # minutes, and look-ups would live for ten.
        "cache": {"url": f"{HOST}:1"},
        "database": {
            "default": postgres.url(facts.socket_folder),
            "pool_size": "10",
            "max_overflow": "20",
            "pool_recycle": "3600",
            "pool_reset_on_return": "rollback",
        },
        "bootstrap": {
            "userpass_identity": ROOT,
            "userpass_pwd": secret,
            "userpass_email": "root@localhost",
            "x509_identity": "/O=lake/CN=root",
            "x509_email": "root@localhost",
        },
        "policy": _POLICY,
        **_EXPLICIT,
        "conveyor": {**_EXPLICIT["conveyor"], "scheme": facts.scheme},
        "monitor": {"enable_metrics": "False"},
        "alembic": {"cfg": str(paths.alembic_config)},
        "hermes": _hermes(facts.hermes),
    }


@dataclass(frozen=True, slots=True)
class ClientFacts:
    """What clients are told beside what never changes."""

    port: int
    sign_in: str = "userpass"

    @property
    def address(self) -> str:
        """Rucio's server."""
        return f"{'http' if self.sign_in == 'userpass' else 'https'}://{HOST}:{self.port}"


def client_sections(paths: LakePaths, account: str, secret: str, facts: ClientFacts) -> Sections:
    """rucio.cfg of one account. Without [database]: that would make the client a server."""
    address = facts.address
    certificates = {
        "ca_cert": str(paths.pki / "ca.pem"),
        "client_cert": str(paths.client_certificate(account)),
        "client_key": str(paths.client_key(account)),
        "client_x509_proxy": str(paths.client_proxy(account)),
    }
    return {
        "client": {
            **(certificates if paths.client_proxy(account).exists() else {}),
            "rucio_host": address,
            "auth_host": address,
            "auth_type": facts.sign_in,
            "username": account,
            "password": secret,
            "account": account,
            "request_retries": "3",
            # Tokens are filed by account, not by lake: without this two lakes would mix theirs.
            "auth_token_file_path": str(paths.client_home(account) / "token"),
        },
        "policy": _POLICY,
    }


def write_server(paths: LakePaths, facts: ServerFacts) -> None:
    """Write the files of the server's side."""
    sections = server_sections(paths, facts, secret_of(paths, ROOT))
    write_durably(paths.schema_config, render(sections).encode())
    # Asked for often, like _EXPLICIT; but whoever makes the tables takes any text for true here.
    common = {**sections["common"], "multi_vo": "False"}
    write_durably(paths.server_config, render({**sections, "common": common}).encode())
    alembic = {
        "alembic": {
            "script_location": "rucio.db.sqla:migrate_repo",
            "sqlalchemy.url": postgres.url(facts.socket_folder),
        },
        **_ALEMBIC,
    }
    write_durably(paths.alembic_config, render(alembic).encode())
    gunicorn = _GUNICORN.format(
        host=HOST, port=facts.port, workers=_workers(), tls=_tls(paths) if facts.tls else ""
    )
    write_durably(paths.gunicorn_config, gunicorn.encode())


def _tls(paths: LakePaths) -> str:
    return _TLS.format(
        certificate=paths.server_home / "hostcert.pem",
        key=paths.server_home / "hostkey.pem",
        authority=paths.pki / "ca.pem",
    )


def write_clients(paths: LakePaths, accounts: Iterable[str], facts: ClientFacts) -> None:
    """Write a RUCIO_HOME for root and for every account; secrets are made where there are none."""
    for account in {ROOT, *accounts}:
        path = paths.client_config(account)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        sections = client_sections(paths, account, secret_of(paths, account), facts)
        write_durably(path, render(sections).encode())
