"""Moments, for programs and for people."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(at: datetime) -> str:
    """A moment for programs: ISO 8601 in UTC, exact."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def shown(at: datetime) -> str:
    """A moment for people: ISO 8601 in UTC, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
