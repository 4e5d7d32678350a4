"""The running lake, seen with the official `rucio` command and client only."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from rucio_inject.lake import process
from rucio_inject.lake.bringup import MEMBERS
from rucio_inject.lake.embedded import EmbeddedLake
from rucio_inject.lake.environment import for_server

OfficialClient = Callable[[str], Any]
RucioCli = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("lakes")]

SCOPE = "MAGIC_PIC_BRUZZESE"
RSES = {"PIC-INJECT", "PIC-DCACHE", "INFN-NA-DPM", "LAPP-FAST"}


@pytest.fixture
def running_lake(fresh_lake: EmbeddedLake) -> EmbeddedLake:
    return fresh_lake


def _eventually(condition: Any, seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.1)


def test_whoami_names_the_injecting_account_not_root(rucio_cli: RucioCli) -> None:
    answer = rucio_cli("whoami")
    assert answer.returncode == 0, answer.stderr
    assert "account    : magic" in answer.stdout


def test_root_can_sign_in_too(rucio_cli: RucioCli) -> None:
    assert "account    : root" in rucio_cli("whoami", account="root").stdout


def test_the_official_command_lists_the_rses(rucio_cli: RucioCli) -> None:
    assert set(rucio_cli("rse", "list").stdout.split()) == RSES


def test_one_rse_alone_is_fast(official_client: OfficialClient) -> None:
    found = official_client("magic").list_rses("QOS=FAST")
    assert [entry["rse"] for entry in found] == ["LAPP-FAST"]


def test_limits_distances_and_scope_are_as_the_content_says(
    official_client: OfficialClient,
) -> None:
    client = official_client("magic")
    assert set(client.get_local_account_limits("magic")) == RSES
    assert SCOPE in list(client.list_scopes_for_account("magic"))
    for one in RSES:
        for other in RSES - {one}:
            assert client.get_distance(one, other)[0]["distance"] == 1


def test_a_file_is_uploaded_replicated_and_gone_after_its_lifetime(
    official_client: OfficialClient, running_lake: EmbeddedLake, tmp_path: Path
) -> None:
    client = official_client("magic")
    from rucio.client.uploadclient import UploadClient

    source = tmp_path / "20201026_M1_36973941.005_D_Crab-W0.40+000.root"
    source.write_bytes(os.urandom(10_000))
    item = {"path": source, "rse": "PIC-INJECT", "did_scope": SCOPE, "did_name": "whole-life"}
    assert UploadClient(client).upload([item]) == 0
    rules = [rule["id"] for rule in client.list_did_rules(SCOPE, "whole-life")]
    did = [{"scope": SCOPE, "name": "whole-life"}]
    rules += client.add_replication_rule(did, 1, "PIC-DCACHE")
    rules += client.add_replication_rule(did, 1, "QOS=FAST")
    _eventually(lambda: {client.get_replication_rule(rule)["state"] for rule in rules} == {"OK"})
    storage = running_lake.paths.storage
    copies = sorted(storage.glob("*/*/*/*/whole-life"))
    assert {copy.relative_to(storage).parts[0] for copy in copies} == {
        "PIC-INJECT",
        "PIC-DCACHE",
        "LAPP-FAST",
    }
    assert {copy.read_bytes() for copy in copies} == {source.read_bytes()}
    for rule in rules:
        client.update_replication_rule(rule, {"lifetime": 1, "purge_replicas": True})
    _eventually(lambda: not any(copy.exists() for copy in copies))
    _eventually(lambda: not list(client.list_replicas(did)))


def test_starting_a_running_lake_says_so_and_changes_nothing(running_lake: EmbeddedLake) -> None:
    before = {one.name: one.pid for one in running_lake.status().processes}
    info = running_lake.start()
    assert info.already_running
    assert {one.name: one.pid for one in running_lake.status().processes} == before
    assert info.url == running_lake.status().url


def test_every_process_is_up_and_together_they_are_small(running_lake: EmbeddedLake) -> None:
    status = running_lake.status()
    assert status.running
    assert [one.name for one in status.processes] == list(MEMBERS)
    assert all(one.alive for one in status.processes)
    assert status.memory < 800_000_000
    assert status.daemon_failures == {}


def test_what_is_changed_is_seen_at_once_by_every_worker(
    official_client: OfficialClient, running_lake: EmbeddedLake
) -> None:
    client = official_client("root")
    reader = official_client("magic")
    for value in ("seen", "anew", None):
        if value is None:
            client.delete_rse_attribute("LAPP-FAST", "note")
        else:
            client.add_rse_attribute("LAPP-FAST", "note", value)
        for _ in range(20):
            # Each time over a new connection, which any of the workers may take.
            reader.session.close()
            found = list(reader.list_rses(f"note={value}")) if value else []
            assert [entry["rse"] for entry in found] == (["LAPP-FAST"] if value else [])
            assert reader.list_rse_attributes("LAPP-FAST").get("note") == value


REMEMBER = """
import threading
from dogpile.cache.api import NO_VALUE
from rucio_inject.lake import memory
memory.install()
from rucio.core import rse
from rucio.daemons.reaper import reaper
given = [1]
rse.REGION.set("key", given)
given.append(2)
assert rse.REGION.get("key") == [1], "what is remembered is a copy"
elsewhere = []
thread = threading.Thread(target=lambda: elsewhere.append(rse.REGION.get("key")))
thread.start()
thread.join()
assert elsewhere == [NO_VALUE], "another thread knows it"
memory.forget()
assert rse.REGION.get("key") is NO_VALUE, "it is not forgotten"
reaper.REGION.set("pause", True)
assert reaper.REGION.get("pause") is NO_VALUE, "the reaper would leave an RSE alone"
"""


def test_look_ups_are_remembered_until_the_next_pass(running_lake: EmbeddedLake) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REMEMBER],
        env=for_server(running_lake.paths, os.environ),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_all_listeners_are_on_loopback(running_lake: EmbeddedLake) -> None:
    paths = running_lake.paths
    addresses = {
        connection.laddr.ip
        for member in process.left_over(paths.root, paths.postgres_data)
        for connection in _connections(member.pid)
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}


def _connections(pid: int) -> Sequence[Any]:
    """None of a process that has just ended, as the database's own do now and then."""
    try:
        found: Sequence[Any] = psutil.Process(pid).net_connections(kind="inet")
    except psutil.NoSuchProcess:
        return ()
    return found


def test_secrets_are_random_and_their_owners_alone_can_read_them(
    running_lake: EmbeddedLake,
) -> None:
    paths = running_lake.paths
    secrets = {path.name: path.read_text().strip() for path in paths.secrets.iterdir()}
    assert set(secrets) == {"root", "magic"}
    assert secrets["root"] != secrets["magic"]
    assert all(len(secret) >= 32 for secret in secrets.values())
    holders = {
        path: mode
        for path in paths.root.rglob("*")
        if not path.is_relative_to(paths.postgres)
        and (mode := _mode_if_it_holds(path, secrets.values())) is not None
    }
    assert paths.server_config in holders
    assert set(holders.values()) == {0o600}


def _mode_if_it_holds(path: Path, secrets: Iterable[str]) -> int | None:
    """The mode of a file that holds one of these; daemons write and remove others meanwhile."""
    try:
        if path.is_file() and any(s in path.read_text(errors="replace") for s in secrets):
            return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None
    return None


@pytest.mark.parametrize("password", ["secret", "", None], ids=["Rucio's own", "none", "right"])
def test_only_the_right_password_signs_root_in(
    running_lake: EmbeddedLake, password: str | None
) -> None:
    right = (running_lake.paths.secrets / "root").read_text().strip()
    headers = {
        "X-Rucio-Account": "root",
        "X-Rucio-Username": "root",
        "X-Rucio-Password": right if password is None else password,
    }
    answer = requests.get(
        f"{running_lake.status().url}/auth/userpass", headers=headers, timeout=600
    )
    assert answer.status_code == (200 if password is None else 401)
