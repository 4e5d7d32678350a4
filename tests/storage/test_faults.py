"""What goes wrong on real storages: nothing is lost, nothing half done is left, and the reason is
named."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from tests.lake.campaigns import HOLDERS, MOCK, Bench, bytes_of, campaign, wait_until

from rucio_inject.clock import SystemClock
from rucio_inject.domain.errors import (
    StorageRefused,
    StorageUnavailable,
)
from rucio_inject.domain.injection import FileState
from rucio_inject.lake.embedded import EmbeddedLake
from rucio_inject.lake.state import load_state
from rucio_inject.lake.transfers.copier import CopyControl, CopyFailed
from rucio_inject.lake.transfers.halves import Halves
from rucio_inject.lake.transfers.model import Task, Verify
from rucio_inject.lake.transfers.webdav import Credentials, WebdavCopier
from rucio_inject.rucio.ways import Way
from rucio_inject.testing.contracts.world import ContractWorld, measured

if TYPE_CHECKING:
    from rucio.client.client import Client

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("storage")]

CONTENT = bytes(range(256)) * 4000


@pytest.fixture(params=["root", "davs"])
def world(
    request: pytest.FixtureRequest, make_world: Callable[..., ContractWorld]
) -> ContractWorld:
    return make_world(schemes=(request.param,))


def path_of(lake: EmbeddedLake, pfn: str) -> Path:
    """Where a server keeps a file."""
    return lake.paths.storage / urlsplit(pfn).path.lstrip("/")


def leftovers(lake: EmbeddedLake, name: str) -> list[Path]:
    """Everything that a storage holds of a file, under whatever name."""
    return [path for path in lake.paths.storage.rglob(f"*{name}*") if path.is_file()]


def test_a_replica_that_was_corrupted(grid_lake: EmbeddedLake, world: ContractWorld) -> None:
    _, measure, pfn = world.stored(CONTENT)
    path = path_of(grid_lake, pfn)
    with path.open("r+b") as file:
        file.write(b"!")
    assert world.storage.checksum(world.rse, pfn).adler32 != measure.adler32
    assert world.storage.measure(world.rse, pfn) == measured(b"!" + CONTENT[1:])


def test_a_replica_that_may_not_be_read(grid_lake: EmbeddedLake, world: ContractWorld) -> None:
    _, _, pfn = world.stored(CONTENT)
    path_of(grid_lake, pfn).chmod(0)
    with pytest.raises(StorageRefused, match=r"(?i)permission denied|403|not allowed|forbidden"):
        world.storage.measure(world.rse, pfn)
    assert world.storage.exists(world.rse, pfn)


def test_a_folder_that_may_not_be_written(grid_lake: EmbeddedLake, world: ContractWorld) -> None:
    did, source = world.name(), world.folder / "source"
    source.write_bytes(CONTENT)
    top = grid_lake.paths.storage / world.rse
    mode = top.stat().st_mode
    scope = top / world.scope
    held = scope.with_name("held")
    if scope.exists():
        scope.rename(held)
    top.chmod(0o555)
    try:
        with pytest.raises(StorageRefused, match=r"(?i)permission|403|forbidden|denied"):
            world.storage.put(world.rse, source, did)
    finally:
        top.chmod(mode)
        if held.exists():
            shutil.rmtree(scope, ignore_errors=True)
            held.rename(scope)
    assert leftovers(grid_lake, did.name) == []
    world.storage.put(world.rse, source, did)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_storage_that_is_full(grid_lake: EmbeddedLake, world: ContractWorld) -> None:
    did, source = world.name(), world.folder / "source"
    source.write_bytes(os.urandom(3 << 20))
    top = grid_lake.paths.storage / world.rse
    owner = top.stat()
    options = f"size=1m,uid={owner.st_uid},gid={owner.st_gid},mode=755"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", top], check=False)
    if mounted.returncode:
        pytest.skip("this machine mounts nothing")
    try:
        # Over HTTP the server breaks the connection off without a word: it is tried with a byte.
        with pytest.raises(StorageRefused, match=r"(?i)no space left|it is full"):
            world.storage.put(world.rse, source, did)
        assert leftovers(grid_lake, did.name) == []
    finally:
        subprocess.run(["umount", top], check=True)
    assert world.storage.taken(world.rse, did) is None
    world.storage.put(world.rse, source, did)


def test_an_address_of_ipv6_alone(make_world: Callable[..., ContractWorld]) -> None:
    world = make_world()
    _, measure, pfn = world.stored(CONTENT)
    from rucio_inject.rucio.credentials import Credentials as Ours
    from rucio_inject.rucio.drivers.webdav import WebdavDriver
    from rucio_inject.rucio.drivers.xrootd import XrootdDriver

    storage: Any = world.storage
    names = {way.scheme: name for way, name in storage._choice("x", world.rse, "read", pfn)}
    driver = WebdavDriver(Ours(SystemClock()))
    url = names["davs"].replace("localhost", "[::1]")
    assert driver.look(url) is not None
    assert driver.adler32(url, len(CONTENT)) == measure.adler32
    # GSI wants the name that is asked for in the server's certificate, and says so.
    with pytest.raises(PermissionError, match="not whom it should be"):
        XrootdDriver(Ours(SystemClock())).look(names["root"].replace("localhost", "[::1]"))


def test_the_next_protocol_serves_when_one_is_away(
    grid_lake: EmbeddedLake, make_world: Callable[..., ContractWorld], official: Any
) -> None:
    world = make_world()
    _, _, pfn = world.stored(CONTENT)
    assert pfn.startswith("root://")
    storage: Any = world.storage
    for operation in ("read", "write", "delete"):
        ways = storage._rses.ways("x", world.rse, operation)
        ways[:] = [_elsewhere(way) if way.scheme == "root" else way for way in ways]
    path = world.folder / "another"
    path.write_bytes(CONTENT)
    stored = world.storage.put(world.rse, path, world.name())
    assert stored.pfn.startswith("davs://")
    assert world.storage.checksum(world.rse, stored.pfn).adler32 == measured(CONTENT).adler32
    world.storage.remove(world.rse, stored.pfn)


def _elsewhere(way: Way) -> Way:
    """The same protocol, at a port where nobody listens."""
    prefix = way.prefix.replace(f":{urlsplit(way.prefix).port}/", ":1/")
    attributes = {**way.naming.attributes, "port": 1, "auth_token": None}
    return replace(way, prefix=prefix, naming=type(way.naming)(attributes, way.naming.rse))


def test_a_server_that_is_killed_while_it_is_written_to(
    grid_lake: EmbeddedLake, world: ContractWorld
) -> None:
    did, source = world.name(), world.folder / "source"
    with source.open("wb") as file:
        file.truncate(400 << 20)
    pid = load_state(grid_lake.paths.state).members["xrootd-PIC"].pid
    raised: list[Exception] = []

    def put() -> None:
        try:
            world.storage.put(world.rse, source, did)
        except (StorageUnavailable, StorageRefused) as error:
            raised.append(error)

    thread = threading.Thread(target=put)
    thread.start()
    wait_until(lambda: any(map(bytes_of, leftovers(grid_lake, did.name))))
    os.kill(pid, signal.SIGKILL)
    thread.join()
    grid_lake.start()
    assert [type(error) for error in raised] == [StorageUnavailable], raised
    assert all(path.name.endswith(".rucio.upload") for path in leftovers(grid_lake, did.name))
    assert world.storage.taken(world.rse, did) is None
    small = world.folder / "small"
    small.write_bytes(CONTENT)
    stored = world.storage.put(world.rse, small, did)
    assert world.storage.measure(world.rse, stored.pfn) == measured(CONTENT)


def test_a_server_that_is_away_when_files_are_to_come(
    grid_lake: EmbeddedLake, tmp_path: Path, official: Client
) -> None:
    bench = Bench(tmp_path, grid_lake)
    keys = campaign("away", 11, end=None, retry={"attempts": 2, "longest": "1s"})
    short = {**keys, "replication": {"deadline": "20s"}}
    os.kill(load_state(grid_lake.paths.state).members["xrootd-LAPP"].pid, signal.SIGKILL)
    try:
        first = bench.run_until_stuck(short)
    finally:
        grid_lake.start()
    assert first.code == 7, first.err
    assert "not reached" in first.err
    for rule in official.list_replication_rules({"account": "magic", "state": "S"}):
        official.update_replication_rule(rule["id"], {"boost_rule": True})
    again = bench.run(keys)
    assert again.code == 0, again.err
    for record in bench.records("away"):
        assert record.state is FileState.VERIFIED
        held = leftovers(grid_lake, record.did.name)
        assert sorted(path.name for path in held) == [record.did.name] * len(HOLDERS)


@pytest.mark.parametrize("site", ["LAPP", "PIC"])
def test_a_server_that_is_killed_in_the_middle_of_a_copy(
    grid_lake: EmbeddedLake, tmp_path: Path, official: Client, site: str
) -> None:
    """The one that fetches, or the one that it fetches from."""
    bench, name = Bench(tmp_path, grid_lake), f"copied-{site.lower()}"
    payload = {"kind": "raw", "size": "300MB"}
    keys = campaign(
        name,
        0,
        source={**MOCK, "subruns": 1, "payload": payload, "seed": 31 + len(site)},
        rules=[{"rse_expression": "LAPP-FAST"}],
        end=None,
    )
    state = load_state(grid_lake.paths.state)

    def errors() -> list[str]:
        stuck = official.list_replication_rules({"account": "magic", "state": "S"})
        return [str(rule["error"]) for rule in stuck]

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bench.run, {**keys, "replication": {"deadline": "10s"}})
        await_half(grid_lake)
        os.kill(state.members[f"xrootd-{site}"].pid, signal.SIGKILL)
        first = running.result()
    try:
        assert first.code in {5, 7}, first.err
        named = f"port={state.storage_ports[site][1]})"
        wait_until(lambda: any("not reached" in error and named in error for error in errors()))
        (record,) = bench.records(name)
        held = [path for path in leftovers(grid_lake, record.did.name) if ".part-" not in path.name]
        assert [path.parts[-5] for path in held] == ["PIC-INJECT"]
    finally:
        grid_lake.start()
    for rule in official.list_replication_rules({"account": "magic", "state": "S"}):
        official.update_replication_rule(rule["id"], {"boost_rule": True})
    again = bench.run(keys)
    assert again.code == 0, again.err
    (record,) = bench.records(name)
    assert record.state is FileState.VERIFIED
    assert set(record.replicas) == {"PIC-INJECT", "LAPP-FAST"}
    # Nor is a half of it left.
    held = leftovers(grid_lake, record.did.name)
    assert [path.name for path in held] == [record.did.name] * 2
    for path in held:
        path.unlink()


def await_half(lake: EmbeddedLake) -> None:
    """Wait until a server has fetched a part of a file."""
    folder = lake.paths.storage / "LAPP-FAST"
    wait_until(lambda: any(bytes_of(path) > 1 << 20 for path in folder.rglob("*.part-*")))


class Copies:
    """The transfer service's copier, and tasks for it between two servers of the lake."""

    def __init__(self, lake: EmbeddedLake, halves: Path, *more: str) -> None:
        paths = lake.paths
        ports = load_state(paths.state).storage_ports
        self.pic, self.lapp = (f"localhost:{ports[site][1]}" for site in ("PIC", "LAPP"))
        trust = paths.pki / "ca.pem"
        held = Credentials(paths.client_certificate("root"), paths.client_key("root"), trust)
        servers = [self.pic, self.lapp, *more]
        self.copier = WebdavCopier(held, servers, SystemClock(), Halves(halves / "halves.json"))

    def task(self, name: str, content: bytes, **changes: Any) -> Task:
        """Copy a file from PIC to LAPP."""
        values: dict[str, Any] = {
            "file_id": 1,
            "job_id": "job",
            "label": "label",
            "source": f"davs://{self.pic}/PIC-INJECT/copies/{name}",
            "destination": f"davs://{self.lapp}/LAPP-FAST/copies/a/b/{name}",
            "size": len(content),
            "checksum": f"ADLER32:{measured(content).adler32}",
            "verify": Verify.BOTH,
            "overwrite": False,
            "resumed": False,
        }
        return Task(**{**values, **changes})


def placed(lake: EmbeddedLake, name: str, content: bytes) -> Path:
    """A file at PIC, as the server would have written it."""
    folder = lake.paths.storage / "PIC-INJECT" / "copies"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(content)
    path.chmod(0o644)
    return path


def test_a_copy_and_what_it_refuses(grid_lake: EmbeddedLake, tmp_path: Path) -> None:
    copies = Copies(grid_lake, tmp_path)
    placed(grid_lake, "good", CONTENT)
    task = copies.task("good", CONTENT)
    copies.copier.copy(task, CopyControl())
    there = grid_lake.paths.storage / "LAPP-FAST/copies/a/b/good"
    assert there.read_bytes() == CONTENT
    assert [path.name for path in there.parent.iterdir()] == ["good"]
    with pytest.raises(CopyFailed, match="exists and overwrite is not enabled"):
        copies.copier.copy(task, CopyControl())
    # One that was done when the service was killed.
    copies.copier.copy(copies.task("good", CONTENT, resumed=True), CopyControl())
    outside = copies.task("good", CONTENT, destination="davs://localhost:1/x/y")
    with pytest.raises(CopyFailed, match="outside of the lake's storages"):
        copies.copier.copy(outside, CopyControl())
    gone = copies.task("nothing", CONTENT)
    with pytest.raises(CopyFailed, match=r"SOURCE \[2\]"):
        copies.copier.copy(gone, CopyControl())


@pytest.mark.parametrize("algorithm", ["ADLER32", "MD5"])
def test_a_copy_of_a_corrupt_source(
    grid_lake: EmbeddedLake, tmp_path: Path, algorithm: str
) -> None:
    copies, name = Copies(grid_lake, tmp_path), f"corrupt-{algorithm}"
    placed(grid_lake, name, b"?" + CONTENT[1:])
    known = measured(CONTENT)
    value = known.adler32 if algorithm == "ADLER32" else known.md5
    task = copies.task(name, CONTENT, checksum=f"{algorithm}:{value}")
    with pytest.raises(CopyFailed, match=f"SOURCE .*CHECKSUM MISMATCH .*{algorithm}"):
        copies.copier.copy(task, CopyControl())
    assert [path for path in leftovers(grid_lake, name) if "LAPP" in str(path)] == []


class _Lying(BaseHTTPRequestHandler):
    """A server that takes every copy (201) and tells in the body that it failed."""

    protocol_version = "HTTP/1.1"
    asked: list[str]

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.server.asked.append(self.command)  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self) -> None:
        self._answer(404)

    def do_MKCOL(self) -> None:
        self._answer(201)

    def do_DELETE(self) -> None:
        self._answer(204)

    def do_COPY(self) -> None:
        body = (
            b"Perf Marker\nStripe Bytes Transferred: 7\nEnd\nfailure: quota of the pool is spent\n"
        )
        self._answer(201, body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nobody reads it."""


def test_a_copy_that_answers_201_and_fails(grid_lake: EmbeddedLake, tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Lying)
    server.asked = []  # type: ignore[attr-defined]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    home = grid_lake.paths.server_home
    context.load_cert_chain(home / "hostcert.pem", home / "hostkey.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        address = f"localhost:{server.server_port}"
        copies = Copies(grid_lake, tmp_path, address)
        placed(grid_lake, "lied", CONTENT)
        task = copies.task("lied", CONTENT, destination=f"davs://{address}/LAPP-FAST/lied")
        with pytest.raises(CopyFailed, match=r"TRANSFER \[5\] quota of the pool is spent"):
            copies.copier.copy(task, CopyControl())
    finally:
        server.shutdown()
        server.server_close()
    # What may be there of it is removed, and nothing was given its name.
    asked = server.asked  # type: ignore[attr-defined]
    assert asked[-1] == "DELETE"
    assert "MOVE" not in asked
