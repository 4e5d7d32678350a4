"""The protocol classes that Rucio uses for an RSE's storage, made from the RSE's settings."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from rucio.common.exception import RSEProtocolNotSupported, RucioException
from rucio.rse import rsemanager
from rucio.rse.protocols import webdav

from rucio_inject.domain.errors import ProtocolUnusable, StorageRefused
from rucio_inject.rucio import answers
from rucio_inject.rucio.errors import words


class NoProtocol(StorageRefused):
    """An RSE has none for what is to be done."""


def settings(answer: object) -> dict[str, Any]:
    """The settings of an RSE, as far as its protocols need them; ValueError if they are not."""
    found = answers.mapping(answer)
    answers.text(found, "rse")
    protocols = answers.rows(answers.listing(found.get("protocols") or []))
    for protocol in protocols:
        answers.text(protocol, "scheme")
        answers.text(protocol, "prefix")
        for operations in answers.mapping(protocol.get("domains")).values():
            answers.mapping(operations)
    if found.get("deterministic") not in (True, False):
        raise ValueError(f"deterministic is {found.get('deterministic')!r}")
    return {**found, "protocols": protocols}


def ordered(rse: Mapping[str, Any], operation: str, doing: str) -> list[dict[str, Any]]:
    """The protocols that an RSE has for an operation, the one to be tried first before others.

    StorageRefused if it has none.
    """
    own = deepcopy(dict(rse))
    try:
        return list(rsemanager.get_protocols_ordered(own, operation))
    except RSEProtocolNotSupported as error:
        raise unsupported(rse, operation, None, doing) from error


def naming(rse: Mapping[str, Any], protocol: Mapping[str, Any]) -> Any:
    """What names the files of an RSE for one of its protocols: as Rucio's classes for root and davs
    do, without the libraries that they need."""
    return webdav.Default({**deepcopy(dict(protocol)), "auth_token": None}, deepcopy(dict(rse)))


def make(rse: Mapping[str, Any], operation: str, scheme: str | None, doing: str) -> Any:
    """The protocol that an RSE has for an operation; StorageRefused if it cannot be used here."""
    # Rucio writes into the settings while it makes a protocol: every thread needs its own.
    own = deepcopy(dict(rse))
    try:
        chosen = rsemanager.select_protocol(own, operation, scheme)
    except RSEProtocolNotSupported as error:
        raise unsupported(rse, operation, scheme, doing) from error
    try:
        return rsemanager.create_protocol(own, operation, scheme, protocol_attr=chosen)
    except (RucioException, ImportError, TypeError, AttributeError, ValueError) as error:
        # This is how Rucio meets an implementation whose library, or which itself, is not there.
        raise ProtocolUnusable(
            f"{doing}: RSE {rse['rse']} is reached over {chosen['scheme']} with "
            f"{chosen.get('impl')}, which does not work on this machine ({words(error)})",
            hint="install what it needs (gfal2, XRootD, …), or choose another protocol of the RSE",
        ) from error


def unsupported(
    rse: Mapping[str, Any], operation: str, scheme: str | None, doing: str
) -> NoProtocol:
    """The error of an RSE that has no protocol for something."""
    over = f" over {scheme}" if scheme else ""
    return NoProtocol(
        f"{doing}: RSE {rse['rse']} has no protocol for {operation}{over}",
        hint="choose another RSE, or ask its administrators: `rucio rse show` lists protocols",
    )
