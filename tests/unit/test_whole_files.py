"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from rucio_inject.whole_files import (
    partial_name,
    replacing_alone,
    replacing_durably,
    write_durably,
)

Replace = Callable[[Path], AbstractContextManager[Path]]


def _write(replace: Replace, path: Path, error: Exception | None = None) -> None:
    """Write a file as far as it goes."""
    with replace(path) as part:
        part.write_text("ne")
        if error is not None:
            raise error


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with replacing_alone(path) as part:
        part.write_text("first")
        with pytest.raises(OSError, match="another process is writing it") as refused:
            _write(replacing_alone, path)
        assert refused.value.errno == errno.EBUSY
    assert path.read_text() == "first"
    with replacing_alone(path) as part:
        part.write_text("second")
    assert path.read_text() == "second"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_kill_left_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "x"
    partial_name(path).write_text("a long beginning")
    with replacing_alone(path) as part:
        part.write_text("whole")
    assert path.read_text() == "whole"


def test_what_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    for replace in (replacing_alone, replacing_durably):
        with pytest.raises(ValueError, match="half way"):
            _write(replace, path, ValueError("half way"))
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]


def test_a_durable_file_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_durably(path, b"secret")
    assert path.read_bytes() == b"secret"
    assert path.stat().st_mode & 0o777 == 0o600
