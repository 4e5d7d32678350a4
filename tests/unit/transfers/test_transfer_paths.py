"""The guard: only files below the allowed roots, whatever a URL says."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from rucio_inject.lake.transfers.paths import PathGuard, PathRefused


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "rse"
    (root / "scope").mkdir(parents=True)
    (tmp_path / "rse-other").mkdir()
    (tmp_path / "rse-other" / "secret").write_text("secret")
    return root


def refused(root: Path, url: str) -> int:
    with pytest.raises(PathRefused) as caught:
        PathGuard([root]).path(url)
    return caught.value.number


@pytest.mark.parametrize("host", ["", "localhost", "localhost:0", "LOCALHOST", "127.0.0.1"])
def test_local_urls_name_their_path(root: Path, host: str) -> None:
    assert PathGuard([root]).path(f"file://{host}{root}/scope/f") == root / "scope" / "f"


@pytest.mark.parametrize("name", ["a b", "50%20", "x?y=1#z", "üñ", "..f", "f.."])
def test_names_are_taken_as_they_stand(root: Path, name: str) -> None:
    assert PathGuard([root]).path(f"file://localhost{root}/{name}").name == name


def test_folders_need_not_be_there_yet(root: Path) -> None:
    url = f"file://localhost{root}/new/er/f"
    assert PathGuard([root]).path(url) == root / "new" / "er" / "f"


@pytest.mark.parametrize(
    "path",
    ["/../rse-other/secret", "/scope/../../rse-other/secret", "/./scope/f", "/scope/.."],
)
def test_going_up_is_refused(root: Path, path: str) -> None:
    assert refused(root, f"file://localhost{root}{path}") == errno.EACCES


def test_neighbours_and_the_root_itself_are_outside(root: Path) -> None:
    assert refused(root, f"file://localhost{root}-other/secret") == errno.EACCES
    assert refused(root, f"file://localhost{root}") == errno.EACCES
    assert refused(root, "file://localhost/etc/passwd") == errno.EACCES


def test_links_that_lead_out_are_refused(root: Path) -> None:
    outside = root.parent / "rse-other"
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    for path in ("folder/secret", "folder/new/f", "file"):
        assert refused(root, f"file://localhost{root}/{path}") == errno.EACCES


def test_links_inside_are_followed(root: Path) -> None:
    (root / "folder").symlink_to(root / "scope")
    (root / "scope" / "f").touch()
    (root / "file").symlink_to(root / "scope" / "f")
    guard = PathGuard([root])
    assert guard.path(f"file://localhost{root}/folder/f") == root / "scope" / "f"
    assert guard.path(f"file://localhost{root}/file") == root / "file"


def test_a_root_may_itself_be_a_link(root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    assert PathGuard([link]).path(f"file://localhost{link}/f") == root / "f"


@pytest.mark.parametrize(
    ("url", "number"),
    [
        ("davs://localhost/x", errno.EPROTONOSUPPORT),
        ("/etc/passwd", errno.EPROTONOSUPPORT),
        ("file://elsewhere.org/x", errno.EREMOTE),
        ("file://localhost", errno.EINVAL),
        ("file://localhost/x/", errno.EINVAL),
        ("file://localhost/x\0y", errno.EINVAL),
    ],
)
def test_other_urls_are_refused(root: Path, url: str, number: int) -> None:
    assert refused(root, url) == number


def test_the_root_of_a_path(root: Path) -> None:
    guard = PathGuard([root], [root.parent / "rses"])
    assert guard.root_of(root / "new" / "f") == root
    for name in ("A", "B"):
        storage = root.parent / "rses" / name
        path = guard.path(f"file://localhost{storage}/scope/f")
        assert guard.root_of(path) == storage
    assert refused(root, f"file://localhost{root.parent}/rses/A/f") == errno.EACCES
