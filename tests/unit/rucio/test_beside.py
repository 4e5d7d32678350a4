"""Bytes that are measured beside their way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rucio_inject.domain.errors import SourceChanged, SourceUnreadable
from rucio_inject.rucio.beside import BLOCK, Beside, source_blocks
from rucio_inject.testing.contracts.world import measured


@pytest.mark.parametrize("size", [0, 1, BLOCK, BLOCK + 1, 7 * BLOCK + 3])
def test_every_byte_is_measured_in_its_place(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    path = tmp_path / "source"
    path.write_bytes(content)
    with Beside(size) as beside:
        for block in source_blocks(path, size):
            beside.update(block)
        assert beside.measure() == measured(content)


def test_never_more_than_was_told(tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.write_bytes(b"longer than it was")
    blocks = source_blocks(path, 6)
    assert next(blocks) == b"longer"
    with pytest.raises(SourceChanged):
        next(blocks)


def test_a_source_that_is_shorter_or_away(tmp_path: Path) -> None:
    path = tmp_path / "source"
    with pytest.raises(SourceUnreadable):
        list(source_blocks(path, 1))
    path.write_bytes(b"short")
    with pytest.raises(SourceChanged):
        list(source_blocks(path, 6))
