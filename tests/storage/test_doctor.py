"""The doctor on storages with several protocols."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.lake.campaigns import HOLDERS, PATIENCE, Bench, campaign

from rucio_inject.lake.embedded import EmbeddedLake

if TYPE_CHECKING:
    from rucio.client.client import Client

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("storage")]

EVERY = {"read": 3, "write": 3, "delete": 3}
NOBODY = {
    "scheme": "https",
    "hostname": "localhost",
    "port": 1,
    "prefix": "/LAPP-FAST/",
    "impl": "rucio.rse.protocols.gfal.Default",
    "domains": {"lan": EVERY, "wan": EVERY},
}


def test_every_protocol_is_tried(grid_lake: EmbeddedLake, tmp_path: Path, official: Client) -> None:
    bench = Bench(tmp_path, grid_lake)
    path = bench.write(campaign("doctored", 5))
    command = [sys.executable, "-m", "rucio_inject", "doctor", "--json", str(path)]
    official.add_protocol("LAPP-FAST", dict(NOBODY))
    try:
        done = subprocess.run(
            command,
            env=bench.environment(),
            cwd=bench.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    finally:
        official.delete_protocols("LAPP-FAST", "https", hostname="localhost", port=1)
    assert done.returncode == 0, done.stderr
    findings: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    tried = {
        (f["subject"], f["told"].split("://")[0].removeprefix("over ")): f["verdict"]
        for f in findings
        if f["check"] == "storage"
    }
    wanted = {(rse, scheme): "good" for rse in HOLDERS for scheme in ("root", "davs")}
    assert tried == {**wanted, ("LAPP-FAST", "https"): "warning"}
    (session,) = [f for f in findings if f["check"] == "session"]
    assert (session["subject"], session["verdict"]) == ("x509_proxy", "good")
    assert "minutes more" in session["told"]
    left = [p for p in grid_lake.paths.storage.rglob("*rucio-inject-doctor*") if p.is_file()]
    assert left == []
