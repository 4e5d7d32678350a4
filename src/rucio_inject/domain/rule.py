"""Replication rules: what is asked for, and what Rucio says of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rucio_inject.domain.did import DID


class RuleState(StrEnum):
    """The state of a replication rule, in Rucio's own words."""

    INJECT = "INJECT"
    """Asked for; its locks are not made yet."""
    REPLICATING = "REPLICATING"
    """At least one lock waits for its transfer."""
    OK = "OK"
    """Every lock is satisfied: the promised replicas exist."""
    STUCK = "STUCK"
    """At least one transfer failed for good; Rucio tries again later."""
    SUSPENDED = "SUSPENDED"
    """Rucio has given up; somebody must look."""
    WAITING_APPROVAL = "WAITING_APPROVAL"
    """A person must approve the rule first."""


@dataclass(frozen=True, slots=True)
class RuleRequest:
    """What a campaign wants of a rule: `copies` replicas among the RSEs of an expression.

    `lifetime` (seconds) is not given to Rucio when the rule is made but when it is to end, after
    its replicas have been read back.
    """

    rse_expression: str
    copies: int = 1
    lifetime: int = 0
    activity: str | None = None


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule as Rucio shows it now. The three numbers count locks, one a file and RSE.

    `child_rule_id` is a rule that somebody has linked to this one and that is not OK yet.
    """

    rule_id: str
    did: DID
    rse_expression: str
    copies: int
    state: RuleState
    locks_ok: int
    locks_replicating: int
    locks_stuck: int
    expires_at: datetime | None = None
    error: str | None = None
    child_rule_id: str | None = None

    @property
    def chained(self) -> str | None:
        """Why the rule can have no end now, in words; None if it can.

        Rucio ends no parent before its child is OK, and takes the parent's end back if the child
        is deleted (rucio issue 60).
        """
        if self.child_rule_id is None:
            return None
        return (
            f"rule {self.rule_id} to {self.rse_expression} has the unfinished child rule "
            f"{self.child_rule_id}, before which Rucio does not end it"
        )

    @property
    def endless(self) -> str | None:
        """Why the rule will not end although it was given its end; None if it will."""
        if self.child_rule_id is None and self.expires_at is None:
            return (
                f"the end of rule {self.rule_id} to {self.rse_expression} was taken back, by "
                "somebody or with a child rule of it"
            )
        return self.chained


@dataclass(frozen=True, slots=True)
class Holder:
    """A rule, of whichever account, that holds a file's replica on an RSE."""

    rule_id: str
    account: str
    rse_expression: str


class LockState(StrEnum):
    """Whether one replica that a rule promises is there."""

    OK = "OK"
    """The replica is there."""
    REPLICATING = "REPLICATING"
    """Its transfer is waiting or under way."""
    STUCK = "STUCK"
    """Its transfer failed."""


@dataclass(frozen=True, slots=True)
class Lock:
    """One replica that a rule promises: this file, on this RSE."""

    did: DID
    rse: str
    state: LockState


@dataclass(frozen=True, slots=True)
class StuckFile:
    """Why a file of a STUCK rule is not where it should be, as far as Rucio tells."""

    did: DID
    rse: str
    reason: str
    attempts: int
