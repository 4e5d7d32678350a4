"""ROOT files written chunk by chunk. Needs the extra [science]."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import uproot

from rucio_inject.science.draw import Chunk


def write_trees(path: Path, chunks: Iterator[Chunk], header: Mapping[str, int]) -> None:
    """Write the chunks as the tree `Events`, one basket each, and `header` as `RunHeaders`.

    The branches and their types are those of the first chunk; all chunks must have the same.
    """
    # An open file and not a path: uproot takes a colon in a path for the name of an object inside.
    with path.open("w+b") as file, uproot.recreate(file) as root:
        tree = None
        for chunk in chunks:
            if tree is None:
                tree = root.mktree("Events", {name: _kind(data) for name, data in chunk.items()})
            tree.extend(chunk)
        headers = {name: np.array([value], dtype=np.uint32) for name, value in header.items()}
        root.mktree("RunHeaders", {name: data.dtype for name, data in headers.items()})
        root["RunHeaders"].extend(headers)


def _kind(data: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> np.dtype[np.generic]:
    """The type of one event's entry: a number, or a fixed-size array of numbers."""
    return np.dtype((data.dtype, data.shape[1:])) if data.ndim > 1 else data.dtype
