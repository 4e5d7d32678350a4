"""The same numbers for Prometheus, Graphite and OpenSearch."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.rule import RuleRequest, RuleState, RuleView
from rucio_inject.domain.usage import Usage
from rucio_inject.ledger.fact_json import fact_text
from rucio_inject.monitor import prometheus
from rucio_inject.monitor.graphite import GraphiteOutlet, lines, names
from rucio_inject.monitor.numbers import Numbers, Tally
from rucio_inject.monitor.opensearch import OpenSearchOutlet, Refused
from rucio_inject.posting import NotDelivered
from rucio_inject.testing.contracts.ledger import (
    FILE,
    NIGHT,
    NOON,
    RUN,
    SIBLING,
    begun,
    found,
    life,
)
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.testing.memory_ledger import MemoryLedger, Shelf


def view(
    rule_id: str, expression: str, state: RuleState, ok: int, replicating: int, stuck: int
) -> f.RuleChanged:
    """A rule as it is seen, with its locks."""
    seen = RuleView(rule_id, RUN, expression, 1, state, ok, replicating, stuck)
    return f.RuleChanged(at=NOON, view=seen)


def made(rule_id: str, expression: str) -> f.RuleMade:
    """A rule is made."""
    request = RuleRequest(expression)
    return f.RuleMade(at=NOON, dataset=RUN, rule_id=rule_id, request=request, adopted=False)


FACTS: list[f.Fact] = [
    f.RunBegun(at=NOON, process="process 1"),
    begun(),
    found(FILE),
    found(SIBLING),
    *life(FILE)[:9],
    f.CollectionAsked(at=NOON, did=RUN),
    f.CollectionAsked(at=NOON, did=NIGHT),
    *(made(rule, to) for rule, to in (("r1", "QOS=FAST"), ("r2", "PIC-DCACHE"), ("r3", "A&B"))),
    view("r1", "QOS=FAST", RuleState.REPLICATING, 1, 2, 0),
    view("r2", "PIC-DCACHE", RuleState.STUCK, 0, 0, 3),
    f.RuleGone(at=NOON, rule_id="r3"),
    f.RSECounted(at=NOON, rse="PIC-DCACHE", catalogue=Usage(5, 500), storage=Usage(6, 600)),
    f.RSECounted(at=NOON, rse="INFN-NA-DPM", catalogue=None, storage=None),
    f.FileFailed(at=NOON, did=SIBLING, code="content-conflict", reason="other", hint=None),
    f.RunEnded(at=NOON, code=7, words="stuck", seconds=12.5),
]


@pytest.fixture
def numbers() -> Numbers:
    """What the facts add up to."""
    tally = Tally("magic")
    with MemoryLedger(Shelf()) as ledger:
        ledger.record(FACTS)
        tally.record(FACTS)
        return tally.numbers(ledger)


def test_the_group_finds_its_own_names_in_graphite(numbers: Numbers) -> None:
    told = dict(names(numbers))
    group = {name: value for name, value in told.items() if name.startswith("rucio.")}
    assert group == {
        "rucio.rules.total_stuck": 1,
        "rucio.rules.total_replicating": 1,
        "rucio.rules.total_ok": 0,
        "rucio.rules.total_rules": 2,
        "rucio.rse.qos=fast.total_replica_stuck": 0,
        "rucio.rse.qos=fast.total_replica_replicating": 2,
        "rucio.rse.qos=fast.total_replica_ok": 1,
        "rucio.rse.pic-dcache.total_replica_stuck": 3,
        "rucio.rse.pic-dcache.total_replica_replicating": 0,
        "rucio.rse.pic-dcache.total_replica_ok": 0,
        "rucio.usage.pic-dcache.total_bytes_used": 500,
        "rucio.grouping.file": 1,
        "rucio.grouping.dataset": 1,
        "rucio.grouping.container": 1,
    }
    assert told["rucio_inject.magic.files.quarantined"] == 1
    assert told["rucio_inject.magic.rse.pic-dcache.storage.files"] == 6
    assert told["rucio_inject.magic.run.exit_code"] == 7
    first = lines(numbers, "pic", "Wn01.pic.es", 1e9).splitlines()[0]
    assert first == "pic.wn01_pic_es.rucio.rules.total_stuck 1 1000000000"


def test_a_graphite_server_gets_lines(numbers: Numbers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        clock = FakeClock()
        port = server.getsockname()[1]
        known: list[Numbers] = [numbers]
        outlet = GraphiteOutlet(("127.0.0.1", port), "pic", 60, lambda: known, clock)
        outlet.pump()
        clock.advance(60)
        outlet.pump()
        connection, _ = server.accept()
        with connection, connection.makefile() as read:
            told = read.read().splitlines()
    assert len(told) == len(list(names(numbers)))
    assert all(line.split()[2] == "1772366460" for line in told)
    known.clear()
    outlet.pump(last=True)
    known.append(numbers)
    with pytest.raises(NotDelivered, match=rf"Graphite at 127.0.0.1:{port} cannot be reached"):
        outlet.pump(last=True)


def test_prometheus_reads_it(numbers: Numbers) -> None:
    text = prometheus.text(lambda: [numbers])
    found_ = {
        (
            sample.name,
            *(value for key, value in sorted(sample.labels.items()) if key != "campaign"),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found_["rucio_inject_files", "REPLICATED"] == 1
    assert found_["rucio_inject_files", "GONE"] == 0
    assert found_["rucio_inject_rules", "STUCK"] == 1
    assert found_["rucio_inject_locks", "PIC-DCACHE", "STUCK"] == 3
    assert found_["rucio_inject_rse_bytes", "PIC-DCACHE", "storage"] == 600
    assert ("rucio_inject_rse_bytes", "INFN-NA-DPM", "storage") not in found_
    assert found_["rucio_inject_rse_counted_timestamp_seconds", "PIC-DCACHE"] == NOON.timestamp()
    assert found_["rucio_inject_run_exit_code",] == 7
    assert found_["rucio_inject_running",] == 0
    assert found_["rucio_inject_runs_total", "7"] == 1
    assert found_["rucio_inject_facts_total", "FileFound"] == 2
    assert found_["rucio_inject_files_failed_total", "content-conflict"] == 1
    assert found_["rucio_inject_read_back_bytes_total",] == 5


def test_who_begins_to_look_late_learns_from_the_record() -> None:
    with MemoryLedger(Shelf()) as ledger:
        ledger.record(FACTS)
        numbers = Tally("magic").numbers(ledger)
    assert sorted(rule.state for rule in numbers.rules) == [RuleState.REPLICATING, RuleState.STUCK]
    assert numbers.locks == {}, "nobody knows them before Rucio was asked"
    tally = Tally("magic")
    with MemoryLedger(Shelf()) as ledger:
        ledger.record([*FACTS, begun(2)])
        tally.record([begun(2)])
        assert tally.numbers(ledger).rules == ()


class Search(HTTPServer):
    """Takes bulks as OpenSearch does, but for documents of a kind that it refuses."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.refuses = ""
        self.bulks = 0
        self.signed_in: set[str | None] = set()
        super().__init__(("127.0.0.1", 0), _Bulk)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self.thread.start()


class _Bulk(BaseHTTPRequestHandler):
    server: Search

    def do_POST(self) -> None:
        """Take a bulk."""
        assert self.path == "/_bulk"
        self.server.bulks += 1
        self.server.signed_in.add(self.headers["Authorization"])
        told = self.rfile.read(int(self.headers["Content-Length"])).decode().splitlines()
        items = []
        for action, text in zip(told[::2], told[1::2], strict=True):
            number, document = json.loads(action)["create"]["_id"], json.loads(text)
            status = 409 if number in self.server.documents else 201
            if document["kind"] == self.server.refuses:
                status = 400
            else:
                self.server.documents[number] = document
            items.append({"create": {"status": status, "error": {"reason": "mapping"}}})
        errors = any(item["create"]["status"] != 201 for item in items)
        body = json.dumps({"errors": errors, "items": items}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing."""


@pytest.fixture
def search() -> Iterator[Search]:
    """An OpenSearch server."""
    server = Search()
    yield server
    server.shutdown()
    server.server_close()
    server.thread.join()


def test_every_fact_is_a_document_once(search: Search) -> None:
    url = f"http://127.0.0.1:{search.server_port}/"
    outlet = OpenSearchOutlet(url, "inject", "magic", fact_text, lambda: ("me", "s3cret"))
    outlet.record(FACTS)
    outlet.pump()
    outlet.record(FACTS)
    outlet.pump(last=True)
    assert len(search.documents) == len(FACTS)
    assert search.signed_in == {"Basic bWU6czNjcmV0"}
    of_file = [d for d in search.documents.values() if d["kind"] == "FileFailed"]
    assert of_file[0]["code"] == "content-conflict"
    assert of_file[0]["did"] == {"scope": "magic", "name": "b.root"}
    assert of_file[0]["@timestamp"] == NOON.isoformat()


def test_what_a_server_refuses_holds_up_nothing(search: Search) -> None:
    search.refuses = "RunEnded"
    outlet = OpenSearchOutlet(
        f"http://127.0.0.1:{search.server_port}", "inject", "magic", fact_text
    )
    outlet.record(FACTS)
    with pytest.raises(Refused, match=r"refuses 1 documents, such as: .*mapping"):
        outlet.pump()
    outlet.pump()
    assert search.bulks == 1
    assert len(search.documents) == len(FACTS) - 1


def test_what_a_server_that_is_away_does_not_get_waits() -> None:
    outlet = OpenSearchOutlet("http://127.0.0.1:1", "inject", "magic", fact_text)
    outlet.record([f.ReplicaGone(at=NOON, did=DID("magic", "a"), rse="A")])
    for _ in range(2):
        with pytest.raises(NotDelivered, match=r"OpenSearch at 127.0.0.1 cannot be reached"):
            outlet.pump()
