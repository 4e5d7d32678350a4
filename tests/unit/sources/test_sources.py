"""Where files come from: made ones, a folder, a listing."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest

from rucio_inject.cli.news import News
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import SourceUnreadable, UsageError
from rucio_inject.domain.names import Letter, MagicScience, Telescope, parse_name
from rucio_inject.domain.place import Place
from rucio_inject.ports import LeftOut, SourceFile
from rucio_inject.science.content import RawContent
from rucio_inject.sources.directory import DirectorySource
from rucio_inject.sources.listing import ListingSource
from rucio_inject.sources.mock import MockPlan, MockSource
from rucio_inject.steps.discover import Discover
from rucio_inject.steps.journal import Journal
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.testing.memory_ledger import MemoryLedger, Shelf


def plan(**changes: int) -> MockPlan:
    """A plan of two runs with both telescopes."""
    numbers = {"seed": 1, "cycle": 1, "runs": 2, "subruns": 3, **changes}
    return MockPlan(
        **numbers,
        night=date(2020, 10, 26),
        target="1ES1959+650",
        wobble=0.4,
        telescopes=(Telescope.M1, Telescope.M2),
        letters=(Letter.D, Letter.Q),
    )


class TestMock:
    """Names and contents follow from the seed."""

    def test_the_same_plan_has_the_same_names(self) -> None:
        assert list(plan().names()) == list(plan().names())

    @pytest.mark.parametrize("changes", [{"seed": 2}, {"cycle": 2}])
    def test_other_seeds_and_cycles_have_other_runs(self, changes: dict[str, int]) -> None:
        runs = {name.run for name in plan().names()}
        assert runs.isdisjoint(name.run for name in plan(**changes).names())

    def test_siblings_share_run_and_wobble(self) -> None:
        runs: dict[str, list[MagicScience]] = {}
        for name in plan().names():
            runs.setdefault(str(name.run), []).append(name)
        assert [len(siblings) for siblings in runs.values()] == [7, 7]
        for siblings in runs.values():
            assert len({name.wobble for name in siblings}) == 1
            subruns = {(n.telescope, n.subrun) for n in siblings if n.letter is Letter.D}
            assert subruns == {(t, f"{n:03d}") for t in ("M1", "M2") for n in (1, 2, 3)}

    def test_every_name_is_its_own_and_parses(self, tmp_path: Path) -> None:
        files = list(MockSource(plan(runs=20), tmp_path, RawContent(10)).files())
        assert len({file.name for file in files}) == len(files) == 140
        assert all(parse_name(file.name).night == date(2020, 10, 26) for file in files)
        assert all("+" not in file.name and file.generated for file in files)

    def test_nothing_is_made_before_it_is_wanted(self, tmp_path: Path) -> None:
        source = MockSource(plan(), tmp_path / "source", RawContent(10))
        files = list(source.files())
        assert not (tmp_path / "source").exists()
        source.provide(files[0].path)
        assert files[0].path.stat().st_size == 10

    def test_contents_repeat_and_differ_from_their_siblings(self, tmp_path: Path) -> None:
        contents = []
        for folder in ("one", "two"):
            source = MockSource(plan(), tmp_path / folder, RawContent(64))
            files = list(source.files())
            for file in files:
                source.provide(file.path)
            contents.append([file.path.read_bytes() for file in files])
        assert contents[0] == contents[1]
        assert len(set(contents[0])) == 14

    def test_what_is_there_is_not_made_again(self, tmp_path: Path) -> None:
        source = MockSource(plan(), tmp_path, RawContent(10))
        path = next(source.files()).path
        path.write_bytes(b"there")
        source.provide(path)
        assert path.read_bytes() == b"there"


class TestDirectory:
    """Real files in a folder."""

    @pytest.fixture
    def night(self, tmp_path: Path) -> Path:
        night = tmp_path / "night"
        (night / "deep").mkdir(parents=True)
        for name in ("b.root", "a.root", "notes.txt", "MD5SUMS", "MD5SUMS.GZ", ".hidden.root"):
            (night / name).write_text(name)
        (night / "deep" / "c.root").write_text("c")
        (night / "deep" / "MD5SUMS").write_text("c")
        return night

    def names(self, source: DirectorySource) -> list[str]:
        return [file.path.name for file in self.files(source)]

    def files(self, source: DirectorySource) -> list[SourceFile]:
        """What it offers."""
        return [file for file in source.files() if isinstance(file, SourceFile)]

    def test_in_order_and_without_what_is_no_data(self, night: Path) -> None:
        assert self.names(DirectorySource(night)) == ["a.root", "b.root", "notes.txt", "c.root"]
        files = self.files(DirectorySource(night))
        assert all(not file.generated and file.path.is_absolute() for file in files)

    def test_a_pattern_chooses(self, night: Path) -> None:
        assert self.names(DirectorySource(night, pattern="[bc]*.root")) == ["b.root", "c.root"]

    def test_folders_inside_are_left_out_when_asked(self, night: Path) -> None:
        source = DirectorySource(night, pattern="*.root", recursive=False)
        assert self.names(source) == ["a.root", "b.root"]

    def test_nothing_there_is_told(self, night: Path) -> None:
        with pytest.raises(UsageError, match=r"\*.fits"):
            self.names(DirectorySource(night, pattern="*.fits"))

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="cannot look into"):
            self.names(DirectorySource(tmp_path / "none"))

    def test_a_file_is_no_folder(self, night: Path) -> None:
        with pytest.raises(UsageError, match="cannot look into"):
            self.names(DirectorySource(night / "a.root"))

    def test_an_unlistable_folder_does_not_pass_for_an_empty_one(
        self, night: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scandir = os.scandir

        def closed(path: str) -> object:
            if str(path).endswith("deep"):
                raise PermissionError(13, "Permission denied", str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", closed)
        with pytest.raises(UsageError, match="deep: Permission denied"):
            self.names(DirectorySource(night))

    def test_links_to_folders_are_not_followed(self, night: Path) -> None:
        (night / "loop").symlink_to(night)
        assert self.names(DirectorySource(night, pattern="*.root")) == [
            "a.root",
            "b.root",
            "c.root",
        ]

    def test_links_to_files_are_told(self, night: Path) -> None:
        (night / "d.root").symlink_to(night / "a.root")
        (night / "e.root").symlink_to("nowhere")
        left = [
            f for f in DirectorySource(night, pattern="*.root").files() if isinstance(f, LeftOut)
        ]
        assert [file.where for file in left] == [str(night / "d.root"), str(night / "e.root")]
        assert all("symbolic link" in file.reason and not file.later for file in left)
        # They may be all that is there.
        assert len(list(DirectorySource(night, pattern="[de].root").files())) == 2

    def test_a_file_that_became_a_link_is_not_provided(self, night: Path) -> None:
        (night / "a.root").rename(night / "there.root")
        (night / "a.root").symlink_to("there.root")
        with pytest.raises(SourceUnreadable, match=r"a\.root"):
            DirectorySource(night).provide(night / "a.root")

    def test_what_is_gone_since_is_told(self, night: Path) -> None:
        source = DirectorySource(night)
        source.provide(night / "a.root")
        (night / "a.root").unlink()
        with pytest.raises(SourceUnreadable, match=r"a\.root"):
            source.provide(night / "a.root")

    def test_a_pipe_is_no_file(self, night: Path) -> None:
        os.mkfifo(night / "pipe.root")
        with pytest.raises(SourceUnreadable):
            DirectorySource(night).provide(night / "pipe.root")


class TestListing:
    """Names from a text file."""

    def source(self, folder: Path, text: str | bytes, payload: int = 10) -> ListingSource:
        listing = folder / "names.txt"
        listing.write_bytes(text.encode() if isinstance(text, str) else text)
        return ListingSource(listing, folder / "made", RawContent(payload), seed=1)

    def test_comments_and_empty_lines_are_left_out(self, tmp_path: Path) -> None:
        source = self.source(tmp_path, "# night\n\n  a.root  \r\nb.root")
        assert [file.path.name for file in source.files()] == ["a.root", "b.root"]
        assert all(file.generated for file in source.files())

    def test_a_path_keeps_its_folders_below_ours(self, tmp_path: Path) -> None:
        (file,) = self.source(tmp_path, "/data/M1/OSA/2020/02/03/a.root\n").files()
        assert file.path == tmp_path / "made/data/M1/OSA/2020/02/03/a.root"

    @pytest.mark.parametrize(
        "line",
        [
            "../../etc/passwd",
            "/../../x",
            "a/../../../../x",
            "./../x",
            "//x",
            "//etc/x",
            "a/..",
            "..",
            "/",
        ],
    )
    def test_no_line_leaves_the_folder(self, tmp_path: Path, line: str) -> None:
        (file,) = self.source(tmp_path, line + "\n").files()
        inside = Path(os.path.normpath(file.path))
        assert inside.is_relative_to(tmp_path / "made")

    def test_files_are_made_when_wanted(self, tmp_path: Path) -> None:
        source = self.source(tmp_path, "deep/a.root\n")
        (file,) = source.files()
        assert not file.path.exists()
        source.provide(file.path)
        before = file.path.read_bytes()
        source.provide(file.path)
        assert (len(before), file.path.read_bytes()) == (10, before)

    def test_a_name_that_is_also_a_folder(self, tmp_path: Path) -> None:
        """A file's own path cannot be made where another line needs a folder."""
        source = self.source(tmp_path, "a\na/b.root\n")
        first, second = source.files()
        source.provide(first.path)
        with pytest.raises(SourceUnreadable):
            source.provide(second.path)

    @pytest.mark.parametrize("text", ["", "\n\n", "# only\n"])
    def test_no_names_are_told(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(UsageError, match="names no file"):
            list(self.source(tmp_path, text).files())

    def test_no_text(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="UTF-8"):
            list(self.source(tmp_path, b"\xff\xfe\n").files())

    def test_no_listing(self, tmp_path: Path) -> None:
        source = ListingSource(tmp_path / "none", tmp_path, RawContent(1), seed=1)
        with pytest.raises(UsageError, match="No such file"):
            list(source.files())


def test_a_name_that_is_listed_twice_is_told_by_that_name(tmp_path: Path) -> None:
    listing, clock = tmp_path / "names.txt", FakeClock()
    name = "20200203_M1_05089063.001_Y_CrabNebula-W0.40_035.root"
    listing.write_text(f"{name}\n{name}\nelsewhere/{name}\n")
    source = ListingSource(listing, tmp_path / "made", RawContent(10), seed=1)
    news = News()

    def placed(text: str) -> Place:
        did = DID("m", text.rpartition("/")[2])
        return Place(did, DID("m", "run"), (), {})

    with MemoryLedger(Shelf()) as ledger:
        journal = Journal(ledger, [news], clock)
        # Again: then the first of them is on record.
        for _ in range(2):
            assert Discover(journal, source, placed, 1).run() == 2
        assert len(list(ledger.files())) == 1
    assert news.skips[::2] == [f"{name} is named more than once: it is injected once"] * 2
    assert all("/elsewhere/" in why and "already" in why for why in news.skips[1::2])
