"""A source that is itself what an RSE holds is never removed, nor ended with its replica."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from tests.injection_world import HOLDERS, NAMES, SCOPE, World, telescope_files
from tests.unit.pipeline.test_safety import stop_after

from rucio_inject.cli.exit_codes import ExitCode, of_outcome
from rucio_inject.domain import facts as f
from rucio_inject.domain.errors import StorageRefused
from rucio_inject.domain.injection import FileState
from rucio_inject.testing.memory_storage import MemoryStorage

UPLOAD, ELSEWHERE = "PIC-INJECT", "PIC-DCACHE"
END = {"lifetime": "5s", "deadline": "60s"}
IS_REPLICA = "source-is-replica"


class Mounted(MutableMapping[str, bytes]):
    """The bytes of an RSE whose server shows a folder that is also mounted here."""

    def __init__(self, rse: str, folder: Path) -> None:
        self._root = f"memory://{rse}/"
        self._folder = folder

    def _path(self, pfn: str) -> Path:
        return self._folder / pfn.removeprefix(self._root)

    def __getitem__(self, pfn: str) -> bytes:
        if not self._path(pfn).is_file():
            raise KeyError(pfn)
        return self._path(pfn).read_bytes()

    def __setitem__(self, pfn: str, content: bytes) -> None:
        self._path(pfn).parent.mkdir(parents=True, exist_ok=True)
        self._path(pfn).write_bytes(content)

    def __delitem__(self, pfn: str) -> None:
        self._path(pfn).unlink()

    def __iter__(self) -> Iterator[str]:
        paths = sorted(path for path in self._folder.rglob("*") if path.is_file())
        return iter([f"{self._root}{path.relative_to(self._folder)}" for path in paths])

    def __len__(self) -> int:
        return len(list(iter(self)))


def mount(world: World, rse: str) -> None:
    mounted: Any = Mounted(rse, world.folder / "site")
    world.lake.rses[rse].bytes = mounted


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The folder of a site where the files lie already, under the very names of their replicas."""
    telescope_files(tmp_path / "site" / SCOPE)
    return tmp_path / "site" / SCOPE


@pytest.fixture
def world(tmp_path: Path, site: Path) -> World:
    """A campaign that takes its files from there, and frees them."""
    world = World(tmp_path)
    world.changes |= {"end": None, "source": source(site, free=True)}
    return world


def source(folder: Path, *, free: bool) -> dict[str, Any]:
    return {"kind": "directory", "path": str(folder), "free": free}


def codes(world: World) -> list[str]:
    return [record.failure.code for record in world.files() if record.failure]


def assert_untouched(site: Path) -> None:
    """All sources are there as they were, and nothing else is."""
    contents = {path.name: path.read_bytes() for path in site.iterdir()}
    assert contents == {name: f"events of {name}".encode() for name in NAMES}


def refuse_making(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Nothing can be made in a folder: it is mounted to be read."""
    real = os.open

    def refused(path: Any, *args: Any, **but: Any) -> int:
        if str(path).startswith(f"{folder}/."):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(path, *args, **but)

    monkeypatch.setattr(os, "open", refused)


class TestTheUploadRSE:
    @pytest.mark.parametrize("changes", [{}, {"end": END}])
    @pytest.mark.parametrize("expression", [UPLOAD, ELSEWHERE])
    def test_it_is_not_taken_for_an_upload(
        self, world: World, site: Path, expression: str, changes: dict[str, Any]
    ) -> None:
        mount(world, UPLOAD)
        world.changes |= {"rules": [{"rse_expression": expression}], **changes}
        world.changes["source"] = source(site, free=not changes)
        for _ in range(2):
            outcome = world.run()
            assert of_outcome(outcome) is ExitCode.FILES_FAILED
            assert codes(world) == [IS_REPLICA] * 3
            assert_untouched(site)
        assert world.facts(f.FileUploaded) == []
        assert world.lake.files == {}

    def test_nor_after_an_upload_was_begun(self, world: World, site: Path) -> None:
        mount(world, UPLOAD)
        stop_after(world, "exists")
        assert len(world.facts(f.UploadBegun)) == len(NAMES)
        world.run()
        assert codes(world) == [IS_REPLICA] * 3
        assert_untouched(site)

    def test_where_nothing_can_be_made_it_is_not_taken_either(
        self, world: World, site: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mount(world, UPLOAD)
        world.changes |= {"end": END, "source": source(site, free=False)}
        refuse_making(monkeypatch, site)
        outcome = world.run()
        reasons = [record.failure.reason for record in outcome.failed if record.failure]
        assert len(reasons) == len(NAMES)
        assert all(f"cannot tell whether {site} is a part of {UPLOAD}" in why for why in reasons)
        assert_untouched(site)

    def test_what_lies_there_beside_it_is_as_good(self, world: World, site: Path) -> None:
        for name in NAMES:
            content = (site / name).read_bytes()
            world.lake.rses[UPLOAD].bytes[f"memory://{UPLOAD}/{SCOPE}/{name}"] = content
        assert set(world.run().by_state) == {FileState.VERIFIED}
        assert list(site.iterdir()) == []
        assert world.broken() == []


class TestAnRSEOfARule:
    """Its server is mounted once the files are there: before, the transfers wrote other files."""

    @pytest.fixture
    def injected(self, world: World, site: Path) -> World:
        world.changes |= {"rules": [{"rse_expression": ELSEWHERE}]}
        world.changes["source"] = source(site, free=False)
        mount(world, ELSEWHERE)
        assert set(world.run().by_state) == {FileState.VERIFIED}
        return world

    def test_it_is_not_removed(self, injected: World, site: Path) -> None:
        injected.changes["source"] = source(site, free=True)
        injected.run()
        assert codes(injected) == [IS_REPLICA] * 3
        assert injected.facts(f.SourceFreeing) == []
        assert_untouched(site)

    def test_its_replica_does_not_end(self, injected: World, site: Path) -> None:
        injected.changes["end"] = END
        outcome = injected.run()
        assert len(outcome.kept) == 2
        assert all("is itself what lies at" in why for why in outcome.kept.values())
        assert_untouched(site)


class TestFreeing:
    def test_where_nothing_can_be_made_nothing_is_removed(
        self, world: World, site: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refuse_making(monkeypatch, site)
        with pytest.raises(StorageRefused, match="Read-only file system"):
            world.run()
        assert set(world.states().values()) == {FileState.VERIFIED}
        assert_untouched(site)

    def test_the_storages_are_asked_once_for_a_folder(
        self, world: World, site: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []
        real = MemoryStorage.exists

        def exists(self: MemoryStorage, rse: str, pfn: str) -> bool:
            asked.append(rse)
            return real(self, rse, pfn)

        monkeypatch.setattr(MemoryStorage, "exists", exists)
        world.run()
        assert list(site.iterdir()) == []
        assert sorted(asked) == sorted(HOLDERS)
