"""Names that are odd, and names that are wrong."""

from __future__ import annotations

from datetime import date

import pytest

from rucio_inject.domain.errors import NameRefused
from rucio_inject.domain.names import (
    GRAMMARS,
    Letter,
    Level,
    MagicScience,
    Telescope,
    Wobble,
    grammars,
    parse_name,
)

RUN = "20200204_M1_05089063.001_D_"


def fields(text: str, *keys: str) -> dict[str, str | None]:
    told = parse_name(text).fields()
    return {key: told.get(key) for key in keys}


@pytest.mark.parametrize(
    ("target", "source", "wobble", "angle"),
    [
        ("Mrk501-W0.40+270", "Mrk501", "0.40", "270"),
        ("PKS1502+106-", "PKS1502+106-", None, None),
        ("PKS1502+106--W0.40+000", "PKS1502+106-", "0.40", "000"),
        ("GH-OFF-2019-", "GH-OFF-2019-", None, None),
        ("Boomerang-W3", "Boomerang-W3", None, None),
        ("Boomerang-W0.50+160", "Boomerang", "0.50", "160"),
        ("4C+41.11", "4C+41.11", None, None),
        ("4C+27.50-W0.40+090", "4C+27.50", "0.40", "090"),
        ("1ES1959_650-W0.40_000", "1ES1959_650", "0.40", "000"),
        ("Crab-W0.40-090", "Crab", "0.40", "-090"),
        ("Perseus-O+0.1+W0.40", "Perseus", "0.40", None),
        ("Perseus-O-0.5-W0.40+035", "Perseus", "0.40", "035"),
        ("Perseus-O_0.1_W0.40", "Perseus", "0.40", None),
        ("A-W0.40+000-W0.50+180", "A-W0.40+000", "0.50", "180"),
        ("My_Source_1", "My_Source_1", None, None),
    ],
)
def test_sources_and_wobbles(
    target: str, source: str, wobble: str | None, angle: str | None
) -> None:
    name = f"{RUN}{target}.root"
    assert fields(name, "source", "wobble", "angle") == {
        "source": source,
        "wobble": wobble,
        "angle": angle,
    }
    assert str(parse_name(name)) == name


def test_the_seed_example() -> None:
    name = parse_name("20201026_M1_36973941.005_D_1ES1959_650-W0.40_000.root")
    assert name == MagicScience.make(
        night=date(2020, 10, 26),
        telescope=Telescope.M1,
        run="36973941",
        subrun="005",
        letter=Letter.D,
        source="1ES1959_650",
        wobble=Wobble("0.40", "_000"),
    )


def test_all_fields_of_a_science_name() -> None:
    assert parse_name("/x/20200204_M2_05089063.001_Y_Mrk501-W0.40+270.root").fields() == {
        "name": "20200204_M2_05089063.001_Y_Mrk501-W0.40+270.root",
        "stem": "20200204_M2_05089063.001_Y_Mrk501-W0.40+270",
        "extension": ".root",
        "experiment": "MAGIC",
        "run": "05089063",
        "subrun": "001",
        "telescope": "M2",
        "level": "Calibrated",
        "source": "Mrk501",
        "letter": "Y",
        "wobble": "0.40",
        "angle": "270",
        "night": "2020_02_04",
        "date": "20200204",
        "year": "2020",
        "month": "02",
        "day": "04",
    }


@pytest.mark.parametrize(
    ("path", "level"),
    [
        ("20200204_M1_05089063.001_D_X.raw.gz", Level.RAW),
        ("20200204_M1_05089063.001_D_X.root", Level.CALIBRATED),
        ("/data/M1/DAQ/RAW/2020_02_04/20200204_M1_05089063.001_D_X.root", Level.RAW),
        ("RAW_M1/X/2020_02_04/05089063/20200204_M1_05089063.001_P_X.root", Level.RAW),
        ("RAW/Calibrated/20200204_M1_05089063.001_D_X.root", Level.CALIBRATED),
        ("OLD_RAW/20200204_M1_05089063.001_D_X.root", Level.CALIBRATED),
        ("/data/RAW/20200204_M1_05089063.001_Y_X.root", Level.CALIBRATED),
        ("/data/RAW/20200204_M1_05089063.001_I_X.root", Level.STAR),
        ("20200204_05089063_S_X.root", Level.SUPERSTAR),
        ("20200204_05089063_Q_X.root", Level.MELIBEA),
        ("ssignal05089063.001_M1.root", Level.CALIBRATED),
        ("scalib05089063_M2.root", Level.CALIBRATED),
        ("star05089063.001_M2.root", Level.STAR),
        ("superstar05089063.root", Level.SUPERSTAR),
        ("melibea05089063.root", Level.MELIBEA),
        ("LST-1.4.Run03115.0000.fits.fz", Level.R0),
        ("dl1_LST-1.Run03115.0000.h5", Level.DL1),
        ("dl2_LST-1.Run03115.0000.h5", Level.DL2),
        ("muons_LST-1.Run03115.0000.fits", Level.MUONS),
        ("datacheck_dl1_LST-1.Run03115.pdf", Level.DATACHECK_DL1),
    ],
)
def test_levels(path: str, level: Level) -> None:
    assert parse_name(path).level is level


@pytest.mark.parametrize(
    ("path", "night"),
    [
        ("scalib05089063_M1.root", None),
        ("/data/2020_02_04/scalib05089063_M1.root", date(2020, 2, 4)),
        ("/data/2020/02/04/scalib05089063_M1.root", date(2020, 2, 4)),
        ("2019_01_01/2020_02_04/scalib05089063_M1.root", date(2020, 2, 4)),
        ("X/2020_02_04/20209999/scalib05089063_M1.root", date(2020, 2, 4)),
        ("/data/2020_02/04/scalib05089063_M1.root", None),
        ("/data/x2020_02_04/scalib05089063_M1.root", None),
        ("dl1_LST-1.Run03115.0000.h5", None),
        ("20201210/v1/dl1_LST-1.Run03115.0000.h5", date(2020, 12, 10)),
        ("20190101/20201210/v1/dl1_LST-1.Run03115.0000.h5", date(2020, 12, 10)),
        # A name that tells its night is not asked of its folders.
        ("/data/1999_01_01/20200204_05089063_Q_X.root", date(2020, 2, 4)),
    ],
)
def test_nights(path: str, night: date | None) -> None:
    assert parse_name(path).night == night
    assert ("night" in parse_name(path).fields()) is (night is not None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "an empty line is no file name"),
        ("  \t", "an empty line is no file name"),
        ("/data/M1/", "is a folder"),
        ("/", "is a folder"),
        ("MD5SUMS", "is a list of checksums"),
        ("/data/M1/MD5SUMS.GZ", "is a list of checksums"),
        ("notes.txt", "is no name of MAGIC or LST-1"),
        ("20200204_M1_05089063.001_D_X.root\n", "begins or ends with white space"),
        ("2020020_M1_05089063.001_D_X.root", "night '2020020' has 7 digits, 8 are needed"),
        ("20200230_M1_05089063.001_D_X.root", "night '20200230' is no day of the calendar"),
        ("00000101_M1_05089063.001_D_X.root", "night '00000101' is no day of the calendar"),
        ("20200204_M3_05089063.001_D_X.root", "telescope 'M3' is neither M1 nor M2"),
        ("20200204_M1_1234.001_D_X.root", "run '1234' has 4 digits, 8 are needed"),
        ("20200204_M1_0508906x.001_D_X.root", "run '0508906x' is not made of 8 digits alone"),
        ("20200204_M1_٠٥٠٨٩٠٦٣.001_D_X.root", "is not made of 8 digits alone"),
        ("20200204_M1", "run is missing: 8 digits are needed"),
        ("20200204_M1_05089063.1_D_X.root", "subrun '1' has 1 digit, 3 are needed"),
        ("20200204_M1_05089063._D_X.root", "subrun is missing: 3 digits are needed"),
        ("20200204_M1_05089063", "type letter and source are missing"),
        ("20200204_M1_05089063.001_X_X.root", "type letter 'X' is none of D Y P C B I S Q L N J"),
        ("20200204_M1_05089063.001_D_X.txt", "'X.txt' does not end in .raw.gz or .root"),
        ("20200204_M1_05089063.001_D_.root", "the source is missing"),
        ("20200204_M1_05089063.001_D_-W0.40+000.root", "the source is missing"),
        ("20200204_M1_05089063.001_D_A B.root", "source 'A B' holds ' '"),
        (f"{RUN}Abcdefghijklm.root", "has 13 characters, 12 at most are used"),
        (f"{RUN}Abcdefghijklm-W0.40+000.root", "has 13 characters, 12 at most are used"),
        (f"{RUN}Mrk501-W0.40+27.root", "wobble '-W0.40+27' is not of the form -W0.40+270"),
        (f"{RUN}Mrk501-O+0.10+W0.40.root", "wobble '-O+0.10+W0.40' is not of the form"),
        ("ssignal5089063.001_M1.root", "run '5089063' has 7 digits, 8 are needed"),
        ("scalib05089063.root", "telescope is missing: a scalib file is of M1 or of M2"),
        ("star05089063.001_M4.root", "telescope 'M4' is neither M1 nor M2"),
        ("superstar05089063_M1.root", "a superstar file is of both telescopes"),
        ("melibea05089063.txt", "does not end in .root"),
        ("/2020_02_30/scalib05089063_M1.root", "the folder's night '20200230' is no day"),
        ("20201301/dl1_LST-1.Run03115.0000.h5", "the folder's night '20201301' is no day"),
        ("LST-1.5.Run03115.0000.fits.fz", "stream '5' is none of 1 to 4"),
        ("LST-2.1.Run03115.0000.fits.fz", "telescope 'LST-2' is not LST-1"),
        ("LST-1.1.Run3115.0000.fits.fz", "run '3115' has 4 digits, 5 are needed"),
        ("LST-1.1.Run03115.000.fits.fz", "subrun '000' has 3 digits, 4 are needed"),
        ("LST-1.1.03115.0000.fits.fz", "'03115' is not the run, written as Run and 5 digits"),
        ("LST-1.1.Run03115.0000.fits", "does not end in .fits.fz"),
        ("dl3_LST-1.Run03115.0000.h5", "'dl3_' before LST-1 is none of dl1_, dl2_,"),
        ("dl1_LST-1.Run03115.h5", "subrun is missing: 4 digits are needed"),
        ("datacheck_dl1_LST-1.Run03115.0000.pdf", "a .pdf file is of a whole run"),
    ],
)
def test_what_is_refused_says_which_part_does_not_fit(text: str, reason: str) -> None:
    with pytest.raises(NameRefused) as caught:
        parse_name(text)
    assert reason in caught.value.message
    assert caught.value.hint


def test_a_reason_quotes_no_more_than_a_glance_of_a_long_name() -> None:
    with pytest.raises(NameRefused) as caught:
        parse_name("9" * 100_000)
    assert len(caught.value.message) < 400


def test_only_the_grammars_asked_for_are_tried() -> None:
    magic, lst1 = "20200204_05089063_Q_X.root", "dl1_LST-1.Run03115.0000.h5"
    assert parse_name(magic, grammars(["magic"])).experiment == "MAGIC"
    assert parse_name(lst1, grammars(["lst1"])).experiment == "LST-1"
    with pytest.raises(NameRefused, match=r"is no name of LST-1$"):
        parse_name(magic, grammars(["lst1"]))
    with pytest.raises(NameRefused, match="no name of any grammar asked for"):
        parse_name(magic, ())


def test_an_unknown_grammar_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'veritas'; there are magic, lst1$"):
        grammars(["magic", "veritas"])


@pytest.mark.parametrize("grammar", GRAMMARS.values(), ids=GRAMMARS.keys())
def test_the_example_of_a_grammar_is_of_it(grammar: object) -> None:
    assert grammar in GRAMMARS.values()
    example = grammar.example  # type: ignore[attr-defined]
    assert parse_name(example, [grammar]).name == example  # type: ignore[list-item]


def test_make_refuses_what_would_be_read_as_something_else() -> None:
    with pytest.raises(NameRefused, match="would be read with source 'A'"):
        MagicScience.make(
            night=date(2020, 2, 4), run="05089063", letter=Letter.Q, source="A-W0.40+000"
        )
    with pytest.raises(NameRefused, match="run '5089063' has 7 digits"):
        MagicScience.make(night=date(2020, 2, 4), run="5089063", letter=Letter.Q, source="A")


def test_wobble_as_numbers() -> None:
    wobble = Wobble.parse("-O+0.1_W0.40-090")
    assert (wobble.offset_degrees, wobble.angle_degrees, wobble.shift) == (0.4, -90, "+0.1")
    assert str(wobble) == "-O+0.1_W0.40-090"
    assert Wobble.parse("-W0.40_270").angle_degrees == 270
    with pytest.raises(NameRefused, match=r"'-W0\.4' is not"):
        Wobble.parse("-W0.4")
