"""Ctrl-C and kill -9 at whatever moment: the same command goes on, and nothing is done twice."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lake.campaigns import END, HOLDERS, MOCK, PATIENCE, RULES, SCOPE, Bench, campaign

from rucio_inject.rucio.listing import PARTIAL

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("lake")]

Official = Callable[[str], Any]


def moments(draw: random.Random) -> Iterator[float]:
    """Seconds after which a run is stopped, from its first words on: each somewhat later than the
    one before, so that all of its steps are met, and the last one late enough for the end."""
    for number in range(12):
        yield 0.35 * number + draw.uniform(0.0, 0.35)
    yield PATIENCE


def run_until(bench: Bench, keys: dict[str, Any], seconds: float, number: int) -> int | None:
    """Run a campaign and send it a signal some seconds after its first words; its exit code."""
    with subprocess.Popen(
        bench.arguments(keys),
        env=bench.environment(),
        cwd=bench.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        # Earlier there is only an interpreter that starts, for as long as the machine is busy.
        words = process.stderr.readline()
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE)
    assert b"Traceback" not in words + err, err.decode()
    return process.returncode


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_at_any_moment_it_goes_on(
    bench: Bench, official_client: Official, number: signal.Signals
) -> None:
    draw = random.Random(number)
    source = {**MOCK, "seed": 100 + number, "runs": 2, "subruns": 3}
    keys = campaign(f"stopped{int(number)}", 0, source=source, end=None)
    codes = []
    for seconds in moments(draw):
        codes.append(run_until(bench, keys, seconds, number))
        if codes[-1] == 0:
            break
    stopped = 130 if number is signal.SIGINT else -9
    assert set(codes) <= {0, stopped}
    assert stopped in codes

    client = official_client("magic")
    records = bench.records(keys["campaign"])
    names = {record.did.name for record in records}
    datasets = {record.dataset.name for record in records}
    assert (len(names), len(datasets)) == (6, 2)
    found = [row["name"] for d in datasets for row in client.list_content(SCOPE, d)]
    assert sorted(found) == sorted(names)
    for dataset in datasets:
        rules = list(client.list_did_rules(SCOPE, dataset))
        assert sorted(r["rse_expression"] for r in rules) == sorted(["PIC-INJECT", *RULES])
    for row in client.list_replicas([{"scope": SCOPE, "name": name} for name in names]):
        assert set(row["rses"]) == set(HOLDERS)
    for rse in HOLDERS:
        stored = [p for p in (bench.lake.paths.storage / rse).rglob("*") if p.is_file()]
        mine = [p.name for p in stored if any(p.name.startswith(name) for name in names)]
        whole = [name for name in mine if not name.endswith(PARTIAL)]
        assert sorted(whole) == sorted(names)
        # Half an upload may be left by a kill alone; an audit removes it when it is old.
        assert number is signal.SIGKILL or mine == whole

    ended = {**keys, "end": END}
    for seconds in moments(draw):
        if run_until(bench, ended, seconds, number) == 0:
            break
    assert bench.run(ended).end["files"] == {"GONE": 6}
    assert list(client.list_replicas([{"scope": SCOPE, "name": name} for name in names])) == []
    left = [p for p in Path(bench.lake.paths.storage).rglob("*") if p.name in names]
    assert left == []


def test_the_second_ctrl_c_stops_at_once(bench: Bench) -> None:
    keys = campaign("twofold", 3)
    with subprocess.Popen(
        bench.arguments(keys),
        env=bench.environment(),
        cwd=bench.folder,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "measured" in line:
                break
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "go on" in err
    assert bench.run(keys).code == 0
