"""Signing in with certificates and tokens, and what happens when they end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from tests.lake.campaigns import PATIENCE, Bench, campaign

from rucio_inject.clock import SystemClock
from rucio_inject.domain.errors import SignInFailed, StorageRefused
from rucio_inject.domain.injection import FileState
from rucio_inject.lake.embedded import EmbeddedLake
from rucio_inject.lake.state import load_state
from rucio_inject.lake.tokens import Issuer
from rucio_inject.rucio.credentials import Credentials
from rucio_inject.rucio.session import Session, SignIn
from rucio_inject.testing.contracts.world import ContractWorld, measured

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("storage")]

EXPIRED = timedelta(minutes=-10)
GOOD = timedelta(hours=12)


def test_every_strategy(grid_lake: EmbeddedLake, as_user: None) -> None:
    paths = grid_lake.paths
    ways = {
        "x509_proxy": SignIn(
            account="magic",
            auth_strategy="x509_proxy",
            certificate=str(paths.client_proxy("magic")),
        ),
        "x509": SignIn(
            account="magic",
            auth_strategy="x509",
            certificate=str(paths.client_certificate("magic")),
            client_key=str(paths.client_key("magic")),
        ),
        "userpass": SignIn(
            account="magic",
            auth_strategy="userpass",
            user="magic",
            password=(paths.secrets / "magic").read_text().strip(),
        ),
    }
    for sign_in in ways.values():
        # The token of the one before would do for the next.
        (paths.client_home("magic") / "token").unlink(missing_ok=True)
        client = Session(sign_in).client()
        assert client.whoami()["account"] == "magic"
        client.session.close()


def test_another_users_certificate_is_not_ours(grid_lake: EmbeddedLake, as_user: None) -> None:
    paths = grid_lake.paths
    (paths.client_home("magic") / "token").unlink(missing_ok=True)
    sign_in = SignIn(
        account="root",
        auth_strategy="x509",
        certificate=str(paths.client_certificate("magic")),
        client_key=str(paths.client_key("magic")),
    )
    with pytest.raises(SignInFailed):
        Session(sign_in).client()


def test_an_expired_proxy_ends_the_run_and_sets_no_file_aside(
    grid_lake: EmbeddedLake, tmp_path: Path
) -> None:
    bench, keys = Bench(tmp_path, grid_lake), campaign("expired", 21, end=None)
    (grid_lake.paths.client_home("magic") / "token").unlink(missing_ok=True)
    grid_lake.renew_proxy("magic", EXPIRED)
    try:
        ran = bench.run(keys)
        assert ran.code == 6, ran.err
        assert "expired at" in ran.err
        assert "set aside" not in ran.err
        # With a command that makes a new one it goes on by itself.
        renew = f"{sys.executable} -m rucio_inject lake proxy --folder {grid_lake.paths.root}"
        keys = {**keys, "sign_in": {"renew": renew}}
        again = bench.run(keys)
        assert again.code == 0, again.err
        for command in ("audit", "doctor"):
            (grid_lake.paths.client_home("magic") / "token").unlink(missing_ok=True)
            grid_lake.renew_proxy("magic", EXPIRED)
            looked = bench.command(command, keys)
            # What other tests left at these storages is for them to tell, too.
            assert looked.code != 6, looked.out + looked.err
            assert "expired at" not in looked.out + looked.err
    finally:
        grid_lake.renew_proxy("magic", GOOD)


@pytest.mark.parametrize("scheme", ["root", "davs"])
def test_a_proxy_that_expires_in_the_middle(
    grid_lake: EmbeddedLake, make_world: Callable[..., ContractWorld], scheme: str
) -> None:
    world = make_world(schemes=(scheme,))
    grid_lake.renew_proxy("magic", EXPIRED)
    try:
        with pytest.raises(SignInFailed, match="expired at"):
            world.stored(b"too late")
    finally:
        grid_lake.renew_proxy("magic", GOOD)
    _, measure, pfn = world.stored(b"in time")
    assert world.storage.measure(world.rse, pfn) == measure


def test_a_bearer_token_in_place_of_a_certificate(
    grid_lake: EmbeddedLake,
    make_world: Callable[..., ContractWorld],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths = grid_lake.paths
    port = load_state(paths.state).storage_ports["PIC"][1]
    answer = requests.post(
        f"https://localhost:{port}/PIC-INJECT",
        json={"caveats": ["activity:DOWNLOAD,UPLOAD,DELETE,MANAGE,LIST"], "validity": "PT10M"},
        headers={"Content-Type": "application/macaroon-request"},
        cert=str(paths.client_proxy("magic")),
        verify=str(paths.pki / "ca.pem"),
        timeout=PATIENCE,
    )
    world = make_world(schemes=("davs",))
    world.catalogue.whoami()
    monkeypatch.setenv("BEARER_TOKEN", answer.json()["macaroon"])
    monkeypatch.delenv("X509_USER_PROXY")
    _, _, pfn = world.stored(b"by token")
    assert world.storage.measure(world.rse, pfn) == measured(b"by token")
    monkeypatch.setenv("BEARER_TOKEN", "nonsense")
    with pytest.raises((SignInFailed, StorageRefused), match=r"401|403|know us"):
        world.storage.measure(world.rse, pfn)


@pytest.fixture
def no_proxy(
    grid_lake: EmbeddedLake, session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Path]:
    """Nothing but a file for a token identifies us to storages; the file, with a token in it."""
    # Rucio knows us already.
    session.client()
    held = grid_lake.paths.client_proxy("magic")
    away = held.rename(held.with_name("away"))
    monkeypatch.delenv("X509_USER_PROXY")
    # `lake env` says it with the proxy.
    monkeypatch.setenv("X509_CERT_DIR", str(grid_lake.paths.certificates))
    path = grid_lake.renew_token("magic", GOOD)
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(path))
    yield path
    away.rename(held)


def test_a_web_token_in_place_of_a_certificate(
    grid_lake: EmbeddedLake, make_world: Callable[..., ContractWorld], no_proxy: Path
) -> None:
    world = make_world(schemes=("davs",))
    did, measure, pfn = world.stored(b"by token")
    assert world.storage.measure(world.rse, pfn) == measure
    listing = world.storage.listing(world.rse, world.scope)
    assert listing is None or pfn in [file.pfn for file in listing]
    assert world.storage.taken(world.rse, did) == pfn
    world.storage.remove(world.rse, pfn)
    assert not world.storage.exists(world.rse, pfn)


def test_a_web_token_is_good_for_what_it_says_and_for_its_time(
    grid_lake: EmbeddedLake, make_world: Callable[..., ContractWorld], no_proxy: Path
) -> None:
    world, clock = make_world(schemes=("davs",)), SystemClock()
    _, measure, pfn = world.stored(b"to be read")
    issuer = Issuer(grid_lake.paths.pki)
    no_proxy.write_text(issuer.token("magic", clock.now(), GOOD, ["storage.read:/"]))
    assert world.storage.measure(world.rse, pfn) == measure
    with pytest.raises(StorageRefused, match="403"):
        world.storage.remove(world.rse, pfn)
    # Another issuer's: the key is not the one that the servers know.
    (no_proxy.parent / "other").mkdir(exist_ok=True)
    other = Issuer(no_proxy.parent / "other")
    no_proxy.write_text(other.token("magic", clock.now(), GOOD))
    with pytest.raises(StorageRefused, match="403"):
        world.storage.measure(world.rse, pfn)
    grid_lake.renew_token("magic", EXPIRED)
    with pytest.raises(SignInFailed, match="token expired at"):
        world.storage.measure(world.rse, pfn)
    grid_lake.renew_token("magic", GOOD)
    world.storage.remove(world.rse, pfn)


def test_an_expired_web_token_ends_the_run_unless_it_is_renewed(
    grid_lake: EmbeddedLake, no_proxy: Path, tmp_path: Path
) -> None:
    bench, keys = Bench(tmp_path, grid_lake), campaign("token", 23, end=None)
    grid_lake.renew_token("magic", EXPIRED)
    ran = bench.run(keys, "-S", "userpass")
    assert ran.code == 6, ran.err
    assert "token expired at" in ran.err
    assert "set aside" not in ran.err
    # One that is not there yet is made, too.
    no_proxy.unlink()
    # root:// comes first at these RSEs, wants a proxy, and makes way for davs://.
    renew = f"{sys.executable} -m rucio_inject lake token --folder {grid_lake.paths.root}"
    again = bench.run({**keys, "sign_in": {"renew": renew}}, "-S", "userpass")
    assert again.code == 0, again.err
    assert {record.state for record in bench.records("token")} == {FileState.VERIFIED}


def test_many_threads_whose_tokens_expire(grid_lake: EmbeddedLake, session: Session) -> None:
    def ask(number: int) -> str:
        if number % 25 == 0:
            _expire_tokens(grid_lake)
        return str(session.client().whoami()["account"])

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(200))) == {"magic"}


def _expire_tokens(lake: EmbeddedLake) -> None:
    import psycopg

    folder = load_state(lake.paths.state).socket_folder
    with psycopg.connect(host=str(folder), user="rucio", dbname="rucio") as connection:
        connection.execute("UPDATE tokens SET expired_at = now() - interval '1 hour'")


def test_the_official_tool_signs_in_the_same_way(grid_lake: EmbeddedLake) -> None:
    command = [str(Path(sys.executable).with_name("rucio")), "whoami"]
    environment = {**os.environ, **grid_lake.environment("magic")}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "magic" in done.stdout
    assert Credentials(SystemClock(), environment).identity() is not None
