"""What a command's exit code says."""

from __future__ import annotations

from enum import IntEnum

from rucio_inject.domain.errors import (
    CatalogueUnavailable,
    ChecksumMismatch,
    DeadlinePassed,
    DiskFull,
    InjectError,
    Interrupted,
    LedgerUnavailable,
    NameRefused,
    SignInFailed,
    SourceMismatch,
    SourceUnavailable,
    StorageUnavailable,
    UsageError,
)
from rucio_inject.domain.rule import RuleState
from rucio_inject.outcome import Outcome


class ExitCode(IntEnum):
    """Exit codes; 130 is what a shell gives for Ctrl-C."""

    DONE = 0
    """Everything was done, or had been done before."""
    ERROR = 1
    """Nothing more could be done."""
    USAGE = 2
    """The command or the campaign file is wrong; nothing was done."""
    FILES_FAILED = 3
    """Some files could not be injected; the others were."""
    CHECKSUM = 4
    """Bytes read back were not the bytes that went in, or a source not what came with it says."""
    LATER = 5
    """A deadline passed, or a server could not answer: the same command may succeed later."""
    SIGN_IN = 6
    """Rucio does not know us."""
    STUCK = 7
    """A rule is STUCK or SUSPENDED."""
    DRAINED = 8
    """All under way was finished; new files were not taken, as the campaign is drained."""
    INTERRUPTED = 130
    """Somebody asked us to stop."""


_OF_ERRORS: tuple[tuple[type[InjectError], ExitCode], ...] = (
    (Interrupted, ExitCode.INTERRUPTED),
    (UsageError, ExitCode.USAGE),
    (SignInFailed, ExitCode.SIGN_IN),
    (CatalogueUnavailable, ExitCode.LATER),
    (StorageUnavailable, ExitCode.LATER),
    (SourceUnavailable, ExitCode.LATER),
    (DeadlinePassed, ExitCode.LATER),
    (DiskFull, ExitCode.LATER),
    (LedgerUnavailable, ExitCode.LATER),
    (ChecksumMismatch, ExitCode.CHECKSUM),
    (SourceMismatch, ExitCode.CHECKSUM),
    (NameRefused, ExitCode.FILES_FAILED),
)


# From what a person must look at to what needs nothing, whatever the numbers.
_WORST_FIRST = (
    ExitCode.INTERRUPTED,
    ExitCode.ERROR,
    ExitCode.USAGE,
    ExitCode.SIGN_IN,
    ExitCode.CHECKSUM,
    ExitCode.STUCK,
    ExitCode.LATER,
    ExitCode.FILES_FAILED,
    ExitCode.DRAINED,
    ExitCode.DONE,
)


def worst(*codes: ExitCode) -> ExitCode:
    """The code of several that says most."""
    return min(codes, key=_WORST_FIRST.index)


def of_error(error: InjectError) -> ExitCode:
    """The exit code of a command that an error ended."""
    for kind, code in _OF_ERRORS:
        if isinstance(error, kind):
            return code
    return ExitCode.ERROR


def of_outcome(outcome: Outcome) -> ExitCode:
    """The exit code of a run that came to its end: the worst of what it found."""
    failures = outcome.totals.failures
    stuck = {RuleState.STUCK, RuleState.SUSPENDED} & {rule.state for rule in outcome.not_ok}
    if {ChecksumMismatch.code, SourceMismatch.code} & failures.keys():
        return ExitCode.CHECKSUM
    if stuck:
        return ExitCode.STUCK
    if outcome.waiting or outcome.still_there:
        return ExitCode.LATER
    if outcome.held_back and outcome.drain is None:
        return ExitCode.LATER
    unused = outcome.analysis_error or (outcome.analysis and outcome.analysis.failures)
    left = outcome.kept or outcome.staying or outcome.not_closed
    if failures or outcome.skipped or left or unused:
        return ExitCode.FILES_FAILED
    return ExitCode.DRAINED if outcome.held_back else ExitCode.DONE
