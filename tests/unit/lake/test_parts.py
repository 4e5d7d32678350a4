"""The lake's smaller parts: folders, ports, state, configuration, environments, packages."""

from __future__ import annotations

import configparser
import os
import shutil
import socket
import stat
import tempfile
import threading
from importlib import metadata
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from rucio_inject.clock import SystemClock
from rucio_inject.domain.errors import LakeError, UsageError
from rucio_inject.lake import config, environment, folder, nobody, postgres, requirements, sockets
from rucio_inject.lake.credentials import secret_of
from rucio_inject.lake.files import tail
from rucio_inject.lake.paths import LakePaths, default_folder
from rucio_inject.lake.postgres_binaries import Binaries
from rucio_inject.lake.process import Identity
from rucio_inject.lake.state import LakeState, Member, load_state, save_state


@pytest.fixture
def paths(tmp_path: Path) -> LakePaths:
    """A lake's folder, prepared."""
    made = LakePaths(tmp_path / "lake")
    folder.prepare(made, passable=False)
    return made


@pytest.mark.parametrize(
    ("variables", "as_root", "expected"),
    [
        ({"RUCIO_INJECT_LAKE": "/a/b", "XDG_DATA_HOME": "/x"}, True, "/a/b"),
        ({"XDG_DATA_HOME": "/x", "HOME": "/home/me"}, True, "/x/rucio-inject/lake"),
        ({"HOME": "/root"}, True, "/var/lib/rucio-inject/lake"),
        ({"HOME": "/home/me"}, False, "/home/me/.local/share/rucio-inject/lake"),
        (
            {"XDG_DATA_HOME": "relative", "HOME": "/home/me"},
            False,
            "/home/me/.local/share/rucio-inject/lake",
        ),
    ],
)
def test_the_default_folder(variables: dict[str, str], *, as_root: bool, expected: str) -> None:
    assert default_folder(variables, as_root=as_root) == Path(expected)


def test_preparing_a_folder_marks_and_closes_it(paths: LakePaths) -> None:
    assert folder.is_lake(paths)
    assert stat.S_IMODE(paths.root.stat().st_mode) == 0o700
    folder.prepare(paths, passable=True)
    assert stat.S_IMODE(paths.root.stat().st_mode) == 0o711
    modes = {stat.S_IMODE(path.stat().st_mode) for path in paths.private_folders()}
    assert modes == {0o700}


def test_only_a_lake_is_deleted(paths: LakePaths, tmp_path: Path) -> None:
    other = LakePaths(tmp_path / "other")
    other.root.mkdir()
    (other.root / "file").write_text("kept")
    with pytest.raises(LakeError, match="nothing was deleted"):
        folder.delete(other)
    assert (other.root / "file").read_text() == "kept"
    folder.delete(paths)
    assert not paths.root.exists()


def test_deleting_a_lake_does_not_follow_links(paths: LakePaths, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("kept")
    (paths.root / "link").symlink_to(precious)
    folder.delete(paths)
    assert (precious / "file").read_text() == "kept"


def test_the_lock_keeps_others_out_and_says_so(paths: LakePaths) -> None:
    with (
        folder.locked(paths, SystemClock(), 1),
        pytest.raises(LakeError, match="another command"),
        folder.locked(paths, SystemClock(), 0.2),
    ):
        pytest.fail("two held the lock")
    with folder.locked(paths, SystemClock(), 0):
        pass


def test_the_second_waits_for_the_first(paths: LakePaths) -> None:
    taken, done = threading.Event(), threading.Event()

    def first() -> None:
        with folder.locked(paths, SystemClock(), 1):
            taken.set()
            done.wait(300)

    thread = threading.Thread(target=first)
    thread.start()
    assert taken.wait(300)
    threading.Timer(0.2, done.set).start()
    with folder.locked(paths, SystemClock(), 300):
        assert done.is_set()
    thread.join()


def test_state_survives_being_written(paths: LakePaths) -> None:
    state = LakeState(port=1234, members={"server": Member(pid=77, created=1.5)})
    save_state(paths.state, state)
    assert load_state(paths.state) == state
    assert stat.S_IMODE(paths.state.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "null", "{", '{"version": 2}', '{"members": {"a": 1}}'])
def test_a_state_that_cannot_be_read_is_an_error(paths: LakePaths, text: str) -> None:
    paths.state.write_text(text)
    with pytest.raises(LakeError, match=r"state\.json"):
        load_state(paths.state)


def test_secrets_are_made_once(paths: LakePaths) -> None:
    first = secret_of(paths, "magic")
    assert secret_of(paths, "magic") == first
    assert secret_of(paths, "root") != first
    assert stat.S_IMODE((paths.secrets / "magic").stat().st_mode) == 0o600


def test_the_tail_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert tail(log) == "(no log was written)"
    log.write_text("".join(f"{number}\n" for number in range(10_000)))
    assert tail(log, 3) == "9997\n9998\n9999"


def test_a_free_port_is_kept_and_a_taken_one_is_not() -> None:
    taken = sockets.any_free()
    with socket.create_server((sockets.HOST, taken)):
        assert sockets.choose(None, taken) != taken
        with pytest.raises(LakeError, match=str(taken)) as caught:
            sockets.choose(taken, None)
        assert caught.value.hint is not None
    assert sockets.choose(None, taken) == taken
    assert sockets.choose(taken, None) == taken
    assert sockets.choose(None, taken, but=[taken]) != taken


@pytest.mark.parametrize("told", ["20000 60999", "1024 65535", None])
def test_a_port_is_one_that_the_system_gives_nobody_where_there_are_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str | None
) -> None:
    given_out = tmp_path / "ip_local_port_range"
    if told:
        given_out.write_text(told)
    monkeypatch.setattr(sockets, "_GIVEN_OUT", given_out)
    ports = {sockets.any_free() for _ in range(20)}
    assert all(10_000 <= port < 20_000 for port in ports) == (told == "20000 60999")


def test_nobody_answers_on_a_free_port() -> None:
    assert not sockets.answers(sockets.any_free(), "/ping")


@pytest.mark.parametrize("name", ["100%", "a,b", "what?", "it's", "line\nfeed"])
def test_a_folder_whose_name_others_trip_over_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="may not hold"):
        folder.refuse_odd_path(LakePaths(tmp_path / name))
    folder.refuse_odd_path(LakePaths(tmp_path / "München 2+=@"))


def test_what_the_server_reads_is_what_was_meant(paths: LakePaths) -> None:
    address = "http://127.0.0.1:9/%41"
    facts = config.ServerFacts(1234, Path("/tmp/a b"), Path("/templates"), address)
    config.write_server(paths, facts)
    parser = configparser.ConfigParser()
    parser.read(paths.server_config)
    assert make_url(parser.get("database", "default")).query["host"] == "/tmp/a b"
    assert parser.get("hermes", "elastic_endpoint") == address
    # Whoever makes the tables takes any text here for "yes, several".
    assert parser.get("common", "multi_vo") == "False"
    schema = configparser.ConfigParser()
    schema.read(paths.schema_config)
    assert not schema.has_option("common", "multi_vo")
    assert schema.get("bootstrap", "userpass_pwd") == secret_of(paths, "root")


def test_gunicorn_has_a_worker_a_core_and_four_at_most(
    paths: LakePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = config.ServerFacts(1234, Path("/tmp/s"), Path("/templates"), None)
    for cores, workers in ((1, 1), (3, 3), (64, 4)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        config.write_server(paths, facts)
        settings: dict[str, object] = {}
        exec(paths.gunicorn_config.read_text(), settings)
        assert settings["bind"] == "127.0.0.1:1234"
        assert settings["workers"] == workers


def test_clients_get_a_home_each_without_the_database(paths: LakePaths) -> None:
    config.write_clients(paths, ["magic"], config.ClientFacts(1234))
    for account in ("root", "magic"):
        parser = configparser.ConfigParser()
        parser.read(paths.client_config(account))
        assert parser.get("client", "rucio_host") == "http://127.0.0.1:1234"
        assert parser.get("client", "account") == account
        assert parser.get("client", "password") == secret_of(paths, account)
        assert Path(parser.get("client", "auth_token_file_path")).is_relative_to(paths.root)
        assert not parser.has_section("database")
        assert stat.S_IMODE(paths.client_config(account).stat().st_mode) == 0o600


def test_loopback_goes_past_proxies(paths: LakePaths) -> None:
    assert "no_proxy" not in environment.for_user(paths, "magic", {})
    base = {"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "intranet"}
    variables = environment.for_user(paths, "magic", base)
    assert variables["no_proxy"] == "intranet,127.0.0.1,localhost"


def test_the_users_own_settings_do_not_reach_the_server(paths: LakePaths) -> None:
    base = {"RUCIO_ACCOUNT": "me", "PGHOST": "db", "GUNICORN_CMD_ARGS": "-b :80", "PATH": "/bin"}
    variables = environment.for_server(paths, base)
    assert {"RUCIO_ACCOUNT", "PGHOST", "GUNICORN_CMD_ARGS"}.isdisjoint(variables)
    assert variables["PATH"] == "/bin"
    assert variables["RUCIO_CONFIG"] == str(paths.server_config)


@pytest.mark.parametrize(("length", "fits"), [(93, True), (94, False)])
def test_a_socket_path_holds_107_bytes(length: int, *, fits: bool) -> None:
    path = Path("/" + "a" * (length - 1))
    assert len(os.fsencode(path / postgres.SOCKET_NAME)) == length + 14
    assert postgres.socket_fits(path) is fits


def test_the_folder_that_blocks_another_user_is_named() -> None:
    stranger = Identity(uid=54321, gid=54321)
    # Not pytest's folder: that one lies in another that only its owner may enter.
    place = Path(tempfile.mkdtemp())
    place.chmod(0o711)
    closed = place / "closed"
    (closed / "lake").mkdir(parents=True)
    closed.chmod(0o700)
    assert nobody.blocking_folder(closed / "lake" / "pg", stranger) == closed
    owner = Identity(uid=os.geteuid(), gid=os.getegid())
    assert nobody.blocking_folder(closed / "lake" / "pg", owner) is None
    closed.chmod(0o711)
    assert nobody.blocking_folder(closed / "lake", stranger) is None
    shutil.rmtree(place)


def _pretend(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str | None]) -> None:
    real = metadata.version

    def version(package: str) -> str:
        found = versions.get(package, "") if package in versions else real(package)
        if found is None:
            raise metadata.PackageNotFoundError(package)
        return found

    monkeypatch.setattr(metadata, "version", version)


@pytest.mark.parametrize(
    ("versions", "message", "hint"),
    [
        ({"rucio": None}, "not installed", r"rucio-inject\[lake\]"),
        ({"gunicorn": None}, "gunicorn", r"rucio-inject\[lake\]"),
        ({"rucio": "41.5.1", "rucio-clients": "40.0.0"}, "41.5.1.*40.0.0", "rucio-clients==41.5.1"),
        ({"rucio": "41.5.1", "rucio-clients": None}, "not installed", "rucio-clients==41.5.1"),
        ({"rucio": "38.6.4", "rucio-clients": "38.6.4"}, "38.6.4", "rucio==41.5.1"),
    ],
)
def test_packages_that_do_not_fit(
    monkeypatch: pytest.MonkeyPatch, versions: dict[str, str | None], message: str, hint: str
) -> None:
    _pretend(monkeypatch, versions)
    with pytest.raises(LakeError, match=message) as caught:
        requirements.check_packages()
    assert caught.value.hint is not None
    import re

    assert re.search(hint, caught.value.hint)


def test_the_packages_here_fit() -> None:
    requirements.check_packages()
    assert (requirements.mail_templates() / "rule_ok_notification.tmpl").is_file()


@pytest.mark.parametrize(("owner", "ready"), [(77, True), (7, False)])
def test_the_pid_file_of_a_killed_server_does_not_speak_for_the_next(
    paths: LakePaths, owner: int, ready: bool
) -> None:
    paths.postgres_data.mkdir(parents=True)
    lines = [str(owner), str(paths.postgres_data), "1", "5432", "/s", "", "1 2", "ready   "]
    (paths.postgres_data / "postmaster.pid").write_text("\n".join(lines) + "\n")
    cluster = postgres.Cluster(paths, Binaries(Path("/nowhere"), 15), None, {})
    assert cluster._is_ready(Member(pid=77, created=1.0)) is ready
