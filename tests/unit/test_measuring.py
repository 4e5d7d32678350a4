"""Reading files once."""

from __future__ import annotations

import io
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from rucio_inject.domain.errors import SourceChanged, SourceUnreadable, StorageRefused
from rucio_inject.measuring import (
    BLOCK,
    check_unchanged,
    checksum_open,
    measure_file,
    source_stat,
    there,
    write_whole,
)
from rucio_inject.testing.contracts.world import measured

LONG = bytes(range(256)) * (2 * BLOCK // 256) + b"end"
CONTENTS = [b"", b"a", LONG[:BLOCK], LONG[: BLOCK + 1], LONG]


@pytest.mark.parametrize("content", CONTENTS, ids=len)
def test_one_pass_tells_all(tmp_path: Path, content: bytes) -> None:
    path, copy = tmp_path / "x", bytearray()
    path.write_bytes(content)
    assert measure_file(path) == measured(content)
    assert measure_file(path, copy.extend) == measured(content)
    assert copy == content


@pytest.mark.parametrize("content", CONTENTS, ids=len)
def test_a_checksum_without_md5(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with io.FileIO(path) as file:
        assert checksum_open(file) == (len(content), f"{zlib.adler32(content):08x}")


def test_threads_read_into_memory_of_their_own(tmp_path: Path) -> None:
    both, contents = Barrier(2, timeout=300), (b"a" * BLOCK, b"b" * BLOCK)

    def copied(content: bytes) -> bytes:
        path, copy = tmp_path / content[:1].decode(), bytearray()
        path.write_bytes(content)

        def write(block: memoryview) -> None:
            both.wait()
            copy.extend(block)

        assert measure_file(path, write) == measured(content)
        return bytes(copy)

    with ThreadPoolExecutor(2) as threads:
        assert tuple(threads.map(copied, contents)) == contents


def test_an_error_in_writing_is_not_the_sources(tmp_path: Path) -> None:
    def write(block: memoryview) -> None:
        raise StorageRefused("no")

    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(StorageRefused, match="no"):
        measure_file(tmp_path / "x", write)


def test_a_system_that_takes_a_block_in_parts(tmp_path: Path) -> None:
    class Hesitant(io.FileIO):
        def write(self, block: Any) -> int:
            return super().write(block[:3])

    with Hesitant(tmp_path / "x", "w") as file:
        write_whole(file, memoryview(b"0123456789"))
    assert (tmp_path / "x").read_bytes() == b"0123456789"


class Changing(io.FileIO):
    """A file that somebody else writes to once while it is read."""

    def readinto(self, buffer: Any) -> int:
        size = super().readinto(buffer)
        if os.fstat(self.fileno()).st_mtime_ns != 1:
            with open(self.name, "ab") as other:  # noqa: PTH123 -- Path.open is what is replaced
                other.write(b"more")
            # Whatever the clock's resolution, this is another moment.
            os.utime(self.name, ns=(1, 1))
        return size


def test_a_file_that_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"growing" * BLOCK)
    monkeypatch.setattr(Path, "open", lambda path, *_, **__: Changing(path))
    with pytest.raises(SourceChanged, match="changed while it was read"):
        measure_file(path)


def test_a_file_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(io.FileIO):
        def readinto(self, buffer: Any) -> int:
            return len(buffer)

    path, written = tmp_path / "x", bytearray()
    path.write_bytes(b"growing")
    monkeypatch.setattr(Path, "open", lambda path, *_, **__: Endless(path))
    with pytest.raises(SourceChanged):
        measure_file(path, written.extend)
    assert len(written) == BLOCK


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for ask in (measure_file, source_stat):
        with pytest.raises(SourceUnreadable, match="No such file"):
            ask(tmp_path / "none")
        with pytest.raises(SourceUnreadable, match="Is a directory"):
            ask(tmp_path)


def test_a_pipe_is_no_source(tmp_path: Path) -> None:
    """To open one waits for somebody who writes to it."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceUnreadable, match="is no file"):
        source_stat(tmp_path / "pipe")


def test_what_tells_that_a_source_changed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x")
    before = source_stat(path)
    check_unchanged(path, before, source_stat(path))
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceChanged):
        check_unchanged(path, before, source_stat(path))


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", closed)
    with pytest.raises(SourceUnreadable, match="Permission denied") as caught:
        measure_file(tmp_path / "x")
    assert caught.value.hint


def test_a_disk_that_fails_while_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(io.FileIO):
        def readinto(self, buffer: Any) -> int:
            raise OSError(5, "Input/output error")

    path = tmp_path / "x"
    path.write_bytes(b"x")
    monkeypatch.setattr(Path, "open", lambda path, *_, **__: Failing(path))
    with pytest.raises(SourceUnreadable, match="Input/output error"):
        measure_file(path)


def test_what_cannot_be_looked_at_may_be_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    assert there(tmp_path / "file")
    assert not there(tmp_path / "none")
    assert not there(tmp_path / "file" / "none")
    with pytest.raises(SourceUnreadable, match="symbolic links"):
        there(tmp_path / "loop")
