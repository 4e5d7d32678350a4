"""Rucio's catalogue behind our port, in as few and as large calls as its REST API allows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

from rucio.client.client import Client
from rucio.common.exception import (
    DataIdentifierAlreadyExists,
    DataIdentifierNotFound,
    Duplicate,
    DuplicateRule,
    InvalidRSEExpression,
    RuleNotFound,
)

from rucio_inject.domain.checksum import normalise_adler32, normalise_md5
from rucio_inject.domain.did import DID, DIDType
from rucio_inject.domain.errors import CatalogueRefused, NotFound, NotPermitted
from rucio_inject.domain.rule import Lock, LockState, RuleRequest, RuleState, RuleView, StuckFile
from rucio_inject.domain.usage import Usage
from rucio_inject.ports import AttributeValue, Identity, KnownFile, KnownReplica, NewFile, Quota
from rucio_inject.rucio.errors import catalogue_errors
from rucio_inject.rucio.session import Session

# DIDs in one call: large enough that calls are few, small enough that each ends in seconds.
CHUNK = 500
# Up to here one rule listing a dataset is cheaper than listing all rules of the scope.
DATASETS_LISTED_ALONE = 20

T = TypeVar("T")


def _chunks(items: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk


def _plain(did: DID) -> dict[str, str]:
    return {"scope": did.scope, "name": did.name}


def _did(answer: Mapping[str, Any]) -> DID:
    return DID(str(answer["scope"]), answer["name"])


class RucioCatalogue:
    """Implements `ports.Catalogue` with Rucio's public client."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def whoami(self) -> Identity:
        """See the port."""
        client = self._session.client()
        with catalogue_errors("cannot ask Rucio who we are"):
            answer = client.whoami() or {}
        details = {key: str(value) for key, value in answer.items() if value is not None}
        return Identity(details.get("account", ""), details)

    def ensure_scope(self, scope: str, account: str) -> bool:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot see to scope {scope}"):
            owner = self._owner(client, scope)
            if owner is None:
                try:
                    client.add_scope(account, scope)
                except Duplicate:
                    # Somebody made it since we looked; perhaps for this account.
                    owner = self._owner(client, scope)
                else:
                    return True
        if owner != account:
            raise NotPermitted(
                f"scope {scope} belongs to account {owner}, not to {account}",
                hint="run as that account (--account), or name another scope in the campaign",
            )
        return False

    @staticmethod
    def _owner(client: Client, scope: str) -> str | None:
        owners = {str(row["scope"]): str(row["account"]) for row in client.list_scope_owners()}
        return owners.get(scope)

    def resolve(self, rse_expression: str) -> tuple[str, ...]:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot resolve RSE expression {rse_expression!r}"):
            try:
                rses = sorted(row["rse"] for row in client.list_rses(rse_expression))
            except InvalidRSEExpression as error:
                # Rucio says "invalid" for an expression that matches nothing, too.
                if "empty set" not in str(error).lower():
                    raise
                rses = []
        if not rses:
            raise NotFound(
                f"RSE expression {rse_expression!r} matches no RSE",
                hint="`rucio rse list` shows the RSEs there are",
            )
        return tuple(rses)

    def rse_attributes(self, rse: str) -> Mapping[str, AttributeValue]:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot read the attributes of RSE {rse}"):
            return dict(client.list_rse_attributes(rse))

    def set_rse_attribute(self, rse: str, key: str, value: AttributeValue) -> None:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot set attribute {key} of RSE {rse}"):
            client.add_rse_attribute(rse, key, value)

    def quota(self, account: str, rse: str) -> Quota:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot read the quota of {account} on {rse}"):
            limits = client.get_local_account_limit(account, rse)
            usages = list(client.get_local_account_usage(account, rse))
        limit = limits.get(rse)
        used = sum(int(usage["bytes"]) for usage in usages)
        if limit is None:
            return Quota(rse, 0, used)
        return Quota(rse, None if limit < 0 or limit == float("inf") else int(limit), used)

    def look_up(self, dids: Sequence[DID]) -> Mapping[DID, KnownFile]:
        """See the port."""
        known: dict[DID, KnownFile] = {}
        for chunk in _chunks(dids):
            rows = {_did(row): row for row in self._metadata(chunk) if _is_file(row)}
            replicas = self._replicas(list(rows)) if rows else {}
            for did, row in rows.items():
                adler32, md5 = row.get("adler32"), row.get("md5")
                known[did] = KnownFile(
                    did,
                    int(row["bytes"] or 0),
                    normalise_adler32(adler32) if adler32 else None,
                    normalise_md5(md5) if md5 else None,
                    replicas.get(did, {}),
                )
        return known

    def _metadata(self, dids: Sequence[DID]) -> list[dict[str, Any]]:
        client = self._session.client()
        with catalogue_errors(f"cannot look up {len(dids)} DIDs"):
            return list(client.get_metadata_bulk([_plain(did) for did in dids]))

    def _replicas(self, dids: Sequence[DID]) -> dict[DID, dict[str, KnownReplica]]:
        client = self._session.client()
        with catalogue_errors(f"cannot list the replicas of {len(dids)} files"):
            rows = list(client.list_replicas([_plain(did) for did in dids], all_states=True))
        return {
            _did(row): {
                rse: KnownReplica(next(iter(row["rses"].get(rse, ())), None), state == "AVAILABLE")
                for rse, state in (row.get("states") or {}).items()
            }
            for row in rows
        }

    def add_files(self, rse: str, files: Sequence[NewFile]) -> None:
        """See the port."""
        client = self._session.client()
        for chunk in _chunks(files):
            rows = [
                {
                    **_plain(file.did),
                    "bytes": file.measure.size,
                    "adler32": file.measure.adler32,
                    "md5": file.measure.md5,
                    **({"pfn": file.pfn} if file.pfn else {}),
                }
                for file in chunk
            ]
            with catalogue_errors(f"cannot register {len(chunk)} files at {rse}"):
                client.add_replicas(rse, rows)

    def set_metadata(self, metadata: Mapping[DID, Mapping[str, str | int]]) -> None:
        """See the port."""
        client = self._session.client()
        for chunk in _chunks(metadata.items()):
            rows = [{**_plain(did), "meta": dict(meta)} for did, meta in chunk]
            with catalogue_errors(f"cannot set the metadata of {len(chunk)} files"):
                client.set_dids_metadata_bulk(rows)

    def add_collections(self, collections: Mapping[DID, DIDType]) -> None:
        """See the port."""
        client = self._session.client()
        for chunk in _chunks(collections.items()):
            absent = self._absent_collections(dict(chunk))
            if not absent:
                continue
            rows = [{**_plain(did), "type": str(kind)} for did, kind in absent.items()]
            with catalogue_errors(f"cannot make {len(rows)} datasets and containers"):
                try:
                    client.add_dids(rows)
                except DataIdentifierAlreadyExists:
                    # Somebody made one of them since we looked: make those still missing singly.
                    self._add_one_by_one(absent)

    def _absent_collections(self, wanted: Mapping[DID, DIDType]) -> dict[DID, DIDType]:
        types = {_did(row): str(row["did_type"]) for row in self._metadata(list(wanted))}
        for did, kind in wanted.items():
            if types.get(did, kind) != kind:
                raise CatalogueRefused(
                    f"{did} is to be a {kind} but the catalogue has it as a {types[did]}",
                    hint="change the naming templates of the campaign, or its scope",
                )
        return {did: kind for did, kind in wanted.items() if did not in types}

    def _add_one_by_one(self, collections: Mapping[DID, DIDType]) -> None:
        client = self._session.client()
        for did, kind in self._absent_collections(collections).items():
            client.add_did(did.scope, did.name, str(kind))

    def attach(self, contents: Mapping[DID, Sequence[DID]]) -> None:
        """See the port."""
        client = self._session.client()
        pairs = ((parent, did) for parent, children in contents.items() for did in children)
        for chunk in _chunks(pairs):
            grouped: dict[DID, list[dict[str, str]]] = {}
            for parent, did in chunk:
                grouped.setdefault(parent, []).append(_plain(did))
            rows = [{**_plain(parent), "dids": dids} for parent, dids in grouped.items()]
            with catalogue_errors(f"cannot attach {len(chunk)} DIDs"):
                client.attach_dids_to_dids(rows, ignore_duplicate=True)

    def contents(self, collection: DID) -> tuple[DID, ...]:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot list what {collection} holds"):
            return tuple(
                _did(row) for row in client.list_content(collection.scope, collection.name)
            )

    def expire_collection(self, collection: DID, lifetime: int) -> None:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot give {collection} a lifetime"):
            client.set_metadata(collection.scope, collection.name, "lifetime", lifetime)

    def missing(self, dids: Sequence[DID]) -> frozenset[DID]:
        """See the port."""
        there = {_did(row) for chunk in _chunks(dids) for row in self._metadata(chunk)}
        return frozenset(dids) - there

    def add_rule(self, did: DID, request: RuleRequest, account: str) -> tuple[str, bool]:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot make a rule for {did} to {request.rse_expression}"):
            try:
                made = client.add_replication_rule(
                    dids=[_plain(did)],
                    copies=request.copies,
                    rse_expression=request.rse_expression,
                    account=account,
                    activity=request.activity,
                )
            except DuplicateRule:
                return self._adopt(did, request, account), True
        return str(made[0]), False

    def _adopt(self, did: DID, request: RuleRequest, account: str) -> str:
        for view in self.rules([did], account):
            if (view.rse_expression, view.copies) == (request.rse_expression, request.copies):
                if view.expires_at is not None:
                    # It was about to end; the files in the dataset now still need it.
                    client = self._session.client()
                    with catalogue_errors(f"cannot prolong rule {view.rule_id}"):
                        client.update_replication_rule(view.rule_id, {"lifetime": None})
                return view.rule_id
        raise CatalogueRefused(
            f"Rucio says that {did} has a rule to {request.rse_expression} and shows none"
        )

    def rules(self, dids: Sequence[DID], account: str) -> Sequence[RuleView]:
        """See the port."""
        client = self._session.client()
        wanted = frozenset(dids)
        filters: list[dict[str, str]]
        if len(wanted) <= DATASETS_LISTED_ALONE:
            filters = [{"account": account, **_plain(did)} for did in wanted]
        else:
            scopes = sorted({did.scope for did in wanted})
            filters = [{"account": account, "scope": scope} for scope in scopes]
        with catalogue_errors("cannot list replication rules"):
            rows = [row for chosen in filters for row in client.list_replication_rules(chosen)]
        return [_rule_view(row) for row in rows if _did(row) in wanted]

    def locks(self, rule_id: str) -> Sequence[Lock]:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot list the locks of rule {rule_id}"):
            try:
                rows = list(client.list_replica_locks(rule_id))
            except RuleNotFound:
                return []
        return [Lock(_did(row), row["rse"], LockState(row["state"])) for row in rows]

    def stuck_files(self, rule_id: str) -> Sequence[StuckFile]:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot examine rule {rule_id}"):
            answer = client.examine_replication_rule(rule_id)
        error = str(answer.get("rule_error") or "no reason given")
        return [
            StuckFile(
                _did(row),
                row["rse"],
                f"{row['last_error']}, {error}" if row.get("last_error") else error,
                int(row.get("attempts") or 0),
            )
            for row in answer.get("transfers", ())
        ]

    def end_rule(self, rule_id: str, lifetime: int) -> None:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot give rule {rule_id} its end"):
            client.update_replication_rule(rule_id, {"lifetime": lifetime, "purge_replicas": True})

    def usage(self, rse: str) -> Usage:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot read the usage of RSE {rse}"):
            try:
                rows = list(client.get_rse_usage(rse, filters={"source": "rucio"}))
            except DataIdentifierNotFound:
                rows = []
        counted = [row for row in rows if row.get("source") == "rucio"]
        return Usage(
            sum(int(row.get("files") or 0) for row in counted),
            sum(int(row.get("used") or 0) for row in counted),
        )


def _is_file(row: Mapping[str, Any]) -> bool:
    return str(row["did_type"]) == DIDType.FILE


def _rule_view(row: Mapping[str, Any]) -> RuleView:
    expires_at = row.get("expires_at")
    return RuleView(
        rule_id=row["id"],
        did=_did(row),
        rse_expression=row["rse_expression"],
        copies=int(row["copies"]),
        state=RuleState(row["state"]),
        locks_ok=int(row["locks_ok_cnt"]),
        locks_replicating=int(row["locks_replicating_cnt"]),
        locks_stuck=int(row["locks_stuck_cnt"]),
        # Rucio's times are UTC and carry no zone.
        expires_at=expires_at.replace(tzinfo=UTC) if isinstance(expires_at, datetime) else None,
        error=row.get("error"),
    )
