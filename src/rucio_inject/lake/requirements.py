"""What must be installed before a lake can run, each with an error that says what to do."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from rucio_inject.domain.errors import LakeError

INSTALL_HINT = "install the lake's packages: pip install 'rucio-inject[lake]'"
TESTED_RUCIO = "41.5.1"


def installed(package: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def check_packages() -> None:
    """LakeError unless server and client of Rucio are here, in one and the same version."""
    server = installed("rucio")
    client = installed("rucio-clients")
    if server is None:
        raise LakeError("the Rucio server (package `rucio`) is not installed", hint=INSTALL_HINT)
    for package in ("gunicorn", "psycopg", "psutil", "pyjwt"):
        if installed(package) is None:
            raise LakeError(f"the package `{package}` is not installed", hint=INSTALL_HINT)
    if client != server:
        raise LakeError(
            f"`rucio` is {server} and `rucio-clients` is {client or 'not installed'}:"
            " the two install the same files, so that a mix of versions does not work",
            hint="install both in one version:"
            f" pip install --force-reinstall --no-deps rucio=={server} rucio-clients=={server}",
        )
    if server != TESTED_RUCIO:
        raise LakeError(
            f"`rucio` is {server}: the lake drives the daemons of {TESTED_RUCIO}",
            hint=f"pip install 'rucio=={TESTED_RUCIO}' 'rucio-clients=={TESTED_RUCIO}'",
        )


def mail_templates() -> Path:
    """The folder of Rucio's mail templates, which its server wants to know."""
    for file in metadata.files("rucio") or []:
        if file.parent.name == "mail_templates":
            return Path(str(file.locate())).resolve().parent
    raise LakeError(
        "the installed `rucio` lacks its mail templates: the installation is not complete",
        hint=f"pip install --force-reinstall --no-deps rucio=={TESTED_RUCIO}",
    )
