"""`rucio-inject audit` on XRootD servers: lost, dark and corrupt files are found and mended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.lake.campaigns import (
    HOLDERS,
    PATIENCE,
    SCOPE,
    Bench,
    Ran,
    bytes_of,
    campaign,
    wait_until,
)

from rucio_inject.lake.embedded import EmbeddedLake

if TYPE_CHECKING:
    from rucio.client.client import Client

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("storage")]

NAME = "20200207_M1_05089301.00{}_D_Perseus-MA-W0.26-288.root"
LARGE = 100 << 20
TWO_HOURS = 7200


def audit(bench: Bench, keys: dict[str, Any], *options: str, account: str = "magic") -> Ran:
    """Run the command, with a JSON object as its last word."""
    command = [sys.executable, "-m", "rucio_inject", "audit", "--json", "--checksums"]
    done = subprocess.run(
        [*command, "--account", account, *options, str(bench.write(keys))],
        env={**os.environ, **bench.lake.environment(account)},
        cwd=bench.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def told(ran: Ran) -> set[tuple[str, str, str]]:
    """What was found of our files: its kind, where, and which file; others left files in the
    scope, too."""
    found = ran.end["found"]["findings"]
    where = [(f["kind"], f["rse"], f"{f['did'] or ''}{f['pfn'] or ''}") for f in found]
    return {
        (kind, rse, name)
        for kind, rse, place in where
        for name in map(NAME.format, (1, 2, 3))
        if name in place
    }


def stored(lake: EmbeddedLake, rse: str, name: str) -> list[Path]:
    """Where the server of an RSE keeps files of a name."""
    return [path for path in (lake.paths.storage / rse).rglob(f"{name}*") if path.is_file()]


def killed_while_it_uploads(bench: Bench, keys: Mapping[str, Any], name: str) -> list[Path]:
    """Kill a run when a part of a file is on its server; that part, and those of others."""
    process = subprocess.Popen(
        bench.arguments(keys),
        env=bench.environment(),
        cwd=bench.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + PATIENCE
    while not any(bytes_of(path) for path in stored(bench.lake, "PIC-INJECT", name)):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (partial,) = stored(bench.lake, "PIC-INJECT", name)
    assert partial.name.endswith(".rucio.upload")
    halves = stored(bench.lake, "PIC-INJECT", NAME.partition("{")[0])
    return [path for path in halves if path.name.endswith(".rucio.upload")]


def test_what_is_lost_dark_or_corrupt_is_found_and_mended(
    grid_lake: EmbeddedLake, tmp_path: Path, official: Client
) -> None:
    bench, inbox = Bench(tmp_path, grid_lake), tmp_path / "inbox"
    inbox.mkdir()
    sources = {NAME.format(number): f"events of {number}".encode() for number in (1, 2)}
    for name, content in sources.items():
        (inbox / name).write_bytes(content)
    large = NAME.format(3)
    with (inbox / large).open("wb") as file:
        file.truncate(LARGE)
    source = {"kind": "directory", "path": str(inbox)}
    keys = campaign("audited", 0, source=source, end=None)

    halves = killed_while_it_uploads(bench, keys, large)
    # A young one may be of an upload that goes on.
    assert ("dark", "PIC-INJECT", large) in told(audit(bench, keys, "--fix"))
    assert all(half.exists() for half in halves)
    for half in halves:
        os.utime(half, (time.time() - TWO_HOURS,) * 2)
    audit(bench, keys, "--fix")
    assert not any(half.exists() for half in halves)
    ran = bench.run(keys)
    assert ran.code == 0, ran.err
    assert told(audit(bench, keys)) == set()

    (corrupt,) = stored(grid_lake, "PIC-DCACHE", NAME.format(1))
    corrupt.write_bytes(bytes(byte ^ 1 for byte in corrupt.read_bytes()))
    (lost,) = stored(grid_lake, "LAPP-FAST", NAME.format(2))
    lost.unlink()
    found = audit(bench, keys)
    assert found.code == 4, found.err
    assert told(found) == {
        ("corrupt", "PIC-DCACHE", NAME.format(1)),
        ("lost", "LAPP-FAST", NAME.format(2)),
    }
    # Only root may declare a replica bad.
    fixed = audit(bench, keys, "--fix", account="root")
    assert [one["made"] for one in fixed.end["repaired"]] == [True, True], fixed.out
    dids = [{"scope": SCOPE, "name": name} for name in sources]

    def is_back() -> bool:
        rows = official.list_replicas(dids, all_states=True)
        return all(set(row["states"].values()) == {"AVAILABLE"} for row in rows)

    wait_until(is_back)
    again = bench.run(keys)
    assert again.code == 0, again.err
    assert told(audit(bench, keys)) == set()
    for name, content in sources.items():
        held = [stored(grid_lake, rse, name) for rse in HOLDERS]
        assert [path.read_bytes() for (path,) in held] == [content] * len(HOLDERS)
    assert {path.name for path in inbox.iterdir()} == {*sources, large}
    for rse in HOLDERS:
        for path in stored(grid_lake, rse, large):
            path.unlink()
