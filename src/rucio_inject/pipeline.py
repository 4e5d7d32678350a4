"""The steps in their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import AnalysisFailed
from rucio_inject.domain.facts import CycleBegun, CycleEnded
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.domain.usage import Room
from rucio_inject.outcome import LISTED, Outcome, Totals
from rucio_inject.ports import Analysis
from rucio_inject.steps.access import AccessFiles, AnalyseFiles, RemoveCopies
from rucio_inject.steps.close import CloseDatasets
from rucio_inject.steps.compare import CompareWithCatalogue
from rucio_inject.steps.confirm import ConfirmGone
from rucio_inject.steps.discover import Discover
from rucio_inject.steps.expire import EndRules
from rucio_inject.steps.free import FreeSources
from rucio_inject.steps.free_origin import FreeAtOrigin
from rucio_inject.steps.in_place import TakeAsTheyLie
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.leaving import AtOrigin
from rucio_inject.steps.looks import Looks
from rucio_inject.steps.measure import MeasureFiles
from rucio_inject.steps.organise import Organise
from rucio_inject.steps.place import DescribeFiles, PlaceFiles
from rucio_inject.steps.recheck import Recheck
from rucio_inject.steps.restore import RestoreFiles
from rucio_inject.steps.room import CheckRoom
from rucio_inject.steps.turns import TO_BE_BROUGHT, Turns, Valve
from rucio_inject.steps.upload import UploadFiles
from rucio_inject.steps.watch import Watch, Watched


@dataclass(frozen=True, slots=True)
class Steps:
    """Every step of a campaign, built. None: the campaign does without."""

    discover: Discover
    recheck: Recheck
    restore: RestoreFiles
    measure: MeasureFiles
    compare: CompareWithCatalogue
    room: CheckRoom
    valve: Valve
    turns: Turns
    upload: UploadFiles | TakeAsTheyLie
    place: PlaceFiles
    organise: Organise
    describe: DescribeFiles
    watch: Watch
    access: AccessFiles
    analyse: AnalyseFiles | None
    tidy: RemoveCopies | None
    end: EndRules | None
    confirm: ConfirmGone | None
    free: FreeSources
    free_origin: FreeAtOrigin | None
    origin: Callable[[], Room | None] | None
    close: CloseDatasets | None


class Pipeline:
    """Runs the steps on the files of the cycle that the ledger is at."""

    def __init__(self, journal: Journal, steps: Steps, goal: FileState, looks: Looks) -> None:
        """`goal`: the state in which a file has come to the campaign's end; `looks`: which look of
        a watch this is."""
        self._journal = journal
        self._steps = steps
        self._goal = goal
        self._looks = looks

    def run(self) -> Outcome:
        """Take every file as far as it goes. Steps skip what is done, so a run can be repeated."""
        try:
            return self._run()
        finally:
            self._journal.crew.dismiss()

    def _run(self) -> Outcome:
        ledger = self._journal.ledger
        skipped = self._steps.discover.run()
        self._take_up()
        watched, copies = self._rounds()
        analysis, analysis_error = self._use(copies)
        not_closed = self._steps.close.run() if self._steps.close else {}
        kept, endless = self._end()
        self._steps.free.run()
        at_origin = self._steps.free_origin.run() if self._steps.free_origin else AtOrigin()
        if set(ledger.counts()) == {self._goal} and not ledger.cycle_ended:
            self._journal.tell([CycleEnded(at=self._journal.clock.now(), cycle=ledger.cycle)])
        return Outcome(
            cycle=ledger.cycle,
            totals=self._totals(),
            failed=self._first(FileState.QUARANTINED),
            waiting=self._first(FileState.REPLICATING),
            still_there=self._first(FileState.EXPIRING),
            skipped=skipped,
            held_back=sum(ledger.counts().get(state, 0) for state in TO_BE_BROUGHT),
            drain=ledger.drain,
            changed=self._journal.changed,
            not_ok=watched.not_ok,
            kept=kept,
            endless=endless,
            analysis=analysis,
            analysis_error=analysis_error,
            not_closed=not_closed,
            not_yet=self._steps.discover.not_yet,
            origin=self._steps.origin() if self._steps.origin else None,
            leaving=at_origin.waiting,
            staying=at_origin.staying,
        )

    def _totals(self) -> Totals:
        """All files are counted, unless nothing has happened since the last look of a watch."""
        if self._looks.totals is None or self._journal.changed:
            self._looks.totals = Totals.of(self._journal.ledger.outlines())
        return self._looks.totals

    def _reopen(self) -> None:
        """A cycle that had ended, with files that were set back since, or that get an end now."""
        ledger = self._journal.ledger
        if ledger.cycle_ended and set(ledger.counts()) != {self._goal}:
            self._journal.tell([CycleBegun(at=self._journal.clock.now(), cycle=ledger.cycle)])

    def _first(self, state: FileState) -> Sequence[FileRecord]:
        return list(islice(self._journal.ledger.files({state}), LISTED))

    def _take_up(self) -> None:
        """What earlier runs left, and whether there is room for what is to come."""
        steps = self._steps
        if steps.free_origin is not None:
            # Before anything else: the last good copy may be there for a moment only.
            steps.free_origin.keep()
        steps.recheck.run()
        steps.restore.run()
        steps.measure.run(generated_only=True, go_on=steps.valve.is_open)
        steps.compare.run(FileState.UPLOADED)
        steps.upload.look_again()
        if steps.valve.is_open():
            steps.room.check(self._settle_all)
        steps.organise.renew(steps.recheck.concerned())
        steps.place.run(steps.place.leftover())

    def _rounds(self) -> tuple[Watched, Mapping[DID, Path]]:
        """Bring files, and see them through, as many at a time as the lake may bear; without
        limits all at once. Gives how the last watch ended, and copies of what was read back."""
        steps, copies = self._steps, dict[DID, Path]()
        while True:
            self._bring()
            self._reopen()
            watched = steps.watch.run(steps.turns.has_room if steps.turns.held_back else None)
            copies |= steps.access.run()
            # A lake that stands still is waited for once, not once more for each round.
            if watched.late or not steps.turns.goes_on():
                return watched, copies

    def _bring(self) -> None:
        """From the source into the catalogue, with rules."""
        steps = self._steps
        # All at once: some files are looked up while others are copied and others registered.
        coming = steps.compare.to_be_brought(steps.turns.round(), steps.measure)
        begun = steps.place.prepare(steps.turns.passing(coming))
        steps.place.run(steps.upload.run(begun))
        steps.organise.run()
        steps.describe.run()

    def _settle_all(self) -> None:
        """Find out which files the catalogue has already: they need no more room."""
        self._steps.measure.run(generated_only=False)
        self._steps.compare.run(FileState.MEASURED)

    def _use(self, copies: Mapping[DID, Path]) -> tuple[Analysis | None, AnalysisFailed | None]:
        try:
            return self._analyse(copies), None
        except AnalysisFailed as error:
            # The bytes are proved all the same: what cannot be drawn does not hold up the end.
            return None, error
        finally:
            if self._steps.tidy is not None:
                self._steps.tidy.run()

    def _analyse(self, copies: Mapping[DID, Path]) -> Analysis | None:
        """Analyse what was read back now, with what an earlier run verified."""
        ledger = self._journal.ledger
        if self._steps.analyse is None or (ledger.analysed and not copies):
            return None
        earlier = self._steps.access.read_one(self._steps.analyse.lacking(copies))
        return self._steps.analyse.run({**earlier, **copies})

    def _end(self) -> tuple[Mapping[DID, str], Mapping[DID, str]]:
        """Gives datasets whose rules were not ended, and those whose rules do not end; and why."""
        kept: Mapping[DID, str] = {}
        endless: Mapping[DID, str] = {}
        if self._steps.end is not None and self._steps.confirm is not None:
            kept = self._steps.end.run()
            endless = self._steps.confirm.run()
        return kept, endless
