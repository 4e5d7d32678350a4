"""Limits and a drain on a real lake; what is in flight is asked of the ledger meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from tests.lake.campaigns import PATIENCE, SCOPE, Bench, campaign

from rucio_inject.clock import SystemClock
from rucio_inject.domain.errors import LedgerError
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.steps.turns import in_flight

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("lake")]

Official = Callable[[str], Any]
NAME = "drained"
MOST = 3
# A second each: on a busy machine the command that orders the drain takes many to begin.
FILES = 90


def keys(files: int) -> dict[str, Any]:
    """A campaign of so many small files, whose rules stay, and few of which may be in flight."""
    source = {
        "kind": "mock",
        "seed": 4040,
        "runs": 1,
        "subruns": files,
        "telescopes": ["M1"],
        "types": ["D"],
        "payload": {"kind": "raw", "size": "10kB"},
    }
    return campaign(
        NAME,
        1,
        source=source,
        end=None,
        rules=[{"rse_expression": "PIC-DCACHE"}],
        limits={"files_in_flight": MOST, "rate": "10kB/s"},
    )


def drain(bench: Bench, *options: str) -> None:
    """Order a drain, or take it back, as another shell would."""
    path = str(bench.folder / f"{NAME}.yaml")
    command = [sys.executable, "-m", "rucio_inject", "drain", *options, path]
    subprocess.run(command, cwd=bench.folder, check=True, capture_output=True, timeout=PATIENCE)


def test_a_limited_run_is_drained_and_goes_on(bench: Bench, official_client: Official) -> None:
    wanted = keys(FILES)
    command = bench.arguments(wanted, "--json")
    place = bench.output(NAME) / f"{NAME}.db"
    most, asked, end = 0, False, time.monotonic() + PATIENCE
    with subprocess.Popen(
        command,
        env=bench.environment(),
        cwd=bench.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        while run.poll() is None:
            assert time.monotonic() < end, "the run does not come to its end"
            if place.exists():
                most = max(most, look(bench))
                if most and not asked:
                    drain(bench, "--reason", "a test")
                    asked = True
            time.sleep(0.05)
        out, err = run.communicate()
    assert run.returncode == 8, err
    done = json.loads(out)
    assert done["drained"]["reason"] == "a test"
    assert 0 < done["held_back"] < FILES
    assert 0 < most <= MOST
    states = Counter(str(record.state) for record in bench.records(NAME))
    assert states == {"VERIFIED": FILES - done["held_back"], "MEASURED": done["held_back"]}

    # It stays drained for the next run, too; what is there is what the official client shows.
    again = bench.run(wanted)
    assert (again.code, again.end["held_back"]) == (8, done["held_back"])
    client = official_client("magic")
    (dataset,) = {record.dataset.name for record in bench.records(NAME)}
    assert len(list(client.list_files(SCOPE, dataset))) == FILES - done["held_back"]

    drain(bench, "--off")
    last = bench.run({**wanted, "limits": {}})
    assert (last.code, last.end["held_back"]) == (0, 0)
    assert len(list(client.list_files(SCOPE, dataset))) == FILES
    rules = list(client.list_did_rules(SCOPE, dataset))
    assert {rule["state"] for rule in rules} == {"OK"}
    assert len(rules) == 2


def look(bench: Bench) -> int:
    """How many files are in flight now."""
    place = bench.output(NAME) / f"{NAME}.db"
    try:
        with SqlLedger(place, NAME, clock=SystemClock(), reading=True) as ledger:
            return in_flight(ledger).files
    except LedgerError:
        # It is only just being made.
        return 0
