"""What follows from a name: DID name, dataset, containers, metadata."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rucio_inject.domain.errors import NameRefused
from rucio_inject.domain.names import (
    DEFAULT_CONTAINERS,
    DEFAULT_DATASET,
    FIELDS,
    GENERIC_NAME,
    NAME_LENGTH,
    Placement,
    check_templates,
    metadata,
    parse_name,
    place,
    render_containers,
    render_template,
    sanitised,
    template_fields,
)

Y = parse_name("20200204_M1_05089063.001_Y_4C+41.11-W0.40+270.root")
SCALIB = parse_name("scalib05089063_M1.root")
DL1 = parse_name("20201210/v0.6.3/dl1_LST-1.Run03143.0003.h5")
R0 = parse_name("LST-1.4.Run03115.0000.fits.fz")


def test_the_schema_is_that_of_the_rucio_installed(tmp_path: Path) -> None:
    # In its own process: Rucio reads its configuration once, when it is imported.
    config = tmp_path / "rucio.cfg"
    config.write_text("[policy]\nschema = generic\n")
    asked = "from rucio.common.schema import generic as g; print(g.NAME['pattern'], g.NAME_LENGTH)"
    told = subprocess.run(
        [sys.executable, "-c", asked],
        env={**os.environ, "RUCIO_CONFIG": str(config)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == [GENERIC_NAME.pattern, str(NAME_LENGTH)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("4C+41.11-W0.40+270.root", "4C_41.11-W0.40_270.root"),
        ("a/b-c_d.e", "a/b-c_d.e"),
        ("a" * 250, "a" * 250),
    ],
)
def test_sanitised(name: str, expected: str) -> None:
    assert sanitised(name) == expected


def test_a_site_that_takes_plus_keeps_it() -> None:
    wider = re.compile(r"^[/A-Za-z0-9][/A-Za-z0-9+.\-_]*$")
    assert sanitised("4C+41.11", wider) == "4C+41.11"
    assert place(Y, allowed=wider).containers[1] == "2020_02_04.4C+41.11"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is empty"),
        ("a" * 251, "has 251 characters, 250 at most"),
        ("a b%c", "holds ' %'"),
        (".hidden", r"does not match \^"),
        ("+x", r"does not match \^"),
        ("a\n", r"holds '\\n'"),
    ],
)
def test_what_the_catalogue_does_not_take(name: str, reason: str) -> None:
    with pytest.raises(NameRefused, match=reason):
        sanitised(name)


def test_every_field_is_told_by_some_name() -> None:
    names = (Y, SCALIB, DL1, R0)
    assert set().union(*(name.fields().keys() for name in names)) == set(FIELDS)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{level}_{telescope}.{run}", "Calibrated_M1.05089063"),
        ("{run}", "05089063"),
        ("constant", "constant"),
        ("{{{run}}}", "{05089063}"),
        (
            "{year}/{month}/{day} {date} {letter} {wobble} {angle}",
            "2020/02/04 20200204 Y 0.40 270",
        ),
    ],
)
def test_templates(template: str, expected: str) -> None:
    assert render_template(template, Y) == expected


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("", "must not be empty"),
        ("{", "cannot be read"),
        ("run}", "cannot be read"),
        ("{}", r"\{\} is no field; there are name, "),
        ("{0}", r"\{0\} is no field"),
        ("{nigth}", r"\{nigth\} is no field"),
        ("{run.__class__}", r"\{run.__class__\} is no field"),
        ("{run[0]}", r"\{run\[0\]\} is no field"),
        ("{run!r}", r"\{run!r\} is no field"),
        ("{run:>100000000}", r"\{run:>100000000\} is no field"),
        ("{run:{level}}", r"is no field"),
    ],
)
def test_templates_that_are_wrong(template: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        template_fields(template)
    with pytest.raises(ValueError, match=reason):
        render_template(template, Y)


def test_fields_of_a_template() -> None:
    assert template_fields("x{night}.{source}{night}") == {"night", "source"}
    assert template_fields("constant") == frozenset()


def test_a_field_that_the_name_does_not_tell() -> None:
    with pytest.raises(NameRefused, match=r"'scalib05089063_M1.root' tells no source, which .*'\{"):
        render_template("{run}.{source}", SCALIB)
    with pytest.raises(NameRefused, match="tells no night"):
        place(SCALIB, dataset="{night}")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (
            "20200204_M1_05089063.001_Y_4C+41.11-W0.40+270.root",
            ("2020_02_04", "2020_02_04.4C_41.11", "2020_02_04.4C_41.11.Calibrated_M1"),
        ),
        ("2020_02_04/scalib05089063_M1.root", ("2020_02_04",)),
        ("scalib05089063_M1.root", ()),
        ("20201210/v1/dl1_LST-1.Run03143.0003.h5", ("2020_12_10",)),
    ],
)
def test_containers_that_need_what_is_not_told_are_left_out(
    path: str, expected: tuple[str, ...]
) -> None:
    name = parse_name(path)
    assert place(name) == Placement(sanitised(name), name.run, expected)


def test_containers_before_they_are_sanitised() -> None:
    assert render_containers(["{night}.{source}", "{stream}"], Y) == ("2020_02_04.4C+41.11",)


def test_the_defaults_fit_together() -> None:
    check_templates(DEFAULT_DATASET, DEFAULT_CONTAINERS)
    needs = [template_fields(template) for template in DEFAULT_CONTAINERS]
    assert needs[0] < needs[1] < needs[2]


def test_templates_used_twice() -> None:
    with pytest.raises(ValueError, match=r"'\{run\}' is used more than once"):
        check_templates("{run}", ["{night}", "{run}"])
    with pytest.raises(ValueError, match="is no field"):
        check_templates("{run}", ["{nigth}"])


@pytest.mark.parametrize(
    ("dataset", "containers"),
    [("{name}", ()), ("{run}", ("0{run}", "{run}")), ("x", ("{run}", "0508{letter}", "x"))],
)
def test_one_name_stands_for_one_thing(dataset: str, containers: tuple[str, ...]) -> None:
    name = parse_name("20200204_05089063_Q_X.root")
    with pytest.raises(NameRefused, match="would be the name of two different DIDs"):
        place(name, dataset, containers)


def test_metadata() -> None:
    assert metadata(Y) == {
        "night": "2020_02_04",
        "run_number": 5089063,
        "subrun": 1,
        "telescope": "M1",
        "datatype": "Calibrated",
        "source": "4C+41.11",
    }
    assert metadata(SCALIB) == {"run_number": 5089063, "telescope": "M1", "datatype": "Calibrated"}
    assert metadata(DL1) == {
        "night": "2020_12_10",
        "run_number": 3143,
        "subrun": 3,
        "telescope": "LST-1",
        "datatype": "DL1",
    }
