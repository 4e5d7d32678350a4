"""The name grammar, on names that Hypothesis makes."""

from __future__ import annotations

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from rucio_inject.domain.errors import NameRefused
from rucio_inject.domain.names import (
    GENERIC_NAME,
    AuxiliaryKind,
    FileName,
    Letter,
    Lst1File,
    Lst1Kind,
    MagicAuxiliary,
    MagicScience,
    Telescope,
    Wobble,
    metadata,
    parse_name,
    place,
    sanitised,
)


def digits(count: int) -> st.SearchStrategy[str]:
    return st.text("0123456789", min_size=count, max_size=count)


signs = st.sampled_from("+-_")
nights = st.dates(min_value=date(2000, 1, 1), max_value=date(2099, 12, 31))
offsets = st.builds("{}.{}".format, digits(1), digits(2))
angles = st.builds("{}{}".format, signs, digits(3))
plain_wobbles = st.builds(Wobble, offsets, angles)
shifted_wobbles = st.builds(
    Wobble,
    offsets,
    st.none() | angles,
    st.builds("{}{}.{}".format, signs, digits(1), digits(1)),
    signs,
)
# Characters that sources have, and fragments that look like the grammar's own; the first is a
# letter, since a source that is a wobble and nothing else is refused.
fragments = st.sampled_from(
    ["-W0.40+000", "-W3", "-O+0.1", "-", "_", "+", ".", ".root", "M1", "D", "W", "4C", "Mrk501"]
)
sources = (
    st.lists(fragments | st.sampled_from("ABCabc0123456789+-._"), min_size=1, max_size=12)
    .map("".join)
    .map(lambda text: "S" + text[:11])
)


@st.composite
def science(draw: st.DrawFn) -> tuple[str, dict[str, object]]:
    """A science name put together by hand, and its parts."""
    night, run = draw(nights), draw(digits(8))
    telescope = draw(st.sampled_from(["M1", "M2", "ST"]))
    subrun = draw(st.none() | digits(3))
    letter = draw(st.sampled_from(Letter)).value
    source = draw(sources)
    wobble = draw(st.none() | plain_wobbles | shifted_wobbles)
    extension = draw(st.sampled_from([".raw.gz", ".root"]))
    name = (
        f"{night:%Y%m%d}_{'' if telescope == 'ST' else telescope + '_'}{run}"
        f"{'' if subrun is None else '.' + subrun}_{letter}_{source}{wobble or ''}{extension}"
    )
    parts: dict[str, object] = {
        "night": night,
        "run": run,
        "telescope": telescope,
        "subrun": subrun,
        "letter": letter,
        "target": f"{source}{wobble or ''}",
        "extension": extension,
    }
    return name, parts


@st.composite
def auxiliary(draw: st.DrawFn) -> str:
    kind = draw(st.sampled_from(AuxiliaryKind)).value
    stereo = kind in {"superstar", "melibea"}
    telescope = "" if stereo else draw(st.sampled_from(["_M1", "_M2"]))
    subrun = draw(st.just("") | digits(3).map(".{}".format))
    return f"{kind}{draw(digits(8))}{subrun}{telescope}.root"


@st.composite
def lst1(draw: st.DrawFn) -> str:
    run, subrun = draw(digits(5)), draw(digits(4))
    return draw(
        st.sampled_from(
            [
                *(f"LST-1.{stream}.Run{run}.{subrun}.fits.fz" for stream in range(1, 5)),
                *(f"{k}_LST-1.Run{run}.{subrun}.h5" for k in ("dl1", "dl2", "datacheck_dl1")),
                f"muons_LST-1.Run{run}.{subrun}.fits",
                f"datacheck_dl1_LST-1.Run{run}.h5",
                f"datacheck_dl1_LST-1.Run{run}.pdf",
            ]
        )
    )


magic_folders = nights.map(
    lambda night: (f"{night:/data/M1/OSA/Star/%Y/%m/%d}", f"{night:/data/M1/DAQ/RAW/%Y_%m_%d}")
).flatmap(st.sampled_from)


@given(science())
def test_a_science_name_is_understood_part_by_part(made: tuple[str, dict[str, object]]) -> None:
    name, parts = made
    told = parse_name(name)
    assert isinstance(told, MagicScience)
    assert str(told) == name
    assert {
        "night": told.night,
        "run": told.run,
        "telescope": str(told.telescope),
        "subrun": told.subrun,
        "letter": told.letter.value,
        "target": f"{told.source}{told.wobble or ''}",
        "extension": told.extension,
    } == parts


@given(
    nights,
    digits(8),
    st.sampled_from(Letter),
    st.text("ABCabc0123456789+._", min_size=1, max_size=12),
    st.sampled_from([Telescope.M1, Telescope.M2, Telescope.ST]),
    st.none() | plain_wobbles | shifted_wobbles,
)
def test_a_science_value_survives_being_written(
    night: date,
    run: str,
    letter: Letter,
    source: str,
    telescope: Telescope,
    wobble: Wobble | None,
) -> None:
    made = MagicScience.make(
        night=night, run=run, letter=letter, source=source, telescope=telescope, wobble=wobble
    )
    again = parse_name(str(made))
    assert again == made
    assert hash(again) == hash(made)


@given(magic_folders, auxiliary())
def test_an_auxiliary_name_survives(folder: str, name: str) -> None:
    told = parse_name(f"{folder}/{name}")
    assert isinstance(told, MagicAuxiliary)
    assert str(told) == name
    assert told.fields()["night"] in folder.replace("/", "_")


@given(lst1(), nights)
def test_an_lst1_name_survives(name: str, night: date) -> None:
    told = parse_name(f"{night:%Y%m%d}/v0.6.3_v05/{name}")
    assert isinstance(told, Lst1File)
    assert str(told) == name
    assert (told.night, told.version) == (night, "v0.6.3_v05")
    assert (told.kind is Lst1Kind.R0) is name.startswith("LST-1")


any_name = st.one_of(
    science()
    .map(lambda made: made[0])
    .filter(lambda name: "_-W" not in name and "_-O" not in name),
    auxiliary(),
    lst1(),
)


@given(any_name)
def test_a_sanitised_name_tells_the_same_but_for_plus(name: str) -> None:
    told = parse_name(name)
    clean = sanitised(told)
    assert GENERIC_NAME.fullmatch(clean)
    again = parse_name(clean)
    expected = {key: value.replace("+", "_") for key, value in told.fields().items()}
    assert again.fields() == expected
    assert sanitised(again) == clean


@given(any_name)
def test_what_follows_from_a_name_never_fails(name: str) -> None:
    told: FileName = parse_name(name)
    placement = place(told)
    assert placement.dataset == told.run
    assert metadata(told)["run_number"] == int(told.run)


@st.composite
def spoiled(draw: st.DrawFn) -> str:
    """A good name with a piece of it replaced by anything."""
    name = draw(any_name)
    start = draw(st.integers(0, len(name)))
    stop = draw(st.integers(start, min(len(name), start + 5)))
    return name[:start] + draw(st.text(max_size=4)) + name[stop:]


@given(st.text() | spoiled() | st.builds("{}/{}".format, st.text(max_size=20), spoiled()))
def test_no_text_raises_anything_but_a_refusal(text: str) -> None:
    try:
        told = parse_name(text)
    except NameRefused:
        return
    assert str(told) == text.rpartition("/")[2]
