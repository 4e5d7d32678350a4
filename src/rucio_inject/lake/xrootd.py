"""Real XRootD servers as the lake's storages: a server a site, reached by root:// and davs://.

An RSE is a folder below the lake's storage, which the server of its site exports. Users are known
by their certificates; third-party copies go from server to server over HTTP.
"""

from __future__ import annotations

import base64
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rucio_inject.domain.errors import LakeError
from rucio_inject.lake import environment, nobody, pki
from rucio_inject.lake.content import Content
from rucio_inject.lake.paths import LakePaths
from rucio_inject.lake.pki import Authority, Credential
from rucio_inject.lake.process import Command, Identity
from rucio_inject.lake.tokens import Issuer
from rucio_inject.whole_files import write_durably

HOST = "localhost"
"""As which the certificates of the servers know them."""
PACKAGES = (
    "xrootd-server",
    "xrootd-server-plugins",
    "xrootd-plugins",
    "xrootd-scitokens-plugins",
    "xrootd-client",
    "xrootd-client-plugins",
    "gfal2-plugin-file",
    "gfal2-plugin-http",
    "gfal2-plugin-xrootd",
    "python3-gfal2",
)
"""What Debian calls what is needed."""
_PLUGINS = {"libXrdMacaroons-5.so": "macaroons", "libXrdAccSciTokens-5.so": "web tokens"}
_PREFIX = "xrootd-"
# The server keeps a socket below its folder, and puts this much after it at most.
_SOCKET_ROOM = 24
_SOCKET_LIMIT = 107

_CONFIG = """\
# Written by rucio-inject at every start.
all.sitename {site}
{exports}
oss.localroot {storage}
all.adminpath {folder}/admin
all.pidpath {folder}/run
xrd.port {root_port}
# It cannot be told an address to listen on: whoever is not on this machine is hung up on.
xrd.allow host 127.0.0.1
xrd.allow host [::1]
xrd.allow host localhost
xrd.network nodnr norpipa
xrd.tls {folder}/hostcert.pem {folder}/hostkey.pem
xrd.tlsca certdir {certificates}
xrootd.chksum max 2 adler32 md5
xrootd.seclib libXrdSec.so
sec.protocol gsi -certdir:{certificates} -crldir:{certificates} -cert:{folder}/hostcert.pem \
-key:{folder}/hostkey.pem -gridmap:{folder}/grid-mapfile -gmapopt:1 -crl:1 -exppxy:=creds
ofs.authorize 1
ofs.authlib libXrdMacaroons.so
ofs.authlib ++ libXrdAccSciTokens.so config={token_settings}
macaroons.secretkey {folder}/macaroon.key
acc.authdb {folder}/authdb
# What was not closed in order stays as it is: it has a temporary name.
ofs.persist off
if exec xrootd
xrd.protocol http:{http_port} libXrdHttp.so
http.gridmap {folder}/grid-mapfile
http.header2cgi Authorization authz
http.listingdeny no
http.exthandler xrdtpc libXrdHttpTPC.so
http.exthandler xrdmacaroons libXrdMacaroons.so
fi
"""


@dataclass(frozen=True, slots=True)
class Site:
    """A server: the RSEs that it holds, and its ports."""

    name: str
    rses: tuple[str, ...]
    root_port: int
    http_port: int

    @property
    def member(self) -> str:
        """What its process is called."""
        return member_of(self.name)


def sites_of(content: Content) -> dict[str, tuple[str, ...]]:
    """The RSEs of each site; an RSE without one is a site of its own."""
    held: dict[str, tuple[str, ...]] = {}
    for name, rse in content.rses.items():
        site = str(rse.attributes.get("site", name))
        held[site] = (*held.get(site, ()), name)
    return held


def member_of(site: str) -> str:
    """What the process of a site is called."""
    return f"{_PREFIX}{site}"


def find_server() -> Path:
    """The server's program. LakeError naming what is to be installed if something is missing."""
    program = shutil.which("xrootd")
    if program is None:
        raise _missing("the program xrootd is not installed")
    for library, what in _PLUGINS.items():
        if not any(folder.joinpath(library).exists() for folder in _libraries()):
            raise _missing(f"XRootD has no plugin for {what} ({library})")
    return Path(program)


def _libraries() -> Iterable[Path]:
    return (Path("/usr/lib"), Path("/usr/lib64"), *Path("/usr/lib").glob("*-linux-gnu"))


def _missing(what: str) -> LakeError:
    return LakeError(
        f"{what}, and a lake with --storage xrootd needs it",
        hint="on Debian, as root: scripts/install-xrootd, which is"
        f" `apt-get install {' '.join(PACKAGES)}`; or leave out --storage",
    )


@dataclass(frozen=True, slots=True)
class Servers:
    """Makes the files and the commands of the servers of one lake."""

    paths: LakePaths
    identity: Identity | None
    base: Mapping[str, str]
    now: datetime

    def check(self, sites: Iterable[str]) -> None:
        """LakeError if they cannot work in this folder."""
        for site in sites:
            length = len(os.fsencode(self.paths.xrootd / site)) + _SOCKET_ROOM
            if length > _SOCKET_LIMIT:
                raise LakeError(
                    f"the path of {self.paths.root} is too long for XRootD's sockets",
                    hint="name a folder with a shorter path with --folder",
                )

    def command(self, site: Site, authority: Authority, accounts: Iterable[str]) -> Command:
        """Write what a server reads, and tell how it is started."""
        folder = self.paths.xrootd / site.name
        folder.mkdir(mode=0o700, exist_ok=True)
        nobody.give(folder, self.identity)
        for part in ("admin", "run"):
            # A server that was killed leaves sockets in it.
            shutil.rmtree(folder / part, ignore_errors=True)
        authority.host(Credential(folder / "hostcert.pem", folder / "hostkey.pem"))
        self._secret(folder / "macaroon.key")
        names = sorted(accounts)
        mapped = [f'"{pki.distinguished_name(name)}" {name}\n' for name in names]
        write_durably(folder / "grid-mapfile", "".join(mapped).encode())
        write_durably(folder / "authdb", "".join(f"u {name} / a\n" for name in names).encode())
        token_settings = Issuer(self.paths.pki).publish(folder, self.now)
        text = _CONFIG.format(
            site=site.name,
            exports="\n".join(f"all.export /{rse}" for rse in site.rses),
            storage=self.paths.storage,
            folder=folder,
            root_port=site.root_port,
            http_port=site.http_port,
            certificates=authority.certificates,
            token_settings=token_settings,
        )
        write_durably(folder / "xrootd.cfg", text.encode())
        for path in folder.rglob("*"):
            nobody.give(path, self.identity)
        arguments = (str(find_server()), "-c", str(folder / "xrootd.cfg"), "-n", site.name)
        environ = environment.for_storage(self.paths, self.base, folder)
        return Command(arguments, self.paths.log(site.member), environ, folder, self.identity)

    def _secret(self, path: Path) -> None:
        if not path.exists():
            write_durably(path, base64.b64encode(secrets.token_bytes(64)) + b"\n")
