"""The face of the library: inject a campaign's files, and learn what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from rucio_inject.campaign.schema import Campaign, DirectorySource
from rucio_inject.domain.errors import NothingToInject, UsageError
from rucio_inject.domain.facts import RSECounted
from rucio_inject.factory import (
    Folders,
    Ports,
    make_pipeline,
    make_sampler,
    make_source,
    patient_ports,
    rule_requests,
)
from rucio_inject.monitor.figure import draw_figure_1
from rucio_inject.monitor.series import Series
from rucio_inject.outcome import Outcome
from rucio_inject.ports import FactSink, Ledger
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.prepare import Lake, prepare_scope, set_attributes, survey
from rucio_inject.steps.unchanged import refuse_changes

# The counts from just before the first file show where the curves begin.
BEFORE = timedelta(seconds=5)


def milestones(ledger: Ledger) -> list[tuple[datetime, str]]:
    """When the last file, or rule, of a cycle came to something; for figure 1."""
    files, rules = list(ledger.files()), ledger.rules()
    replicas = [replica for record in files for replica in record.replicas.values()]
    told = (
        ("uploaded", [record.uploaded_at for record in files]),
        ("read back", [replica.read_back_at for replica in replicas]),
        ("rules end", [rule.ending_at for rule in rules]),
        ("gone", [replica.gone_at for replica in replicas]),
    )
    known = [(name, [at for at in times if at is not None]) for name, times in told]
    return [(max(times), name) for name, times in known if times]


class Injector:
    """Runs one campaign on one lake."""

    def __init__(
        self,
        campaign: Campaign,
        ports: Ports,
        ledger: Ledger,
        onlookers: Sequence[FactSink] = (),
        *,
        new_cycle: bool = False,
    ) -> None:
        """`onlookers` are shown every fact after the ledger has it. `new_cycle`: if the last cycle
        has ended, make the mock files of another one. Other sources have one cycle only."""
        self._campaign = campaign
        self._ledger = ledger
        self._journal = Journal(ledger, onlookers, ports.clock)
        self._hasty_ports = ports
        self._ports = patient_ports(ports, campaign, self._journal)
        another = new_cycle and ledger.cycle_ended and campaign.source.kind == "mock"
        self._cycle = ledger.cycle + 1 if another else max(ledger.cycle, 1)
        self.folders = Folders(campaign.output_folder.absolute())
        self.counting_failure: Exception | None = None
        """Why the RSEs were not counted to the end of the last run; None if they were."""

    def prepare(self) -> Lake:
        """Sign in, resolve what the campaign names, make its scope, set its RSE attributes.

        UsageError if the lake does not have what the campaign names, or its source has nothing to
        offer; nothing is changed then.
        """
        self._look_into_source()
        refuse_changes(
            self._ledger,
            scope=self._campaign.scope,
            upload_rse=self._campaign.upload.rse,
            generates=self._campaign.source.kind != "directory",
        )
        # Who begins a run is told at once that Rucio is away.
        campaign, catalogue = self._campaign, self._hasty_ports.catalogue
        lake = survey(
            catalogue,
            account=campaign.account,
            upload_rse=campaign.upload.rse,
            rules=rule_requests(campaign),
            attributes=campaign.rse_attributes,
        )
        made = prepare_scope(self._journal, catalogue, campaign.scope, lake.identity.account)
        set_attributes(self._journal, catalogue, campaign.rse_attributes)
        return replace(lake, scope_made=made)

    def _look_into_source(self) -> None:
        self._refuse_overlap()
        offered = make_source(self._campaign, self.folders, self._cycle).files()
        try:
            next(offered)
        except NothingToInject:
            if not self._ledger.counts():
                raise

    def _refuse_overlap(self) -> None:
        """Neither may we take our own work for a source, nor a source for our work."""
        if not isinstance(self._campaign.source, DirectorySource):
            return
        source, output = self._campaign.source.path.resolve(), self.folders.output.resolve()
        if source.is_relative_to(output) or output.is_relative_to(source):
            raise UsageError(
                f"source.path {source} and the output folder {output} lie one in the other",
                hint="name another output folder: --output, or output: in the campaign",
            )

    def run(self, lake: Lake) -> Outcome:
        """Take the campaign's files as far as they go, counting the RSEs meanwhile.

        Can be repeated at will: what is done is not done again.
        """
        self._make_folder()
        pipeline = make_pipeline(
            self._campaign, self._ports, self.folders, self._journal, lake, self._cycle
        )
        # Counts that fail are left out: nobody waits for them.
        sampler = make_sampler(self._campaign, self._hasty_ports, self.folders, lake)
        try:
            with sampler:
                return pipeline.run()
        finally:
            self.counting_failure = sampler.failure

    def _make_folder(self) -> None:
        try:
            self.folders.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot make the output folder {self.folders.output}: {error.strerror}",
                hint="name another one: --output, or output: in the campaign",
            ) from error

    def counts(self) -> Sequence[RSECounted]:
        """The counts of files and bytes taken while this cycle was worked on."""
        first = next(self._ledger.files(), None)
        since = (first.found_at if first else self._ports.clock.now()) - BEFORE
        return Series(self.folders.series).read(since)

    def draw_figure_1(self, lake: Lake) -> Path | None:
        """Draw the counts in time, if there are any; needs the extra [science]."""
        counts = self.counts()
        if not counts:
            return None
        draw_figure_1(
            counts,
            self.folders.figure_1,
            title=f"Files and bytes on the RSEs of campaign {self._campaign.campaign}",
            rses=lake.all_rses(),
            events=milestones(self._ledger),
            highlight=self._campaign.monitor.highlight,
        )
        return self.folders.figure_1
