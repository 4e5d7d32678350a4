"""Data identifiers: how Rucio names a file, a dataset or a container."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class DIDType(StrEnum):
    """What a data identifier stands for."""

    FILE = "FILE"
    DATASET = "DATASET"
    CONTAINER = "CONTAINER"


@dataclass(frozen=True, slots=True, order=True)
class DID:
    """A data identifier: `scope:name`, unique in a Rucio catalogue for ever."""

    scope: str
    name: str

    def __str__(self) -> str:
        return f"{self.scope}:{self.name}"

    @classmethod
    def parse(cls, text: str) -> DID:
        """Read `scope:name`; ValueError if there is no colon or a part is empty."""
        scope, colon, name = text.partition(":")
        if not (scope and colon and name):
            raise ValueError(f"{text!r} is not of the form scope:name")
        return cls(scope, name)
