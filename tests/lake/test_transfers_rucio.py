"""Rucio's own `FTS3Transfertool`, unmodified, against the running transfer service.

It runs in a process of its own, since it wants a configuration that it reads when it is imported.
`submit`, `bulk_query`, `query`, `cancel`, `update_priority`, `whoami` and `version` need no
database: `submit` is given transfers that answer the questions it asks of them. Turning a status
report into a state (`FTS3ApiTransferStatusReport.initialize`) is given the request that it would
else read from the database. Choosing sources, writing the outcome back, and the daemons
around it need a whole lake: its end-to-end tests replicate through them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lake.transfers_support import Running, adler, url

DRIVER = """
import json, sys, time
from types import SimpleNamespace as Some
from rucio.transfertool.fts3 import FTS3Transfertool, build_job_params

base, plan = sys.argv[1], json.loads(sys.argv[2])
tool = FTS3Transfertool(base)

def rse(name):
    return Some(id=name, name=name, attributes={}, is_tape=lambda: False,
                is_tape_or_staging_required=lambda: False)

def transfer(given):
    rws = Some(request_id=given["id"], scope="s", name=given["id"], activity="User Subscriptions",
               request_type="T", byte_count=given["size"], md5=None, adler32=given["adler32"],
               account="root", attributes={}, priority=3)
    sources = [Some(rse=rse("A"), url=source) for source in given["sources"]]
    return Some(rws=rws, sources=sources, src=sources[0], dst=Some(rse=rse("B")),
                source_url=lambda source: source.url, dest_url=given["destination"])

def wait(ids, requests):
    end = time.monotonic() + 600
    while time.monotonic() < end:
        found = tool.bulk_query({i: requests.get(i, {}) for i in ids})
        reports = [r for by_id in found.values() for r in (by_id or {}).values()]
        for report in reports:
            report.initialize(session=None)
        if len(reports) == len(plan) and all(report.state for report in reports):
            return found
        time.sleep(0.01)
    raise SystemExit("no end")

jobs, requests = {}, {}
for given in plan:
    path = [transfer(given)]
    params = build_job_params(path)
    job_id = tool.submit(path, params, timeout=600)
    jobs[given["id"]] = job_id
    requests[job_id] = {given["id"]: {
        "external_id": job_id, "state": "S", "bytes": given["size"], "attributes": {},
        "adler32": given["adler32"], "external_host": base, "id": given["id"]}}
# The two look-ups that go to the database.
import rucio.transfertool.fts3 as fts3
fts3.config_get_bool = lambda *_, default=None, **__: default
fts3.get_source_rse = lambda request, source, session: ("USED", source)
found = wait([*jobs.values(), "lost"], requests)
said = {name: {
    "state": report.state.name, "error": report.err_msg, "source": report.source_rse_id,
    "times": [report.started_at is not None, report.transferred_at is not None],
} for by_id in found.values() if by_id for name, report in by_id.items()}
one = next(iter(jobs.values()))
print(json.dumps({
    "said": said, "lost": found["lost"], "types": {n: tool.query([j])[0]["job_type"]
                                                   for n, j in jobs.items()},
    "details": tool.query([one], details=True), "cancel": tool.cancel([one]),
    "priority": tool.update_priority(one, 5), "whoami": tool.whoami(), "version": tool.version(),
}))
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path / "service")
    try:
        yield running.start()
    finally:
        running.close()


def drive(service: Running, folder: Path, plan: list[dict[str, Any]]) -> dict[str, Any]:
    config = folder / "rucio.cfg"
    config.write_text(
        "[common]\n[client]\n[database]\ndefault = sqlite://\n[cache]\nurl = 127.0.0.1:1\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", DRIVER, service.base, json.dumps(plan)],
        env={**os.environ, "RUCIO_CONFIG": str(config)},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


def test_rucios_transfer_tool_is_served(service: Running, tmp_path: Path) -> None:
    good, bad = service.make("good", b"good"), service.make("bad", b"evil")
    checksum = adler(b"good").partition(":")[2]

    def wanted(name: str, *sources: Path) -> dict[str, Any]:
        return {
            "id": name,
            "size": 4,
            "adler32": checksum,
            "sources": [url(path) for path in sources],
            "destination": url(service.b / name),
        }

    answer = drive(
        service,
        tmp_path,
        [
            wanted("plain", good),
            wanted("corrupt", bad),
            wanted("missing", service.a / "missing"),
            wanted("second", service.a / "missing", good),
            wanted("neither", service.a / "missing", bad),
        ],
    )
    said = answer["said"]
    states = {name: report["state"] for name, report in said.items()}
    assert states == {
        "plain": "DONE",
        "corrupt": "FAILED",
        "missing": "FAILED",
        "second": "DONE",
        "neither": "FAILED",
    }
    assert "SOURCE [2] No such file or directory" in said["missing"]["error"]
    assert "CHECKSUM MISMATCH" in said["corrupt"]["error"]
    assert "CHECKSUM MISMATCH" in said["neither"]["error"]
    assert said["second"]["source"] == url(good)
    assert said["plain"]["times"] == [True, True]
    assert sorted(path.name for path in service.b.iterdir()) == ["plain", "second"]
    assert answer["lost"] is None
    assert answer["types"] == {
        "plain": "N",
        "corrupt": "N",
        "missing": "N",
        "second": "R",
        "neither": "R",
    }
    assert [file["file_state"] for file in answer["details"]] == ["FINISHED"]
    assert answer["cancel"]["job_state"] == "FINISHED"
    assert answer["priority"]["priority"] == 5
    assert len(answer["whoami"]["base_id"]) == 36
    assert answer["version"]["service"] == "rucio-inject transfers"
