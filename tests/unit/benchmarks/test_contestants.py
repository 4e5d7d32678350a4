"""What can be told of the contestants without a lake."""

from __future__ import annotations

import hashlib
import zlib
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from benchmarks.injection.cases import Case
from benchmarks.injection.contestants.ours import Moments, campaign_keys
from benchmarks.injection.contestants.parts import copy_with_checksums
from benchmarks.injection.contestants.seed import LIFETIME, Seed
from benchmarks.injection.job import RSE, RULES, Job
from benchmarks.injection.rest_calls import CallCounter
from benchmarks.injection.sources import make_sources
from rucio.common.exception import DataIdentifierAlreadyExists, DuplicateRule, FileAlreadyExists

from rucio_inject.campaign.schema import Campaign
from rucio_inject.domain.did import DID
from rucio_inject.domain.facts import FileOrganised


class Recorder:
    """Rucio's client and UploadClient at once: what it was asked, in order."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._datasets: set[str] = set()
        self._attached: set[str] = set()
        self._rules: list[dict[str, str]] = []

    def upload(self, items: list[dict[str, object]]) -> None:
        (item,) = items
        assert (item["rse"], item["lifetime"]) == (RSE, LIFETIME)
        self.asked.append("upload")

    def add_dataset(self, scope: str, name: str) -> None:
        self.asked.append("add_dataset")
        if name in self._datasets:
            raise DataIdentifierAlreadyExists
        self._datasets.add(name)

    def attach_dids(self, scope: str, name: str, dids: list[dict[str, str]]) -> None:
        self.asked.append("attach_dids")
        (did,) = dids
        if did["name"] in self._attached:
            raise FileAlreadyExists
        self._attached.add(did["name"])

    def add_replication_rule(
        self, dids: list[dict[str, str]], copies: int, rse_expression: str
    ) -> list[str]:
        self.asked.append(f"add_replication_rule {rse_expression}")
        if any(rule["rse_expression"] == rse_expression for rule in self._rules):
            raise DuplicateRule
        self._rules.append({"id": f"id of {rse_expression}", "rse_expression": rse_expression})
        return [f"id of {rse_expression}"]

    def list_did_rules(self, scope: str, name: str) -> list[dict[str, str]]:
        self.asked.append("list_did_rules")
        return self._rules

    def update_replication_rule(self, rule: str, options: dict[str, object]) -> None:
        assert options == {"lifetime": LIFETIME, "purge_replicas": True}
        self.asked.append(f"update_replication_rule {rule}")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.root"
    path.write_bytes(b"events")
    return path


def test_the_seed_makes_its_calls_in_its_order(file: Path) -> None:
    recorder = Recorder()
    entry = Seed(recorder, recorder, "scope", RULES).inject(file, "05089063")
    assert recorder.asked == [
        "upload",
        "add_dataset",
        "attach_dids",
        *(f"add_replication_rule {rse}" for rse in RULES),
        *(f"update_replication_rule id of {rse}" for rse in RULES),
    ]
    assert entry["Scope"] == "scope"
    assert list(entry["Replicated"]) == ["Local", *RULES]
    assert entry["Replicated"]["Local"]["checksum"] == hashlib.md5(b"events").hexdigest()


def test_the_seed_finds_the_rules_that_an_earlier_file_of_the_run_made(file: Path) -> None:
    recorder = Recorder()
    seed = Seed(recorder, recorder, "scope", RULES)
    seed.inject(file, "05089063")
    recorder.asked.clear()
    seed.inject(file, "05089063")
    found = [part for rse in RULES for part in (f"add_replication_rule {rse}", "list_did_rules")]
    assert recorder.asked[3:9] == found
    assert recorder.asked[9:] == [f"update_replication_rule id of {rse}" for rse in RULES]


def test_a_plain_copy_has_the_bytes_and_their_checksums(file: Path, tmp_path: Path) -> None:
    adler32, md5 = copy_with_checksums(file, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"events"
    assert adler32 == f"{zlib.adler32(b'events'):08x}"
    assert md5 == hashlib.md5(b"events").hexdigest()


def test_our_campaign_is_one(tmp_path: Path) -> None:
    folder = make_sources(tmp_path, Case(2, 10))
    keys = campaign_keys(Job("ours", "scope", folder, 2, 3, tmp_path / "work"))
    campaign = Campaign.model_validate(keys)
    assert campaign.upload.workers == campaign.access.workers == 3
    assert {campaign.upload.rse, *(rule.rse_expression for rule in campaign.rules)} == set(RULES)
    assert campaign.end is None


def test_moments_count_facts_from_when_they_are_to_begin() -> None:
    moments = Moments(CallCounter())
    organised = FileOrganised(at=datetime(2026, 3, 1, tzinfo=UTC), did=DID("scope", "file"))
    moments.record([organised])
    moments.begin()
    moments.record([organised, organised])
    moments.record([organised])
    moment = moments.kinds["FileOrganised"]
    assert moment.count == 3
    assert 0 <= moment.first <= moment.last


def test_every_call_through_requests_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests.Session, "send", lambda session, request, **options: "answer")
    counter, session = CallCounter(), requests.Session()
    with counter.counting():
        asked = SimpleNamespace(method="GET", path_url="/replicas/list?all=1")
        assert session.send(asked) == "answer"
        session.send(SimpleNamespace(method="GET", path_url="/replicas"))
        session.send(SimpleNamespace(method="POST", path_url="/rules/"))
    session.send(SimpleNamespace(method="GET", path_url="/ping"))
    session.close()
    assert counter.total == 3
    assert counter.kinds == {"GET /replicas": 2, "POST /rules": 1}
