"""What is left of an upload whose storage went away."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from rucio_inject.domain.checksum import Measure
from rucio_inject.measuring import measure_file
from rucio_inject.rucio.uploading import Halves


class Server:
    """A storage that can go away."""

    doing = "cannot store"

    def __init__(self) -> None:
        self.files: set[str] = set()
        self.breaks = False
        self.away = False
        self.refuses = False

    def shows(self, pfn: str) -> bool:
        return pfn in self.files

    def write(self, path: Path, _found: object, partial: str) -> Measure:
        self.files.add(partial)
        if self.breaks:
            self.away = True
            raise ConnectionResetError
        return measure_file(path)

    def rename(self, partial: str, pfn: str) -> None:
        self.files.remove(partial)
        self.files.add(pfn)

    def discard(self, partial: str) -> bool:
        if self.away or self.refuses:
            return False
        self.files.discard(partial)
        return True


def stored(halves: Halves, server: Server, path: Path, pfn: str) -> None:
    """Store a file."""
    half = f"{pfn}.0123456789ab.rucio.upload"
    halves.store(server, path, cast("Any", path.stat()), pfn, half)


@pytest.mark.parametrize("refuses", [True, False])
def test_a_half_goes_when_its_server_is_back(tmp_path: Path, *, refuses: bool) -> None:
    path, server, halves = tmp_path / "source", Server(), Halves()
    path.write_bytes(b"events")
    server.breaks = True
    with pytest.raises(ConnectionResetError):
        stored(halves, server, path, "root://a:1//f/x")
    (half,) = server.files
    assert half.startswith("root://a:1//f/x.")
    server.breaks = server.away = False
    # Another server's uploads do not touch it.
    stored(halves, Server(), path, "root://b:1//f/x")
    assert half in server.files
    server.refuses = refuses
    stored(halves, server, path, "root://a:1//f/y")
    assert (half in server.files) is refuses
    # It is tried once: what is refused then is the audit's.
    server.refuses = False
    stored(halves, server, path, "root://a:1//f/z")
    assert (half in server.files) is refuses
