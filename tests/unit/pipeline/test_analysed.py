"""What came back is analysed once: what is new is added to what was made before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.injection_world import World, telescope_files

from rucio_inject.domain.checksum import Measure
from rucio_inject.ports import Analysis
from rucio_inject.testing.memory_storage import MemoryStorage

NAME = "20200203_M1_05089063.{:03}_Y_CrabNebula-W0.40_035.root"


@dataclass
class Names:
    """An analyser that writes down the names of the files."""

    opened: list[str] = field(default_factory=list)

    def counted(self, out: Path) -> frozenset[str]:
        """See the port."""
        path = out / "names"
        return frozenset(path.read_text().split()) if path.exists() else frozenset()

    def analyse(self, files: Sequence[Path], out: Path, *, add: bool = False) -> Analysis:
        """See the port."""
        before = self.counted(out) if add else frozenset()
        self.opened += [path.name for path in files if path.read_bytes()]
        names = sorted(before.union(path.name for path in files))
        (out / "names").write_text(" ".join(names))
        return Analysis("names", len(names), len(names), (out / "names",))


@pytest.fixture
def analyser() -> Names:
    return Names()


@pytest.fixture
def world(tmp_path: Path, analyser: Names) -> World:
    source = {"kind": "directory", "path": str(tmp_path / "inbox")}
    access = {"workers": 2, "analyse": True}
    return World(tmp_path, {"end": None, "source": source, "access": access}, analyser)


@pytest.fixture
def got(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of replicas that were read."""
    names: list[str] = []
    for method in ("get", "measure"):
        real = getattr(MemoryStorage, method)

        def read(self: MemoryStorage, rse: str, pfn: str, *path: Path, real=real) -> Measure:  # type: ignore[no-untyped-def]
            names.append(pfn.rpartition("/")[2])
            measure: Measure = real(self, rse, pfn, *path)
            return measure

        monkeypatch.setattr(MemoryStorage, method, read)
    return names


def inject(world: World, numbers: range) -> list[str]:
    """Some files come; a run takes them. Gives their names."""
    names = [NAME.format(number) for number in numbers]
    telescope_files(world.folder / "inbox", names)
    world.run()
    return names


def test_of_files_that_were_analysed_nothing_is_read(
    world: World, analyser: Names, got: list[str]
) -> None:
    first = inject(world, range(1, 6))
    analyser.opened.clear()
    got.clear()
    (new,) = inject(world, range(6, 7))
    assert set(got) == {new}
    assert analyser.opened == [new]
    assert analyser.counted(world.folder / "out") == {*first, new}
    got.clear()
    world.run()
    assert got == []


def test_what_lacks_is_read_once_more(world: World, analyser: Names, got: list[str]) -> None:
    names = inject(world, range(1, 4))
    (world.folder / "out" / "names").write_text(names[0])
    got.clear()
    (new,) = inject(world, range(4, 5))
    assert set(got) == {*names[1:], new}
    assert analyser.counted(world.folder / "out") == {*names, new}


def test_what_holds_other_files_is_made_anew(world: World, analyser: Names, got: list[str]) -> None:
    """Those of another cycle, or that have ended since: nothing can be taken off a sum."""
    names = inject(world, range(1, 4))
    (world.folder / "out" / "names").write_text(" ".join([*names, "other.root"]))
    got.clear()
    (new,) = inject(world, range(4, 5))
    assert set(got) == {*names, new}
    assert analyser.counted(world.folder / "out") == {*names, new}


def test_what_a_sample_speaks_for_is_not_read_for_it(
    world: World, analyser: Names, got: list[str]
) -> None:
    world.changes["access"] = {"workers": 2, "analyse": True, "sample": 1}
    inject(world, range(1, 6))
    assert len(analyser.opened) == 1
    inject(world, range(6, 8))
    assert set(got) == set(analyser.opened)
