"""Certificates, proxies and modules of a lake whose users or storages need them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from rucio_inject.domain.errors import LakeError
from rucio_inject.lake import pki
from rucio_inject.lake.config import ROOT
from rucio_inject.lake.paths import LakePaths
from rucio_inject.lake.pki import Authority, Credential
from rucio_inject.lake.tokens import Issuer
from rucio_inject.lake.xrootd import PACKAGES
from rucio_inject.whole_files import write_durably

PROXY_LIVES = timedelta(hours=12)
"""As long as the proxies that users make at a site."""
_SERVICE_LIVES = timedelta(days=300)
_DEBIANS = Path("/usr/lib/python3/dist-packages")
_MODULE = "gfal2"


def credential(paths: LakePaths, account: str) -> Credential:
    """Where an account's certificate lies."""
    return Credential(paths.client_certificate(account), paths.client_key(account))


def give_certificates(paths: LakePaths, accounts: Iterable[str], now: datetime) -> Authority:
    """Have an authority, a certificate and a fresh proxy for every account, and one for Rucio's
    server."""
    authority = Authority(paths.pki, now)
    paths.pki.chmod(0o711)
    for account in {ROOT, *accounts}:
        paths.client_home(account).mkdir(mode=0o700, exist_ok=True)
        authority.user(account, credential(paths, account))
        # Rucio's daemons and the transfer service work as root for as long as the lake runs.
        renew(paths, account, now, _SERVICE_LIVES if account == ROOT else PROXY_LIVES)
    authority.host(
        Credential(paths.server_home / "hostcert.pem", paths.server_home / "hostkey.pem")
    )
    return authority


def renew(paths: LakePaths, account: str, now: datetime, lives: timedelta) -> Path:
    """A new proxy for an account: where it lies. LakeError if it has no certificate."""
    held = credential(paths, account)
    if not held.certificate.exists():
        raise LakeError(
            f"the lake in {paths.root} has no certificate for {account}",
            hint="lakes have them that were made with --storage xrootd or --sign-in x509",
        )
    pki.make_proxy(held, paths.client_proxy(account), now, lives)
    return paths.client_proxy(account)


def renew_token(paths: LakePaths, account: str, now: datetime, lives: timedelta) -> Path:
    """A new bearer token for an account: where it lies. LakeError if no storage would take it."""
    if not paths.xrootd.exists():
        raise LakeError(
            f"the storages of the lake in {paths.root} take no tokens",
            hint="those of lakes do that were made with --storage xrootd",
        )
    path = paths.client_token(account)
    token = Issuer(paths.pki).token(account, now, lives)
    write_durably(path, f"{token}\n".encode())
    return path


def link_modules(paths: LakePaths) -> None:
    """Let the lake's processes find Debian's gfal2, which Rucio's own protocol class needs.

    LakeError if there is none for this Python.
    """
    version = f"{sys.version_info.major}{sys.version_info.minor}"
    found = sorted(_DEBIANS.glob(f"{_MODULE}.cpython-{version}-*.so"))
    if not found:
        others = sorted(path.name for path in _DEBIANS.glob(f"{_MODULE}.cpython-*.so"))
        what = f"is for another Python ({others[0]})" if others else "is not installed"
        raise LakeError(
            f"Debian's python3-gfal2 {what}; Rucio's daemons reach XRootD by it, and this is"
            f" Python {sys.version_info.major}.{sys.version_info.minor}",
            hint="run with the Python of the system, and, as root, scripts/install-xrootd"
            f" (apt-get install {' '.join(PACKAGES)}); or leave out --storage",
        )
    paths.modules.mkdir(mode=0o755, exist_ok=True)
    link = paths.modules / found[0].name
    link.unlink(missing_ok=True)
    link.symlink_to(found[0])
