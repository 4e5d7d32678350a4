"""Rucio's catalogue behind our port, in as few and as large calls as its REST API allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rucio.client.client import Client
from rucio.common.exception import (
    DataIdentifierAlreadyExists,
    DataIdentifierNotFound,
    Duplicate,
    UnsupportedOperation,
)

from rucio_inject.batches import batches
from rucio_inject.domain.did import DID, DIDType
from rucio_inject.domain.errors import (
    CatalogueRefused,
    NotFound,
    NotPermitted,
)
from rucio_inject.domain.usage import Usage
from rucio_inject.ports import (
    AttributeValue,
    Identity,
    KnownCollection,
    KnownFile,
    KnownReplica,
    NewFile,
    Quota,
    Space,
)
from rucio_inject.rucio import answers, quota
from rucio_inject.rucio.errors import catalogue_errors
from rucio_inject.rucio.rules import RucioRules, plain
from rucio_inject.rucio.session import Session
from rucio_inject.rucio.space import space as room_of


def _new(file: NewFile) -> dict[str, str | int]:
    row: dict[str, str | int] = {
        **plain(file.did),
        "bytes": file.measure.size,
        "adler32": file.measure.adler32,
    }
    if file.measure.md5 is not None:
        row["md5"] = file.measure.md5
    return {**row, "pfn": file.pfn} if file.pfn else row


def _collection(did: DID, row: answers.DIDRow) -> KnownCollection:
    return KnownCollection(did, DIDType(row.kind), row.is_open, row.expires_at)


class RucioCatalogue(RucioRules):
    """Implements `ports.Catalogue` with Rucio's public client."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        # Accounts that Rucio holds to no limit, or does: this does not change in a run.
        self._exempt: dict[str, bool] = {}

    def whoami(self) -> Identity:
        """See the port."""
        client = self._session.client()
        with catalogue_errors("cannot ask Rucio who we are"):
            return answers.identity(client.whoami())

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
        owners = {
            answers.text(row, "scope"): answers.text(row, "account")
            for row in answers.rows(answers.listing(client.list_scope_owners()))
        }
        return owners.get(scope)

    def scope_owner(self, scope: str) -> str | None:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot look for scope {scope}"):
            return self._owner(client, scope)

    def rse_attributes(self, rse: str) -> Mapping[str, AttributeValue]:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot read the attributes of RSE {rse}"):
            return answers.mapping(client.list_rse_attributes(rse))

    def set_rse_attribute(self, rse: str, key: str, value: AttributeValue) -> None:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot set attribute {key} of RSE {rse}"):
            client.add_rse_attribute(rse, key, value)

    def held_to_limits(self, account: str) -> bool:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot ask whether account {account} has limits"):
            if account not in self._exempt:
                self._exempt[account] = quota.exempt(client, account)
            return not self._exempt[account]

    def quota(self, account: str, rse: str) -> Quota:
        """See the port."""
        client, held_to_limits = self._session.client(), self.held_to_limits(account)
        with catalogue_errors(f"cannot read the quota of {account} on {rse}"):
            return quota.quota(client, account, rse, held_to_limits=held_to_limits)

    def space(self, rse: str) -> Space:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot read the room of RSE {rse}"):
            return room_of(client, rse)

    def find(self, dids: Sequence[DID]) -> Mapping[DID, KnownFile | KnownCollection]:
        """See the port."""
        known: dict[DID, KnownFile | KnownCollection] = {}
        for chunk in batches(dids):
            metadata = self._metadata(chunk)
            files = [did for did, row in metadata.items() if row.kind == DIDType.FILE]
            replicas = self._replicas(files) if files else {}
            for did, row in metadata.items():
                if row.kind == DIDType.FILE:
                    there = replicas.get(did, {})
                    known[did] = KnownFile(did, row.size, row.adler32, row.md5, there)
                else:
                    known[did] = _collection(did, row)
        return known

    def look_up(self, dids: Sequence[DID]) -> Mapping[DID, KnownFile]:
        """See the port."""
        found = self.find(dids)
        return {did: known for did, known in found.items() if isinstance(known, KnownFile)}

    def _metadata(self, dids: Sequence[DID]) -> dict[DID, answers.DIDRow]:
        client = self._session.client()
        with catalogue_errors(f"cannot look up {len(dids)} DIDs"):
            rows = answers.rows(client.get_metadata_bulk([plain(did) for did in dids]))
            return {answers.did(row): answers.did_row(row) for row in rows}

    def _replicas(self, dids: Sequence[DID]) -> dict[DID, dict[str, KnownReplica]]:
        client = self._session.client()
        with catalogue_errors(f"cannot list the replicas of {len(dids)} files"):
            # In no order: else Rucio asks its database how far each replica is from here, which
            # took nine tenths of the time. We read every replica.
            listed = client.list_replicas(
                [plain(did) for did in dids], all_states=True, sort="random"
            )
            return {answers.did(row): answers.replicas(row) for row in answers.rows(listed)}

    def add_files(self, rse: str, files: Sequence[NewFile]) -> None:
        """See the port."""
        client = self._session.client()
        for chunk in batches(files):
            with catalogue_errors(f"cannot register {len(chunk)} files at {rse}"):
                client.add_replicas(rse, [_new(file) for file in chunk])

    def place_files(self, rse: str, contents: Mapping[DID, Sequence[NewFile]]) -> None:
        """See the port."""
        client = self._session.client()
        pairs = ((dataset, file) for dataset, files in contents.items() for file in files)
        for chunk in batches(pairs):
            grouped: dict[DID, list[dict[str, str | int]]] = {}
            for dataset, file in chunk:
                grouped.setdefault(dataset, []).append(_new(file))
            rows = [{**plain(did), "dids": files, "rse": rse} for did, files in grouped.items()]
            with catalogue_errors(f"cannot register {len(chunk)} files at {rse}"):
                # One transaction, in which Rucio compares what it has with what we bring.
                client.add_files_to_datasets(rows, ignore_duplicate=True)

    def restore_files(self, rse: str, files: Sequence[NewFile]) -> None:
        """See the port."""
        client = self._session.client()
        known = self.look_up([file.did for file in files])
        if lacking := [str(file.did) for file in files if file.did not in known]:
            raise NotFound(f"not in the catalogue: {', '.join(lacking)}")
        bare = [file for file in files if rse not in known[file.did].replicas]
        if bare:
            self.add_files(rse, bare)
        awaited = [
            file.did
            for file in files
            if rse in known[file.did].replicas and not known[file.did].replicas[rse].available
        ]
        for chunk in batches(awaited):
            rows = [{**plain(did), "state": "A"} for did in chunk]
            with catalogue_errors(f"cannot declare {len(chunk)} replicas at {rse} available"):
                client.update_replicas_states(rse, rows)

    def set_metadata(self, metadata: Mapping[DID, Mapping[str, str | int]]) -> None:
        """See the port."""
        client = self._session.client()
        for chunk in batches(metadata.items()):
            rows = [{**plain(did), "meta": dict(meta)} for did, meta in chunk]
            with catalogue_errors(f"cannot set the metadata of {len(chunk)} files"):
                client.set_dids_metadata_bulk(rows)

    def add_collections(self, collections: Mapping[DID, DIDType]) -> frozenset[DID]:
        """See the port."""
        client, made = self._session.client(), set[DID]()
        for chunk in batches(collections.items()):
            rows = [{**plain(did), "type": str(kind)} for did, kind in chunk]
            with catalogue_errors(f"cannot make {len(rows)} datasets and containers"):
                try:
                    # All or none: who asks for those that are missing need not look first.
                    client.add_dids(rows)
                except DataIdentifierAlreadyExists:
                    self._add_one_by_one(dict(chunk))
                else:
                    made.update(did for did, _ in chunk)
        return frozenset(made)

    def _absent_collections(self, wanted: Mapping[DID, DIDType]) -> dict[DID, DIDType]:
        types = {did: row.kind for did, row in self._metadata(list(wanted)).items()}
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
        for chunk in batches(pairs):
            grouped: dict[DID, list[dict[str, str]]] = {}
            for parent, did in chunk:
                grouped.setdefault(parent, []).append(plain(did))
            rows = [{**plain(parent), "dids": dids} for parent, dids in grouped.items()]
            with catalogue_errors(f"cannot attach {len(chunk)} DIDs"):
                client.attach_dids_to_dids(rows, ignore_duplicate=True)

    def contents(self, collection: DID) -> tuple[DID, ...]:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot list what {collection} holds"):
            held = client.list_content(collection.scope, collection.name)
            return tuple(answers.did(row) for row in answers.rows(held))

    def close(self, collection: DID) -> None:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot close {collection}"):
            try:
                client.close(collection.scope, collection.name)
            except UnsupportedOperation:
                # Rucio changes nothing of what is closed, and says so by an error.
                known = self.look_up_collections([collection])
                if collection not in known or known[collection].open:
                    raise

    def expire_collection(self, collection: DID, lifetime: int) -> None:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot give {collection} a lifetime"):
            client.set_metadata(collection.scope, collection.name, "lifetime", lifetime)

    def missing(self, dids: Sequence[DID]) -> frozenset[DID]:
        """See the port."""
        there = {did for chunk in batches(dids) for did in self._metadata(chunk)}
        return frozenset(dids) - there

    def look_up_collections(self, dids: Sequence[DID]) -> Mapping[DID, KnownCollection]:
        """See the port."""
        rows = {did: row for chunk in batches(dids) for did, row in self._metadata(chunk).items()}
        return {did: _collection(did, row) for did, row in rows.items() if row.kind != DIDType.FILE}

    def mark_bad(self, rse: str, dids: Sequence[DID], reason: str) -> None:
        """See the port."""
        client = self._session.client()
        refused: list[str] = []
        for chunk in batches(dids):
            rows = [{**plain(did), "rse": rse} for did in chunk]
            with catalogue_errors(f"cannot declare {len(chunk)} replicas at {rse} bad"):
                # By force: what was declared before is no error.
                told = client.declare_bad_file_replicas(rows, reason, force=True)
                refused += answers.refused_replicas(told)
        if refused:
            raise NotFound(f"cannot declare replicas at {rse} bad: {', '.join(refused)}")

    def usage(self, rse: str) -> Usage:
        """See the port."""
        client = self._session.client()
        with catalogue_errors(f"cannot read the usage of RSE {rse}"):
            try:
                return answers.usage(client.get_rse_usage(rse, filters={"source": "rucio"}))
            except DataIdentifierNotFound:
                return Usage(0, 0)
