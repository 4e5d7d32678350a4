"""A third experiment, which the program does not know: a campaign file says how it names files."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML
from tests.injection_world import SCOPE, World, campaign_keys

from rucio_inject.campaign.load import load_campaign
from rucio_inject.campaign.naming import Naming, OwnGrammar
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import CampaignInvalid, NameRefused
from rucio_inject.domain.names import metadata, parse_name, place

VISTA = {
    "name": "vista",
    "experiment": "VISTA",
    "pattern": r"v(?P<night>\d{8})_(?P<run>\d{5})(?:_(?P<subrun>\d{2}))?_(?P<band>[YJHK])"
    r"(?P<extension>\.fits)",
    "folder": r"/(?P<version>v\d+\.\d+)/",
    "fixed": {"telescope": "VISTA", "level": "RAW"},
    "example": "/data/v1.3/v20240912_00123_07_K.fits",
}
PATHS = ("/data/v1.3/v20240912_00123_07_K.fits", "/data/v1.3/v20240912_00123_J.fits")


def naming(**changes: Any) -> Naming:
    """What a campaign says of names."""
    keys = {"grammars": [VISTA], "dataset": "{run}.{band}", "containers": ["{night}"], **changes}
    return Naming.model_validate(keys)


def test_a_name_tells_what_the_pattern_says() -> None:
    name = parse_name(PATHS[0], naming().chosen())
    assert str(name) == "v20240912_00123_07_K.fits"
    assert name.night == date(2024, 9, 12)
    assert name.fields() == {
        "name": "v20240912_00123_07_K.fits",
        "stem": "v20240912_00123_07_K",
        "extension": ".fits",
        "experiment": "VISTA",
        "run": "00123",
        "subrun": "07",
        "telescope": "VISTA",
        "level": "RAW",
        "band": "K",
        "version": "v1.3",
        "night": "2024_09_12",
        "date": "20240912",
        "year": "2024",
        "month": "09",
        "day": "12",
    }
    assert metadata(name) == {
        "run_number": 123,
        "subrun": 7,
        "datatype": "RAW",
        "telescope": "VISTA",
        "night": "2024_09_12",
    }


def test_what_a_name_does_not_tell_is_left_out() -> None:
    name = parse_name(PATHS[1], naming().chosen())
    assert "subrun" not in name.fields()
    assert "subrun" not in metadata(name)
    with pytest.raises(NameRefused, match="tells no subrun"):
        place(name, "{run}.{subrun}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("20200204_M1_05089063.001_Y_Mrk501-W0.40+270.root", "no name of VISTA"),
        ("/data/v1.3/v20241312_00123_K.fits", "no day of the calendar"),
        ("v20240912_00123_K.fits.part", "no name of VISTA"),
    ],
)
def test_what_is_no_name_of_it(text: str, words: str) -> None:
    with pytest.raises(NameRefused, match=words):
        parse_name(text, naming().chosen())


def test_known_experiments_go_beside_it() -> None:
    chosen = naming(grammars=["magic", VISTA], dataset="{run}").chosen()
    magic = parse_name("20200204_M1_05089063.001_Y_Mrk501-W0.40+270.root", chosen)
    assert (magic.experiment, magic.fields()["experiment"]) == ("MAGIC", "MAGIC")
    assert parse_name(PATHS[0], chosen).fields()["experiment"] == "VISTA"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pattern": "v(?P<run>"}, "no regular expression"),
        ({"pattern": r"v(?P<obs>\d+)", "example": "v1"}, "no group called run"),
        ({"pattern": r"v(?P<run>\d+)(?P<stem>x)?", "example": "v1"}, "stem follows from others"),
        ({"pattern": r"v(?P<run>\d+)(?P<Band>x)?", "example": "v1"}, "small letters"),
        ({"example": "another.fits"}, "does not fit"),
        ({"example": "v20241312_00123_07_K.fits"}, "no day of the calendar"),
        ({"pattern": "x" * 1001}, "at most 1000 characters"),
    ],
)
def test_a_pattern_that_cannot_be_used(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        OwnGrammar.model_validate({**VISTA, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dataset": "{run}.{colour}"}, r"\{colour\} is no field; there are .*band"),
        ({"name": "{name.__class__}"}, "is no field"),
        ({"grammars": [VISTA, VISTA]}, "more than one grammar vista"),
        ({"grammars": ["vista"]}, "there is no grammar 'vista'"),
        ({"closing": {}}, "nothing would ever close"),
        ({"closing": {"quiet": "1m", "late": "{nothing}"}}, "is no field"),
        ({"characters": "a\\"}, "String should match"),
    ],
)
def test_naming_that_does_not_fit(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        naming(**changes)


def test_a_whole_campaign_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "v1.3"
    folder.mkdir(parents=True)
    for path in PATHS:
        (folder / Path(path).name).write_bytes(path.encode())
    (folder / "notes.txt").write_text("no data")
    source = {"kind": "directory", "path": str(tmp_path / "data")}
    keys = {
        "grammars": [VISTA],
        "name": "{experiment}/{version}/{name}",
        "dataset": "{run}.{band}",
        "containers": ["{night}", "{night}.{band}"],
    }
    world = World(tmp_path, {"end": None, "source": source, "naming": keys})
    outcome = world.run()
    assert outcome.skipped == 1
    assert world.states() == {f"VISTA/v1.3/{Path(path).name}": "VERIFIED" for path in PATHS}
    for band in "KJ":
        inside = world.lake.collections[DID(SCOPE, f"00123.{band}")].contents
        assert [did.name for did in inside] == [
            f"VISTA/v1.3/{Path(path).name}" for path in PATHS if f"_{band}." in path
        ]
        assert DID(SCOPE, f"2024_09_12.{band}") in world.lake.collections
    assert not world.run().changed


@pytest.mark.parametrize(
    ("characters", "expected"),
    [
        ("", "20200204_M1_05089063.001_Y_4C_41.11-W0.40_270.root"),
        ("+", "20200204_M1_05089063.001_Y_4C+41.11-W0.40+270.root"),
    ],
)
def test_characters_that_the_site_takes(characters: str, expected: str) -> None:
    allowed = naming(characters=characters, dataset="{run}").allowed()
    name = parse_name("20200204_M1_05089063.001_Y_4C+41.11-W0.40+270.root")
    assert place(name, allowed=allowed, template="{name}").did_name == expected
    path = place(name, allowed=allowed, template="Data/{level}/{source}/{name}").did_name
    assert path.startswith("Data/Calibrated/4C")
    assert path.endswith(expected)


@pytest.mark.parametrize("characters", ["#", "+#", "?", "/", " "])
def test_characters_at_which_a_name_might_end(characters: str) -> None:
    with pytest.raises(ValidationError, match="characters"):
        naming(characters=characters)


@pytest.mark.parametrize(
    ("grammars", "containers", "place", "lacks"),
    [
        (["magic"], ["{night}", "{source}"], 1, "{night}"),
        (["magic"], ["{night}", "{night}.{source}", "{source}.{level}"], 2, "{night}"),
        (["magic"], ["{night}.{telescope}", "{date}"], 1, "{telescope}"),
        (["magic"], ["{night}", "{year}.{month}"], 1, "{night}"),
        (["magic", "lst1"], ["{experiment}", "{night}"], 1, "{experiment}"),
        ([VISTA], ["{night}", "{band}"], 1, "{night}"),
    ],
)
def test_a_container_without_the_levels_above(
    tmp_path: Path, grammars: list[Any], containers: list[str], place: int, lacks: str
) -> None:
    """Its files would be in every container that it lies in."""
    keys = campaign_keys(tmp_path, naming={"grammars": grammars, "containers": containers})
    path = tmp_path / "campaign.yaml"
    with path.open("w") as file:
        YAML().dump(keys, file)
    with pytest.raises(CampaignInvalid) as refused:
        load_campaign(path)
    ((_, where, reason),) = refused.value.problems
    assert where == f"naming.containers.{place}"
    assert reason.startswith(f"lacks {lacks} of the container around it")


@pytest.mark.parametrize(
    ("grammars", "containers"),
    [
        (["magic"], ["{night}", "{date}.{source}", "{year}{month}{day}.{source}.{level}"]),
        (["magic"], ["{year}", "{year}.{month}", "{night}"]),
        (["magic"], ["all", "{night}"]),
        (["magic"], ["{experiment}", "{night}"]),
        (["magic"], ["{level}", "{kind}"]),
        (["lst1"], ["{telescope}", "{night}", "{night}.{level}"]),
        ([VISTA], ["{telescope}.{level}", "{band}"]),
    ],
)
def test_a_container_that_carries_the_levels_above(
    grammars: list[Any], containers: list[str]
) -> None:
    assert naming(grammars=grammars, containers=containers, dataset="{run}").containers


def test_no_containers_at_all() -> None:
    assert naming(containers=[]).containers == ()
