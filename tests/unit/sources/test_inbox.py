"""An origin that fills up: which files count as complete, and what else may lie there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rucio_inject.domain.checksum import Announced
from rucio_inject.domain.errors import SourceUnreadable, UsageError
from rucio_inject.ports import LeftOut, SourceFile
from rucio_inject.sources.inbox import Completeness, InboxSource
from rucio_inject.testing.fake_clock import START, FakeClock

Seen = dict[str, SourceFile | LeftOut]


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "origin"
    folder.mkdir()
    return folder


def written(path: Path, content: bytes = b"events", ago: float = 0.0) -> Path:
    """A file that was written to so many seconds before the clock's beginning."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    moment = (START - timedelta(seconds=ago)).timestamp()
    os.utime(path, (moment, moment))
    return path


def look(folder: Path, clock: FakeClock | None = None, **complete: object) -> Seen:
    """What the source makes of each file now."""
    when = Completeness(**complete)  # type: ignore[arg-type]
    source = InboxSource(folder, clock or FakeClock(), when)
    found = list(source.files())
    places = [str(f.path) if isinstance(f, SourceFile) else f.where for f in found]
    assert len(places) == len(set(places))
    return {Path(place).name: file for place, file in zip(places, found, strict=True)}


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def offered(seen: Seen) -> set[str]:
    return {name for name, file in seen.items() if isinstance(file, SourceFile)}


def test_a_file_is_complete_when_it_was_left_alone_for_a_while(inbox: Path) -> None:
    written(inbox / "a", ago=59)
    clock = FakeClock()
    left = look(inbox, clock, stable=60)["a"]
    assert isinstance(left, LeftOut)
    assert left.later
    assert "was written to 59 s ago, and 60 s are to pass" in left.reason
    clock.advance(1)
    assert offered(look(inbox, clock, stable=60)) == {"a"}


def test_time_alone_may_be_no_proof(inbox: Path) -> None:
    written(inbox / "a", ago=1e6)
    left = look(inbox, stable=None)["a"]
    assert isinstance(left, LeftOut)
    assert left.later


def test_a_clock_that_is_ahead_is_told(inbox: Path) -> None:
    written(inbox / "a", ago=-120)
    left = look(inbox)["a"]
    assert isinstance(left, LeftOut)
    assert "120 s ahead of this machine's clock" in left.reason


@pytest.mark.parametrize(
    "text",
    [
        "{md5}\n",
        "{md5}  a\n",
        "{md5} *a\n",
        "{md5}  ./night/a\n",
        "MD5 (a) = {md5}\n",
        "{upper}  a\n",
        "# made by hand\n\n{md5}  a\n",
    ],
)
def test_a_list_of_its_own_makes_a_file_complete(inbox: Path, text: str) -> None:
    written(inbox / "a")
    digest = md5(b"events")
    written(inbox / "a.md5", text.format(md5=digest, upper=digest.upper()).encode())
    seen = look(inbox, stable=None)
    assert offered(seen) == {"a"}
    assert seen["a"].announced == Announced(md5=digest)  # type: ignore[union-attr]


def test_the_list_of_a_folder_makes_those_complete_that_it_names(inbox: Path) -> None:
    for name in ("a", "b", "other"):
        written(inbox / "night" / name, name.encode())
    lines = "".join(f"{md5(name.encode())}  {name}\n" for name in ("a", "b"))
    written(inbox / "night" / "MD5SUMS", lines.encode())
    seen = look(inbox, stable=None)
    assert offered(seen) == {"a", "b"}
    assert seen["b"].announced == Announced(md5=md5(b"b"))  # type: ignore[union-attr]
    # A list is of its own folder alone.
    written(inbox / "a", b"another")
    first = next(InboxSource(inbox, FakeClock(), Completeness(stable=None)).files())
    assert isinstance(first, LeftOut)


def test_its_own_list_counts_more_than_that_of_the_folder(inbox: Path) -> None:
    written(inbox / "a")
    written(inbox / "MD5SUMS", f"{'0' * 32}  a\n".encode())
    written(inbox / "a.md5", md5(b"events").encode())
    assert look(inbox)["a"].announced == Announced(md5=md5(b"events"))  # type: ignore[union-attr]


def test_a_list_that_is_still_empty_says_nothing_yet(inbox: Path) -> None:
    written(inbox / "a")
    written(inbox / "a.md5", b"")
    left = look(inbox, stable=None)["a"]
    assert isinstance(left, LeftOut)
    assert left.later


@pytest.mark.parametrize("content", [b"not a checksum", b"\xff\xfe\x00", b"123  a"])
def test_a_list_that_is_none_is_told(inbox: Path, content: bytes) -> None:
    written(inbox / "a")
    written(inbox / "a.md5", content)
    (inbox / "b.md5").write_bytes(content)
    seen = look(inbox, stable=None)
    # Of no file that is there: nobody asks what it says.
    assert "b.md5" not in seen
    told = seen["a.md5"]
    assert isinstance(told, LeftOut)
    assert not told.later
    assert "cannot read the checksums" in told.reason


def test_a_trigger_makes_a_file_complete(inbox: Path) -> None:
    written(inbox / "a")
    written(inbox / "b")
    written(inbox / "a.done", b"")
    seen = look(inbox, stable=None, trigger=".done")
    assert offered(seen) == {"a"}
    assert set(seen) == {"a", "b"}


def test_what_tells_of_files_is_no_data(inbox: Path) -> None:
    for name in ("a", "a.md5", "b.md5", ".hidden", "MD5SUMS", "MD5SUMS.GZ", ".tmp/part"):
        written(inbox / name, b"", ago=1e6)
    assert offered(look(inbox)) == {"a"}


def test_links_are_followed_nowhere(inbox: Path, tmp_path: Path) -> None:
    secret = written(tmp_path / "elsewhere" / "secret", ago=1e6)
    (inbox / "link").symlink_to(secret)
    (inbox / "folder").symlink_to(secret.parent)
    (inbox / "a.md5").symlink_to(secret)
    written(inbox / "a", ago=1e6)
    seen = look(inbox)
    assert offered(seen) == {"a"}
    for name in ("link", "folder"):
        told = seen[name]
        assert isinstance(told, LeftOut)
        assert not told.later
        assert "symbolic link" in told.reason


def test_what_cannot_be_looked_at_hides_no_other(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", ".hidden"):
        written(inbox / name, ago=60)
    real = os.DirEntry.stat

    class Blind:
        """Entries of a folder, two of which lie where the disk is faulty."""

        def __init__(self, entry: os.DirEntry[str]) -> None:
            self.name = entry.name
            self._entry = entry

        def stat(self, *, follow_symlinks: bool) -> os.stat_result:
            if self.name != "b":
                raise OSError(errno.EIO, "Input/output error")
            return real(self._entry, follow_symlinks=follow_symlinks)

    @contextlib.contextmanager
    def scandir(place: Path, listed: Callable[..., Any] = os.scandir) -> Iterator[Any]:
        with listed(place) as entries:
            yield map(Blind, entries)

    monkeypatch.setattr(os, "scandir", scandir)
    # Whatever its name: it may be a folder.
    seen = {
        str(file.where): file
        for file in InboxSource(inbox, FakeClock(), Completeness(), pattern="b*").files()
    }
    assert set(seen) == {str(inbox / "a"), str(inbox / "b")}
    left = seen[str(inbox / "a")]
    assert isinstance(left, LeftOut)
    assert not left.later
    assert "Input/output error" in left.reason


def test_what_is_no_file_is_told(inbox: Path) -> None:
    os.mkfifo(inbox / "pipe")
    told = look(inbox)["pipe"]
    assert isinstance(told, LeftOut)
    assert "is no file" in told.reason


def test_a_folder_that_cannot_be_looked_into_hides_no_other(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(inbox / "closed" / "a", ago=1e6)
    written(inbox / "open" / "b", ago=1e6)
    scandir = os.scandir

    def refusing(place: Path) -> object:
        if Path(place).name == "closed":
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refusing)
    seen = look(inbox)
    assert offered(seen) == {"b"}
    told = seen["closed"]
    assert isinstance(told, LeftOut)
    assert not told.later
    assert "Permission denied" in told.reason


def test_an_origin_that_cannot_be_looked_into(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot look into"):
        look(tmp_path / "nothing")


def test_what_vanishes_while_it_is_looked_at_is_left_out(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        written(inbox / name, ago=1e6)
    monkeypatch.setattr(os, "scandir", _vanishing("a", os.scandir))
    assert offered(look(inbox)) == {"b"}


def _vanishing(name: str, scandir: Callable[..., object]) -> Callable[..., object]:
    """A look into a folder in which one file goes between its name and its stat."""

    class Entries:
        def __init__(self, place: Path) -> None:
            self._entries = scandir(place)

        def __enter__(self) -> object:
            return (self._gone(entry) for entry in self._entries.__enter__())  # type: ignore[attr-defined]

        def __exit__(self, *error: object) -> None:
            self._entries.__exit__(*error)  # type: ignore[attr-defined]

        def _gone(self, entry: os.DirEntry[str]) -> os.DirEntry[str]:
            if entry.name == name:
                Path(entry.path).unlink()
            return entry

    return Entries


def test_a_file_that_became_a_link_is_not_provided(inbox: Path, tmp_path: Path) -> None:
    secret = written(tmp_path / "elsewhere" / "a", ago=1e6)
    source = InboxSource(inbox, FakeClock(), Completeness())
    path = written(inbox / "night" / "a", ago=1e6)
    source.provide(path)
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(SourceUnreadable):
        source.provide(path)
    path.unlink()
    path.parent.rmdir()
    path.parent.symlink_to(secret.parent)
    with pytest.raises(SourceUnreadable):
        source.provide(path)
