"""Sending something by HTTP, once, with what went wrong in words that show no secret."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from urllib.parse import urlsplit

from rucio_inject.domain.errors import InjectError

TIMEOUT = 10.0
_LONGEST_ANSWER = 4_000_000


class NotDelivered(InjectError):
    """Somebody whom we tell something could not be reached, or refused it."""

    code = "not-delivered"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """What is sent, and what signs us in, is for this server and no other one."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """None: an answer that sends us elsewhere is a refusal."""


def post(
    url: str, body: bytes, headers: Mapping[str, str], *, who: str, timeout: float = TIMEOUT
) -> bytes:
    """Send `body`, and give what is answered. NotDelivered, which calls the other side `who` and
    its host alone, if it is not accepted: a URL may hold a secret."""
    host = "nowhere"
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        # A URL from a secret is seen here for the first time: it may be none.
        host = urlsplit(url).hostname or host
        request = urllib.request.Request(url, data=body, headers=dict(headers), method="POST")  # noqa: S310 -- campaigns take http and https only
        with opener.open(request, timeout=timeout) as answer:
            answered: bytes = answer.read(_LONGEST_ANSWER)
    except urllib.error.HTTPError as error:
        with error:
            raise NotDelivered(f"{who} at {host} answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise NotDelivered(f"{who} at {host} cannot be reached: {_why(error.reason)}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise NotDelivered(f"{who} at {host} cannot be reached: {_why(error)}") from None
    return answered


def _why(reason: object) -> str:
    if isinstance(reason, OSError):
        return reason.strerror or str(reason) or type(reason).__name__
    # Of anything else the text may quote the URL.
    return reason if isinstance(reason, str) else type(reason).__name__
