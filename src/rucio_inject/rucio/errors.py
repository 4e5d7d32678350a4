"""From Rucio's exceptions to ours: the one place that knows both."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import extract_tb

from requests import RequestException
from requests.exceptions import InvalidURL
from rucio.common import exception as rucio

from rucio_inject.domain.errors import (
    CatalogueError,
    CatalogueRefused,
    CatalogueUnavailable,
    NotFound,
    NotPermitted,
    QuotaExceeded,
    ReplicaMissing,
    SignInFailed,
    StorageError,
    StorageRefused,
    StorageUnavailable,
)
from rucio_inject.rucio.secrecy import headers_hidden, without_secrets

_SIGN_IN = (
    "check account and credentials, as for the rucio command; to use an embedded lake: "
    'eval "$(rucio-inject lake env)", or run --lake DIR'
)
_CONFIG = "mend the file that --config, RUCIO_CONFIG or RUCIO_HOME names: rucio.cfg"
_TERMINAL = "sign in once in a terminal with `rucio whoami`, or use --oidc-polling"
_LOCAL = (
    "may this user write the folder of Rucio's tokens (auth_token_file_path in rucio.cfg, or "
    ".rucio_USER in the folder for temporary files) and read the certificates?"
)
_LATER = "is the server up? `rucio ping` tells; then run the same command again"
_STORAGE_LATER = "is the storage up? then run the same command again"
_OTHER = "choose an RSE with another protocol"
_PROXY = "is a proxy or another service behind that address? `rucio ping` tells whether Rucio is"

# What Rucio's client says when whoever answered was not Rucio: no word but the status.
_NO_WORDS = re.compile(r"no error information passed \(http status code: (\d+)\)")
# Rucio speaks in words; with tags in them they are a page of something in between, which its client
# takes for a refusal where it was to sign in again.
_PAGE = re.compile(r"<(!doctype|html)\b|</[a-z]\w*>", re.IGNORECASE)
# Statuses other than 5xx that pass: request timeout, too many requests.
_PASSING = frozenset({408, 429})
# The header that brings Rucio's token.
_HEADER = "x-rucio-auth-token"
# Characters of a foreign text that an error shows.
_SHOWN = 500

_CATALOGUE: tuple[tuple[tuple[type[Exception], ...], type[CatalogueError], str | None], ...] = (
    (
        (
            rucio.CannotAuthenticate,
            rucio.NoAuthInformation,
            rucio.MissingClientParameter,
            rucio.ClientProtocolNotFound,
            rucio.ClientProtocolNotSupported,
            rucio.ConfigNotFound,
            rucio.ConfigLoadingError,
            rucio.IdentityError,
            rucio.MissingModuleException,
            InvalidURL,
        ),
        SignInFailed,
        _SIGN_IN,
    ),
    (
        (
            RequestException,
            rucio.ServerConnectionException,
            rucio.DatabaseException,
            rucio.ServiceUnavailable,
            rucio.ResourceTemporaryUnavailable,
            rucio.ReplicationRuleCreationTemporaryFailed,
        ),
        CatalogueUnavailable,
        _LATER,
    ),
    (
        (
            rucio.RSENotFound,
            rucio.RSEAttributeNotFound,
            rucio.DataIdentifierNotFound,
            rucio.ScopeNotFound,
            rucio.AccountNotFound,
            rucio.RuleNotFound,
            rucio.ReplicaNotFound,
        ),
        NotFound,
        None,
    ),
    (
        (rucio.AccessDenied, rucio.ScopeAccessDenied, rucio.CannotAuthorize),
        NotPermitted,
        "the account needs this right on the Rucio server: ask its administrators",
    ),
    (
        (rucio.InsufficientAccountLimit, rucio.RSEOverQuota),
        QuotaExceeded,
        "ask for a higher limit, or free space: `rucio account limit list` shows it",
    ),
)

_STORAGE: tuple[tuple[tuple[type[Exception], ...], type[StorageError], str | None], ...] = (
    ((rucio.SourceNotFound,), ReplicaMissing, "`rucio replica list file` shows who has it"),
    (
        (rucio.ServiceUnavailable, rucio.RSENotConnected, RequestException),
        StorageUnavailable,
        _STORAGE_LATER,
    ),
)


def words(error: Exception) -> str:
    """What a Rucio exception says, on one line."""
    text = without_secrets(" ".join(str(error).replace("Details:", " ").split()))
    if len(text) > _SHOWN:
        text = f"{text[:_SHOWN]} …"
    return text or type(error).__name__


@contextmanager
def catalogue_errors(doing: str) -> Iterator[None]:
    """Translate what goes wrong in a call of Rucio's client; `doing` begins the message.

    Answers are read within, because the client parses them while one iterates: a ValueError,
    KeyError or StopIteration is an answer that makes no sense. Any call may have to sign in
    again, so an OSError is of the token or the certificates on this machine.
    """
    try:
        with headers_hidden(doing):
            yield
    except (rucio.RucioException, RequestException) as error:
        raise _refusal(doing, error) from error
    except (ValueError, KeyError, StopIteration) as error:
        raise _nonsense(doing, _sense(error)) from error
    except TypeError as error:
        # Only where Rucio's client reads an error that is JSON and no mapping; else it is ours.
        if extract_tb(error.__traceback__)[-1].name != "_get_exception":
            raise
        raise _nonsense(doing, words(error)) from error
    except EOFError as error:
        message = f"{doing}: signing in asks for a code, and there is nobody to type it"
        raise SignInFailed(message, hint=_TERMINAL) from error
    except OSError as error:
        raise SignInFailed(f"{doing}: {words(error)}", hint=_LOCAL) from error


@contextmanager
def sign_in_errors(doing: str) -> Iterator[None]:
    """Translate what goes wrong in making a client: values come from rucio.cfg and from options."""
    with catalogue_errors(doing):
        try:
            with headers_hidden(doing):
                yield
        except RequestException:
            raise
        except (configparser.Error, ValueError) as error:
            message = f"{doing}: the configuration makes no sense ({words(error)})"
            raise SignInFailed(message, hint=_CONFIG) from error
        except KeyError as error:
            if _HEADER in error.args:
                raise
            raise SignInFailed(f"{doing}: no {error.args[0]}", hint=_SIGN_IN) from error


def _refusal(doing: str, error: Exception) -> CatalogueError:
    told = words(error)
    if _PAGE.search(told):
        return _nonsense(doing, told)
    if no_words := _NO_WORDS.search(told):
        return _foreign(doing, told, int(no_words[1]))
    for kinds, ours, hint in _CATALOGUE:
        if isinstance(error, kinds):
            return ours(f"{doing}: {told}", hint=hint)
    if type(error) is rucio.RucioException:
        # What Rucio says when it does not know itself: its database was away, or a daemon of its.
        return CatalogueUnavailable(f"{doing}: {told}", hint=_LATER)
    return CatalogueRefused(f"{doing}: {told}")


def _foreign(doing: str, told: str, status: int) -> CatalogueError:
    """An answer with a status and no word of Rucio's."""
    if status // 100 == 2:
        return _nonsense(doing, told)
    if status == 401:
        return SignInFailed(f"{doing}: {told}", hint=_SIGN_IN)
    passing = status // 100 == 5 or status in _PASSING
    kind = CatalogueUnavailable if passing else CatalogueRefused
    return kind(f"{doing}: {told}", hint=_PROXY)


def _nonsense(doing: str, reason: str) -> CatalogueUnavailable:
    return CatalogueUnavailable(f"{doing}: the answer makes no sense ({reason})", hint=_PROXY)


def _sense(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"no {error.args[0]}"
    if isinstance(error, StopIteration):
        return "it is empty"
    return words(error)


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Translate what goes wrong in a call of one of Rucio's protocol classes."""
    try:
        with headers_hidden(doing):
            yield
    except (rucio.RucioException, RequestException) as error:
        for kinds, ours, hint in _STORAGE:
            if isinstance(error, kinds):
                raise ours(f"{doing}: {words(error)}", hint=hint) from error
        raise StorageRefused(f"{doing}: {words(error)}") from error
    except NotImplementedError as error:
        raise StorageRefused(f"{doing}: the RSE's protocol cannot do that", hint=_OTHER) from error
    except (TimeoutError, ConnectionError) as error:
        raise StorageUnavailable(f"{doing}: {_reason(error)}", hint=_STORAGE_LATER) from error
    except OSError as error:
        raise StorageRefused(f"{doing}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    return error.strerror or words(error)
