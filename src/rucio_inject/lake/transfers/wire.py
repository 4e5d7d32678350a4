"""From FTS3's JSON to a JobRequest, and from a JobRecord to what Rucio's transfer tool reads.

Checked by hand and not by pydantic, which would cost this small process 16 MB and half of the time
it has to start. Keys that are not known are passed over, as FTS3 does: Rucio sends several that
mean nothing on folders (pin lifetimes, IP versions, S3 styles). Several sources are always tried
in the order given, whatever the `selection_strategy`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from rucio_inject.lake.transfers.model import (
    DEFAULT_PRIORITY,
    FileRecord,
    FileRequest,
    JobRecord,
    JobRequest,
    JobType,
    Verify,
    clamp_priority,
)

_LARGEST = 2**63 - 1


class BadRequest(Exception):
    """The body is not what FTS3's API asks for; the message says where and why."""


def read_job(body: bytes) -> JobRequest:
    """Read the body of `POST /jobs`. BadRequest if it is not a job."""
    top = _object(_json(body), "the body")
    params = _object(top.get("params") or {}, "params")
    raw_files = _list(top.get("files"), "files")
    metadata = _object(params.get("job_metadata") or {}, "params.job_metadata")
    overwrite = _flag(params, "overwrite") or _flag(params, "overwrite_when_only_on_disk")
    hops = _flag(params, "overwrite_hop") and _flag(params, "multihop")
    last = len(raw_files) - 1
    entries = [
        _read_file(raw, f"files[{at}]", overwrite=overwrite or (hops and at != last))
        for at, raw in enumerate(raw_files)
    ]
    return JobRequest(
        job_type=_job_type(params, metadata, entries),
        priority=_priority(params),
        verify=_verify(params.get("verify_checksum")),
        metadata=json.dumps(metadata),
        seed=_seed(params),
        files=tuple(file for entry in entries for file in entry),
    )


def read_priority(body: bytes) -> int:
    """Read the body of `POST /jobs/ID`: the priority, brought between 1 and 5."""
    params = _object(_object(_json(body), "the body").get("params"), "params")
    if params.get("priority") is None:
        raise BadRequest("params.priority is missing")
    return _priority(params)


def job_found(job: JobRecord, fields: Sequence[str] | None) -> dict[str, Any]:
    """One job as `GET /jobs/ID` gives it; `fields` limits what is said of each file."""
    return {
        "job_id": job.job_id,
        "http_status": "200 Ok",
        "job_state": job.state.value,
        "job_type": job.job_type.value,
        "job_metadata": json.loads(job.metadata),
        "priority": job.priority,
        "submit_time": _time(job.submitted_at),
        "job_finished": _time(job.finished_at),
        "files": [file_found(file, fields) for file in job.files],
    }


def job_lost(job_id: str) -> dict[str, Any]:
    """What is said of a job that is not known; Rucio then calls its transfers lost."""
    return {
        "job_id": job_id,
        "http_status": "404 Not Found",
        "http_message": f'No job with the id "{job_id}" has been found',
    }


def file_found(file: FileRecord, fields: Sequence[str] | None = None) -> dict[str, Any]:
    """One file of a job; nothing here is ever staged."""
    full = {
        "file_id": file.file_id,
        "file_index": file.position,
        "file_state": file.state.value,
        "source_surl": file.source,
        "dest_surl": file.destination,
        "user_filesize": file.size,
        "checksum": file.checksum,
        "activity": file.activity,
        "start_time": _time(file.started_at),
        "finish_time": _time(file.finished_at),
        "staging_start": None,
        "staging_finished": None,
        "reason": file.reason,
        "file_metadata": json.loads(file.metadata),
    }
    if fields is None:
        return full
    return {key: value for key, value in full.items() if key in fields}


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else _second(int(seconds))


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    """The many files of a poll began and ended within the same few seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _read_file(raw: object, where: str, *, overwrite: bool) -> list[FileRequest]:
    """One entry of `files`: a copy for each of its sources, in their order."""
    entry = _object(raw, where)
    sources = _list(entry.get("sources"), f"{where}.sources")
    destinations = _list(entry.get("destinations"), f"{where}.destinations")
    if len(destinations) != 1:
        raise BadRequest(f"{where}.destinations: one is served, not {len(destinations)}")
    size = entry.get("filesize")
    if size is not None and (type(size) is not int or not 0 <= size <= _LARGEST):
        raise BadRequest(f"{where}.filesize: {size!r} is not a number of bytes")
    checksum = entry.get("checksum")
    return [
        FileRequest(
            source=_text(source, f"{where}.sources[{at}]"),
            destination=_text(destinations[0], f"{where}.destinations[0]"),
            size=size,
            checksum=None if checksum is None else _text(checksum, f"{where}.checksum"),
            activity=_text(entry.get("activity") or "default", f"{where}.activity"),
            overwrite=overwrite,
            metadata=json.dumps(entry.get("metadata")),
        )
        for at, source in enumerate(sources)
    ]


def _job_type(
    params: Mapping[str, Any],
    metadata: Mapping[str, Any],
    entries: Sequence[Sequence[FileRequest]],
) -> JobType:
    several = any(len(sources) > 1 for sources in entries)
    if _flag(params, "multihop"):
        if several:
            raise BadRequest("a multihop job has one source for each hop")
        return JobType.MULTI_HOP
    if several or metadata.get("multi_sources") is True:
        if len(entries) > 1:
            raise BadRequest("a job with several sources for a file has one file only")
        return JobType.MULTIPLE_REPLICA
    return JobType.SESSION_REUSE if _flag(params, "reuse") else JobType.REGULAR


def _priority(params: Mapping[str, Any]) -> int:
    priority = params.get("priority")
    if priority is None:
        return DEFAULT_PRIORITY
    if type(priority) is not int:
        raise BadRequest(f"params.priority: {priority!r} is not a whole number")
    return clamp_priority(priority)


def _verify(value: object) -> Verify:
    if value is None or value is False:
        return Verify.NONE
    if value is True:
        return Verify.BOTH
    try:
        return Verify(value)
    except ValueError:
        known = ", ".join(mode.value for mode in Verify)
        raise BadRequest(f"params.verify_checksum: {value!r} is not one of {known}") from None


def _seed(params: Mapping[str, Any]) -> str | None:
    if params.get("id_generator", "standard") != "deterministic":
        return None
    return _text(params.get("sid"), "params.sid")


def _flag(params: Mapping[str, Any], name: str) -> bool:
    value = params.get(name)
    if value is not None and type(value) is not bool:
        raise BadRequest(f"params.{name}: {value!r} is not true or false")
    return bool(value)


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from error


def _object(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadRequest(f"{where} is {_what(value)}, not an object")
    return value


def _list(value: object, where: str) -> Sequence[Any]:
    if not isinstance(value, list) or not value:
        raise BadRequest(f"{where} is {_what(value)}, not a list with at least one entry")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise BadRequest(f"{where} is {_what(value)}, not a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRequest(f"{where} is not valid Unicode: {value!r}") from None
    return value


def _what(value: object) -> str:
    return "missing" if value is None else repr(value)[:60]
