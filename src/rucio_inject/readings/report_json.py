"""A report as one JSON object, whose shape is versioned by `schema`. Times are ISO 8601 in UTC,
durations seconds, sizes bytes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rucio_inject.domain.facts import RSECounted
from rucio_inject.domain.usage import Room, Usage
from rucio_inject.readings.funnel import Funnel
from rucio_inject.readings.report import Report
from rucio_inject.readings.spread import Spread
from rucio_inject.readings.transfers import Link
from rucio_inject.words.moments import moment

SCHEMA = 1


def report_object(report: Report) -> dict[str, Any]:
    """All of a report but its figures."""
    return {
        "schema": SCHEMA,
        "campaign": report.campaign,
        "made_at": moment(report.made_at),
        "begun_at": _moment(report.begun_at),
        "ended_at": _moment(report.ended_at),
        "total": _funnel(report.total),
        "cycles": [{"cycle": one.cycle, **_funnel(one)} for one in reversed(report.cycles)],
        "phases": {name: _spread(spread) for name, spread in report.way.phases.items()},
        "links": [_link(link) for link in report.way.links],
        "rules": dict(report.rules),
        "set_aside": [
            {
                "code": one.code,
                "reason": one.reason,
                "hint": one.hint,
                "files": one.files,
                "example": one.example,
                "last_at": moment(one.last_at),
            }
            for one in report.troubles
        ],
        "held_up": [
            {"rse": one.rse, "reason": one.reason, "files": one.files, "example": one.example}
            for one in report.held
        ],
        "analyses": [
            {
                "at": moment(one.at),
                "files": one.files,
                "events": one.events,
                "headline": one.headline,
            }
            for one in report.analyses
        ],
        "origin": _room(report.origin),
        "counts": [_count(sample) for sample in report.samples],
        "environment": {name: dict(section) for name, section in report.environment.items()},
    }


def _moment(at: datetime | None) -> str | None:
    return None if at is None else moment(at)


def _funnel(funnel: Funnel) -> dict[str, Any]:
    return {
        "begun_at": _moment(funnel.begun_at),
        "ended_at": _moment(funnel.ended_at),
        "files": funnel.files,
        "bytes": funnel.bytes,
        "reached": {str(state): count for state, count in funnel.steps()},
        "read_back": funnel.read_back,
        "sampled": funnel.sampled,
        "set_aside": {str(state): count for state, count in funnel.fell_out.items()},
    }


def _spread(spread: Spread) -> dict[str, Any]:
    return {
        "count": spread.count,
        "p50": spread.p50,
        "p95": spread.p95,
        "longest": spread.longest,
    }


def _link(link: Link) -> dict[str, Any]:
    return {
        "from": link.source,
        "to": link.destination,
        "arrived": link.arrived,
        "bytes": link.bytes,
        "held_up": link.waiting,
        "read_back": link.read_back,
        "success": link.success,
        "latency": None if link.latency is None else _spread(link.latency),
        "bytes_per_second": link.bytes_per_second,
        "files_per_second": link.files_per_second,
        "reasons": dict(link.reasons),
    }


def _count(sample: RSECounted) -> dict[str, Any]:
    return {
        "at": moment(sample.at),
        "rse": sample.rse,
        "catalogue": _usage(sample.catalogue),
        "storage": _usage(sample.storage),
    }


def _room(room: Room | None) -> dict[str, int] | None:
    return None if room is None else {"total": room.total, "used": room.used, "free": room.free}


def _usage(usage: Usage | None) -> dict[str, int] | None:
    return None if usage is None else {"files": usage.files, "bytes": usage.bytes}
