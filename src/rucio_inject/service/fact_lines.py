"""Facts from one process to another: a JSON object a line, through a pipe."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence

from rucio_inject.domain.errors import LedgerError
from rucio_inject.domain.facts import Fact
from rucio_inject.ledger.fact_json import fact_from, fact_text


class FactLines:
    """An onlooker that writes facts to a pipe. A reader that has gone away is no trouble: nothing
    rests on it, and all is on record."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def record(self, facts: Sequence[Fact]) -> None:
        """See `ports.FactSink`."""
        if self._descriptor is None:
            return
        try:
            for fact in facts:
                self._write(self._descriptor, line(fact))
        except OSError:
            os.close(self._descriptor)
            self._descriptor = None

    @staticmethod
    def _write(descriptor: int, data: bytes) -> None:
        while data:
            data = data[os.write(descriptor, data) :]


def line(fact: Fact) -> bytes:
    """A fact as one line."""
    kind, text = fact_text(fact)
    return f'{{"kind": {json.dumps(kind)}, "fact": {text}}}\n'.encode()


def facts(lines: Iterable[bytes]) -> Iterator[Fact]:
    """The facts in some lines; what is cut off by the end of its writer is left out."""
    for text in lines:
        try:
            told = json.loads(text)
            yield fact_from(told["kind"], json.dumps(told["fact"]))
        except (ValueError, KeyError, TypeError, LedgerError):
            continue
