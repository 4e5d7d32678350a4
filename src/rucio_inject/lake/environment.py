"""The environments of the lake's processes and of those who use it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rucio_inject.lake.config import ROOT
from rucio_inject.lake.paths import LakePaths
from rucio_inject.lake.process import MARK

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_LOOPBACK = "127.0.0.1,localhost"


def for_user(
    paths: LakePaths, account: str, base: Mapping[str, str], strategy: str = "userpass"
) -> dict[str, str]:
    """The variables that make the official Rucio client use this lake as `account`."""
    variables = {
        "RUCIO_HOME": str(paths.client_home(account)),
        "RUCIO_CONFIG": str(paths.client_config(account)),
        "RUCIO_ACCOUNT": account,
        "RUCIO_AUTH_TYPE": strategy,
    }
    return {**variables, **_grid(paths, account, base), **_past_proxies(base)}


def _grid(paths: LakePaths, account: str, base: Mapping[str, str]) -> dict[str, str]:
    """What GSI, gfal2 and XRootD need, where the lake has an authority."""
    if not paths.client_proxy(account).exists():
        return {}
    variables = {
        "X509_CERT_DIR": str(paths.certificates),
        "X509_USER_PROXY": str(paths.client_proxy(account)),
    }
    if not paths.modules.exists():
        return variables
    held = [part for part in base.get("PYTHONPATH", "").split(":") if part]
    own = [str(paths.modules), *(part for part in held if part != str(paths.modules))]
    return {
        **variables,
        "PYTHONPATH": ":".join(own),
        # Each process would look up the names of this machine's addresses otherwise.
        "RES_OPTIONS": "timeout:1 attempts:1",
    }


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


def for_server(paths: LakePaths, base: Mapping[str, str], names: str = "") -> dict[str, str]:
    """For Rucio's server, its daemons and the transfer service; `names` are further characters of
    DID names."""
    home = str(paths.server_home)
    settings = {
        "RUCIO_HOME": home,
        "RUCIO_CONFIG": str(paths.server_config),
        "RUCIO_POLICY_PACKAGE": "rucio_inject.lake.policy",
        "LAKE_NAME_CHARACTERS": names,
        "TZ": "UTC",
    }
    return {**_clean(paths, base), **_grid(paths, ROOT, base), **settings}


def for_storage(paths: LakePaths, base: Mapping[str, str], folder: Path) -> dict[str, str]:
    """For an XRootD server, which copies from others as well; `folder` is its own."""
    kept = {name: base[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in base}
    return {
        **kept,
        MARK: str(paths.root),
        "X509_CERT_DIR": str(paths.certificates),
        # Where it keeps the keys of those whose tokens it takes.
        "XDG_CACHE_HOME": str(folder),
        "LC_ALL": "C",
        "TZ": "UTC",
    }


def for_furnishing(paths: LakePaths, base: Mapping[str, str]) -> dict[str, str]:
    """For putting content into the lake as root."""
    return {**_clean(paths, base), **for_user(paths, ROOT, base)}


def for_postgres(paths: LakePaths, base: Mapping[str, str]) -> dict[str, str]:
    """For PostgreSQL, which reads a good many variables and needs next to none of them."""
    kept = {name: base[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in base}
    return {**kept, MARK: str(paths.root), "LC_ALL": "C", "TZ": "UTC"}
