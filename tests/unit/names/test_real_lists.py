"""Names of the real lists. The figures were counted with grep and awk, not with our own code."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from rucio_inject.domain.errors import NameRefused
from rucio_inject.domain.names import (
    FileName,
    Lst1File,
    MagicAuxiliary,
    MagicScience,
    parse_name,
    place,
)

DATA = Path(__file__).parents[2] / "data"


def read(name: str) -> list[str]:
    return (DATA / name).read_text().splitlines()


def understood(lines: list[str]) -> tuple[list[tuple[str, FileName]], list[tuple[str, str]]]:
    names, refused = [], []
    for line in lines:
        try:
            names.append((line, parse_name(line)))
        except NameRefused as error:
            refused.append((line, error.message))
    return names, refused


@pytest.mark.parametrize(
    ("name", "science", "auxiliary", "refused"),
    [
        ("magic_paths_sample.txt", 1468, 32, 0),
        ("magic_paths_raw_night.txt", 275, 0, 0),
        ("magic_paths_processed_night.txt", 724, 76, 13),
    ],
)
def test_every_magic_name_is_understood_and_written_back(
    name: str, science: int, auxiliary: int, refused: int
) -> None:
    names, not_understood = understood(read(name))
    assert [str(value) for _, value in names] == [path.split("/")[-1] for path, _ in names]
    assert Counter(type(value) for _, value in names) == Counter(
        {MagicScience: science, MagicAuxiliary: auxiliary}
    )
    assert len(not_understood) == refused


def test_what_is_no_data_is_refused_with_its_reason() -> None:
    _, refused = understood(read("magic_paths_processed_night.txt"))
    reasons = Counter(
        "empty" if not line else "folder" if line.endswith("/") else line.split("/")[-1]
        for line, _ in refused
    )
    assert reasons == {"empty": 1, "folder": 8, "MD5SUMS": 2, "MD5SUMS.GZ": 2}
    for line, message in refused:
        word = "empty" if not line else "is a folder" if line.endswith("/") else "list of checksums"
        assert word in message
        assert line in message


def test_letters_and_telescopes_of_a_night() -> None:
    names, _ = understood(read("magic_paths_processed_night.txt"))
    counts = Counter(
        (value.letter.value, str(value.telescope))
        for _, value in names
        if isinstance(value, MagicScience)
    )
    assert counts == {
        ("B", "M1"): 7,
        ("B", "M2"): 7,
        ("P", "M1"): 7,
        ("P", "M2"): 7,
        ("D", "M1"): 111,
        ("D", "M2"): 113,
        ("Y", "M1"): 111,
        ("Y", "M2"): 113,
        ("I", "M1"): 111,
        ("I", "M2"): 113,
        ("Q", "ST"): 12,
        ("S", "ST"): 12,
    }


def test_levels_are_those_of_the_folders() -> None:
    names, _ = understood(read("magic_paths_processed_night.txt"))
    counts = Counter(str(value.level) for _, value in names)
    assert counts == {"RAW": 28, "Calibrated": 476, "Star": 248, "SuperStar": 24, "Melibea": 24}
    for path, value in names:
        assert str(value.level) in path.split("/")
        assert path.startswith(f"/data/{value.telescope}/")


def test_nights_are_those_of_the_folders() -> None:
    for name in ("magic_paths_processed_night.txt", "magic_paths_sample.txt"):
        for path, value in understood(read(name))[0]:
            night = value.fields()["night"]
            assert f"/{night}/" in path or f"/{night.replace('_', '/')}/" in path


def test_wobbles_and_runs_of_the_sample() -> None:
    names, _ = understood(read("magic_paths_sample.txt"))
    wobbled = [v for _, v in names if isinstance(v, MagicScience) and v.wobble is not None]
    assert len(wobbled) == 1044
    sources = Counter(value.source for _, value in names if value.source)
    assert sources == {
        "Boomerang": 548,
        "Boomerang-W3": 240,
        "GH-OFF-2019-": 144,
        "Mrk501": 26,
        "PKS1502+106": 490,
        "PKS1502+106-": 20,
    }


def test_every_lst1_name_is_understood_and_written_back() -> None:
    names, refused = understood(read("lst1_paths_sample.txt"))
    assert refused == []
    assert [str(value) for _, value in names] == [path.split("/")[-1] for path, _ in names]
    files = [value for _, value in names if isinstance(value, Lst1File)]
    assert Counter(value.kind.value for value in files) == {
        "r0": 190,
        "dl1": 5,
        "dl2": 50,
        "datacheck_dl1": 41,
        "muons": 14,
    }
    assert sorted(str(value) for value in files if value.subrun is None) == [
        "datacheck_dl1_LST-1.Run03143.pdf",
        "datacheck_dl1_LST-1.Run03144.h5",
    ]
    assert {value.fields()["night"] for value in files} == {"2020_12_10"}
    assert Counter(value.version for value in files) == {None: 190, "v0.6.3_v05_trans_80": 110}
    assert len({value.run for value in files}) == 25


def test_containers_nest_in_every_real_list() -> None:
    """A container is never in two others: its name carries every level above it."""
    parents: dict[str, set[str]] = {}
    for name in ("magic_paths_processed_night.txt", "magic_paths_sample.txt"):
        for _, value in understood(read(name))[0]:
            containers = place(value).containers
            for outer, inner in pairwise(containers):
                parents.setdefault(inner, set()).add(outer)
    assert parents
    assert {len(outer) for outer in parents.values()} == {1}
