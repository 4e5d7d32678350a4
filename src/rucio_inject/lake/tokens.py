"""Bearer tokens for the lake's storages: an issuer of the lake's own, whose JSON web tokens (WLCG's
profile) its XRootD servers take.

The servers' library asks an issuer for its keys by HTTPS, and trusts for that whom the machine
trusts, which a lake does not change. So each server is given the keys where that library keeps
those that it has asked for; from there on everything is as with any issuer.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt.algorithms import ECAlgorithm

from rucio_inject.whole_files import write_durably

ISSUER = "https://localhost/rucio-inject-lake"
"""Who says so; nobody listens there."""
AUDIENCE = "https://wlcg.cern.ch/jwt/v1/any"
LIVES = timedelta(hours=1)
"""As long as the access tokens of WLCG's issuers, nearly."""
EVERYTHING = ("storage.read:/", "storage.create:/", "storage.modify:/")
_ALGORITHM = "ES256"
_KEY_NAME = "lake"
_KEPT = timedelta(days=3650)
# Where the library keeps them, below the folder that XDG_CACHE_HOME names.
_KEYS = "scitokens/scitokens_cpp.sqllite"
_SETTINGS = f"""\
# Written by rucio-inject at every start.
[Global]
onmissing = passthrough
audience = {AUDIENCE}

[Issuer lake]
issuer = {ISSUER}
base_path = /
"""


class Issuer:
    """The issuer whose key is in a folder; it is made if there is none."""

    def __init__(self, folder: Path) -> None:
        path = folder / "issuer.key"
        if not path.exists():
            fresh = ec.generate_private_key(ec.SECP256R1())
            pem = fresh.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            write_durably(path, pem)
        key = load_pem_private_key(path.read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key

    def token(
        self, account: str, now: datetime, lives: timedelta, scopes: Iterable[str] = EVERYTHING
    ) -> str:
        """A token for an account. `lives` may be negative: one that has expired."""
        begins = min(now, now + lives) - timedelta(minutes=1)
        claims = {
            "wlcg.ver": "1.0",
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": account,
            "scope": " ".join(scopes),
            "iat": begins,
            "nbf": begins,
            "exp": now + lives,
            "jti": str(uuid4()),
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM, headers={"kid": _KEY_NAME})

    def publish(self, folder: Path, now: datetime) -> Path:
        """Write for a server whom it is to believe, and the keys; the settings of its plugin."""
        public = json.loads(ECAlgorithm.to_jwk(self._key.public_key()))
        keys = [{**public, "kid": _KEY_NAME, "alg": _ALGORITHM, "use": "sig"}]
        until = int((now + _KEPT).timestamp())
        held = json.dumps({"expires": until, "next_update": until, "jwks": {"keys": keys}})
        kept = folder / _KEYS
        kept.parent.mkdir(exist_ok=True)
        kept.unlink(missing_ok=True)
        with sqlite3.connect(kept) as database:
            database.execute(
                "CREATE TABLE keycache (issuer text UNIQUE PRIMARY KEY NOT NULL,keys text NOT NULL)"
            )
            database.execute("INSERT INTO keycache VALUES (?, ?)", (ISSUER, held))
        database.close()
        settings = folder / "scitokens.cfg"
        write_durably(settings, _SETTINGS.encode())
        return settings
