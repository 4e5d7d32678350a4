"""The SQL ledger where disk, file or server are not what they should be."""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.ledger_databases import PASSWORD, Server, clock

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError
from rucio_inject.ledger import sqlite_file
from rucio_inject.ledger.database_errors import KEEP
from rucio_inject.ledger.engine import sqlite_database
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.ledger.sqlite_file import journal_mode, on_network, wal_is_sound
from rucio_inject.testing.contracts.ledger import FILE, begun, found
from rucio_inject.testing.fake_clock import FakeClock

__all__ = ["clock"]

pytestmark = pytest.mark.xdist_group("ledger")
MANY = [found(DID("magic", f"{number:04}")) for number in range(1000)]


@pytest.fixture
def path(tmp_path: Path, clock: FakeClock) -> Path:
    """A ledger with some files in it."""
    path = tmp_path / "magic.db"
    with SqlLedger(path, "magic", clock=clock) as ledger:
        ledger.record([begun(), *MANY])
    return path


def refused(location: str | Path, *, reading: bool = False) -> LedgerError:
    """Why a ledger cannot be opened; its file is as it was."""
    content = location.read_bytes() if isinstance(location, Path) else b""
    ledger = SqlLedger(location, "magic", clock=FakeClock(), reading=reading)
    with pytest.raises(LedgerError) as caught, ledger:
        pass
    assert caught.value.hint
    if isinstance(location, Path):
        assert location.read_bytes() == content
        assert str(location) in caught.value.message
    return caught.value


@contextmanager
def unprivileged() -> Iterator[None]:
    """Nobody is kept from anything as root, so root becomes somebody else for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that `nobody` owns, if we are root, and can reach."""
    folder = Path(tempfile.mkdtemp(prefix="ri-ledger-", dir="/tmp"))
    if os.geteuid() == 0:
        os.chown(folder, 65534, 65534)
    yield folder
    folder.chmod(0o700)
    shutil.rmtree(folder)


@pytest.mark.parametrize("reading", [False, True])
@pytest.mark.parametrize("content", [b"garbage" * 1000, b"{}", b"\0" * 8192])
def test_what_is_no_database_is_refused(path: Path, content: bytes, reading: bool) -> None:
    path.write_bytes(content)
    assert "is damaged, or is no ledger" in refused(path, reading=reading).message


@pytest.mark.parametrize("reading", [False, True])
@pytest.mark.parametrize("kept", [1 / 2, 1 / 100])
def test_a_truncated_file_is_refused(path: Path, kept: float, reading: bool) -> None:
    os.truncate(path, int(path.stat().st_size * kept))
    assert "is damaged" in refused(path, reading=reading).message


def test_an_empty_file_is_damage(path: Path) -> None:
    os.truncate(path, 0)
    assert "it is empty" in refused(path).message


def test_damage_inside_is_named(path: Path, clock: FakeClock) -> None:
    with SqlLedger(path, "magic", clock=clock) as ledger:
        ledger.record([found(FILE)])
    connection = sqlite3.connect(path)
    connection.execute("UPDATE inject_files SET record = '{\"did\": 3}' WHERE name = 'a.root'")
    connection.execute("UPDATE inject_events SET kind = 'FileEaten' WHERE subject LIKE '%a.root'")
    connection.commit()
    connection.close()
    with SqlLedger(path, "magic", clock=clock) as ledger:
        with pytest.raises(LedgerError, match=r"holds of magic:a\.root cannot be read, at did"):
            ledger.file(FILE)
        with pytest.raises(LedgerError, match="of kind 'FileEaten'"):
            list(ledger.story(FILE))


def look_at_all(path: Path, clock: FakeClock) -> None:
    """What the commands read of a file."""
    with SqlLedger(path, "magic", clock=clock) as ledger:
        ledger.usage()
        ledger.file(FILE)
        list(ledger.story(FILE))


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE inject_files SET state = 'REGISPERED'",
        "UPDATE inject_files SET record = CAST(x'7bff' AS TEXT)",
        "UPDATE inject_events SET at = 'noon'",
        "UPDATE inject_events SET fact = CAST(x'ff' AS TEXT)",
        "DROP TABLE inject_events",
    ],
)
def test_damage_of_values_is_told_and_not_shown(path: Path, clock: FakeClock, damage: str) -> None:
    with SqlLedger(path, "magic", clock=clock) as ledger:
        ledger.record([found(FILE)])
    connection = sqlite3.connect(path)
    connection.execute(damage)
    connection.commit()
    connection.close()
    with pytest.raises(LedgerError, match="is damaged") as told:
        look_at_all(path, clock)
    assert told.value.hint == KEEP
    assert "{" not in told.value.message


def test_a_ledger_that_went_away_does_not_come_back_empty(path: Path, clock: FakeClock) -> None:
    with SqlLedger(path, "magic", clock=clock) as ledger:
        ledger._database.close()
        path.unlink()
        with pytest.raises(LedgerError, match="cannot be opened"):
            ledger.record([found(FILE)])
        assert not path.exists()


def test_only_its_owner_may_read_a_ledger(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_full_disk_changes_nothing(path: Path, clock: FakeClock) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with SqlLedger(path, "magic", clock=clock) as ledger:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10_000, limits[1]))
        try:
            with pytest.raises(LedgerError, match=r"cannot be (read or )?written") as caught:
                ledger.record([found(DID("lst", f"{number:04}")) for number in range(2000)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "make room" in str(caught.value.hint)
        assert len(list(ledger.files())) == len(MANY)
        ledger.record([found(FILE)])
    with SqlLedger(path, "magic", clock=clock) as ledger:
        assert len(list(ledger.files())) == len(MANY) + 1
        assert len(list(ledger.story(DID("lst", "0000")))) == 0


@pytest.mark.parametrize("room", [0, 1_000, 10_000])
def test_a_disk_that_is_full_from_the_start(tmp_path: Path, clock: FakeClock, room: int) -> None:
    path = tmp_path / "magic.db"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(LedgerError, match=r"cannot be (read or )?written"):
            SqlLedger(path, "magic", clock=clock).__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not path.exists()
    with SqlLedger(path, "magic", clock=clock) as ledger:
        assert ledger.cycle == 0


@pytest.mark.parametrize("act", ["prepare_to_shrink", "give_back"])
def test_a_cursor_of_its_own_is_heard_too(path: Path, act: str) -> None:
    path.write_bytes(b"no database at all " * 400)
    database = sqlite_database(path)
    try:
        with pytest.raises(LedgerError, match="damaged, or is no ledger"):
            getattr(database, act)()
    finally:
        database.close()


def test_a_folder_that_takes_no_files(open_folder: Path) -> None:
    open_folder.chmod(0o500)
    with unprivileged():
        ledger = SqlLedger(open_folder / "new.db", "magic", clock=FakeClock())
        with pytest.raises(LedgerError, match="cannot write a ledger") as caught, ledger:
            pass
    assert "folder that you may write to" in str(caught.value.hint)


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o400, 0o700), (0o600, 0o500)])
def test_a_ledger_that_may_not_be_written(
    open_folder: Path, path: Path, file_mode: int, folder_mode: int
) -> None:
    ours = open_folder / "magic.db"
    shutil.copy(path, ours)
    if os.geteuid() == 0:
        os.chown(ours, 65534, 65534)
    ours.chmod(file_mode)
    open_folder.chmod(folder_mode)
    with unprivileged():
        refused(ours)
        with SqlLedger(ours, "magic", clock=FakeClock(), reading=True) as ledger:
            assert ledger.cycle == 1


@pytest.mark.parametrize("name", ["folder", "file/magic.db"])
def test_a_place_where_no_file_can_be(tmp_path: Path, name: str, clock: FakeClock) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with (
        pytest.raises(LedgerError, match="cannot write a ledger"),
        SqlLedger(tmp_path / name, "magic", clock=clock),
    ):
        pass


@pytest.mark.parametrize(
    ("version", "sound"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 53, 0), True),
    ],
)
def test_a_wal_only_where_it_is_sound(
    tmp_path: Path, version: tuple[int, int, int], sound: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert wal_is_sound(version) is sound
    monkeypatch.setattr(sqlite_file, "on_network", lambda path: False)
    assert journal_mode(tmp_path, version) == ("WAL" if sound else "DELETE")
    monkeypatch.setattr(sqlite_file, "on_network", lambda path: True)
    assert journal_mode(tmp_path, version) == "DELETE"


@pytest.mark.parametrize(
    ("path", "network"),
    [
        ("/x/a.db", False),
        ("/net/my data/a.db", True),
        ("/net/my data/local/a.db", False),
        ("/net/a.db", False),
        ("/sshfs/a/b/c.db", True),
    ],
)
def test_a_file_system_of_several_machines(tmp_path: Path, path: str, network: bool) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/vda / ext4 rw 0 0\n"
        "server:/x /net/my\\040data nfs4 rw 0 0\n"
        "/dev/vdb /net/my\\040data/local xfs rw 0 0\n"
        "me@there: /sshfs fuse.sshfs rw 0 0\n"
    )
    assert on_network(Path(path), mounts) is network
    assert on_network(Path(path), tmp_path / "unknown")


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_either_journal_is_changed_to_and_from(
    path: Path, clock: FakeClock, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for now in ("WAL", mode, "DELETE"):
        monkeypatch.setattr("rucio_inject.ledger.engine.journal_mode", lambda path, now=now: now)
        with SqlLedger(path, "magic", clock=clock) as ledger:
            ledger.record([found(FILE)])
            with SqlLedger(path, "magic", clock=clock, reading=True) as reader:
                assert reader.file(FILE) is not None
            with ledger._database.reading() as connection:
                found_mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
                durable = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
            assert (found_mode, durable) == (now.lower(), 3)


def test_a_wrong_password(postgresql_server: Server, clock: FakeClock) -> None:
    right = postgresql_server.url("locked").replace("locked@", f"locked:{PASSWORD}@")
    error = refused(right.replace(PASSWORD, "wrong-one"))
    assert "does not let us in" in error.message
    assert "wrong-one" not in f"{error} {error.hint}"
    # Let in, but this role may make no tables here.
    assert "does not let us write" in refused(right).message


def test_a_password_among_the_options(postgresql_server: Server) -> None:
    error = refused(f"{postgresql_server.url('locked')}&password=wrong-one")
    assert "wrong-one" not in f"{error} {error.hint}"


def test_a_database_that_is_not_there(postgresql_server: Server) -> None:
    error = refused(postgresql_server.url(database="nowhere"))
    assert "nowhere" in error.message
    assert "name" in str(error.hint)


@pytest.mark.parametrize("host", ["host=/nowhere/at/all", "host=127.0.0.1&port=1"])
def test_a_server_that_is_away(host: str) -> None:
    error = refused(f"postgresql://me:{PASSWORD}@/ledger?{host}")
    assert "cannot be reached" in error.message
    assert PASSWORD not in f"{error} {error.hint}"


@pytest.mark.parametrize(
    "url", ["mysql://me:s3cret@host/x", "sqlite:///x", "postgresql://me:s3cret@host:port/x"]
)
def test_a_url_that_cannot_be_used(url: str) -> None:
    error = refused(url)
    assert "s3cret" not in f"{error} {error.hint}"
    assert "postgresql://" in str(error.hint)


def test_postgresql_without_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "psycopg" else real(name)
    )
    assert "rucio-inject[postgresql]" in str(refused("postgresql://me@host/x").hint)


def test_a_server_that_closed_its_connections(postgresql_server: Server, clock: FakeClock) -> None:
    with SqlLedger(postgresql_server.new_place(), "magic", clock=clock) as ledger:
        ledger.record([begun(), found(FILE)])
        postgresql_server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'rucio-inject'"
        )
        assert ledger.file(FILE) is not None
        ledger.record([MANY[0]])


def test_a_commit_is_on_the_server_s_disk(postgresql_server: Server, clock: FakeClock) -> None:
    # The tests' server is told to answer before that.
    url = f"{postgresql_server.new_place()}&application_name={quote('my name')}"
    with (
        SqlLedger(url, "magic", clock=clock) as ledger,
        ledger._database.reading() as connection,
    ):
        show = connection.exec_driver_sql
        assert show("SHOW synchronous_commit").scalar_one() == "on"
        assert show("SHOW application_name").scalar_one() == "my name"


def test_a_server_that_was_cut_off_is_given_up_in_a_minute_or_as_its_url_says(
    postgresql_server: Server, clock: FakeClock
) -> None:
    url = f"{postgresql_server.new_place()}&keepalives_idle=7"
    with (
        SqlLedger(url, "magic", clock=clock) as ledger,
        ledger._database.reading() as connection,
    ):
        driver = connection.connection.driver_connection
        assert driver is not None
        given = driver.info.get_parameters()
    assert given["tcp_user_timeout"] == "60000"
    assert (given["keepalives_idle"], given["keepalives_interval"]) == ("7", "10")
