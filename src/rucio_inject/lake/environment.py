"""The environments of the lake's processes and of those who use it."""

from __future__ import annotations

from collections.abc import Mapping

from rucio_inject.lake.config import ROOT
from rucio_inject.lake.paths import LakePaths
from rucio_inject.lake.process import MARK

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_LOOPBACK = "127.0.0.1,localhost"


def for_user(paths: LakePaths, account: str, base: Mapping[str, str]) -> dict[str, str]:
    """The variables that make the official Rucio client use this lake as `account`."""
    variables = {
        "RUCIO_HOME": str(paths.client_home(account)),
        "RUCIO_CONFIG": str(paths.client_config(account)),
        "RUCIO_ACCOUNT": account,
        "RUCIO_AUTH_TYPE": "userpass",
    }
    return {**variables, **_past_proxies(base)}


def _past_proxies(base: Mapping[str, str]) -> dict[str, str]:
    """Loopback must not go through a proxy, where one is set."""
    if not any(base.get(name) or base.get(name.upper()) for name in _PROXIES):
        return {}
    held = base.get("no_proxy") or base.get("NO_PROXY")
    value = f"{held},{_LOOPBACK}" if held else _LOOPBACK
    return {"no_proxy": value, "NO_PROXY": value}


def _clean(paths: LakePaths, base: Mapping[str, str]) -> dict[str, str]:
    """Our environment without anybody's Rucio, gunicorn or PostgreSQL settings, with our mark."""
    # Without compiled modules each of the lake's processes takes seconds longer to start.
    foreign = ("RUCIO_", "GUNICORN_", "PG", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in base.items() if not name.startswith(foreign)}
    return {**kept, **_past_proxies(base), MARK: str(paths.root), "PYTHONUNBUFFERED": "1"}


def for_server(paths: LakePaths, base: Mapping[str, str]) -> dict[str, str]:
    """For Rucio's server, its daemons and the transfer service."""
    home = str(paths.server_home)
    settings = {
        "RUCIO_HOME": home,
        "RUCIO_CONFIG": str(paths.server_config),
        "RUCIO_POLICY_PACKAGE": "rucio_inject.lake.policy",
        "TZ": "UTC",
    }
    return {**_clean(paths, base), **settings}


def for_furnishing(paths: LakePaths, base: Mapping[str, str]) -> dict[str, str]:
    """For putting content into the lake as root."""
    return {**_clean(paths, base), **for_user(paths, ROOT, base)}


def for_postgres(paths: LakePaths, base: Mapping[str, str]) -> dict[str, str]:
    """For PostgreSQL, which reads a good many variables and needs next to none of them."""
    kept = {name: base[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in base}
    return {**kept, MARK: str(paths.root), "LC_ALL": "C", "TZ": "UTC"}
