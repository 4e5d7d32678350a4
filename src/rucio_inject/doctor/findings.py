"""What an examination found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rucio_inject.domain.errors import InjectError


class Verdict(StrEnum):
    """How a thing is."""

    GOOD = "good"
    """It was tried, and works."""
    WARNING = "warning"
    """It works now, and may not later."""
    BAD = "bad"
    """A run would fail by it."""
    SKIPPED = "skipped"
    """It could not be tried, because of something else that is bad, or of what it is."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: `subject` is an RSE, a path, an account. `error` is why it is
    bad."""

    check: str
    subject: str
    verdict: Verdict
    told: str
    hint: str | None = None
    error: InjectError | None = None


def bad(check: str, subject: str, error: InjectError) -> Finding:
    """What went wrong, as a finding."""
    return Finding(check, subject, Verdict.BAD, error.message, error.hint, error)
