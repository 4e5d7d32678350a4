"""What contestants are given, and how their work is looked at."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from benchmarks.injection.cases import Case, parse_case
from benchmarks.injection.job import RSE, RULES, Done, Job
from benchmarks.injection.official import Official, Promise
from benchmarks.injection.sources import Source, make_sources, name_of, read_manifest, run_of

from rucio_inject.domain.names import parse_name, place

if TYPE_CHECKING:
    from rucio.client.client import Client


@pytest.mark.parametrize("text", ["1000x100kB", "4x1GiB", "3x1500B"])
def test_a_case_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_case(text)) == text


@pytest.mark.parametrize(
    "text", ["", "1000", "0x1kB", "1x0kB", "10x1", "10x1TB", "-1x1kB", "10 x 1kB"]
)
def test_no_case(text: str) -> None:
    with pytest.raises(ValueError, match="is no case"):
        parse_case(text)


@pytest.mark.parametrize("number", [0, 999, 1000, 9999])
def test_names_are_did_names_of_their_run(number: int) -> None:
    placed = place(parse_name(name_of(number)))
    assert placed.did_name == name_of(number)
    assert placed.dataset == run_of(number)


def test_a_thousand_files_are_a_run() -> None:
    assert len({run_of(number) for number in range(3000)}) == 3
    assert len({name_of(number) for number in range(3000)}) == 3000


def test_sources_differ_repeat_and_have_the_checksums_of_their_manifest(tmp_path: Path) -> None:
    case = Case(3, (1 << 20) + 5)
    first, second = (make_sources(tmp_path / name, case) for name in ("a", "b"))
    sources = read_manifest(first, 3)
    assert len({source.md5 for source in sources}) == 3
    for source in sources:
        content = (first / "files" / source.name).read_bytes()
        assert content == (second / "files" / source.name).read_bytes()
        assert len(content) == source.size == case.size
        assert f"{zlib.adler32(content):08x}" == source.adler32
        assert hashlib.md5(content).hexdigest() == source.md5
    assert read_manifest(first, 2) == sources[:2]


def test_a_job_and_its_end_cross_a_process_boundary() -> None:
    job = Job("ours", "scope", Path("/sources"), 10, 4, Path("/work"))
    assert Job.from_json(job.to_json()) == job
    done = Done(10, 100, 2.0, 5, ("a", "b"), 7, 1000, {"facts": {"FileFound": 1}})
    assert Done.from_json(done.to_json()) == done


def source(number: int) -> Source:
    return Source(name_of(number), run_of(number), 10 + number, f"{number:08x}", f"{number:032x}")


class FakeClient:
    """What Rucio says of a dataset, as its client gives it."""

    def __init__(self, files: Sequence[Source], rules: Sequence[str] = RULES) -> None:
        self.files = [
            {"name": one.name, "bytes": one.size, "adler32": one.adler32} for one in files
        ]
        self.replicas = [
            {"name": one.name, "md5": one.md5, "states": {RSE: "AVAILABLE"}} for one in files
        ]
        self.rules = [
            {"rse_expression": rse, "state": "OK", "locks_ok_cnt": len(files)} for rse in rules
        ]

    def list_files(self, scope: str, name: str) -> list[dict[str, Any]]:
        return self.files

    def list_did_rules(self, scope: str, name: str) -> list[dict[str, Any]]:
        return self.rules

    def list_replicas(self, dids: object, **options: object) -> list[dict[str, Any]]:
        return self.replicas


SOURCES = [source(number) for number in range(3)]
PROMISE = Promise("scope", SOURCES, (run_of(0),), RULES)


def looked_at(client: FakeClient) -> str | None:
    return Official(cast("Client", client)).problem(PROMISE)


def test_work_that_is_done_has_no_problem() -> None:
    assert looked_at(FakeClient(SOURCES)) is None


def test_a_missing_file_is_a_problem() -> None:
    assert "holds 2 files" in (looked_at(FakeClient(SOURCES[:2])) or "")


def test_another_checksum_is_a_problem() -> None:
    client = FakeClient(SOURCES)
    client.files[0]["adler32"] = "ffffffff"
    assert "2 of the 3" in (looked_at(client) or "")
    client = FakeClient(SOURCES)
    client.replicas[0]["md5"] = "f" * 32
    assert "2 of 3 replicas" in (looked_at(client) or "")


def test_a_replica_that_is_not_available_is_a_problem() -> None:
    client = FakeClient(SOURCES)
    client.replicas[0]["states"] = {RSE: "COPYING"}
    assert "2 of 3 replicas" in (looked_at(client) or "")


def test_a_missing_rule_is_a_problem() -> None:
    assert f"no rule for {RULES[2]}" in (looked_at(FakeClient(SOURCES, RULES[:2])) or "")


def test_a_rule_that_has_not_seen_the_files_yet_is_not_ok() -> None:
    client = FakeClient(SOURCES)
    official = Official(cast("Client", client))
    assert official.wait_until_ok(PROMISE, deadline=0) is None
    client.rules[1]["locks_ok_cnt"] = 0
    assert f"rule for {RULES[1]} is OK, 0 of 3" in (official.wait_until_ok(PROMISE, -1) or "")


def test_all_files_in_one_dataset_are_expected_there() -> None:
    many = [source(number) for number in (0, 1000)]
    one = Promise("scope", many, ("uploaded",), RULES)
    assert one.contents == {"uploaded": many}
    runs = Promise("scope", many, (run_of(0), run_of(1000)), RULES)
    assert runs.contents == {run_of(0): many[:1], run_of(1000): many[1:]}
