"""The doctor on a real lake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.lake.campaigns import PATIENCE, Bench, campaign

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("lake")]


def examined(bench: Bench, *options: str) -> tuple[int, dict[str, Any]]:
    """The command on a campaign, as it ends."""
    path = bench.write(campaign("doctored", 1))
    command = [sys.executable, "-m", "rucio_inject", "doctor", "--json", *options, str(path)]
    done = subprocess.run(
        command,
        env=bench.environment(),
        cwd=bench.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, told


def left(bench: Bench) -> list[Path]:
    """Files of a doctor on the lake's storages."""
    return [p for p in bench.lake.paths.storage.rglob("*rucio-inject-doctor*") if p.is_file()]


def test_a_lake_that_is_well_and_one_storage_that_is_not(bench: Bench) -> None:
    code, told = examined(bench)
    assert code == 0, told
    tried = [f["subject"] for f in told["findings"] if f["check"] == "storage"]
    assert sorted(tried) == ["INFN-NA-DPM", "LAPP-FAST", "PIC-DCACHE", "PIC-INJECT"]
    assert left(bench) == []

    storage = bench.lake.paths.storage / "INFN-NA-DPM"
    away = storage.with_name("away")
    storage.rename(away)
    try:
        code, told = examined(bench)
    finally:
        away.rename(storage)
    assert code == 5
    bad = [(f["check"], f["subject"]) for f in told["findings"] if f["verdict"] == "bad"]
    assert bad == [("storage", "INFN-NA-DPM")]
    assert left(bench) == []
    # Nothing of it is in the catalogue, nor a ledger or an output folder on this machine.
    assert not bench.output("doctored").exists()


def test_a_doctor_that_is_killed_is_cleaned_up_after(bench: Bench) -> None:
    path = bench.write(campaign("doctored", 1))
    place = bench.lake.paths.storage
    command = [sys.executable, "-m", "rucio_inject", "doctor", str(path)]
    killed = 0
    for _ in range(6):
        process = subprocess.Popen(
            command, env=bench.environment(), cwd=bench.folder, stdout=subprocess.DEVNULL
        )
        try:
            killed += _kill_when_written(process, place)
        finally:
            process.kill()
            process.wait()
        if killed:
            break
    code, _ = examined(bench)
    assert code == 0
    assert left(bench) == []


def _kill_when_written(process: subprocess.Popen[bytes], place: Path) -> int:
    """Kill it while its file is there; how often that was seen."""
    end = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < end:
        for folder, _, names in os.walk(place):
            if any("rucio-inject-doctor" in name for name in names):
                process.send_signal(signal.SIGKILL)
                return int(bool(folder))
    return 0


def test_who_is_not_known(bench: Bench) -> None:
    # A token of magic's may be cached, so that its password would not be looked at.
    code, told = examined(bench, "--account", "root", "-u", "root", "--password", "wrong word")
    assert code == 6
    assert "wrong word" not in json.dumps(told)
