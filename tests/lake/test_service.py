"""The service on a real lake: cycles by the clock, a real Prometheus, kills and outages."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.soak.field import NAME, Serving, campaign, left_behind, serving, soak

from rucio_inject.clock import SystemClock
from rucio_inject.domain.injection import FileState
from rucio_inject.lake.embedded import EmbeddedLake
from rucio_inject.lake.sockets import any_free
from rucio_inject.ledger.sql_ledger import SqlLedger

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("lake")]

DASHBOARD = Path(__file__).parents[2] / "dashboards" / "grafana.json"
Official = Callable[[str], Any]


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Callable[[str], Any]]:
    """A real Prometheus that scrapes the service each second; it is asked by PromQL."""
    program = shutil.which("prometheus")
    assert program, "Debian's prometheus is not installed"
    port = any_free()
    config = folder / "prometheus.yml"
    config.write_text(
        "scrape_configs:\n- job_name: rucio-inject\n  scrape_interval: 1s\n"
        f"  static_configs:\n  - targets: ['{target}']\n"
    )
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log
        )

    def ask(query: str) -> Any:
        given = urllib.parse.urlencode({"query": query})
        url = f"http://127.0.0.1:{port}/api/v1/query?{given}"
        with urllib.request.urlopen(url, timeout=300) as answer:
            told = json.load(answer)
        assert told["status"] == "success", told
        return told["data"]["result"]

    try:
        yield ask
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=300)


def queries() -> list[str]:
    """What the dashboard asks, for all campaigns."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    return [query.replace("$campaign", ".*") for query in asked]


def unanswered(ask: Callable[[str], Any]) -> list[str]:
    """What has had no answer until now. Nothing is set aside, so that nothing is told of that."""
    asked = [query for query in queries() if "files_failed" not in query]
    return [query for query in asked if not ask(f"max_over_time(({query})[1h:1s])")]


def test_cycles_by_the_clock_leave_nothing_behind(
    running_lake: EmbeddedLake, official_client: Official, tmp_path: Path
) -> None:
    keys = campaign(retention={"cycles": 1})
    with serving(running_lake, tmp_path, keys) as service:
        target = re.sub(r"http://(.*)/", r"\1", service.url)
        with prometheus(tmp_path, target) as ask:
            samples = soak(service, 3, lambda _: None)
            # What Grafana would ask has an answer, at one moment or another. A scrape that takes
            # longer than its second is none: the next one may be in time.
            service.wait_for(lambda: not unanswered(ask))
            service.wait_for(lambda: bool(ask("up == 1")))
        assert service.drain() == 0
    assert samples[-1].cycle >= 3
    assert samples[-1].memory <= 1.2 * samples[0].memory
    assert samples[-1].descriptors <= samples[0].descriptors + 5
    left = left_behind(running_lake, official_client("magic"), tmp_path)
    assert {kind: found for kind, found in left.items() if found} == {}
    with ledger(service) as record:
        cycles = {file.cycle for file in record.all_files()}
    assert len(cycles) <= 2
    summaries = (service.output / "cycles.jsonl").read_text().splitlines()
    assert [json.loads(line)["cycle"] for line in summaries][:1] == [1]


def ledger(service: Serving) -> SqlLedger:
    """What is on record."""
    place = service.output / f"{NAME}.db"
    return SqlLedger(place, NAME, clock=SystemClock(), reading=True)


def test_a_run_that_is_killed_goes_on_when_the_service_comes_back(
    running_lake: EmbeddedLake, official_client: Official, tmp_path: Path
) -> None:
    keys = campaign(schedule="1d", source={**campaign()["source"], "seed": 23})
    with serving(running_lake, tmp_path, keys) as service:
        service.wait_for(lambda: any(size > 0 for size in _registered(service)))
        service.workers()[0].send_signal(signal.SIGKILL)
        service.wait_for(lambda: service.runs(137) == 1)
        assert service.process.poll() is None, "the service lives on"
        with urllib.request.urlopen(f"{service.url}health", timeout=300) as answer:
            assert json.load(answer)["ok"] is True
        assert service.drain() == 0
    with serving(running_lake, tmp_path, keys) as service:
        service.wait_for(lambda: service.runs(0) == 1)
        assert service.drain() == 0
    with ledger(service) as record:
        assert {file.state for file in record.files()} == {FileState.GONE}
        assert record.cycle == 1
    left = left_behind(running_lake, official_client("magic"), tmp_path)
    assert {kind: found for kind, found in left.items() if found} == {}


def _registered(service: Serving) -> list[float]:
    return [value for name, value in service.metrics().items() if 'kind="FileRegistered"' in name]


class Hook(HTTPServer):
    """A webhook."""

    def __init__(self) -> None:
        self.got: list[str] = []
        super().__init__(("127.0.0.1", 0), _Take)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()


class _Take(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        """Take a message."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append(json.loads(body)["text"])
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing."""


def test_a_lake_that_is_down_is_told_and_the_service_lives_on(
    running_lake: EmbeddedLake, tmp_path: Path
) -> None:
    hook = Hook()
    keys = campaign(
        schedule="1d",
        notify={"webhook": {"url": f"http://127.0.0.1:{hook.server_port}/s3cret"}, "group": "0s"},
        retry={"attempts": 1, "longest": "1s"},
    )
    nowhere = "http://127.0.0.1:1"
    away = ("--host", nowhere, "--auth-host", nowhere)
    with serving(running_lake, tmp_path, keys, *away) as service:
        service.wait_for(lambda: service.runs(5) >= 1 and bool(hook.got))
        assert service.process.poll() is None, "the service lives on"
        assert service.drain() == 0
    # Whoever runs it next, here as cron would: it is known that people were told.
    ran = subprocess.run(
        [sys.executable, "-m", "rucio_inject", "run", "-q", str(tmp_path / "soak.yaml")],
        env={**os.environ, **running_lake.environment("magic")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    hook.shutdown()
    hook.server_close()
    assert ran.returncode == 0, ran.stderr
    assert len(hook.got) == 2, hook.got
    assert hook.got[0].startswith(":warning: *soak is in trouble: failed*")
    assert hook.got[1].startswith(":white_check_mark: *soak is well again (was: failed)*")
    assert "s3cret" not in (tmp_path / "serve.err").read_text()
