"""Records in short: read without the rest, and damage told as of any record."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import reduce

import pytest

from rucio_inject.domain.errors import LedgerError
from rucio_inject.domain.facts import FileFact
from rucio_inject.domain.injection import FileRecord
from rucio_inject.domain.outline import outline
from rucio_inject.domain.story import advance, begin_file
from rucio_inject.ledger import fact_json
from rucio_inject.ledger.fact_json import file_text, outline_from
from rucio_inject.testing.contracts.ledger import FILE, found, life

LIFE = [fact for fact in life(FILE) if isinstance(fact, FileFact)]


def record() -> FileRecord:
    """A file that has come to its end."""
    return reduce(advance, LIFE, begin_file(found(FILE)))


def test_nothing_else_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(*_: object) -> FileRecord:
        raise AssertionError("all of it was read")

    monkeypatch.setattr(fact_json, "file_from", too_much)
    for length in range(len(LIFE) + 1):
        known = reduce(advance, LIFE[:length], begin_file(found(FILE)))
        assert outline_from(file_text(known), 1) == outline(known)
    odd = replace(record(), path=b"/\xff".decode("utf-8", "surrogateescape"))
    assert outline_from(file_text(odd), 1) == outline(odd)


@pytest.mark.parametrize(
    "damage",
    [
        {"state": "NEW"},
        {"source": 1},
        {"replicas": []},
        {"replicas": {"A": {"gone_at": "noon"}}},
        {"measure": {}},
        {"dataset": None},
    ],
)
def test_damage_is_told(damage: dict[str, object]) -> None:
    text = json.dumps({**json.loads(file_text(record())), **damage})
    with pytest.raises(LedgerError, match="the ledger is damaged: what it holds of file 7"):
        outline_from(text, 7)
    with pytest.raises(LedgerError, match="damaged"):
        outline_from(text[:-9], 7)
