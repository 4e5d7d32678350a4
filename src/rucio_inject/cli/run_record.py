"""What a run says of itself: that it began, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from rucio_inject.cli.exit_codes import ExitCode, of_error
from rucio_inject.cli.output import legible
from rucio_inject.domain.errors import InjectError, LedgerError
from rucio_inject.domain.facts import Fact, RunBegun, RunEnded
from rucio_inject.domain.injection import FileState
from rucio_inject.domain.usage import Room
from rucio_inject.ledger.holder import this_process
from rucio_inject.outcome import Outcome
from rucio_inject.ports import Clock, FactSink, Ledger
from rucio_inject.words.numbers import plural


class RunRecord:
    """How a run came out, once that is known."""

    def __init__(self) -> None:
        self.code = ExitCode.INTERRUPTED
        self.words = "stopped at once"
        self.origin: Room | None = None

    def came_out(self, outcome: Outcome, code: ExitCode) -> None:
        """The run did what it could."""
        self.code, self.words = code, in_words(outcome)
        self.origin = outcome.origin

    def failed(self, error: InjectError) -> None:
        """It could not."""
        self.code, self.words = of_error(error), error.message


@contextmanager
def recorded(ledger: Ledger, clock: Clock, onlookers: Sequence[FactSink]) -> Iterator[RunRecord]:
    """Put on record that a run begins, and how it ends, also by an error; show it to onlookers.

    LedgerError if the beginning cannot be recorded. An error that ends the run is the one to be
    told: if its end cannot be recorded then, that is told besides.
    """
    record, begun = RunRecord(), clock.monotonic()
    _tell(ledger, onlookers, RunBegun(at=clock.now(), process=this_process().name))
    try:
        yield record
    except BaseException as error:  # also a second Ctrl-C
        if isinstance(error, InjectError):
            record.failed(error)
        try:
            _end(ledger, clock, onlookers, record, begun)
        except LedgerError as another:
            click.echo(legible(f"also: {another.message}"), err=True)
        raise
    _end(ledger, clock, onlookers, record, begun)


def _end(
    ledger: Ledger,
    clock: Clock,
    onlookers: Sequence[FactSink],
    record: RunRecord,
    begun: float,
) -> None:
    seconds = round(clock.monotonic() - begun, 3)
    now, code = clock.now(), int(record.code)
    ended = RunEnded(at=now, code=code, words=record.words, seconds=seconds, origin=record.origin)
    try:
        _tell(ledger, onlookers, ended)
    except LedgerError:
        for onlooker in onlookers:
            onlooker.record([ended])
        raise


def _tell(ledger: Ledger, onlookers: Sequence[FactSink], fact: Fact) -> None:
    ledger.record([fact])
    for onlooker in onlookers:
        onlooker.record([fact])


def in_words(outcome: Outcome) -> str:
    """An outcome in a line."""
    if not outcome.changed and not outcome.failed and not outcome.waiting:
        return f"cycle {outcome.cycle}: all was done before"
    parts = [
        f"{plural(count, 'file')} {state}"
        for state, count in outcome.by_state.items()
        if count and state is not FileState.QUARANTINED
    ]
    if aside := outcome.by_state.get(FileState.QUARANTINED, 0):
        first = outcome.failed[0].failure if outcome.failed else None
        parts.append(f"{aside} set aside" + (f" ({first.code})" if first else ""))
    if outcome.not_ok:
        states = sorted({str(view.state) for view in outcome.not_ok})
        parts.append(f"{plural(len(outcome.not_ok), 'rule')} {', '.join(states)}")
    return f"cycle {outcome.cycle}: {', '.join(parts) or 'no file'}"
