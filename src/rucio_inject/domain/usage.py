"""How much an RSE holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """Files and bytes on an RSE, as one witness (the catalogue or the storage) counts them."""

    files: int
    bytes: int
