"""What errors of others quote, and nobody is to read: secrets in headers and URLs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from requests.exceptions import InvalidHeader

from rucio_inject.domain.errors import SignInFailed

_ACCOUNT = re.compile(r"(?<=//)[^/\s@'\"]+@")
_QUERY = re.compile(r"\?[^\s'\"()<>]+")


def without_secrets(text: str) -> str:
    """A text without what may identify somebody in its URLs: servers that send us elsewhere give a
    token along in the query."""
    return _QUERY.sub("?…", _ACCOUNT.sub("…@", text))


@contextmanager
def headers_hidden(doing: str) -> Iterator[None]:
    """SignInFailed, which does not show it, for a header that cannot be sent: what says so quotes
    it, and of ours those alone that identify us come from outside."""
    try:
        yield
    except ValueError as error:
        if not _is_of_header(error):
            raise
        raise SignInFailed(
            f"{doing}: the password or token cannot be sent: it has a blank at its beginning, a "
            "line end or a character that HTTP does not take",
            hint="mend it in the option, variable or file that it comes from; it is not shown here",
        ) from None


def _is_of_header(error: ValueError) -> bool:
    """Whether requests, or the library below it, refuses a header."""
    if isinstance(error, UnicodeEncodeError):
        return error.encoding == "latin-1"
    return isinstance(error, InvalidHeader) or str(error).startswith("Invalid header value")
