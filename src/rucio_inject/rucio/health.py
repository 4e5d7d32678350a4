"""The ways to a real Rucio."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version

import requests

from rucio_inject.domain.errors import SignInFailed, StorageUnavailable
from rucio_inject.ports import Clock, ServerHealth, SessionLife
from rucio_inject.rucio import answers
from rucio_inject.rucio.errors import catalogue_errors, words
from rucio_inject.rucio.session import Session

# Seconds that a service has to say anything.
PATIENCE = 15
# Strategies by which Rucio's client gets the next token without anybody's help.
_BY_ITSELF = frozenset({"userpass", "x509", "x509_proxy", "gss", "ssh"})
# The server answers with what Python shows of a dictionary, in UTC.
_LIFETIME = re.compile(r"'lifetime': datetime\.datetime\((\d+(?:, \d+){2,6})\)")


class RucioHealth:
    """Implements `ports.Health`."""

    def __init__(self, session: Session, clock: Clock) -> None:
        self._session = session
        self._clock = clock

    def server(self) -> ServerHealth:
        """See the port."""
        client = self._session.client()
        with catalogue_errors("cannot ask the server for its version"):
            answer = client.session.get(
                f"{client.host}/ping", verify=client.ca_cert, timeout=PATIENCE
            )
            at = self._clock.now()
            answer.raise_for_status()
            told = answers.text(answers.mapping(answer.json()), "version")
        date = answer.headers.get("date")
        return ServerHealth(told, version("rucio-clients"), _moment(date), at)

    def credentials_end(self) -> datetime | None:
        """See the port."""
        return self._session.credentials.ends()

    def session_life(self) -> SessionLife:
        """See the port."""
        client = self._session.client()
        strategy = str(client.auth_type)
        renewed = strategy in _BY_ITSELF or bool(client.auth_oidc_refresh_active)
        with catalogue_errors("cannot ask how long Rucio takes our token"):
            # Not by the client's session, which takes JSON only.
            answer = requests.get(
                f"{client.auth_host}/auth/validate",
                headers={"X-Rucio-Auth-Token": str(client.auth_token)},
                verify=client.ca_cert,
                timeout=PATIENCE,
            )
            if answer.status_code == 401:
                raise SignInFailed(
                    "Rucio does not take our token any more",
                    hint="remove the file that auth_token_file_path in rucio.cfg names, and try"
                    " again",
                )
            answer.raise_for_status()
            found = _LIFETIME.search(answer.text)
            ends = found and datetime(*map(int, found[1].split(", ")), tzinfo=UTC)  # type: ignore[arg-type,misc]
        return SessionLife(ends, strategy, renewed)

    def reach(self, url: str) -> None:
        """See the port."""
        authorities = self._session.credentials.authorities
        try:
            answer = requests.get(
                url,
                timeout=PATIENCE,
                verify=authorities or True,
                allow_redirects=False,
                stream=True,
            )
        except requests.RequestException as error:
            raise StorageUnavailable(
                f"{url} does not answer: {words(error)}",
                hint="is the service up, its name right, and is its certificate trusted here "
                "(X509_CERT_DIR)?",
            ) from error
        answer.close()


def _moment(date: str | None) -> datetime | None:
    if date is None:
        return None
    try:
        return parsedate_to_datetime(date).astimezone(UTC)
    except ValueError:
        return None
