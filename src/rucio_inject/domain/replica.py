"""Replicas: the state in which Rucio sees the copy of a file on an RSE."""

from __future__ import annotations

from enum import StrEnum


class ReplicaState(StrEnum):
    """The state of a replica, in Rucio's own words."""

    AVAILABLE = "AVAILABLE"
    """It can be read."""
    UNAVAILABLE = "UNAVAILABLE"
    """It is known and cannot be read: its transfer failed, or its upload was never finished."""
    COPYING = "COPYING"
    """Its transfer, or somebody's upload, is waiting or under way."""
    BEING_DELETED = "BEING_DELETED"
    """Rucio's reaper has taken it."""
    BAD = "BAD"
    """Somebody declared it bad: a rule that wants it makes a new one."""
    TEMPORARY_UNAVAILABLE = "TEMPORARY_UNAVAILABLE"
    """Its storage is away for a while."""
