"""From FTS3's JSON to a job: what Rucio sends is read, what is wrong is named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rucio_inject.lake.transfers.model import JobType, Verify
from rucio_inject.lake.transfers.wire import BadRequest, read_job, read_priority

FILE: dict[str, Any] = {"sources": ["file://localhost/a"], "destinations": ["file://localhost/b"]}


def job(files: Any = None, **params: Any) -> bytes:
    return json.dumps({"files": [FILE] if files is None else files, "params": params}).encode()


def test_what_rucio_sends_is_read() -> None:
    entry = FILE | {
        "metadata": {"request_id": "r", "deep": [1, None, 2.5]},
        "filesize": 7,
        "checksum": "ADLER32:0a0b0c0d",
        "selection_strategy": "auto",
        "activity": "User Subscriptions",
    }
    read = read_job(
        job(
            [entry],
            account="root",
            verify_checksum="both",
            copy_pin_lifetime=172800,
            bring_online=None,
            job_metadata={"issuer": "rucio", "multi_sources": False},
            overwrite=True,
            priority=4,
            s3alternate=True,
        )
    )
    (file,) = read.files
    assert (read.job_type, read.priority, read.verify) == (JobType.REGULAR, 4, Verify.BOTH)
    assert (file.source, file.destination) == ("file://localhost/a", "file://localhost/b")
    assert (file.size, file.checksum, file.overwrite) == (7, "ADLER32:0a0b0c0d", True)
    assert json.loads(file.metadata) == entry["metadata"]
    assert json.loads(read.metadata) == {"issuer": "rucio", "multi_sources": False}


def test_what_is_not_said_has_its_default() -> None:
    read = read_job(json.dumps({"files": [FILE]}).encode())
    (file,) = read.files
    assert (read.priority, read.verify, read.seed, read.metadata) == (3, Verify.NONE, None, "{}")
    assert (file.size, file.checksum, file.overwrite) == (None, None, False)


def test_several_sources_become_alternatives_in_their_order() -> None:
    read = read_job(job([FILE | {"sources": ["file:///1", "file:///2"]}]))
    assert read.job_type is JobType.MULTIPLE_REPLICA
    assert [file.source for file in read.files] == ["file:///1", "file:///2"]


def test_hops_may_be_overwritten_where_the_end_may_not() -> None:
    read = read_job(job([FILE, FILE, FILE], multihop=True, overwrite=False, overwrite_hop=True))
    assert read.job_type is JobType.MULTI_HOP
    assert [file.overwrite for file in read.files] == [True, True, False]


@pytest.mark.parametrize(
    ("params", "seed"),
    [({"id_generator": "deterministic", "sid": "abc"}, "abc"), ({"sid": "abc"}, None)],
)
def test_a_seed_counts_only_when_asked_for(params: dict[str, Any], seed: str | None) -> None:
    assert read_job(job(**params)).seed == seed


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "the body"),
        (b"{}", "files is missing"),
        (b'{"files": []}', "files is []"),
        (job([3]), "files[0]"),
        (job([{"sources": ["x"]}]), "files[0].destinations is missing"),
        (job([FILE | {"sources": []}]), "files[0].sources"),
        (job([FILE | {"sources": [5]}]), "files[0].sources[0]"),
        (job([FILE | {"sources": ["\ud800"]}]), "files[0].sources[0] is not valid Unicode"),
        (job([FILE | {"destinations": ["a", "b"]}]), "files[0].destinations"),
        (job([FILE, FILE | {"filesize": "1"}]), "files[1].filesize"),
        (job([FILE | {"filesize": -1}]), "filesize"),
        (job([FILE | {"filesize": 2**63}]), "filesize"),
        (job([FILE | {"filesize": True}]), "filesize"),
        (job([FILE | {"checksum": 5}]), "checksum"),
        (job(verify_checksum="sometimes"), "verify_checksum"),
        (job(verify_checksum=[]), "verify_checksum"),
        (job(overwrite="yes"), "params.overwrite"),
        (job(priority="high"), "params.priority"),
        (job(job_metadata=[1]), "params.job_metadata"),
        (job(id_generator="deterministic"), "params.sid is missing"),
        (job([FILE | {"sources": ["a", "b"]}, FILE]), "one file only"),
        (job([FILE | {"sources": ["a", "b"]}], multihop=True), "one source for each hop"),
    ],
)
def test_what_is_wrong_is_named(body: bytes, names: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_job(body)
    assert names in str(caught.value)


def test_a_priority_is_read_and_brought_into_range() -> None:
    assert read_priority(b'{"params": {"priority": 9}}') == 5
    with pytest.raises(BadRequest, match="priority is missing"):
        read_priority(b'{"params": {}}')
