"""Checksums and DIDs."""

from __future__ import annotations

import pytest

from rucio_inject.domain.checksum import Measure, normalise_adler32, normalise_md5
from rucio_inject.domain.did import DID

MD5 = "d41d8cd98f00b204e9800998ecf8427e"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("1", "00000001"),
        ("0x1", "00000001"),
        ("ABCDEF01", "abcdef01"),
        (" 0a1b2c3 ", "00a1b2c3"),
        ("000000000001", "00000001"),
        ("0", "00000000"),
    ],
)
def test_adler32_is_padded_and_lower(text: str, normal: str) -> None:
    assert normalise_adler32(text) == normal


@pytest.mark.parametrize("text", ["", "g", "123456789", "12 34", "-1", "0x", "1\n2"])
def test_no_adler32(text: str) -> None:
    with pytest.raises(ValueError, match="not an adler32"):
        normalise_adler32(text)


def test_md5_is_lower() -> None:
    assert normalise_md5(f" {MD5.upper()} ") == MD5


@pytest.mark.parametrize("text", ["", MD5[:-1], MD5 + "0", "g" * 32])
def test_no_md5(text: str) -> None:
    with pytest.raises(ValueError, match="not an md5"):
        normalise_md5(text)


def test_measures_are_compared_normalised() -> None:
    assert Measure(0, "1", MD5) == Measure(0, "00000001", MD5.upper())


def test_differences_are_named() -> None:
    mine, theirs = Measure(1, "1", MD5), Measure(2, "2", "0" * 32)
    assert mine.differences(mine) == ()
    assert mine.differences(theirs) == (
        "size: 1 != 2",
        "adler32: 00000001 != 00000002",
        f"md5: {MD5} != {'0' * 32}",
    )


def test_dids_are_read_and_written() -> None:
    assert DID.parse("magic:a/b:c") == DID("magic", "a/b:c")
    assert str(DID("magic", "a")) == "magic:a"


@pytest.mark.parametrize("text", ["", "magic", ":a", "magic:"])
def test_no_did(text: str) -> None:
    with pytest.raises(ValueError, match="scope:name"):
        DID.parse(text)


def test_dids_sort_by_scope_then_name() -> None:
    dids = [DID("b", "a"), DID("a", "z"), DID("a", "b")]
    assert sorted(dids) == [DID("a", "b"), DID("a", "z"), DID("b", "a")]
