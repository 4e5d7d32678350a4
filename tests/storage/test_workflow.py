"""Campaigns on XRootD servers: the same file as on folders, only the lake is another one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.lake.campaigns import HOLDERS, ORIGIN, PATIENCE, Bench, campaign

from rucio_inject.cli.exit_codes import ExitCode
from rucio_inject.domain.injection import FileState
from rucio_inject.lake.embedded import EmbeddedLake

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("storage")]

MAGIC = Path(__file__).parents[2] / "campaigns" / "magic.yaml"


@pytest.fixture
def bench(grid_lake: EmbeddedLake, tmp_path: Path) -> Bench:
    return Bench(tmp_path, grid_lake)


def files_at(lake: EmbeddedLake, rse: str) -> list[Path]:
    """What lies in the folder that a server exports."""
    return [path for path in (lake.paths.storage / rse).rglob("*") if path.is_file()]


def test_the_magic_campaign_unchanged(grid_lake: EmbeddedLake, tmp_path: Path) -> None:
    before = {rse: len(files_at(grid_lake, rse)) for rse in HOLDERS}
    command = [sys.executable, "-m", "rucio_inject", "run", "--lake", str(grid_lake.paths.root)]
    # Only what --lake tells it: no variable of the lake is set.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RUCIO_", "X509_"))}
    for _ in range(4):
        done = subprocess.run(
            [*command, "--json", str(MAGIC)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        # Its deadlines are of minutes: a busy lake may need more of them.
        if done.returncode != ExitCode.LATER:
            break
    assert done.returncode == 0, done.stderr
    end: dict[str, Any] = json.loads(done.stdout)
    assert end["files"] == {"GONE": 14}, end
    assert {rse: len(files_at(grid_lake, rse)) for rse in HOLDERS} == before


def test_bytes_go_from_server_to_server(bench: Bench) -> None:
    keys = campaign("grid", 1, end=None)
    ran = bench.run(keys)
    assert ran.code == 0, ran.err
    (first, second) = bench.records("grid")
    assert {first.state, second.state} == {FileState.VERIFIED}
    for record in (first, second):
        assert set(record.replicas) == set(HOLDERS)
        for rse in HOLDERS:
            found = [path for path in files_at(bench.lake, rse) if path.name == record.did.name]
            assert [path.stat().st_size for path in found] == [20_000]
    again = bench.run(keys)
    assert again.code == 0, again.err


def test_an_origin_on_a_server_is_freed_by_rucio(bench: Bench) -> None:
    folder = bench.lake.paths.storage / ORIGIN
    night = folder / "raw" / "2021_05_07"
    night.mkdir(parents=True)
    names = [f"20210507_M1_05070009.00{n}_Y_CrabNebula-W0.40_035.root" for n in (1, 2, 3)]
    for name in names:
        (night / name).write_bytes(name.encode() * 1000)
    for path in folder.rglob("*"):
        # The servers run as somebody else where we are root.
        os.chown(path, folder.stat().st_uid, folder.stat().st_gid)
    keys = campaign(
        "origin",
        1,
        source={"kind": "rse", "folder": "raw", "stable": 0, "free": True, "lifetime": 1},
        upload={"rse": ORIGIN},
        rules=[{"rse_expression": "PIC-DCACHE"}, {"rse_expression": "QOS=FAST"}],
        naming={"closing": {"quiet": "1s"}},
        end=None,
    )
    end = time.monotonic() + PATIENCE
    while True:
        ran = bench.run(keys)
        assert ran.code == 0, ran.err
        assert ran.end["files"] == {"VERIFIED": 3}
        if ran.end["freed"]["files"]:
            break
        assert time.monotonic() < end, ran.out
        time.sleep(1)
    assert ran.end["freed"] == {"files": 3, "bytes": 156_000, "folder": None, "rse": ORIGIN}
    assert files_at(bench.lake, ORIGIN) == []
    for record in bench.records("origin"):
        held = {rse for rse, replica in record.replicas.items() if replica.gone_at is None}
        assert held == {"PIC-DCACHE", "LAPP-FAST"}
        for rse in held:
            (there,) = [path for path in files_at(bench.lake, rse) if path.name == record.did.name]
            assert there.read_bytes() == record.did.name.encode() * 1000
