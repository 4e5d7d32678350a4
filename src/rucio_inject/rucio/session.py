"""Signing in, with the options and the precedence of the official `rucio` command."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from rucio_inject.clock import SystemClock
from rucio_inject.domain.errors import SignInFailed
from rucio_inject.ports import Clock
from rucio_inject.rucio.answers import refuse_pages
from rucio_inject.rucio.credentials import Credentials

if TYPE_CHECKING:
    from rucio.client.client import Client


@dataclass(frozen=True, slots=True, repr=False)
class SignIn:
    """How to sign in. What is None comes from the environment, then from rucio.cfg.

    The fields are the official command's options; `timeout` is in seconds. There is no repr, so
    that no secret gets into a log or a traceback.
    """

    account: str | None = None
    auth_strategy: str | None = None
    auth_host: str | None = None
    host: str | None = None
    config: str | None = None
    vo: str | None = None
    user: str | None = None
    password: str | None = None
    certificate: str | None = None
    client_key: str | None = None
    ca_certificate: str | None = None
    oidc_audience: str | None = None
    oidc_issuer: str | None = None
    oidc_polling: bool = False
    oidc_refresh_lifetime: str | None = None
    oidc_scope: str | None = None
    timeout: float | None = None

    def for_account(self, account: str | None) -> SignIn:
        """The same, with an account where the options name none."""
        return self if self.account or not account else replace(self, account=account)

    def credentials(self, strategy: str | None) -> dict[str, Any] | None:
        """What Rucio's client takes as `creds` for an authentication strategy."""
        if strategy == "userpass" and (self.user or self.password):
            return {"username": self.user, "password": self.password}
        if strategy == "x509" and (self.certificate or self.client_key):
            return {"client_cert": self.certificate, "client_key": self.client_key}
        if strategy == "x509_proxy" and self.certificate:
            return {"client_proxy": self.certificate}
        if strategy == "oidc":
            return {
                "oidc_scope": self.oidc_scope or "openid profile",
                "oidc_audience": self.oidc_audience,
                "oidc_polling": self.oidc_polling,
                "oidc_refresh_lifetime": self.oidc_refresh_lifetime,
                "oidc_issuer": self.oidc_issuer,
            }
        return None


class Session:
    """Gives every thread a client of its own: Rucio's client makes no promise about threads.

    Rucio keeps one configuration a process, so a process speaks to one lake.
    """

    def __init__(self, sign_in: SignIn, clock: Clock | None = None) -> None:
        self._sign_in = sign_in
        proxy = sign_in.certificate if sign_in.client_key is None else None
        self.credentials = Credentials(clock or SystemClock(), proxy=proxy)
        self._local = threading.local()
        # Clients share a token file: one at a time signs in, the others then find the token.
        self._lock = threading.Lock()

    def client(self) -> Client:
        """This thread's client. SignInFailed or CatalogueUnavailable if there can be none."""
        client: Client | None = getattr(self._local, "client", None)
        if client is None:
            with self._lock:
                client = self._local.client = self._make()
        # At every call, because Rucio's client takes a new HTTP session when it signs in again.
        client.session.hooks["response"] = [refuse_pages]
        return client

    def look_up(self) -> Credentials:
        """What identifies us, with what rucio.cfg names. SignInFailed if that makes no sense."""
        if self._sign_in.config:
            os.environ["RUCIO_CONFIG"] = self._sign_in.config
        from rucio_inject.rucio.errors import sign_in_errors  # noqa: PLC0415

        with sign_in_errors("cannot sign in to Rucio"):
            self.credentials.configured = _configured_proxy()
        return self.credentials

    def _make(self) -> Client:
        self.look_up()
        # Late, because it takes its time. It does not read Rucio's configuration.
        from rucio_inject.rucio.errors import sign_in_errors  # noqa: PLC0415

        options = self._sign_in
        with sign_in_errors("cannot sign in to Rucio"):
            make_client, strategy_of = _rucio()
            strategy = options.auth_strategy or strategy_of()
            if strategy == "x509_proxy":
                # Rucio's client would only tell that TLS failed.
                self.credentials.identity()
            return make_client(
                rucio_host=options.host,
                auth_host=options.auth_host,
                account=options.account,
                ca_cert=options.ca_certificate,
                auth_type=strategy,
                creds=options.credentials(strategy),
                timeout=options.timeout or 120,
                user_agent="rucio-inject",
                vo=options.vo,
                # Rucio would tell each of its own tries on standard error; we tell the outcome.
                logger=_quiet_logger(),
            )


@cache
def _quiet_logger() -> logging.Logger:
    logger = logging.getLogger("rucio_inject.rucio_client")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger


def _configured_proxy() -> str | None:
    from rucio.common.config import config_get  # noqa: PLC0415  reads its configuration
    from rucio.common.exception import ConfigNotFound  # noqa: PLC0415

    try:
        found: str | None = config_get("client", "client_x509_proxy", raise_exception=False)
    except ConfigNotFound:
        return None
    return os.path.expandvars(found) if found else None


def _rucio() -> tuple[Callable[..., Client], Callable[[], str | None]]:
    # Late, because Rucio reads its configuration when it is imported.
    from rucio.client.client import Client  # noqa: PLC0415
    from rucio.common.config import config_get  # noqa: PLC0415
    from rucio.common.exception import ConfigNotFound  # noqa: PLC0415

    def strategy() -> str | None:
        if from_environment := os.environ.get("RUCIO_AUTH_TYPE"):
            return from_environment.lower()
        try:
            found: str | None = config_get("client", "auth_type", raise_exception=False)
        except ConfigNotFound:
            raise SignInFailed(
                "no rucio.cfg was found, and no option says which Rucio to use",
                hint="give --config FILE, set RUCIO_HOME, or start an embedded lake: "
                'rucio-inject lake start; eval "$(rucio-inject lake env)"',
            ) from None
        return found.lower() if found else None

    return Client, strategy
