"""Names that hold what would begin a query or a fragment of a URL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.unit.rucio.test_storage import files, settings_of
from tests.unit.rucio.test_storage_listing import storage_of

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import StorageRefused
from rucio_inject.ports import LeftOut, SourceFile, StoredFile
from rucio_inject.rucio.pfn import server_and_path
from rucio_inject.sources.at_rse import RseSource
from rucio_inject.sources.at_rse import listed as offered
from rucio_inject.testing.fake_clock import FakeClock

if TYPE_CHECKING:
    from rucio_inject.rucio.storage import RucioStorage

ENDS = pytest.mark.parametrize("end", ["#1", "?1", "?a=b#c"])


@pytest.fixture
def pool(tmp_path: Path, rucio_cfg: Path) -> Path:
    """The folder of the RSE."""
    folder = tmp_path / "pool"
    (folder / "raw").mkdir(parents=True)
    return folder


@pytest.fixture
def storage(pool: Path) -> RucioStorage:
    """The adapter, with a posix RSE."""
    return storage_of(settings_of(pool, lfn2pfn_algorithm="identity"))


@pytest.mark.parametrize(
    ("pfn", "parts"),
    [
        ("davs://host:1094/x/a#b?c", ("host:1094", "/x/a#b?c")),
        ("root://host:1094//x/a", ("host:1094", "//x/a")),
        ("file:///x/a", ("", "/x/a")),
        ("file:/x/a", ("", "/x/a")),
        ("root://host", ("host", "/")),
    ],
)
def test_a_path_goes_to_the_end(pfn: str, parts: tuple[str, str]) -> None:
    assert server_and_path(pfn) == parts


@ENDS
def test_a_file_is_not_taken_for_its_neighbour(storage: RucioStorage, pool: Path, end: str) -> None:
    pfn = f"file://localhost:0{pool}/raw/x.root{end}"
    (pool / "raw/x.root").write_bytes(b"whole file")
    assert (storage.exists("RSE", pfn), storage.stat("RSE", pfn)) == (False, None)
    (pool / f"raw/x.root{end}").write_bytes(b"half")
    assert storage.stat("RSE", pfn) == StoredFile(pfn, 4)
    for ask in (storage.measure, storage.checksum, storage.remove):
        with pytest.raises(StorageRefused, match="where Rucio ends a name"):
            ask("RSE", pfn)
    assert files(pool) == {"x.root": b"whole file", f"x.root{end}": b"half"}


@ENDS
def test_nothing_is_stored_under_a_part_of_its_name(
    storage: RucioStorage, pool: Path, tmp_path: Path, end: str
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"ours")
    with pytest.raises(StorageRefused, match="where Rucio ends a name"):
        storage.put("RSE", source, DID("scope", f"a{end}"))
    assert files(pool) == {}


@ENDS
def test_such_a_file_at_an_origin_is_told_and_not_taken(
    storage: RucioStorage, pool: Path, end: str
) -> None:
    (pool / f"raw/x.root{end}").write_bytes(b"half")
    (pool / "raw/y.root").write_bytes(b"whole")
    clock = FakeClock()
    found = offered(storage, clock, "RSE", "raw", pattern="*", stable=0)
    by_kind = {type(one): one for one in RseSource(clock, found).files()}
    left, taken = by_kind[LeftOut], by_kind[SourceFile]
    assert isinstance(left, LeftOut)
    assert (left.where.rpartition("/")[2], left.later) == (f"x.root{end}", False)
    assert isinstance(taken, SourceFile)
    assert taken.path.name == "y.root"


def test_a_folder_of_such_a_name_is_listed(storage: RucioStorage, pool: Path) -> None:
    for name, inside in (("a", "1"), ("a#b", "2")):
        (pool / name).mkdir()
        (pool / name / inside).write_bytes(b"x")
    shown = storage.files_below("RSE", "a#b")
    assert shown is not None
    assert [file.pfn.rpartition("/pool/")[2] for file in shown] == ["a#b/2"]
