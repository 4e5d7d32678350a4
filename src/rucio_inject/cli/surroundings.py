"""What is around a run: who is shown its facts, what rings while it waits, and what stays of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime

import click

from rucio_inject.campaign.schema import Campaign
from rucio_inject.campaign.service_keys import place_parts
from rucio_inject.cli.exit_codes import ExitCode
from rucio_inject.cli.output import legible
from rucio_inject.cli.run_record import RunRecord, recorded
from rucio_inject.clock import PipeBell
from rucio_inject.domain.errors import InjectError, Interrupted, LedgerError, LedgerUnavailable
from rucio_inject.domain.facts import LookEnded
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.ports import Bell, Clock, FactSink
from rucio_inject.service.events import EventServer
from rucio_inject.service.fact_lines import FactLines
from rucio_inject.service.outlets import make_notifier, make_outlets
from rucio_inject.service.retention import keep_to_retention


@dataclass(frozen=True, slots=True)
class Ties:
    """Pipes to the service that began this run: `facts` is written to, a byte in `bell` rings.
    None: nobody began it but who gave the command."""

    facts: int | None = None
    bell: int | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Given to a run: its onlookers, a bell that rings when Rucio tells something, if any, and
    where it says how it came out. `tidy` lets go of what grows with every run or look."""

    onlookers: Sequence[FactSink]
    bell: Bell | None
    record: RunRecord
    tidy: Callable[[], None]

    def look_ended(self, now: datetime) -> None:
        """Tell people how a look of a watch came out, as `record` has it: its run may go on for
        months. The ledger's record does not grow by that."""
        ended = LookEnded(at=now, code=int(self.record.code), words=self.record.words)
        for onlooker in self.onlookers:
            onlooker.record([ended])


@contextmanager
def surrounded(
    campaign: Campaign, ledger: SqlLedger, clock: Clock, ties: Ties
) -> Iterator[Surroundings]:
    """All that is around a run which holds its ledger. What it left is tidied up, however it came
    out, and old cycles go if it did all that it should; not if somebody stopped it, or the ledger
    itself is at fault."""
    with ExitStack() as around:
        onlookers: list[FactSink] = [
            around.enter_context(
                make_outlets(campaign, ledger, clock, _complain, serving=ties.facts is not None)
            )
        ]
        if ties.facts is not None:
            onlookers.append(FactLines(ties.facts))
        bell = _bell(campaign, ties, around)
        record = around.enter_context(recorded(ledger, clock, onlookers))

        def tidy(*, cycles: bool = False) -> None:
            _keep_to_retention(campaign, ledger, clock, cycles=cycles)

        try:
            yield Surroundings(onlookers, bell, record, tidy)
        except (Interrupted, LedgerError):
            raise
        except InjectError:
            tidy()
            raise
        tidy(cycles=record.code is ExitCode.DONE)


def _bell(campaign: Campaign, ties: Ties, around: ExitStack) -> Bell | None:
    if ties.bell is not None:
        return PipeBell(ties.bell)
    if campaign.push is None:
        return None
    bell = PipeBell()
    around.callback(bell.close)

    def heard(scopes: frozenset[str]) -> None:
        if campaign.scope in scopes:
            bell.ring()

    around.enter_context(EventServer(place_parts(campaign.push.listen), heard))
    return bell


def _keep_to_retention(
    campaign: Campaign, ledger: SqlLedger, clock: Clock, *, cycles: bool
) -> None:
    """What could not be tidied up is told, and takes nothing away from how the run came out."""
    try:
        keep_to_retention(campaign, ledger, clock, cycles=cycles)
    except InjectError as error:
        _complain(f"old evidence is kept: {error.message}")
    except OSError as error:
        _complain(f"old counts are kept: {error.strerror or error}")


@contextmanager
def told_if_refused(campaign: Campaign, clock: Clock) -> Iterator[None]:
    """Tell people that a run is late, if it could not begin as another one goes on."""
    try:
        yield
    except LedgerUnavailable as error:
        notifier = make_notifier(campaign, clock, _complain)
        if notifier is not None and error.holder is not None:
            notifier.late(f"a run could not begin: {error.message}")
            notifier.pump(last=True)
        raise


def _complain(text: str) -> None:
    click.echo(legible(text), err=True)
