"""Figures and numbers of ROOT files: what is there is found, and what is not is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from rucio_inject.domain.errors import UsageError
from rucio_inject.science import tally
from rucio_inject.science.analyser import FIGURE, PhysicsAnalyser
from rucio_inject.science.analysis import analyse
from rucio_inject.science.cuts import CUTS
from rucio_inject.science.payload import write_calibrated, write_melibea
from rucio_inject.science.statistics import li_ma_significance

PNG = b"\x89PNG\r\n\x1a\n"


def write_events(path: Path, **branches: Any) -> Path:
    """A file with an Events tree of the given arrays; `__` stands for a dot."""
    data = {name.replace("__", "."): np.asarray(values) for name, values in branches.items()}
    with path.open("w+b") as file, uproot.recreate(file) as root:
        root.mktree("Events", {name: values.dtype for name, values in data.items()})
        root["Events"].extend(data)
    return path


def numbers(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read


def test_the_signal_of_a_default_file_is_found(tmp_path: Path) -> None:
    write_melibea(tmp_path / "q.root", seed=1)
    result = analyse([tmp_path / "q.root"], tmp_path / "out" / "physics.png", title="Crab $1_")
    assert result.significance is not None
    assert result.significance > 5
    assert result.paths == (tmp_path / "out" / "physics.png", tmp_path / "out" / "physics.json")
    assert (tmp_path / "out" / "physics.png").read_bytes().startswith(PNG)
    assert (tmp_path / "out" / "physics.png").stat().st_size > 20_000
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "physics.json",
        "physics.png",
    ]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_without_gamma_rays_there_is_no_signal(tmp_path: Path, seed: int) -> None:
    write_melibea(tmp_path / "q.root", seed=seed, gamma_fraction=0)
    one = tally.tally_file(tmp_path / "q.root")
    assert abs(li_ma_significance(one.n_on, one.n_off, CUTS.alpha)) < 4


def test_every_event_is_counted_where_it_belongs(tmp_path: Path) -> None:
    path = write_events(
        tmp_path / "q.root",
        MHadronness__fHadronness=[0.1, 0.1, 0.19, 0.2, 0.1, 0.1, 0.1, np.nan],
        MEnergyEst__fEnergy=[100.0, 99.0, 5e3, 500.0, 500.0, 500.0, 500.0, 500.0],
        MStereoParDisp__fTheta2=[0.0, 0.0, 0.019, 0.0, 0.02, 0.15, 0.3, 0.0],
    )
    result = analyse([path], tmp_path / "physics.png")
    assert (result.events, result.n_on, result.n_off) == (8, 2, 1)
    assert result.alpha == 0.1
    assert result.excess == pytest.approx(1.9)
    written = numbers(result.numbers)
    assert written["events_with_a_number_that_is_not_finite"] == 1
    assert sum(written["histograms"]["theta2"]["counts"]) == 5
    assert sum(written["histograms"]["energy_on"]["counts"]) == 3  # no cut in energy there


def test_the_numbers_are_whole_and_carry_their_units(tmp_path: Path) -> None:
    write_melibea(tmp_path / "q.root", seed=1)
    write_calibrated(tmp_path / "y.root", events=20, seed=1)
    result = analyse([tmp_path / "q.root", tmp_path / "y.root"], tmp_path / "physics.png")
    written = numbers(result.numbers)
    assert written["events"] == {"melibea": 5_000, "calibrated": 20}
    assert (written["n_on"], written["n_off"]) == (result.n_on, result.n_off)
    assert written["significance_sigma"] == result.significance
    assert written["cuts"]["hadronness_below"] == 0.2
    assert written["cuts"]["energy_from_gev"] == 100
    for histogram in written["histograms"].values():
        assert len(histogram["edges"]) == len(histogram["counts"]) + 1
        assert histogram["edges_unit"]
        assert histogram["poisson_errors"] == [count**0.5 for count in histogram["counts"]]
    off = written["histograms"]["theta2"]["counts"][10:30]
    assert sum(off) == result.n_off
    assert len(written["camera"]["mean_of_each_pixel"]) == 1039
    assert written["per_file"][0]["file"] == "q.root"


def test_camera_means_are_those_of_the_arrays(tmp_path: Path) -> None:
    write_calibrated(tmp_path / "y.root", events=30, seed=1)
    with (tmp_path / "y.root").open("rb") as file, uproot.open(file) as root:
        charge = root["Events"]["MCerPhotEvt.fPixels.fPhot"].array(library="np")
    result = analyse([tmp_path / "y.root"], tmp_path / "camera.svg")
    camera = numbers(result.numbers)["camera"]
    assert camera["mean"] == pytest.approx(charge.mean(dtype=np.float64))
    assert camera["mean_of_each_pixel"][7] == pytest.approx(
        charge[:, 7].mean(dtype=np.float64), abs=1e-4
    )
    assert result.significance is None
    assert b"<svg" in (tmp_path / "camera.svg").read_bytes()


def test_files_add_up_and_pieces_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"q{seed}.root" for seed in range(3)]
    for seed, path in enumerate(paths):
        write_melibea(path, events=1_000, seed=seed)
    single = [tally.tally_file(path) for path in paths]
    monkeypatch.setattr(tally, "STEP", 197)  # events, so that a file comes in many pieces
    together = analyse(paths, tmp_path / "all.png")
    assert together.n_on == sum(one.n_on for one in single)
    assert together.n_off == sum(one.n_off for one in single)
    assert together.events == 3_000


def damaged(path: Path, how: str) -> None:
    content = path.read_bytes()
    match how:
        case "cut off":
            path.write_bytes(content[: len(content) // 2])
        case "empty":
            path.write_bytes(b"")
        case "no ROOT file":
            path.write_bytes(b"not a ROOT file at all" * 100)
        case "overwritten":
            middle = len(content) // 2
            path.write_bytes(content[: middle - 40_000] + b"\xa5" * 80_000 + content[middle:])
        case "gone":
            path.unlink()


def test_damaged_files_are_named_and_do_not_stop_the_others(tmp_path: Path) -> None:
    good = tmp_path / "good.root"
    write_melibea(good, seed=1)
    damages = ("cut off", "empty", "no ROOT file", "overwritten", "gone")
    bad = [tmp_path / f"{how}.root" for how in damages]
    for path in bad:
        write_melibea(path, seed=2)
        damaged(path, path.stem)
    alone = tally.tally_file(good)
    result = analyse([*bad, good], tmp_path / "physics.png")
    assert [path for path, _ in result.failures] == bad
    assert all(path.name in reason for path, reason in result.failures)
    assert (result.files, result.events, result.n_on) == (1, 5_000, alone.n_on)
    written = numbers(result.numbers)["failures"]
    assert [failure["file"] for failure in written] == [path.name for path in bad]
    assert "5 files could not be analysed" in result.headline


def test_files_that_hold_something_else_are_refused_with_the_reason(tmp_path: Path) -> None:
    other = write_events(tmp_path / "other.root", fX=[1.0, 2.0])
    with (tmp_path / "empty.root").open("w+b") as file, uproot.recreate(file):
        pass
    result = analyse([other, tmp_path / "empty.root"], tmp_path / "physics.png")
    reasons = dict(result.failures)
    assert "branches" in reasons[other]
    assert "no tree called Events" in reasons[tmp_path / "empty.root"]


def test_a_camera_of_another_size_is_refused_and_the_first_kept(tmp_path: Path) -> None:
    write_calibrated(tmp_path / "y.root", events=5, seed=1)
    with (tmp_path / "old.root").open("w+b") as file, uproot.recreate(file) as root:
        root.mktree("Events", {tally.CHARGE: np.dtype(("f4", (577,)))})
        root["Events"].extend({tally.CHARGE: np.ones((3, 577), dtype="f4")})
    result = analyse([tmp_path / "y.root", tmp_path / "old.root"], tmp_path / "camera.png")
    assert "1 file could not be analysed" in result.headline
    assert result.events == 5
    assert "577 pixels" in result.failures[0][1]


def test_when_no_file_can_be_read_no_figure_of_before_remains(tmp_path: Path) -> None:
    (tmp_path / "bad.root").write_bytes(b"")
    (tmp_path / "physics.png").write_bytes(b"of before")
    result = analyse([tmp_path / "bad.root"], tmp_path / "physics.png")
    assert result.figure is None
    assert result.paths == (tmp_path / "physics.json",)
    assert not (tmp_path / "physics.png").exists()


def test_a_file_without_a_byte_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "bad.root").write_bytes(b"")
    result = analyse([tmp_path / "bad.root"], tmp_path / "physics.png")
    assert result.failures == ((tmp_path / "bad.root", "bad.root is empty: it has no bytes"),)


def test_files_are_only_read(tmp_path: Path) -> None:
    path = tmp_path / "q.root"
    write_melibea(path, events=100, seed=1)
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    analyse([path], tmp_path / "physics.png")
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_requests_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no ROOT files"):
        analyse([], tmp_path / "physics.png")
    with pytest.raises(UsageError, match=r"physics\.pdf"):
        analyse([tmp_path / "q.root"], tmp_path / "physics.pdf")
    with pytest.raises(UsageError, match="twice"):
        analyse([tmp_path / "q.root"] * 2, tmp_path / "physics.png")
    assert list(tmp_path.iterdir()) == []


class TestAdded:
    """Files that come later are added to the numbers of those before."""

    @pytest.fixture
    def files(self, tmp_path: Path) -> list[Path]:
        paths = [tmp_path / name for name in ("a.root", "b.root", "y.root", "z.root", "bad.root")]
        for seed, path in enumerate(paths):
            (write_melibea if seed < 2 else write_calibrated)(path, events=40, seed=seed)
        paths[-1].write_bytes(b"no ROOT file")
        return paths

    def test_they_add_up_to_what_all_at_once_are(self, files: list[Path], tmp_path: Path) -> None:
        analyser, out, whole = PhysicsAnalyser(), tmp_path / "out", tmp_path / "whole"
        first = [files[0], files[2], files[4]]
        analyser.analyse(first, out)
        assert analyser.counted(out) == {"a.root", "y.root"}
        # What could not be used is tried again.
        second = [files[1], files[3], files[4]]
        added = analyser.analyse(second, out, add=True)
        at_once = analyser.analyse([*first[:2], *second], whole)
        assert (added.files, added.events, added.headline) == (4, 160, at_once.headline)
        assert [path.name for path, _ in added.failures] == ["bad.root"]
        together, expected = (numbers(path / "physics.json") for path in (out, whole))
        for pixel in zip(
            together["camera"].pop("sum_of_each_pixel"),
            expected["camera"].pop("sum_of_each_pixel"),
            strict=True,
        ):
            assert pixel[0] == pytest.approx(pixel[1])
        for name in ("mean", "mean_of_each_pixel"):
            assert together["camera"].pop(name) == pytest.approx(expected["camera"].pop(name))
        assert together == expected
        # Nothing new: the same is drawn.
        assert analyser.analyse([], out, add=True).events == 160
        assert analyser.counted(out) == {path.name for path in files[:4]}

    @pytest.mark.parametrize("change", [{"version": 1}, {"cuts": {}}, {"camera": 7}, None])
    def test_what_cannot_be_added_to_is_not(
        self, files: list[Path], tmp_path: Path, change: dict[str, object] | None
    ) -> None:
        analyser = PhysicsAnalyser()
        assert analyser.counted(tmp_path) == frozenset()
        analyser.analyse(files[2:3], tmp_path)
        path = (tmp_path / FIGURE).with_suffix(".json")
        text = json.dumps({**numbers(path), **change}) if change else path.read_text()[:-9]
        path.write_text(text, encoding="utf-8")
        assert analyser.counted(tmp_path) == frozenset()
        assert analyser.analyse(files[3:4], tmp_path, add=True).files == 1
