"""The ways to an RSE's storage: its protocols in its order, each with what serves it here."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from rucio_inject.domain.errors import ProtocolUnusable
from rucio_inject.rucio import protocols
from rucio_inject.rucio.credentials import Credentials
from rucio_inject.rucio.drivers.driver import Driver
from rucio_inject.rucio.posix import POSIX, is_posix

DriverMaker = Callable[[Credentials], Driver]

# Rucio's classes that name files as a driver's URLs do; others have ways of their own.
_NAMING_ALIKE = frozenset(
    f"rucio.rse.protocols.{name}.Default" for name in ("gfal", "xrootd", "webdav")
)


@dataclass(frozen=True, slots=True)
class Way:
    """A protocol of an RSE. `driver`, or `naming` alone for folders of this machine; neither of
    them: Rucio's class is made for each call."""

    scheme: str
    prefix: str
    driver: Driver | None = None
    naming: Any = None

    def own(self, pfn: str, others: list[Way]) -> str | None:
        """What a file is called on this way, whose PFN is one of the RSE; None if that cannot be
        told."""
        if pfn.startswith(f"{self.scheme}://"):
            return pfn
        for other in others:
            if pfn.startswith(other.prefix):
                return self.prefix + pfn.removeprefix(other.prefix)
        return None


def ways(
    settings: Mapping[str, Any], operation: str, drivers: Mapping[str, Driver], doing: str
) -> list[Way]:
    """The ways that an RSE has for an operation, in its order."""
    found = []
    for protocol in protocols.ordered(settings, operation, doing):
        scheme, prefix = protocol["scheme"], _prefix(protocol)
        driver = drivers.get(scheme) if _names_alike(protocol) else None
        if driver is not None:
            naming = protocols.naming(settings, protocol)
            found.append(Way(scheme, prefix, driver, naming))
            continue
        found.append(Way(scheme, prefix, naming=_folder(settings, operation, scheme, doing)))
    return found


def _folder(settings: Mapping[str, Any], operation: str, scheme: str, doing: str) -> Any:
    """What names files in a folder of this machine; None where that is left to a class."""
    if scheme != POSIX:
        return None
    try:
        made = protocols.make(settings, operation, scheme, doing)
    except ProtocolUnusable:
        # Told when it is needed: another protocol may serve.
        return None
    return made if is_posix(made) else None


def _names_alike(protocol: Mapping[str, Any]) -> bool:
    extended = protocol.get("extended_attributes") or {}
    alike = protocol.get("impl") in _NAMING_ALIKE and protocol.get("port")
    return bool(alike) and "web_service_path" not in extended


def _prefix(protocol: Mapping[str, Any]) -> str:
    """What the PFNs of a protocol begin with."""
    prefix = "/" + str(protocol["prefix"]).removeprefix("/").removesuffix("/")
    # root: is written with two slashes, and the second one says that the path is absolute.
    host = str(protocol.get("hostname")).rpartition("://")[2]
    return f"{protocol['scheme']}://{host}:{protocol.get('port')}{prefix}/"


@cache
def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def usual_drivers(credentials: Credentials) -> dict[str, Driver]:
    """The quickest driver for each scheme that this machine has one for."""
    # Late: each needs a library that is not everywhere, and takes its time to load.
    from rucio_inject.rucio.drivers.webdav import WebdavDriver  # noqa: PLC0415

    webdav = WebdavDriver(credentials)
    drivers: dict[str, Driver] = {"davs": webdav, "https": webdav}
    if _has("XRootD"):
        from rucio_inject.rucio.drivers.xrootd import XrootdDriver  # noqa: PLC0415

        xrootd = XrootdDriver(credentials)
        drivers |= {"root": xrootd, "xroot": xrootd}
    if _has("gfal2"):
        from rucio_inject.rucio.drivers.gfal import GfalDriver  # noqa: PLC0415

        gfal = GfalDriver(credentials)
        drivers = {"root": gfal, "gsiftp": gfal, "srm": gfal, **drivers}
    return drivers
