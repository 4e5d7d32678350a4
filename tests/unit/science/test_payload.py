"""Mock ROOT files, read again with uproot."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from rucio_inject.domain.errors import UsageError
from rucio_inject.science import draw
from rucio_inject.science.payload import (
    PayloadKind,
    make_root_payload,
    write_calibrated,
    write_melibea,
)

NAME = "20201026_05089063_Q_CrabNebula-W0.40+000.root"


def read(path: Path, tree: str = "Events") -> dict[str, Any]:
    """The arrays of a tree. By an open file: a path's colon would mean something to uproot."""
    with path.open("rb") as file, uproot.open(file) as root:
        arrays: dict[str, Any] = root[tree].arrays(library="np")
        return arrays


def test_a_melibea_file_has_magics_branches_in_their_units(tmp_path: Path) -> None:
    write_melibea(tmp_path / NAME, events=4_000, seed=1)
    events = read(tmp_path / NAME)
    assert {
        "MHadronness.fHadronness",
        "MEnergyEst.fEnergy",
        "MStereoParDisp.fTheta2",
        "MTime_1.fMjd",
        "MPointingPos_1.fZd",
    } <= set(events)
    assert {len(values) for values in events.values()} == {4_000}
    assert events["MEnergyEst.fEnergy"].dtype == np.float64
    assert 40 < np.median(events["MEnergyEst.fEnergy"]) < 200  # GeV
    assert events["MStereoParDisp.fTheta2"].min() >= 0
    assert events["MStereoParDisp.fTheta2"].max() < 0.7  # deg²
    hadronness = events["MHadronness.fHadronness"]
    assert hadronness.min() >= 0
    assert hadronness.max() <= 1
    assert ((events["MPointingPos_1.fZd"] > 0) & (events["MPointingPos_1.fZd"] < 90)).all()


def test_a_calibrated_file_has_1039_pixels_an_event(tmp_path: Path) -> None:
    write_calibrated(tmp_path / "y.root", events=40, seed=1)
    events = read(tmp_path / "y.root")
    charge = events["MCerPhotEvt.fPixels.fPhot"]
    assert charge.shape == (40, 1039)
    assert charge.dtype == np.float32
    assert (charge.max(axis=1) > 5).mean() > 0.5  # showers stand out of the noise
    assert abs(float(np.median(charge))) < 0.5
    with (tmp_path / "y.root").open("rb") as file, uproot.open(file) as root:
        assert root["Events"]["MCerPhotEvt.fPixels.fPhot"].title.endswith("[1039]/F")


def test_night_and_run_are_in_the_file_and_time_runs_forwards(tmp_path: Path) -> None:
    night = date(2024, 9, 12)  # MJD 60565
    write_melibea(tmp_path / NAME, events=500, seed=1, run=5_090_000, night=night)
    events = read(tmp_path / NAME)
    assert set(events["MTime_1.fMjd"]) == {60_565}
    seconds = events["MTime_1.fTime.fMilliSec"] / 1e3 + events["MTime_1.fNanoSec"] / 1e9
    assert (np.diff(seconds) > 0).all()
    header = read(tmp_path / NAME, "RunHeaders")
    assert header["MRawRunHeader_1.fRunNumber"].tolist() == [5_090_000]


@pytest.mark.parametrize("kind", list(PayloadKind))
def test_a_seed_repeats_its_arrays_and_no_other_seeds(tmp_path: Path, kind: PayloadKind) -> None:
    for name, seed in (("a", 1), ("again", 1), ("b", 2)):
        make_root_payload(kind, tmp_path / name, events=60, seed=seed)
    a, again, b = (read(tmp_path / name) for name in ("a", "again", "b"))
    assert a.keys() == again.keys()
    assert all(np.array_equal(a[branch], again[branch]) for branch in a)
    branch = "MEnergyEst.fEnergy" if kind is PayloadKind.MELIBEA else "MCerPhotEvt.fPixels.fPhot"
    assert not np.array_equal(a[branch], b[branch])


def test_many_chunks_make_one_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw, "MELIBEA_CHUNK", 100)
    write_melibea(tmp_path / NAME, events=250, seed=1)
    numbers = read(tmp_path / NAME)["MRawEvtHeader_1.fStereoEvtNumber"]
    assert numbers.tolist() == list(range(1, 251))


def test_default_sizes_are_those_of_a_quick_campaign(tmp_path: Path) -> None:
    sizes = {}
    for kind in PayloadKind:
        make_root_payload(kind, tmp_path / kind, seed=1)
        sizes[kind] = (tmp_path / kind).stat().st_size
    assert 100_000 < sizes[PayloadKind.MELIBEA] < 500_000
    assert sizes[PayloadKind.CALIBRATED] < 1_000_000


@pytest.mark.parametrize("name", ["with:colon.root", "a#b*c?.root", "+ é.root"])
def test_any_name_that_a_file_system_takes_will_do(tmp_path: Path, name: str) -> None:
    write_melibea(tmp_path / name, events=10, seed=1)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert len(read(tmp_path / name)["MEnergyEst.fEnergy"]) == 10


def test_what_makes_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="0 events"):
        write_calibrated(tmp_path / "y.root", events=0, seed=1)
    with pytest.raises(UsageError, match="seed -1"):
        write_melibea(tmp_path / "q.root", events=1, seed=-1)
    with pytest.raises(UsageError, match=r"gamma_fraction 1\.5"):
        write_melibea(tmp_path / "q.root", events=1, seed=1, gamma_fraction=1.5)
    with pytest.raises(UsageError, match="'star'") as raised:
        make_root_payload("star", tmp_path / "i.root", seed=1)
    assert "melibea, calibrated" in (raised.value.hint or "")
    assert list(tmp_path.iterdir()) == []


def test_a_file_half_written_never_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen_while_writing: list[str] = []
    whole = draw.melibea

    def breaks(*arguments: Any, **named: Any) -> Iterator[draw.Chunk]:
        yield from whole(*arguments, **named)
        seen_while_writing.extend(path.suffix for path in tmp_path.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(draw, "melibea", breaks)
    with pytest.raises(KeyboardInterrupt):
        write_melibea(tmp_path / NAME, events=10, seed=1)
    assert seen_while_writing == [".part"]
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("draw", "rootfile"):
        monkeypatch.delitem(sys.modules, f"rucio_inject.science.{module}", raising=False)
        monkeypatch.delattr(f"rucio_inject.science.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "uproot", None)
    with pytest.raises(UsageError, match="'uproot' is not installed") as raised:
        write_melibea(tmp_path / NAME, events=10, seed=1)
    assert "rucio-inject[science]" in (raised.value.hint or "")
    assert list(tmp_path.iterdir()) == []
