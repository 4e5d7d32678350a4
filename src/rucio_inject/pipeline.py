"""The steps in their order, and what came of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import AnalysisFailed
from rucio_inject.domain.facts import CycleEnded
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.domain.rule import RuleView
from rucio_inject.ports import Analysis
from rucio_inject.steps.access import AccessFiles, AnalyseFiles, RemoveCopies
from rucio_inject.steps.discover import Discover
from rucio_inject.steps.expire import ConfirmGone, EndRules, FreeSources
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.measure import MeasureFiles
from rucio_inject.steps.organise import Organise
from rucio_inject.steps.upload import CompareWithCatalogue, RegisterFiles, UploadFiles
from rucio_inject.steps.watch import Watch


@dataclass(frozen=True, slots=True)
class Steps:
    """Every step of a campaign, built. None: the campaign does without."""

    discover: Discover
    measure: MeasureFiles
    compare: CompareWithCatalogue
    check_quota: Callable[[int], None]
    upload: UploadFiles
    register: RegisterFiles
    organise: Organise
    watch: Watch
    access: AccessFiles
    analyse: AnalyseFiles | None
    tidy: RemoveCopies
    end: EndRules | None
    confirm: ConfirmGone | None
    free: FreeSources


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run left: files by state, and everything that is not as it should be."""

    cycle: int
    files: Sequence[FileRecord]
    skipped: int = 0
    changed: bool = True
    not_ok: Sequence[RuleView] = ()
    kept: Mapping[DID, str] = field(default_factory=dict)
    still_there: Sequence[DID] = ()
    analysis: Analysis | None = None
    analysis_error: AnalysisFailed | None = None

    @property
    def by_state(self) -> Mapping[FileState, int]:
        """How many files are in each state."""
        return Counter(record.state for record in self.files)

    @property
    def failed(self) -> Sequence[FileRecord]:
        """Files that were set aside."""
        return [r for r in self.files if r.state is FileState.QUARANTINED]

    @property
    def waiting(self) -> Sequence[FileRecord]:
        """Files that are not yet where their rules want them."""
        return [r for r in self.files if r.state is FileState.REPLICATING]


class Pipeline:
    """Runs the steps on the files of the cycle that the ledger is at."""

    def __init__(self, journal: Journal, steps: Steps, goal: FileState) -> None:
        """`goal`: the state in which a file has come to the campaign's end."""
        self._journal = journal
        self._steps = steps
        self._goal = goal

    def run(self) -> Outcome:
        """Take every file as far as it goes. Steps skip what is done, so a run can be repeated."""
        skipped = self._steps.discover.run()
        before = self._journal.ledger.files()
        self._bring()
        watched = self._steps.watch.run(self._journal.ledger.files())
        analysis, analysis_error = self._access()
        kept, still_there = self._end()
        after = self._journal.ledger.files()
        outcome = Outcome(
            cycle=self._journal.ledger.cycle,
            files=after,
            skipped=skipped,
            changed=before != after,
            not_ok=watched.not_ok,
            kept=kept,
            still_there=still_there,
            analysis=analysis,
            analysis_error=analysis_error,
        )
        done = all(record.state is self._goal for record in after)
        if after and done and not self._journal.ledger.cycle_ended:
            now = self._journal.clock.now()
            self._journal.tell([CycleEnded(at=now, cycle=self._journal.ledger.cycle)])
        return outcome

    def _bring(self) -> None:
        """From the source into the catalogue, with rules."""
        steps, files = self._steps, self._journal.ledger.files
        steps.measure.run(files())
        steps.compare.run(files())
        coming = [record for record in files() if record.state is FileState.MEASURED]
        if coming:
            steps.check_quota(sum(record.measure.size for record in coming if record.measure))
        steps.upload.run(files())
        steps.register.run(files())
        steps.organise.run(files())

    def _access(self) -> tuple[Analysis | None, AnalysisFailed | None]:
        copies = self._steps.access.run(self._journal.ledger.files())
        try:
            return self._analyse(copies), None
        except AnalysisFailed as error:
            # The bytes are proved all the same: what cannot be drawn does not hold up the end.
            return None, error
        finally:
            self._steps.tidy.run()

    def _analyse(self, copies: Mapping[DID, Path]) -> Analysis | None:
        """Analyse what was read back now, with what an earlier run verified."""
        ledger = self._journal.ledger
        if self._steps.analyse is None or (ledger.analysed and not copies):
            return None
        verified = [r for r in ledger.files() if r.state is FileState.VERIFIED]
        earlier = [record for record in verified if record.did not in copies]
        return self._steps.analyse.run({**self._steps.access.read_one(earlier), **copies})

    def _end(self) -> tuple[Mapping[DID, str], Sequence[DID]]:
        kept: Mapping[DID, str] = {}
        still_there: Sequence[DID] = ()
        files = self._journal.ledger.files
        if self._steps.end is not None and self._steps.confirm is not None:
            kept = self._steps.end.run(files())
            still_there = self._steps.confirm.run(files())
        self._steps.free.run(files())
        return kept, still_there
