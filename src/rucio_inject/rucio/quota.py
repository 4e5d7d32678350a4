"""How much room Rucio gives an account: the limits as Rucio itself applies them to rules."""

from __future__ import annotations

from math import isinf
from operator import itemgetter
from typing import Any

from rucio.client.client import Client

from rucio_inject.ports import Quota
from rucio_inject.rucio import answers

# Rucio holds no account that has this attribute, whatever its value, to any limit …
EXEMPT = "admin"
# … and no account to a limit on an RSE that has this one.
MOCK = "mock"


def exempt(client: Client, account: str) -> bool:
    """Whether Rucio holds the account to no limit at all."""
    found = [row for part in client.list_account_attributes(account) for row in _attributes(part)]
    return any(answers.text(row, "key") == EXEMPT for row in found)


def quota(client: Client, account: str, rse: str, *, held_to_limits: bool) -> Quota:
    """The limit that leaves the account least room on an RSE, with the use that counts against it.

    Rucio wants room under the local limit, which is 0 where none was set, and under every global
    limit whose RSE expression includes the RSE (`rucio.core.rse_selector`).
    """
    local = _local(client, account, rse)
    if not held_to_limits:
        return Quota(rse, None, local.used)
    quotas = [local, *_global(client, account, rse)]
    limited = [(left, quota) for quota in quotas if (left := quota.left) is not None]
    # A mock RSE is asked for last, because it matters to few.
    if not limited or answers.mapping(client.list_rse_attributes(rse)).get(MOCK):
        return Quota(rse, None, local.used)
    return min(limited, key=itemgetter(0))[1]


def _local(client: Client, account: str, rse: str) -> Quota:
    rows = answers.rows(client.get_local_account_usage(account, rse))
    return next((_quota(rse, row) for row in rows), Quota(rse, 0, 0))


def _global(client: Client, account: str, rse: str) -> list[Quota]:
    limits = answers.mapping(client.get_global_account_limits(account))
    including = {name for name, limit in limits.items() if rse in _resolved(limit)}
    if not including:
        return []
    rows = answers.rows(client.get_global_account_usage(account))
    return [_quota(rse, row) for row in rows if answers.text(row, "rse_expression") in including]


def _attributes(part: object) -> list[dict[str, Any]]:
    """One part of Rucio's answer: it sends all attributes as one list."""
    return answers.rows(answers.listing(part))


def _resolved(limit: object) -> list[Any]:
    return answers.listing(answers.mapping(limit).get("resolved_rses") or [])


def _quota(rse: str, row: dict[str, Any]) -> Quota:
    limit = answers.number(row, "bytes_limit")
    # -1 in Rucio's table, and infinity in its answers, stand for no limit.
    return Quota(
        rse, None if limit < 0 or isinf(limit) else int(limit), answers.whole(row, "bytes")
    )
