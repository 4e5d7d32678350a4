"""How many REST calls a file costs, counted at the client's own session."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.lake.campaigns import MOCK, Bench, campaign

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("lake")]

COUNTER = """
import collections, json, sys
import requests
calls = collections.Counter()
send = requests.Session.send
def counted(self, request, **options):
    calls[request.method + " " + request.url.split("?")[0].split("/", 3)[3].split("/")[0]] += 1
    return send(self, request, **options)
requests.Session.send = counted
from rucio_inject.cli.main import main
try:
    main(sys.argv[2:])
finally:
    open(sys.argv[1], "w").write(json.dumps(calls))
"""


def test_registration_takes_few_calls_a_file(bench: Bench, tmp_path: Path) -> None:
    files = 60
    source = {**MOCK, "seed": 21, "subruns": files}
    keys = campaign("cost", 0, source=source, end=None, monitor={"interval": 3600})
    counts = tmp_path / "calls.json"
    command = [sys.executable, "-c", COUNTER, str(counts), *bench.arguments(keys)[3:]]
    done = subprocess.run(
        command, env=bench.environment(), cwd=bench.folder, check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    calls = json.loads(counts.read_text())
    # The whole run, signing in, watching and counting included.
    assert sum(calls.values()) <= 2 * files, calls
    assert calls["POST replicas"] <= 0.2 * files, calls
