"""What identifies us to storages: a proxy or certificate, or a bearer token, as sites' tools find
them; and whether it has expired."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rucio_inject.domain.errors import SignInFailed
from rucio_inject.ports import Clock

_CERTIFICATES = "/etc/grid-security/certificates"
_NEW_PROXY = (
    "make a new one (voms-proxy-init; for an embedded lake: rucio-inject lake proxy), or name a"
    " command that does in the campaign: sign_in.renew"
)
_TOKEN = re.compile(r"[!-~]+")
_RENEWAL = "get a new one (oidc-token), or name a command that does: sign_in.renew"


@dataclass(frozen=True, slots=True)
class Identity:
    """Files of a certificate and its key (the same for a proxy), or None."""

    certificate: str
    key: str


class Credentials:
    """Looks anew at every question: credentials are renewed while a run goes on."""

    def __init__(
        self,
        clock: Clock,
        environment: Mapping[str, str] | None = None,
        *,
        proxy: str | None = None,
    ) -> None:
        """`proxy` comes before what the environment says."""
        self._clock = clock
        self._environment = os.environ if environment is None else environment
        self._proxy = proxy
        # What rucio.cfg names, once it has been read.
        self.configured: str | None = None
        # Whether anybody has asked who we are.
        self.used = False

    @property
    def authorities(self) -> str | None:
        """The folder of those whose certificates are trusted; None is the system's."""
        named = self._environment.get("X509_CERT_DIR")
        if named:
            return named
        return _CERTIFICATES if Path(_CERTIFICATES).is_dir() else None

    def token(self) -> str | None:
        """A bearer token, found where WLCG says: BEARER_TOKEN, BEARER_TOKEN_FILE, bt_uUID.

        None, too, for one that has expired, or is not to be read, where a proxy or certificate does
        as well; SignInFailed where none does.
        """
        try:
            text = self._valid_token()
        except SignInFailed:
            if self._certified():
                return None
            self.used = True
            raise
        if text is not None:
            self.used = True
        return text

    def _valid_token(self) -> str | None:
        text = self._token()
        ends = token_end(text)
        if ends is not None and ends <= self._clock.now():
            raise SignInFailed(f"the bearer token expired at {_told(ends)}", hint=_RENEWAL)
        return text or None

    def _certified(self) -> bool:
        """Whether there is a proxy or certificate that has not expired."""
        try:
            return self._valid_identity() is not None
        except SignInFailed:
            return False

    def _token(self, *, needed: bool = True) -> str:
        """The token, expired or not; nothing if there is none."""
        text, place = self._environment.get("BEARER_TOKEN", "").strip(), "BEARER_TOKEN"
        if not text and (path := self._token_file()) is not None:
            place = str(path)
            try:
                text = path.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                if isinstance(error, FileNotFoundError) and not needed:
                    return ""
                raise SignInFailed(
                    f"cannot read the token in {path}: {error}", hint=_RENEWAL
                ) from error
        if text and not _TOKEN.fullmatch(text):
            # Whoever sent it would be refused in words that quote it.
            raise SignInFailed(
                f"what {place} holds is no bearer token: there is white space in it, or what is no"
                " ASCII",
                hint="one token and nothing else belongs there; " + _RENEWAL,
            )
        return text

    def _token_file(self) -> Path | None:
        named = self._environment.get("BEARER_TOKEN_FILE")
        if named:
            return Path(named)
        folder = self._environment.get("XDG_RUNTIME_DIR") or "/tmp"  # noqa: S108  WLCG's rule
        usual = Path(folder) / f"bt_u{os.geteuid()}"
        return usual if usual.is_file() else None

    def identity(self) -> Identity | None:
        """A proxy, or a certificate with its key, if there is one.

        SignInFailed if it has expired.
        """
        self.used = self.used or self._identity() is not None
        return self._valid_identity()

    def _valid_identity(self) -> Identity | None:
        found = self._identity()
        if found is not None:
            ends = certificate_end(Path(found.certificate))
            if ends is not None and ends <= self._clock.now():
                raise SignInFailed(
                    f"the certificate in {found.certificate} expired at {_told(ends)}",
                    hint=_NEW_PROXY,
                )
        return found

    def _identity(self) -> Identity | None:
        environment = self._environment
        usual = f"/tmp/x509up_u{os.geteuid()}"  # noqa: S108  where every tool looks
        named = environment.get("X509_USER_PROXY")
        proxies = (self._proxy, self.configured, named, usual)
        for proxy in proxies:
            if proxy and Path(proxy).is_file():
                return Identity(proxy, proxy)
        certificate = environment.get("X509_USER_CERT")
        key = environment.get("X509_USER_KEY")
        return Identity(certificate, key) if certificate and key else None

    def ends(self) -> datetime | None:
        """When what identifies us expires; None if nothing does, or never.

        SignInFailed if it cannot be read.
        """
        # A file that is named and not there yet is told to whoever needs the token.
        if token := self._token(needed=False):
            ends = token_end(token)
            if ends is None or ends > self._clock.now() or not self._certified():
                return ends
        found = self._identity()
        return None if found is None else certificate_end(Path(found.certificate))

    def missing(self) -> bool:
        """Whether a token is not there that is said to be, or nothing identifies us."""
        if self._token(needed=False):
            return False
        return bool(self._environment.get("BEARER_TOKEN_FILE")) or self._identity() is None


def certificate_end(path: Path) -> datetime | None:
    """When the first certificate in a file expires. SignInFailed if it cannot be read."""
    # Late: only whoever has certificates needs it.
    from cryptography import x509  # noqa: PLC0415

    try:
        held = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SignInFailed(
            f"cannot read a certificate in {path}: {error}", hint=_NEW_PROXY
        ) from error
    return held.not_valid_after_utc


def token_end(token: str) -> datetime | None:
    """When a JSON web token expires; None for what is none, or does not tell, or no such moment."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error):
        return None
    ends = claims.get("exp") if isinstance(claims, dict) else None
    try:
        return datetime.fromtimestamp(ends, UTC) if isinstance(ends, int | float) else None
    except (ValueError, OverflowError, OSError):
        # As in milliseconds: RFC 7519 has seconds.
        return None


def _told(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
