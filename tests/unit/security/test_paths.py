"""No name leads out of the folder that it belongs into."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rucio_inject.campaign.naming import Naming
from rucio_inject.campaign.yaml_tree import read_yaml
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import (
    CampaignInvalid,
    NameRefused,
    StorageRefused,
    UsageError,
)
from rucio_inject.domain.injection import FileRecord
from rucio_inject.domain.names import parse_name, place
from rucio_inject.domain.names.placement import leads_elsewhere, sanitised
from rucio_inject.lake.content import parse
from rucio_inject.rucio.listing import parts_below
from rucio_inject.science.content import RawContent
from rucio_inject.sources.listing import ListingSource
from rucio_inject.steps.access import AccessFiles
from rucio_inject.testing.fake_clock import START

PARTS = st.sampled_from(["..", ".", "", "a", "b.root", "/", "//", "...", "-", "~"])
OWN = {
    "name": "own",
    "experiment": "Own",
    "pattern": r"(?P<source>[^_]*)_(?P<run>\d+)\.root",
    "example": "crab_1.root",
}


@given(st.lists(PARTS, min_size=1, max_size=6).map("/".join))
def test_a_did_name_stays_below_its_folder(text: str) -> None:
    try:
        name = sanitised(text)
    except NameRefused:
        return
    folder = Path("/pool/scope")
    assert not name.startswith("/")
    assert (folder / name).resolve().is_relative_to(folder)
    assert (folder / name).as_posix() == f"{folder}/{name}"


@pytest.mark.parametrize("source", ["..", ".", ""])
def test_what_a_pattern_matched_leads_nowhere_else(source: str) -> None:
    naming = Naming.model_validate({"grammars": [OWN], "dataset": "{run}", "containers": []})
    name = parse_name(f"{source}_7.root", naming.chosen())
    with pytest.raises(NameRefused):
        place(name, template="Data/{source}/{name}", containers=())


@pytest.mark.parametrize(
    ("name", "rse"), [("../x", "A"), ("/etc/x", "A"), ("a/../../x", "A"), ("x", ".."), ("x", "A/B")]
)
def test_copies_that_were_read_back_stay_in_their_folder(
    tmp_path: Path, name: str, rse: str
) -> None:
    nothing: Any = SimpleNamespace()
    access = AccessFiles(
        nothing,
        nothing,
        nothing,
        folder=tmp_path,
        workers=1,
        keep=True,
        sampling=nothing,
        proved=nothing,
        looks=nothing,
    )
    record = FileRecord(DID("S", "fine"), "/x", DID("S", "run"), (), 1, START, generated=False)
    assert access._copy("A", record) == tmp_path / "A" / "fine"
    with pytest.raises(StorageRefused, match="outside"):
        access._copy(rse, replace(record, did=DID("S", name)))


@given(st.lists(PARTS, max_size=6).map("/".join))
def test_lines_of_a_listing_are_made_below_our_folder(text: str) -> None:
    folder = Path("/work/source")
    source = ListingSource(Path("/list"), folder, RawContent(1), seed=1)
    assert source._path(text).is_relative_to(folder)
    assert ".." not in source._path(text).parts


@pytest.mark.parametrize("folder", ["..", "a/../../b", "raw/.."])
def test_a_folder_of_an_rse_is_below_its_prefix(folder: str) -> None:
    with pytest.raises(StorageRefused, match="leads out"):
        parts_below(folder)


@pytest.mark.parametrize(
    "text",
    [
        "campaign: !!python/object/apply:os.system [echo]",
        "campaign: !!python/name:os.system",
        "campaign: !<tag:yaml.org,2002:python/object:object> {}",
        "campaign: !anything x",
    ],
)
def test_yaml_makes_no_objects(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(CampaignInvalid):
        read_yaml(path)
    with pytest.raises(UsageError):
        parse(text, "content")


def test_what_leads_elsewhere() -> None:
    assert all(map(leads_elsewhere, ["/a", "a//b", "a/", "..", "a/..", "./a"]))
    assert not any(map(leads_elsewhere, ["a", "a/b", "...", "a..b", ".a", ""]))
