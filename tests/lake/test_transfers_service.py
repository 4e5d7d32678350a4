"""The running transfer service, over HTTP: what it copies, refuses and reports."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.lake.transfers_support import FINAL, PATIENCE, Running, adler, entry, until, url

BULK = (
    "?files=file_state,dest_surl,finish_time,start_time,staging_start,staging_finished,reason,"
    "source_surl,file_metadata"
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("transfers"))
    try:
        yield running.start("--workers", "2")
    finally:
        running.close()


def reason(service: Running, *files: dict[str, Any], **params: Any) -> str:
    """Why the last file of a job failed."""
    job = service.done(service.submit(files, **params))
    assert job["job_state"] == "FAILED"
    return str(job["files"][-1]["reason"])


def test_a_job_is_copied_and_told_as_rucio_reads_it(service: Running) -> None:
    content = os.urandom(3_000_000)
    source, target = service.make("plain", content), service.b / "x" / "y" / "plain"
    given = entry(source, target, filesize=len(content), checksum=adler(content))
    given["metadata"] |= {"nested": {"a": [1, None, "ü"]}}
    metadata = {"issuer": "rucio", "multi_sources": False}
    job_id = service.submit([given], verify_checksum="both", job_metadata=metadata, priority=4)
    service.done(job_id)
    job = service.get(f"/jobs/{job_id}{BULK}").json()
    (file,) = job["files"]
    assert target.read_bytes() == content
    assert service.parts() == []
    assert (job["http_status"], job["job_state"]) == ("200 Ok", "FINISHED")
    assert (job["job_type"], job["job_metadata"], job["priority"]) == ("N", metadata, 4)
    assert file["file_metadata"] == given["metadata"]
    assert (file["source_surl"], file["dest_surl"]) == (url(source), url(target))
    assert (file["file_state"], file["reason"]) == ("FINISHED", None)
    assert (file["staging_start"], file["staging_finished"]) == (None, None)
    began, ended = (
        datetime.strptime(file[key], "%Y-%m-%dT%H:%M:%S")  # noqa: DTZ007 - as Rucio does
        for key in ("start_time", "finish_time")
    )
    assert began <= ended
    assert service.get(f"/jobs/{job_id}/files").json()[0]["file_metadata"] == given["metadata"]


def test_many_jobs_are_asked_for_at_once(service: Running) -> None:
    source = service.make("many", b"many")
    ids = [service.submit([entry(source, service.b / "many" / str(n))]) for n in range(300)]
    until(
        lambda: all(j["job_state"] in FINAL for j in service.get(f"/jobs/{','.join(ids)}").json())
    )
    answer = service.get(f"/jobs/{','.join(ids)}{BULK}")
    assert answer.status_code == 200
    assert [job["job_id"] for job in answer.json()] == ids
    assert {job["job_state"] for job in answer.json()} == {"FINISHED"}
    assert len(list((service.b / "many").iterdir())) == 300


def test_unknown_jobs_are_lost(service: Running) -> None:
    known = service.submit([entry(service.make("known", b"k"), service.b / "known")])
    alone = service.get("/jobs/nobody")
    assert (alone.status_code, alone.json()["http_status"]) == (404, "404 Not Found")
    assert alone.json()["job_id"] == "nobody"
    mixed = service.get(f"/jobs/nobody,{known}")
    assert mixed.status_code == 207
    assert [job["http_status"] for job in mixed.json()] == ["404 Not Found", "200 Ok"]
    assert service.get("/jobs/nobody/files").status_code == 404
    assert service.session.delete(service.base + "/jobs/nobody").status_code == 404
    assert service.post("/jobs/nobody", {"params": {"priority": 1}}).status_code == 404
    assert service.get("/elsewhere").status_code == 404


def test_a_file_that_is_there_is_replaced_only_if_asked(service: Running) -> None:
    given = entry(service.make("new", b"new"), service.b / "there")
    (service.b / "there").write_bytes(b"old")
    exists = "DESTINATION [17] Destination file exists and overwrite is not enabled"
    assert reason(service, given, overwrite=False) == exists
    assert (service.b / "there").read_bytes() == b"old"
    assert service.done(service.submit([given], overwrite=True))["job_state"] == "FINISHED"
    assert (service.b / "there").read_bytes() == b"new"


def test_one_bad_file_does_not_hold_up_the_others(service: Running) -> None:
    good = service.make("good", b"good")
    job = service.done(
        service.submit(
            [
                entry(good, service.b / "mix" / "1", checksum=adler(b"good")),
                entry(good, service.b / "mix" / "2", checksum=adler(b"evil")),
                entry(service.a / "missing", service.b / "mix" / "3"),
                entry(good, service.b / "mix" / "4", filesize=3),
                entry(good, service.b / "mix" / "5", filesize=4),
            ],
            verify_checksum="both",
        )
    )
    assert job["job_state"] == "FINISHEDDIRTY"
    states = [file["file_state"] for file in job["files"]]
    assert states == ["FINISHED", "FAILED", "FAILED", "FAILED", "FINISHED"]
    said = [file["reason"] for file in job["files"]]
    assert said[1].startswith("SOURCE [5] CHECKSUM MISMATCH User-defined and source ADLER32")
    assert said[2] == "SOURCE [2] No such file or directory"
    assert said[3] == "SOURCE [5] User-defined and source file sizes do not match (3 4)"
    assert sorted(path.name for path in (service.b / "mix").iterdir()) == ["1", "5"]


def test_the_next_source_serves_when_one_does_not(service: Running) -> None:
    bad, good = service.make("replica-bad", b"evil"), service.make("replica-good", b"good")
    sources = [service.a / "missing", bad, good, service.a / "never"]
    given = entry(sources, service.b / "replica", checksum=adler(b"good"))
    metadata = {"multi_sources": True}
    job = service.done(service.submit([given], verify_checksum="both", job_metadata=metadata))
    assert (job["job_type"], job["job_state"]) == ("R", "FINISHED")
    states = [file["file_state"] for file in job["files"]]
    assert states == ["FAILED", "FAILED", "FINISHED", "NOT_USED"]
    assert [file["source_surl"] for file in job["files"]] == [url(path) for path in sources]
    assert {file["file_metadata"]["request_id"] for file in job["files"]} == {"request of replica"}
    assert (service.b / "replica").read_bytes() == b"good"


def test_no_source_serves(service: Running) -> None:
    given = entry([service.a / "no", service.a / "neither"], service.b / "nothing")
    job = service.done(service.submit([given]))
    assert (job["job_type"], job["job_state"]) == ("R", "FAILED")
    assert [file["file_state"] for file in job["files"]] == ["FAILED", "FAILED"]


def test_hops_follow_one_another(service: Running) -> None:
    first = entry(service.make("hop", b"hop"), service.b / "hop1")
    second = entry(service.b / "hop1", service.a / "hop2")
    job = service.done(service.submit([first, second], multihop=True))
    assert (job["job_type"], job["job_state"]) == ("H", "FINISHED")
    assert (service.a / "hop2").read_bytes() == b"hop"


def test_a_failed_hop_ends_the_path(service: Running) -> None:
    first = entry(service.make("lost", b"lost"), service.b / "lost1")
    second = entry(service.b / "elsewhere", service.a / "lost2")
    third = entry(service.a / "lost2", service.b / "lost3")
    job = service.done(service.submit([first, second, third], multihop=True))
    assert job["job_state"] == "FAILED"
    assert [file["file_state"] for file in job["files"]] == ["FINISHED", "FAILED", "NOT_USED"]


def test_nothing_outside_of_the_roots_is_touched(service: Running) -> None:
    outside = service.folder / "outside"
    outside.write_text("secret")
    inside = service.make("inside", b"inside")
    (service.b / "out").symlink_to(service.folder)
    for source, target in [
        (outside, service.b / "stolen"),
        (Path(f"{service.a}/../../outside"), service.b / "stolen"),
        (service.b / "out" / "outside", service.b / "stolen"),
        (inside, service.folder / "placed"),
        (inside, Path(f"{service.b}/../../placed")),
        (inside, service.b / "out" / "placed"),
    ]:
        side = "SOURCE" if source != inside else "DESTINATION"
        assert reason(service, entry(source, target)).startswith(f"{side} [13] ")
    assert not (service.b / "stolen").exists()
    assert not (service.folder / "placed").exists()


def test_other_schemes_have_no_copier_yet(service: Running) -> None:
    given = entry(service.make("davs", b"x"), service.b / "davs")
    given["destinations"] = ["davs://localhost/x"]
    assert reason(service, given).startswith("DESTINATION [93] No copier for davs://localhost/x")


def test_a_running_and_a_waiting_file_are_cancelled(service: Running) -> None:
    endless = service.endless("endless")
    targets = [service.b / "endless" / str(n) for n in range(4)]
    job_id = service.submit([entry(endless, target) for target in targets])
    until(lambda: len(service.parts()) == 2)
    assert service.job(job_id)["job_state"] == "ACTIVE"
    assert service.get("/").json()["files"] == {"waiting": 2, "active": 2}
    answer = service.session.delete(f"{service.base}/jobs/{job_id}")
    assert (answer.status_code, answer.json()["job_state"]) == (200, "CANCELED")
    until(lambda: service.parts() == [])
    job = service.job(job_id)
    assert {file["file_state"] for file in job["files"]} == {"CANCELED"}
    assert list((service.b / "endless").iterdir()) == []
    after = service.submit([entry(service.make("after", b"a"), service.b / "after")])
    assert service.done(after)["job_state"] == "FINISHED"
    endless.unlink()


def test_light_files_go_on_beside_a_heavy_one(service: Running) -> None:
    endless, light = service.endless("heavy"), service.make("light", b"light")
    heavy = service.submit([entry(endless, service.b / "heavy")])
    until(service.parts)
    files = [entry(light, service.b / "light" / str(n), filesize=5) for n in range(20)]
    assert service.done(service.submit(files))["job_state"] == "FINISHED"
    assert service.job(heavy)["job_state"] == "ACTIVE"
    # And a heavy one that waits among light ones gets a worker of its own.
    service.session.delete(f"{service.base}/jobs/{heavy}")
    mixed = service.submit([entry(endless, service.b / "heavy2"), *files], overwrite=True)
    until(lambda: [f["file_state"] for f in service.job(mixed)["files"][1:]] == ["FINISHED"] * 20)
    assert service.job(mixed)["files"][0]["file_state"] == "ACTIVE"
    service.session.delete(f"{service.base}/jobs/{mixed}")
    until(lambda: service.parts() == [])
    endless.unlink()


def test_what_is_over_stays_as_it_is_when_cancelled(service: Running) -> None:
    job_id = service.submit([entry(service.make("over", b"o"), service.b / "over")])
    service.done(job_id)
    answer = service.session.delete(f"{service.base}/jobs/{job_id}")
    assert (answer.status_code, answer.json()["job_state"]) == (200, "FINISHED")


def test_a_raised_priority_goes_first(service: Running) -> None:
    endless = service.endless("slow")
    source = service.make("prio", b"p")
    slow = service.submit([entry(endless, service.b / f"slow{n}") for n in range(2)])
    until(lambda: len(service.parts()) == 2)
    low = service.submit([entry(source, service.b / "low")], priority=1)
    assert service.post(f"/jobs/{low}", {"params": {"priority": 5}}).json()["priority"] == 5
    assert service.post(f"/jobs/{low}", {"params": {"priority": "x"}}).status_code == 400
    service.session.delete(f"{service.base}/jobs/{slow}")
    assert service.done(low)["priority"] == 5
    endless.unlink()


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b"{", "not JSON"),
        ({"params": {}}, "files is missing"),
        ({"files": [{"destinations": ["file:///x"]}]}, "files[0].sources is missing"),
    ],
)
def test_a_bad_job_is_refused_with_the_reason(service: Running, body: Any, names: str) -> None:
    answer = service.post("/jobs", body)
    assert answer.status_code == 400
    assert names in answer.json()["message"]


def test_what_a_web_page_could_send_is_refused(service: Running) -> None:
    job = {"files": [entry(service.make("web", b"w"), service.b / "web")]}
    assert service.post("/jobs", job, **{"Content-Type": "text/plain"}).status_code == 400
    assert service.post("/jobs", job, Host="evil.example:80").status_code == 400
    assert service.session.get(service.base + "/", headers={"Host": "evil"}).status_code == 400
    assert service.get("/").json()["files"] == {"waiting": 0, "active": 0}


def test_a_connection_is_kept_and_ends_after_a_body_that_was_not_read(service: Running) -> None:
    port = int(service.base.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as raw:
        stream = raw.makefile("rwb")
        for _ in range(2):
            stream.write(b"GET /whoami HTTP/1.1\r\nHost: localhost\r\n\r\n")
            stream.flush()
            assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
            length = 0
            while (line := stream.readline()) != b"\r\n":
                if line.startswith(b"Content-Length:"):
                    length = int(line.partition(b":")[2])
            assert b"base_id" in stream.read(length)
        stream.write(b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n")
        stream.flush()
        assert stream.readline() == b"HTTP/1.1 400 Bad Request\r\n"
        assert stream.read().endswith(b"}")
        stream.close()


def test_a_deterministic_job_is_taken_once(service: Running) -> None:
    given = entry(service.make("det", b"d"), service.b / "det")
    body = {"files": [given], "params": {"id_generator": "deterministic", "sid": "abc"}}
    assert service.post("/jobs", body).status_code == 200
    assert service.post("/jobs", body).status_code == 409


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--host", "0.0.0.0"], "loopback only"),
        (["--host", "example.org"], "loopback only"),
        (["--port", "99999"], "cannot listen"),
        (["--allow-root", "/nowhere"], "/nowhere is not a folder"),
        (["--state-dir", "/proc/nowhere"], "cannot use its state file"),
        ([], "no other transfer service runs on it"),
        (["--workers", "0"], "--workers is from 1"),
    ],
)
def test_what_cannot_start_says_why(service: Running, options: list[str], says: str) -> None:
    """With no other option, the folder of the service that runs already."""
    if options and "--state-dir" not in options:
        options = ["--state-dir", str(service.folder / "other"), *options]
    command = service.command("--port", "0", *options)
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode in {1, 2}
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr
