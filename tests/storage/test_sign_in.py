"""Signing in with certificates and tokens, and what happens when they end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from tests.lake.campaigns import Bench, campaign

from rucio_inject.clock import SystemClock
from rucio_inject.domain.errors import SignInFailed, StorageRefused
from rucio_inject.lake.embedded import EmbeddedLake
from rucio_inject.lake.state import load_state
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
        again = bench.run({**keys, "sign_in": {"renew": renew}})
        assert again.code == 0, again.err
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
        timeout=10,
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
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "magic" in done.stdout
    assert Credentials(SystemClock(), environment).identity() is not None
