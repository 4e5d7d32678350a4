"""A real lake for the tests, and the official tools to look into it with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rucio_inject.lake.embedded import EmbeddedLake

if TYPE_CHECKING:
    from rucio.client.client import Client

OfficialClient = Callable[[str], "Client"]
RucioCli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Callable[[], Path]]:
    """Makes folders below /tmp with short paths that others may pass through.

    pytest's own folders are closed to `nobody`, as whom PostgreSQL runs when we are root, and
    their paths are long.
    """
    made: list[Path] = []

    def make() -> Path:
        folder = Path(tempfile.mkdtemp(prefix="ri-", dir="/tmp"))
        folder.chmod(0o711)
        made.append(folder)
        return folder

    yield make
    for folder in made:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def running_lake(short_folder: Callable[[], Path]) -> Iterator[EmbeddedLake]:
    """One lake for all tests of a session; stopped and deleted at its end."""
    lake = EmbeddedLake(short_folder() / "lake")
    lake.start()
    yield lake
    lake.reset()


@pytest.fixture(scope="session")
def fresh_lake(short_folder: Callable[[], Path]) -> Iterator[EmbeddedLake]:
    """A lake that no campaign and no fault was played on: for tests of the lake itself, which have
    it for their `running_lake`."""
    lake = EmbeddedLake(short_folder() / "lake")
    lake.start()
    yield lake
    lake.reset()


@pytest.fixture
def official_client(
    running_lake: EmbeddedLake, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OfficialClient]:
    """Makes Rucio's own client, signed in to the lake as the account asked for.

    Rucio keeps its configuration for the whole process: it is thrown away before and after.
    """
    from rucio.common.config import clean_cached_config

    made: list[Client] = []

    def make(account: str = "magic") -> Client:
        for name, value in running_lake.environment(account).items():
            monkeypatch.setenv(name, value)
        clean_cached_config()
        from rucio.client.client import Client

        client = Client()
        made.append(client)
        return client

    yield make
    for client in made:
        client.session.close()
    clean_cached_config()


@pytest.fixture
def rucio_cli(running_lake: EmbeddedLake) -> RucioCli:
    """Runs the official `rucio` command with what `rucio-inject lake env` prints."""

    def run(*arguments: str, account: str | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **running_lake.environment(account)}
        command = [str(Path(sys.executable).with_name("rucio")), *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=600, check=False
        )

    return run
