"""What Rucio's answers must look like, and what is read from them.

A proxy, a wrong address or a broken connection can answer in Rucio's place. Everything here raises
ValueError for what makes no sense, and is called within `catalogue_errors`, which tells it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isnan
from typing import Any

from rucio_inject.domain.checksum import normalise_adler32, normalise_md5
from rucio_inject.domain.did import DID
from rucio_inject.domain.replica import ReplicaState
from rucio_inject.domain.rule import Holder, Lock, LockState, RuleState, RuleView, StuckFile
from rucio_inject.domain.usage import Usage
from rucio_inject.ports import Identity, KnownReplica, StoredFile

# Characters of a wrong answer that an error shows.
SHOWN = 60


def refuse_pages(response: Any, **_options: object) -> None:
    """A hook of requests: ValueError for a success that Rucio would not have told like this.

    Rucio's client takes an empty page for an empty list, and any page for a change made. Rucio
    answers questions in JSON, and changes (PUT) with nothing.
    """
    if response.status_code != 200:
        return
    kind = response.headers.get("content-type") or "an answer of no type"
    change = response.request.method == "PUT"
    if bool(response.content) if change else "json" not in kind:
        response.close()
        raise ValueError(f"{kind} where {'nothing' if change else 'JSON'} belongs")


def mapping(answer: object) -> dict[str, Any]:
    """An answer that must be a mapping."""
    if not isinstance(answer, Mapping):
        raise _wrong(answer, "where a mapping belongs")
    return dict(answer)


def listing(answer: object) -> list[Any]:
    """An answer that must be a list."""
    if not isinstance(answer, list | tuple):
        raise _wrong(answer, "where a list belongs")
    return list(answer)


def rows(answers: Iterable[object]) -> list[dict[str, Any]]:
    """All rows of a streamed answer, read to its end: Rucio's client parses while one iterates."""
    return [mapping(answer) for answer in answers]


def text(row: Mapping[str, Any], key: str) -> str:
    """A text that must be there and not be empty."""
    value = _value(row, key)
    if not isinstance(value, str) or not value:
        raise _wrong(value, f"as {key}")
    return value


def number(row: Mapping[str, Any], key: str) -> int | float:
    """A number that must be there; None counts 0. Rucio tells "no limit" as infinity."""
    value = _value(row, key)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float) or isnan(value):
        raise _wrong(value, f"as {key}")
    return value


def whole(row: Mapping[str, Any], key: str) -> int:
    """A whole number that must be there; None counts 0."""
    value = number(row, key)
    if not isinstance(value, int):
        raise _wrong(value, f"as {key}")
    return value


def moment(row: Mapping[str, Any], key: str) -> datetime | None:
    """A moment, if it is there."""
    value = row.get(key)
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise _wrong(value, f"as {key}")
    # Rucio's times are UTC and carry no zone.
    return value.replace(tzinfo=UTC)


def did(row: Mapping[str, Any]) -> DID:
    """The DID that a row is about."""
    return DID(text(row, "scope"), text(row, "name"))


def identity(answer: object) -> Identity:
    """Whom Rucio takes us for."""
    found = mapping(answer)
    details = {key: str(value) for key, value in found.items() if value is not None}
    return Identity(text(found, "account"), details)


@dataclass(frozen=True, slots=True)
class DIDRow:
    """What the catalogue says of a DID; a collection has neither size nor checksums, and a file
    is never open."""

    kind: str
    size: int
    adler32: str | None
    md5: str | None
    is_open: bool
    expires_at: datetime | None


def did_row(row: Mapping[str, Any]) -> DIDRow:
    """The metadata of a DID."""
    adler32, md5 = row.get("adler32"), row.get("md5")
    return DIDRow(
        text(row, "did_type"),
        whole(row, "bytes"),
        normalise_adler32(text(row, "adler32")) if adler32 else None,
        normalise_md5(text(row, "md5")) if md5 else None,
        row.get("is_open") is True,
        moment(row, "expired_at"),
    )


def replicas(row: Mapping[str, Any]) -> dict[str, KnownReplica]:
    """The replicas of a file by RSE."""
    pfns = mapping(row.get("rses") or {})
    states = mapping(row.get("states") or {})
    known = {}
    for rse in states:
        offered = listing(pfns.get(rse) or [])
        pfn = text({"pfn": offered[0]}, "pfn") if offered else None
        known[rse] = KnownReplica(pfn, ReplicaState(text(states, rse)))
    return known


def refused_replicas(answer: object) -> list[str]:
    """Replicas that were not declared bad, each with Rucio's reason."""
    return [str(reason) for reasons in mapping(answer).values() for reason in listing(reasons)]


def stored_file(pfn: str, answer: object) -> StoredFile:
    """What a storage told of a file; protocols leave out what their storage does not know."""
    told = mapping(answer)
    size, adler32 = told.get("filesize"), told.get("adler32")
    return StoredFile(
        pfn,
        int(size) if size is not None else None,
        normalise_adler32(str(adler32)) if adler32 else None,
    )


def made_rules(answer: object, dids: Sequence[DID]) -> dict[DID, str]:
    """The ids of the rules that were made for some DIDs, in their order."""
    ids = listing(answer)
    if len(ids) != len(dids):
        raise ValueError(f"{len(ids)} rules where {len(dids)} were asked for")
    return {did: text({"rule id": made}, "rule id") for did, made in zip(dids, ids, strict=True)}


def rule_view(row: Mapping[str, Any]) -> RuleView:
    """A rule as it is now."""
    return RuleView(
        rule_id=text(row, "id"),
        did=did(row),
        rse_expression=text(row, "rse_expression"),
        copies=whole(row, "copies"),
        state=RuleState(text(row, "state")),
        locks_ok=whole(row, "locks_ok_cnt"),
        locks_replicating=whole(row, "locks_replicating_cnt"),
        locks_stuck=whole(row, "locks_stuck_cnt"),
        expires_at=moment(row, "expires_at"),
        error=text(row, "error") if row.get("error") else None,
        child_rule_id=text(row, "child_rule_id") if row.get("child_rule_id") else None,
    )


def holder(row: Mapping[str, Any]) -> Holder:
    """A rule that holds a file."""
    return Holder(text(row, "id"), text(row, "account"), text(row, "rse_expression"))


def lock(row: Mapping[str, Any]) -> Lock:
    """One replica that a rule promises."""
    return Lock(did(row), text(row, "rse"), LockState(text(row, "state")))


def stuck_files(answer: object) -> list[StuckFile]:
    """Why files of a rule are not where they should be."""
    found = mapping(answer)
    error = str(found.get("rule_error") or "no reason given")
    return [
        StuckFile(
            did(row),
            text(row, "rse"),
            f"{row['last_error']}, {error}" if row.get("last_error") else error,
            whole(row, "attempts") if "attempts" in row else 0,
        )
        for row in rows(listing(_value(found, "transfers") or []))
    ]


def usage(answers: Iterable[object]) -> Usage:
    """What the catalogue's own counters say, among whatever else is told of an RSE."""
    counted = [row for row in rows(answers) if text(row, "source") == "rucio"]
    return Usage(
        sum(whole(row, "files") for row in counted), sum(whole(row, "used") for row in counted)
    )


def _value(row: Mapping[str, Any], key: str) -> object:
    if key not in row:
        raise ValueError(f"no {key} in {_shown(dict(row))}")
    return row[key]


def _wrong(value: object, where: str) -> ValueError:
    return ValueError(f"{_shown(value)} {where}")


def _shown(value: object) -> str:
    told = repr(value)
    return told if len(told) <= SHOWN else f"{told[:SHOWN]} …"
