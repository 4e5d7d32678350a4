"""Facts and records as JSON text, and back: what the ledger's database holds of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from rucio_inject.domain import facts as f
from rucio_inject.domain.errors import LedgerError
from rucio_inject.domain.injection import FileRecord, RuleRecord

T = TypeVar("T")

KINDS: Mapping[str, type[f.Fact]] = MappingProxyType(
    {
        name: kind
        for name, kind in vars(f).items()
        if isinstance(kind, type) and issubclass(kind, f.Fact) and kind not in {f.Fact, f.FileFact}
    }
)
"""Every kind of fact by its name."""

# Making an adapter costs more than a thousand uses of it.
_FACTS: Mapping[str, TypeAdapter[Any]] = {name: TypeAdapter(kind) for name, kind in KINDS.items()}
_FILE = TypeAdapter(FileRecord)
_RULE = TypeAdapter(RuleRecord)


def fact_text(fact: f.Fact) -> tuple[str, str]:
    """A fact's kind, and its content as JSON text in ASCII or UTF-8."""
    kind = type(fact).__name__
    return kind, _dumped(_FACTS[kind], fact)


def fact_from(kind: str, text: str) -> f.Fact:
    """The fact that `fact_text` wrote. LedgerError if it is none of ours, or damaged."""
    adapter = _FACTS.get(kind)
    if adapter is None:
        raise LedgerError(
            f"the ledger holds a fact of kind {kind!r}, which this version does not know",
            hint="use the version of rucio-inject that wrote it",
        )
    fact: f.Fact = _loaded(adapter, text, kind)
    return fact


def file_text(record: FileRecord) -> str:
    """A file's record as JSON text."""
    return _dumped(_FILE, record)


def file_from(text: str, did: str) -> FileRecord:
    """The record of file `did`. LedgerError, which names it, if the text is damaged."""
    return _loaded(_FILE, text, did)


def rule_text(record: RuleRecord) -> str:
    """A rule's record as JSON text."""
    return _dumped(_RULE, record)


def rule_from(text: str, rule_id: str) -> RuleRecord:
    """The record of rule `rule_id`. LedgerError, which names it, if the text is damaged."""
    return _loaded(_RULE, text, rule_id)


def as_text(text: str) -> str:
    """What a disk or a server said, with what is no text in it escaped: databases take only text,
    and PostgreSQL takes no NUL in it."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _dumped(adapter: TypeAdapter[T], value: T) -> str:
    try:
        return adapter.serializer.to_json(value).decode()
    except PydanticSerializationError:
        # A path with bytes that are no text. Python's own encoder escapes them one by one.
        return json.dumps(adapter.dump_python(value, mode="json"))


def _loaded(adapter: TypeAdapter[T], text: str, name: str) -> T:
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
