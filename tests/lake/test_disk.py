"""A full disk, damaged counts, and a lake that goes away: told once, and nothing lost."""

from __future__ import annotations

import os
import subprocess

import pytest
from tests.lake.campaigns import MOCK, Bench, campaign

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("lake")]


def test_damaged_counts_do_not_hide_how_the_run_ended(bench: Bench) -> None:
    keys = campaign("damaged", 31)
    assert bench.run(keys).code == 0
    with (bench.output("damaged") / "counts.jsonl").open("a") as file:
        file.write("garbage\n")
    ran = bench.run(keys, "--new-cycle")
    assert (ran.code, ran.end["files"]) == (0, {"GONE": 2})
    assert "figure 1 is not drawn: " in ran.err
    assert "that is no count" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_full_disk_is_told_as_such_and_made_good(bench: Bench) -> None:
    folder = bench.output("full")
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)], check=False
    )
    if mounted.returncode:
        pytest.skip("this machine mounts nothing")
    try:
        source = {**MOCK, "seed": 32, "payload": {"kind": "raw", "size": "200kB"}}
        keys = campaign("full", 0, source=source)
        ran = bench.run(keys)
        assert ran.code == 5, ran.err
        assert "No space left on device" in ran.err or "is full" in ran.err
        assert "make room" in ran.err
        assert "Traceback" not in ran.err
        subprocess.run(["mount", "-o", "remount,size=50m", str(folder)], check=True)
        again = bench.run(keys)
        assert (again.code, again.end["files"]) == (0, {"GONE": 2}), again.err
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_server_that_is_away_is_told_once(bench: Bench) -> None:
    ran = bench.run(campaign("away", 33), "-H", "http://127.0.0.1:9")
    assert ran.code == 5
    assert ran.err.count("\n") <= 3, ran.err
    assert "Cannot connect to the Rucio server" in ran.err
