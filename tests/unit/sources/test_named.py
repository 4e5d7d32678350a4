"""Files that a list or a database names."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from rucio_inject.campaign.secret import read_secret
from rucio_inject.cli.exit_codes import ExitCode, of_error
from rucio_inject.domain.checksum import Announced
from rucio_inject.domain.errors import (
    InjectError,
    SourceUnavailable,
    SourceUnreadable,
    UsageError,
)
from rucio_inject.lake.postgres import ROLE
from rucio_inject.ports import LeftOut, SourceFile
from rucio_inject.sources.database import database_url, from_query
from rucio_inject.sources.named import Chosen, NamedSource, from_list

if TYPE_CHECKING:
    from tests.ledger_databases import Server

MD5 = "d41d8cd98f00b204e9800998ecf8427e"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "night").mkdir(parents=True)
    for name in ("a", "night/b", "with blank"):
        (folder / name).write_bytes(b"")
    (tmp_path / "secret").write_text("no data")
    return folder


def test_lines_are_paths_below_the_folder(root: Path, tmp_path: Path) -> None:
    listing = tmp_path / "list.txt"
    listing.write_text(f"# tonight\n\na\n{MD5}  night/b\n{root}/with blank\n{MD5} *./a\n")
    found = list(NamedSource(root, from_list(listing)).files())
    assert all(isinstance(file, SourceFile) for file in found)
    assert [str(f.path) for f in found if isinstance(f, SourceFile)] == [
        f"{root}/a",
        f"{root}/night/b",
        f"{root}/with blank",
        f"{root}/a",
    ]
    announced = [f.announced for f in found if isinstance(f, SourceFile)]
    assert announced == [None, Announced(md5=MD5), None, Announced(md5=MD5)]


@pytest.mark.parametrize(
    "line",
    [
        "loop/a",
        f"{'a' * 300}",
        "../secret",
        "/etc/passwd",
        "night/../../secret",
        ".",
        "out/x",
        "link",
        "a\0b",
    ],
)
def test_what_leads_out_of_the_folder_is_not_taken(root: Path, tmp_path: Path, line: str) -> None:
    (root / "out").symlink_to("/etc")
    (root / "loop").symlink_to("loop")
    (root / "link").symlink_to(tmp_path / "secret")
    listing = tmp_path / "list.txt"
    listing.write_text(line)
    source = NamedSource(root, from_list(listing))
    (told,) = source.files()
    assert isinstance(told, LeftOut)
    assert not told.later
    if "\0" not in line:
        with pytest.raises(SourceUnreadable):
            source.provide(root / line)


def test_what_is_not_there_cannot_be_provided(root: Path, tmp_path: Path) -> None:
    source = NamedSource(root, list)
    source.provide(root / "a")
    for path in (root / "nothing", root / "night"):
        with pytest.raises(SourceUnreadable):
            source.provide(path)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_list_that_cannot_be_read(root: Path, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(UsageError):
        list(NamedSource(root, from_list(tmp_path / "list.txt")).files())


class TestDatabase:
    """A real SQLite file; PostgreSQL differs in the URL alone."""

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        place = tmp_path / "runs.db"
        with sqlite3.connect(place) as database:
            database.execute("CREATE TABLE files (name TEXT, bytes INT, sum TEXT, night TEXT)")
            rows = [("a", 0, MD5, "n1"), ("night/b", None, None, "n2"), ("x", 1, None, "'; DROP")]
            database.executemany("INSERT INTO files VALUES (?, ?, ?, ?)", rows)
        database.close()
        return f"sqlite:///{place}"

    def query(self, url: str, where: str = "1", **parameters: str) -> list[SourceFile | LeftOut]:
        text = (
            f"SELECT name AS path, bytes AS size, sum AS md5, night AS obs FROM files WHERE {where}"
        )
        chosen = from_query(database_url(url, None), text, parameters)
        return list(NamedSource(Path("/data"), chosen).files())

    def test_rows_become_files_with_what_is_known_of_them(self, url: str) -> None:
        a, b, _ = self.query(url)
        assert a == SourceFile(
            Path("/data/a"), "/data/a", announced=Announced(0, None, MD5), metadata={"obs": "n1"}
        )
        assert b == SourceFile(Path("/data/night/b"), "/data/night/b", metadata={"obs": "n2"})

    def test_values_are_bound_and_never_part_of_the_query(self, url: str) -> None:
        (found,) = self.query(url, "night = :night", night="'; DROP")
        assert isinstance(found, SourceFile)
        assert found.path == Path("/data/x")
        assert self.query(url, "night = :night", night="n1' OR '1'='1") == []

    def test_what_the_query_changes_is_rolled_back(self, url: str) -> None:
        change = "DELETE FROM files WHERE name = 'a' RETURNING name AS path"
        list(from_query(database_url(url, None), change, {})())
        assert len(self.query(url)) == 3

    @pytest.mark.parametrize(
        "text", ["SELECT name FROM files", "DELETE FROM files", "SELEKT", "SELECT 1 AS path FROM x"]
    )
    def test_a_query_that_gives_no_paths(self, url: str, text: str) -> None:
        with pytest.raises(UsageError, match=r"source\.query"):
            list(from_query(database_url(url, None), text, {})())
        assert len(self.query(url)) == 3

    def test_an_odd_checksum_is_told(self, url: str) -> None:
        text = "SELECT name AS path, 'zz' AS md5 FROM files"
        with pytest.raises(UsageError, match="not an md5"):
            list(from_query(database_url(url, None), text, {})())

    @pytest.mark.parametrize("kind", ["postgresql", "postgres", "postgresql+psycopg"])
    def test_postgresql_is_spoken_to_by_the_driver_that_is_installed(self, kind: str) -> None:
        url = database_url(f"{kind}://magic@127.0.0.1:1/runs", None)
        assert url.drivername == "postgresql+psycopg"
        with pytest.raises(SourceUnavailable, match="cannot answer now") as away:
            list(from_query(url, "SELECT 1 AS path", {})())
        assert of_error(away.value) is ExitCode.LATER

    def test_no_password_is_shown(self) -> None:
        url = database_url("postgresql+psycopg://magic@127.0.0.1:1/runs", "s3cret word")
        with pytest.raises(SourceUnavailable) as refused:
            list(from_query(url, "SELECT 1 AS path", {})())
        told = f"{refused.value.message} {refused.value.hint} {refused.value!r} {url}"
        assert "s3cret" not in told
        assert "magic:***@127.0.0.1" in refused.value.message

    @pytest.mark.parametrize(
        "url", ["no url", "postgresql://u:s3cret@h:port/x", "odd://u:s3cret@h"]
    )
    def test_a_url_that_is_none(self, url: str) -> None:
        with pytest.raises(UsageError) as refused:
            list(from_query(database_url(url, None), "SELECT 1", {})())
        assert "s3cret" not in f"{refused.value.message}{refused.value.hint}"


class TestPostgresql:
    """What a server says: what passes, and what is a mistake."""

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            *((code, SourceUnavailable) for code in ("08006", "53300", "53200", "57014", "57P03")),
            *((code, UsageError) for code in ("42P01", "42601", "22012", "28P01", "3D000")),
        ],
    )
    def test_it_goes_by_the_code(
        self, monkeypatch: pytest.MonkeyPatch, code: str, kind: type[InjectError]
    ) -> None:
        said = psycopg.errors.lookup(code)("so it is")

        def refuse(*_: object) -> Iterator[Chosen]:
            raise DBAPIError.instance("SELECT 1", None, said, psycopg.Error)

        monkeypatch.setattr("rucio_inject.sources.database._selected", refuse)
        url = database_url("postgresql://magic@db/runs", None)
        with pytest.raises(kind, match="so it is") as told:
            list(from_query(url, "SELECT 1", {})())
        assert type(told.value) is kind

    @pytest.mark.xdist_group("ledger")
    @pytest.mark.parametrize(
        ("user", "database"), [("stranger", "postgres"), ("locked", "postgres"), ("", "nowhere")]
    )
    def test_it_does_not_let_us_in(
        self, postgresql_server: Server, user: str, database: str
    ) -> None:
        url = postgresql_server.url(user or ROLE, database)
        with pytest.raises(UsageError, match=r"refuses source\.query"):
            list(from_query(database_url(url, None), "SELECT 1 AS path", {})())


def test_a_file_that_is_in_use(tmp_path: Path) -> None:
    place = tmp_path / "runs.db"
    with contextlib.closing(sqlite3.connect(place)) as holder:
        holder.execute("CREATE TABLE files (name TEXT)")
        holder.commit()
        holder.execute("BEGIN EXCLUSIVE")
        url = database_url(f"sqlite:///{place}?timeout=0", None)
        with pytest.raises(SourceUnavailable, match="locked"):
            list(from_query(url, "SELECT name AS path FROM files", {})())


class TestPasswordFile:
    """A file that nobody else may read."""

    def test_the_first_line_counts(self, tmp_path: Path) -> None:
        path = tmp_path / "password"
        path.write_text("s3cret\nmore")
        path.chmod(0o600)
        assert read_secret(path) == "s3cret"

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
    def test_others_may_not_read_it(self, tmp_path: Path, mode: int) -> None:
        path = tmp_path / "password"
        path.write_text("s3cret")
        path.chmod(mode)
        with pytest.raises(UsageError, match="others may read") as refused:
            read_secret(path)
        assert "s3cret" not in refused.value.message

    @pytest.mark.parametrize("content", [None, b"", b"\xff"])
    def test_no_password(self, tmp_path: Path, content: bytes | None) -> None:
        path = tmp_path / "password"
        if content is not None:
            path.write_bytes(content)
            path.chmod(0o600)
        with pytest.raises(UsageError):
            read_secret(path)
