"""The posix copier: whole files or none, and the reason when none."""

from __future__ import annotations

import errno
import hashlib
import os
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rucio_inject.lake.transfers.copier import CopyControl, CopyFailed, CopyStopped
from rucio_inject.lake.transfers.model import Task, Verify
from rucio_inject.lake.transfers.paths import PathGuard
from rucio_inject.lake.transfers.posix import PosixCopier

CONTENT = bytes(range(256)) * 9000  # more than two blocks, and no whole number of them


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "rse"
    root.mkdir()
    (root / "source").write_bytes(CONTENT)
    return root


def task(root: Path, **more: Any) -> Task:
    plain = Task(
        file_id=1,
        job_id="j",
        label="label",
        source=f"file://localhost{root}/source",
        destination=f"file://localhost{root}/to/file",
        size=len(CONTENT),
        checksum=f"ADLER32:{zlib.adler32(CONTENT):x}",
        verify=Verify.BOTH,
        overwrite=False,
        resumed=False,
    )
    return replace(plain, **more)


def copy(root: Path, *, fsync: bool = False, **more: Any) -> None:
    PosixCopier(PathGuard([root]), fsync=fsync).copy(task(root, **more), CopyControl())


def failure(root: Path, **more: Any) -> str:
    """The reason of a copy that must fail, and must leave nothing half done."""
    before = (root / "to" / "file").read_bytes() if (root / "to" / "file").is_file() else None
    with pytest.raises(CopyFailed) as caught:
        copy(root, **more)
    assert [path for path in root.rglob("*part-*") if path.is_file()] == []
    after = (root / "to" / "file").read_bytes() if (root / "to" / "file").is_file() else None
    assert after == before
    return caught.value.reason


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("fsync", [False, True])
@pytest.mark.parametrize("verify", list(Verify))
def test_a_file_is_copied_whole(root: Path, overwrite: bool, fsync: bool, verify: Verify) -> None:
    copy(root, overwrite=overwrite, fsync=fsync, verify=verify)
    assert [path.name for path in (root / "to").iterdir()] == ["file"]
    assert (root / "to" / "file").read_bytes() == CONTENT


def test_an_empty_file_is_a_file(root: Path) -> None:
    (root / "source").write_bytes(b"")
    copy(root, size=0, checksum="ADLER32:1")
    assert (root / "to" / "file").read_bytes() == b""


def test_md5_and_no_checksum_are_served_too(root: Path) -> None:
    copy(root, checksum=f"md5:{hashlib.md5(CONTENT).hexdigest().upper()}")
    copy(root, checksum=None, size=None, overwrite=True)
    assert failure(root, checksum=f"MD5:{0:032x}", overwrite=True).startswith(
        "SOURCE [5] CHECKSUM MISMATCH"
    )


def test_a_name_of_full_length_can_be_written(root: Path) -> None:
    name = "n" * 255
    copy(root, destination=f"file://localhost{root}/to/{name}")
    assert (root / "to" / name).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"size": 5}, "SOURCE [5] User-defined and source file sizes do not match (5 2304000)"),
        ({"checksum": "ADLER32:00000001"}, "SOURCE [5] CHECKSUM MISMATCH User-defined and source"),
        (
            {"checksum": "ADLER32:00000001", "verify": Verify.TARGET},
            "DESTINATION [5] CHECKSUM MISMATCH User-defined and destination ADLER32",
        ),
        ({"checksum": "SHA1:00"}, "TRANSFER [22] checksum 'SHA1:00' is neither"),
        ({"checksum": "ADLER32:xyz"}, "TRANSFER [22] 'xyz' is not an adler32"),
        ({"source": "file://localhost/etc/passwd"}, "SOURCE [13] file://localhost/etc/passwd is"),
        ({"source": "davs://localhost/x"}, "SOURCE [93] "),
        ({"destination": "file://localhost/tmp/x"}, "DESTINATION [13] "),
    ],
)
def test_reasons(root: Path, more: dict[str, Any], reason: str) -> None:
    assert failure(root, **more).startswith(reason)


def test_reasons_of_the_file_system(root: Path) -> None:
    folder = f"file://localhost{root}/to"
    (root / "to").mkdir()
    (root / "to" / "folder").mkdir()
    (root / "to" / "plain").touch()
    os.mkfifo(root / "to" / "pipe")
    assert failure(root, source=f"{folder}/none") == "SOURCE [2] No such file or directory"
    assert failure(root, source=f"{folder}/folder") == "SOURCE [21] Is a directory"
    assert failure(root, source=f"{folder}/pipe") == "SOURCE [22] Not a regular file"
    assert failure(root, destination=f"{folder}/folder") == "DESTINATION [21] Is a directory"
    assert failure(root, destination=f"{folder}/plain/f") == "DESTINATION [20] Not a directory"
    long = f"{folder}/{'n' * 256}"
    assert failure(root, destination=long) == "DESTINATION [36] File name too long"


@pytest.mark.parametrize("resumed", [False, True])
def test_other_content_is_never_replaced_unasked(root: Path, resumed: bool) -> None:
    (root / "to").mkdir()
    (root / "to" / "file").write_bytes(CONTENT[:-1] + b"x")
    exists = "DESTINATION [17] Destination file exists and overwrite is not enabled"
    assert failure(root, resumed=resumed) == exists


@pytest.mark.parametrize(
    ("wrong", "reason"), [(b"?" * len(CONTENT), "CHECKSUM MISMATCH"), (b"?", "sizes do not match")]
)
def test_a_resumed_copy_of_another_file_is_not_its_own_work(
    root: Path, wrong: bytes, reason: str
) -> None:
    copy(root)
    for path in (root / "source", root / "to" / "file"):
        path.write_bytes(wrong)
    assert reason in failure(root, resumed=True)


def test_a_resumed_copy_recognises_its_own_work(root: Path) -> None:
    copy(root)
    first = (root / "to" / "file").stat().st_ino
    copy(root, resumed=True)
    assert (root / "to" / "file").stat().st_ino == first
    assert failure(root).startswith("DESTINATION [17]")


def test_a_name_taken_meanwhile_is_not_replaced(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's file appears between the first look and the last step."""
    real_link = os.link

    def late(source: Path, target: Path, *, follow_symlinks: bool) -> None:
        target.write_bytes(b"somebody else's")
        real_link(source, target, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(CopyFailed, match="overwrite is not enabled"):
        copy(root)
    assert (root / "to" / "file").read_bytes() == b"somebody else's"
    assert len(list((root / "to").iterdir())) == 1


def test_a_file_system_without_links_still_serves(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", none)
    copy(root)
    assert (root / "to" / "file").read_bytes() == CONTENT
    assert failure(root).startswith("DESTINATION [17]")


def test_a_full_disk_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = os.write

    def full(descriptor: int, block: bytes) -> int:
        if len(block) < 1 << 20:
            raise OSError(errno.ENOSPC, "full")
        return written(descriptor, block)

    monkeypatch.setattr(os, "write", full)
    assert failure(root) == "DESTINATION [28] No space left on device"


def test_bytes_damaged_on_the_way_are_noticed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = os.write
    monkeypatch.setattr(os, "write", lambda out, block: written(out, b"!" + bytes(block[1:])))
    reason = failure(root)
    assert reason.startswith("DESTINATION [5] CHECKSUM MISMATCH User-defined and destination")
    reason = failure(root, checksum=None)
    assert reason.startswith("DESTINATION [5] CHECKSUM MISMATCH source and destination")


def test_a_stopped_copy_leaves_what_was_there(root: Path) -> None:
    control = CopyControl()
    assert control.stop()
    (root / "to").mkdir()
    (root / "to" / "file").write_bytes(b"before")
    with pytest.raises(CopyStopped):
        PosixCopier(PathGuard([root])).copy(task(root, overwrite=True), control)
    assert [path.name for path in (root / "to").iterdir()] == ["file"]
    assert (root / "to" / "file").read_bytes() == b"before"


def test_a_copy_with_its_name_is_past_stopping(root: Path) -> None:
    control = CopyControl()
    PosixCopier(PathGuard([root])).copy(task(root), control)
    assert not control.stop()


def test_what_a_killed_process_left_is_removed(root: Path) -> None:
    (root / "to").mkdir()
    (root / "to" / "file.part-label").write_bytes(b"half")
    copier = PosixCopier(PathGuard([root]))
    copier.forget(task(root))
    copier.forget(task(root, destination="file://localhost/etc/passwd"))
    assert list((root / "to").iterdir()) == []


@pytest.mark.parametrize("name", ["file", "scope/file", "scope/ab/cd/file"])
def test_a_storage_that_is_not_mounted_is_not_made(root: Path, name: str) -> None:
    storage = root.parent / "storages" / "LAPP-FAST"
    (root.parent / "storages").mkdir()
    copier = PosixCopier(PathGuard([root], [storage.parent]))
    wanted = task(root, destination=f"file://localhost{storage}/{name}")
    with pytest.raises(CopyFailed) as caught:
        copier.copy(wanted, CopyControl())
    assert caught.value.reason.startswith("DESTINATION [2] the storage's folder")
    assert not storage.exists()
    storage.mkdir()
    copier.copy(wanted, CopyControl())
    assert (storage / name).read_bytes() == CONTENT


def test_nor_is_a_root_that_vanished(root: Path) -> None:
    storage = root.parent / "other"
    copier = PosixCopier(PathGuard([root, storage]))
    with pytest.raises(CopyFailed, match="is it mounted"):
        copier.copy(task(root, destination=f"file://localhost{storage}/a/b"), CopyControl())
    assert not storage.exists()
