"""What a server says while it copies by itself; real ones are in tests/storage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rucio_inject.lake.transfers.copier import CopyControl, CopyFailed, CopyStopped, Side
from rucio_inject.lake.transfers.halves import Halves
from rucio_inject.lake.transfers.webdav import Credentials, WebdavCopier, follow
from rucio_inject.testing.fake_clock import FakeClock

MARKER = (
    b"Perf Marker",
    b"    Timestamp: 1795849567",
    b"    Stripe Index: 0",
    b"    Stripe Bytes Transferred: 4194304",
    b"    Total Stripe Count: 1",
    b"End",
)


@pytest.mark.parametrize("end", [b"success: Created", b"Success: 1 stripe", b"success: Created\r"])
def test_a_copy_that_tells_how_far_it_is_and_succeeds(end: bytes) -> None:
    follow([*MARKER, *MARKER, end, b"", b"  "], CopyControl())


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([*MARKER, b"failure: no space left on device"], "no space left on device"),
        ([*MARKER, b"failure:"], "it failed without a word"),
        ([b"failure: source: caf\xe9 is away"], "source: caf\N{REPLACEMENT CHARACTER} is away"),
        ([*MARKER], "the copy was broken off after: End"),
        ([], "the copy was broken off without a word"),
        # What a gateway says in the server's place.
        ([b"<html>", b"</html>"], "the copy was broken off after: </html>"),
    ],
)
def test_a_copy_that_does_not(lines: list[bytes], reason: str) -> None:
    with pytest.raises(CopyFailed) as told:
        follow(lines, CopyControl())
    assert told.value.reason == f"TRANSFER [5] {reason}"


def test_success_is_the_last_word_only() -> None:
    with pytest.raises(CopyFailed, match="checksums differ"):
        follow([b"success: so far", b"failure: checksums differ"], CopyControl())


def test_a_copy_is_stopped_between_two_lines() -> None:
    control, read = CopyControl(), []

    def lines() -> Iterator[bytes]:
        for line in MARKER:
            read.append(line)
            if len(read) == 3:
                control.stop()
            yield line

    with pytest.raises(CopyStopped):
        follow(lines(), control)
    assert len(read) == 3


def test_halves_are_remembered(tmp_path: Path) -> None:
    path = tmp_path / "halves.json"
    first = Halves(path)
    for url in ("https://a:1/x.part-1", "https://a:1/y.part-2", "https://b:1/x.part-3"):
        first.add(url)
    first.discard("https://a:1/x.part-1")
    first.discard("https://a:1/never")
    again = Halves(path)
    assert again.on("a:1") == ["https://a:1/y.part-2"]
    assert again.on("c:1") == []


@pytest.mark.parametrize("away", [True, False])
def test_a_half_whose_server_is_away_goes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, away: bool
) -> None:
    halves, asked = Halves(tmp_path / "halves.json"), list[str]()
    nobody = Credentials(*[tmp_path] * 3)
    copier = WebdavCopier(nobody, ["a:1"], FakeClock(), halves)

    def call(method: str, url: str, side: Side, **_: object) -> None:
        asked.append(f"{method} {url}")
        if away:
            raise CopyFailed(side, 111, "not reached")

    monkeypatch.setattr(copier, "_call", call)
    halves.add("https://a:1/f/x.part-1")
    copier._clean("https://a:1/f/y")
    assert asked == ["DELETE https://a:1/f/x.part-1"]
    assert halves.on("a:1") == (["https://a:1/f/x.part-1"] if away else [])
