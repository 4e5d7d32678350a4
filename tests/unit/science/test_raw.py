"""Files of random bytes: of the size asked for, repeatable, each seed another."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from rucio_inject.domain.errors import UsageError
from rucio_inject.science.raw import BLOCK, write_random


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 17])
def test_the_size_is_as_asked(tmp_path: Path, size: int) -> None:
    write_random(tmp_path / "a.raw.gz", size=size, seed=1)
    assert (tmp_path / "a.raw.gz").stat().st_size == size


def test_a_seed_repeats_its_bytes_and_no_other_seeds(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("again", 1), ("b", 2)):
        write_random(tmp_path / name, size=2 * BLOCK, seed=seed)
    a, again, b = ((tmp_path / name).read_bytes() for name in ("a", "again", "b"))
    assert a == again
    assert zlib.adler32(a) != zlib.adler32(b)


def test_the_content_has_no_pattern_that_a_compressor_finds(tmp_path: Path) -> None:
    write_random(tmp_path / "a", size=3 * BLOCK, seed=5)
    content = (tmp_path / "a").read_bytes()
    assert len(zlib.compress(content, level=9)) >= len(content)
    assert len({content[start : start + BLOCK] for start in range(0, 3 * BLOCK, BLOCK)}) == 3


@pytest.mark.parametrize(("size", "seed"), [(-1, 0), (10, -1)])
def test_what_makes_no_file_is_refused(tmp_path: Path, size: int, seed: int) -> None:
    with pytest.raises(UsageError, match=r"a\.raw"):
        write_random(tmp_path / "a.raw", size=size, seed=seed)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_file_and_no_half_of_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(size: int, seed: int) -> list[bytes]:
        raise OSError(28, "No space left on device")

    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr("rucio_inject.science.raw._blocks", broken)
    with pytest.raises(OSError, match="No space left"):
        write_random(tmp_path / "a", size=10, seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"
