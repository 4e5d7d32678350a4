"""Facts and records as JSON text, and back: what the ledger's database holds of each."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json

from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError
from rucio_inject.domain.injection import FileRecord, FileState, RuleRecord, SourceCopy
from rucio_inject.domain.outline import FileOutline, outline

KINDS: Mapping[str, type[f.Fact]] = MappingProxyType(
    {
        name: kind
        for name, kind in vars(f).items()
        if isinstance(kind, type) and issubclass(kind, f.Fact) and kind not in {f.Fact, f.FileFact}
    }
)
"""Every kind of fact by its name."""

_FILE, _RULE = "file", "rule"
_RECORDS: Mapping[str, Any] = MappingProxyType({_FILE: FileRecord, _RULE: RuleRecord})
_STATES = {state.value: state for state in FileState}
_SOURCES = {source.value: source for source in SourceCopy}


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    """What writes and reads a kind of fact, or of record. To make one takes longer than a thousand
    uses of it, and a command that only looks on needs few."""
    return TypeAdapter(_RECORDS.get(kind) or KINDS[kind])


def fact_text(fact: f.Fact) -> tuple[str, str]:
    """A fact's kind, and its content as JSON text in ASCII or UTF-8."""
    kind = type(fact).__name__
    return kind, _dumped(_adapter(kind), fact)


def fact_from(kind: str, text: str) -> f.Fact:
    """The fact that `fact_text` wrote. LedgerError if it is none of ours, or damaged."""
    if kind not in KINDS:
        raise LedgerError(
            f"the ledger holds a fact of kind {kind!r}, which this version does not know",
            hint="use the version of rucio-inject that wrote it",
        )
    fact: f.Fact = _loaded(_adapter(kind), text, kind)
    return fact


def file_text(record: FileRecord) -> str:
    """A file's record as JSON text."""
    return _dumped(_adapter(_FILE), record)


def file_from(text: str, did: str) -> FileRecord:
    """The record of file `did`. LedgerError, which names it, if the text is damaged."""
    record: FileRecord = _loaded(_adapter(_FILE), text, did)
    return record


def outline_from(text: str, row: int) -> FileOutline:
    """What of a file's record is counted, in half the time that all of it takes. LedgerError, which
    names the file, if the text is damaged."""
    try:
        known: dict[str, Any] = from_json(text) if "\\ud" not in text else json.loads(text)
        replicas = known["replicas"].values()
        measure, failure = known["measure"], known["failure"]
        return FileOutline(
            state=_STATES[known["state"]],
            dataset=_did(known["dataset"]["scope"], known["dataset"]["name"]),
            size=None if measure is None else measure["size"],
            source=_SOURCES[known["source"]],
            failure=None if failure is None else failure["code"],
            path=known["path"],
            adopted=known["adopted"],
            generated=known["generated"],
            waits=known["waits_for"] is not None,
            # Records of before there were samples, or origin RSEs, have no word of them.
            sampled=known.get("sampled", False),
            in_place=known.get("in_place", False),
            **_of_replicas(replicas),
            uploaded_at=_moment(known["uploaded_at"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        # Whatever is wrong is told as of any record that is read.
        return outline(file_from(text, f"file {row}"))


def _of_replicas(replicas: Collection[Mapping[str, str | None]]) -> Mapping[str, Any]:
    read_back = [at for known in replicas if (at := _moment(known["read_back_at"])) is not None]
    gone = [at for known in replicas if (at := _moment(known["gone_at"])) is not None]
    return {
        "read_back": len(read_back),
        "told": sum(known.get("told_at") is not None for known in replicas),
        "gone": len(gone),
        "read_back_at": max(read_back, default=None),
        "gone_at": max(gone, default=None),
    }


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


@lru_cache(maxsize=1024)
def _did(scope: str, name: str) -> DID:
    return DID(scope, name)


def rule_text(record: RuleRecord) -> str:
    """A rule's record as JSON text."""
    return _dumped(_adapter(_RULE), record)


def rule_from(text: str, rule_id: str) -> RuleRecord:
    """The record of rule `rule_id`. LedgerError, which names it, if the text is damaged."""
    record: RuleRecord = _loaded(_adapter(_RULE), text, rule_id)
    return record


def as_text(text: str) -> str:
    """What a disk or a server said, with what is no text in it escaped: databases take only text,
    and PostgreSQL takes no NUL in it."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _dumped(adapter: TypeAdapter[Any], value: object) -> str:
    try:
        return adapter.serializer.to_json(value).decode()
    except PydanticSerializationError:
        # A path with bytes that are no text. Python's own encoder escapes them one by one.
        return json.dumps(adapter.dump_python(value, mode="json"))


def _loaded(adapter: TypeAdapter[Any], text: str, name: str) -> Any:
    try:
        # Only Python's own decoder takes what its encoder made of bytes that are no text.
        if "\\ud" in text:
            return adapter.validate_python(json.loads(text))
        return adapter.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "its JSON"
        reason = f"{where}: {first['msg']}"
    except ValueError as error:
        reason = str(error)
    raise LedgerError(
        f"the ledger is damaged: what it holds of {name} cannot be read, at {reason}",
        hint="nothing was touched; restore the ledger from a copy, or name another one",
    )
