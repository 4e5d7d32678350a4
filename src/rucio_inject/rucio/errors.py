"""From Rucio's exceptions to ours: the one place that knows both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from requests import RequestException
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

_SIGN_IN = (
    "check account and credentials, as for the rucio command; to use an embedded lake: "
    'eval "$(rucio-inject lake env)", or run --lake DIR'
)
_LATER = "is the server up? `rucio ping` tells; then run the same command again"

_CATALOGUE: tuple[tuple[tuple[type[Exception], ...], type[CatalogueError], str | None], ...] = (
    (
        (
            rucio.CannotAuthenticate,
            rucio.NoAuthInformation,
            rucio.MissingClientParameter,
            rucio.ClientProtocolNotFound,
            rucio.ClientProtocolNotSupported,
            rucio.ConfigNotFound,
            rucio.IdentityError,
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
        "is the storage up? then run the same command again",
    ),
)


def words(error: Exception) -> str:
    """What a Rucio exception says, on one line."""
    text = " ".join(str(error).replace("Details:", " ").split())
    return text or type(error).__name__


@contextmanager
def catalogue_errors(doing: str) -> Iterator[None]:
    """Translate what goes wrong in a call of Rucio's client; `doing` begins the message."""
    try:
        yield
    except (rucio.RucioException, RequestException) as error:
        for kinds, ours, hint in _CATALOGUE:
            if isinstance(error, kinds):
                raise ours(f"{doing}: {words(error)}", hint=hint) from error
        raise CatalogueRefused(f"{doing}: {words(error)}") from error


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Translate what goes wrong in a call of one of Rucio's protocol classes."""
    try:
        yield
    except (rucio.RucioException, RequestException) as error:
        for kinds, ours, hint in _STORAGE:
            if isinstance(error, kinds):
                raise ours(f"{doing}: {words(error)}", hint=hint) from error
        raise StorageRefused(f"{doing}: {words(error)}") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StorageRefused(f"{doing}: {reason}") from error
