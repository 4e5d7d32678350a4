"""The face of the library: inject a campaign's files, and learn what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from rucio_inject.assembly import Assembly, make_plan, make_sampler
from rucio_inject.campaign.own_folder import own_folder, refuse_folder_of_another
from rucio_inject.campaign.schema import Campaign, FolderSource, RseSource
from rucio_inject.domain.errors import NothingToInject, UsageError
from rucio_inject.domain.facts import RSECounted, UploadRSEChosen
from rucio_inject.domain.injection import FileRecord
from rucio_inject.factory import Folders, Ports, patient_ports
from rucio_inject.looking import (
    CATALOGUE_READS,
    LEDGER_READS,
    STORAGE_READS,
    looked_through,
)
from rucio_inject.monitor.figure import draw_figure_1
from rucio_inject.monitor.series import Listings, Series
from rucio_inject.outcome import Outcome
from rucio_inject.plan import Plan
from rucio_inject.ports import FactSink, Ledger, Source
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.looks import Looks
from rucio_inject.steps.prepare import (
    Lake,
    prepare_scope,
    refuse_characters,
    set_attributes,
    survey,
)
from rucio_inject.steps.unchanged import (
    Meaning,
    refuse_changes,
    refuse_other_files,
    refuse_other_upload,
)
from rucio_inject.supply import make_source
from rucio_inject.terms import ceiling, makes_files, placing, rule_requests, watermark

# The counts from just before the first file show where the curves begin.
BEFORE = timedelta(seconds=5)
# Counts of each RSE that figure 1 is drawn from: no more are seen on it.
DRAWN = 2000
MILESTONES = ("uploaded", "read back", "rules end", "gone")


def milestones(ledger: Ledger) -> list[tuple[datetime, str]]:
    """When the last file, or rule, of a cycle came to something; for figure 1. One pass over the
    files: none of them is kept."""
    last: dict[str, datetime] = {}

    def note(what: str, at: datetime | None) -> None:
        if at is not None:
            last[what] = max(at, last.get(what, at))

    for file in ledger.outlines():
        note("uploaded", file.uploaded_at)
        note("read back", file.read_back_at)
        note("gone", file.gone_at)
    for rule in ledger.rules():
        note("rules end", rule.ending_at)
    return [(last[what], what) for what in MILESTONES if what in last]


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
        looks: Looks | None = None,
        listings: Listings | None = None,
    ) -> None:
        """`onlookers` are shown every fact after the ledger has it. `new_cycle`: if the last cycle
        has ended, make the mock files of another one. Other sources have one cycle only. `looks`:
        a watch asks for several runs, and this is one of them; `listings`: what is known from
        earlier ones of how long it takes to list storages."""
        self._campaign = campaign
        self._new_cycle = new_cycle
        self._ledger = ledger
        self._journal = Journal(ledger, onlookers, ports.clock)
        self._looks = looks or Looks(ports.clock)
        self._listings = listings or Listings()
        self._hasty_ports = ports
        self._ports = patient_ports(ports, campaign, self._journal.mention)
        another = new_cycle and ledger.cycle_ended and campaign.source.kind == "mock"
        self._cycle = ledger.cycle + 1 if another else max(ledger.cycle, 1)
        self.folders = Folders(campaign.output_folder.absolute())
        self.counting_failure: BaseException | None = None
        """Why the RSEs were not counted to the end of the last run; None if they were."""

    def prepare(self) -> Lake:
        """Sign in, resolve what the campaign names, make its scope, set its RSE attributes.

        UsageError if the lake does not have what the campaign names, if its source has nothing to
        offer, if the campaign has changed in what may not, or if the output folder is another's;
        nothing is changed then.
        """
        lake = self._surveyed()
        campaign, catalogue = self._campaign, self._hasty_ports.catalogue
        if self._ledger.upload_rse != campaign.upload.rse:
            now = self._journal.clock.now()
            self._journal.tell([UploadRSEChosen(at=now, rse=campaign.upload.rse)])
        made = prepare_scope(self._journal, catalogue, campaign.scope, lake.identity.account)
        set_attributes(self._journal, catalogue, campaign.rse_attributes)
        return replace(lake, scope_made=made)

    def plan(self) -> Plan:
        """What a run would do now; changes nothing, and may be asked for while a run goes on.

        Raises what `prepare` raises.
        """
        ports, asked = self._hasty_ports, Counter[str]()
        glass = replace(
            ports,
            catalogue=looked_through(ports.catalogue, CATALOGUE_READS, asked),
            storage=looked_through(ports.storage, STORAGE_READS, asked),
        )
        ledger = looked_through(self._ledger, LEDGER_READS)
        onlooker = Injector(self._campaign, glass, ledger, new_cycle=self._new_cycle)
        return onlooker.foreseen(asked)

    def foreseen(self, asked: Mapping[str, int]) -> Plan:
        """The plan of one that can only look. `asked` counts the calls that it makes."""
        lake = self._surveyed()
        return make_plan(
            self._campaign, self._ports, self.folders, self._journal, lake, self._cycle, asked
        )

    def _surveyed(self) -> Lake:
        """What the campaign's words mean on the lake, if it can be run there."""
        refuse_folder_of_another(self.folders.output, self._campaign.campaign)
        campaign = self._campaign
        # Who begins a run is told at once that Rucio is away.
        lake = survey(
            self._hasty_ports.catalogue,
            account=campaign.account,
            upload_rse=campaign.upload.rse,
            rules=rule_requests(campaign),
            attributes=campaign.rse_attributes,
        )
        # After the RSEs: a source may lie at one.
        self._look_into_source()
        self._refuse_changes()
        refuse_characters(self._hasty_ports.catalogue, campaign.scope, campaign.naming.characters)
        ceiling(campaign, lake)
        self._look_at_room()
        # The last question, as it takes longest.
        refuse_other_upload(self._ledger, campaign.upload.rse)
        return lake

    def _look_at_room(self) -> None:
        """UsageError if nobody knows how full an RSE is that is to be freed when it is full."""
        source = self._campaign.source
        if isinstance(source, RseSource) and source.watermark and not source.watermark.capacity:
            ports = self._hasty_ports
            marks = watermark(self._campaign, ports.catalogue, ports.storage)
            assert marks is not None
            marks.look()

    def _look_into_source(self) -> None:
        self._refuse_overlap()
        offered = self._source().files()
        try:
            next(offered, None)
        except NothingToInject:
            if not self._ledger.counts():
                raise

    def _source(self) -> Source:
        ports = self._hasty_ports
        return make_source(
            self._campaign, self.folders.source, self._cycle, ports.storage, ports.clock
        )

    def _refuse_changes(self) -> None:
        campaign, place = self._campaign, placing(self._campaign)
        meaning = Meaning(
            campaign.scope,
            makes_files(campaign),
            isinstance(campaign.source, RseSource),
            self._name_offered,
            place,
        )
        refuse_changes(self._ledger, meaning)
        if isinstance(campaign.source, FolderSource) and self._ledger.counts():
            offered = self._source().files()
            folder = campaign.source.path.absolute()
            with suppress(NothingToInject):
                refuse_other_files(self._ledger, offered, place, folder)

    def _name_offered(self, record: FileRecord) -> str | None:
        """The name under which the source offers a file on record, with the folders that tell
        something. None if it does no more, as another cycle begins, or if that cannot be known, as
        the output folder is another one."""
        if record.cycle != self._cycle:
            return None
        if not record.generated:
            return record.path
        path = Path(record.path)
        made_here = path.is_relative_to(self.folders.source)
        return str(path.relative_to(self.folders.source)) if made_here else None

    def _refuse_overlap(self) -> None:
        """Neither may we take our own work for a source, nor a source for our work."""
        if not isinstance(self._campaign.source, FolderSource):
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
        own_folder(self.folders.output, self._campaign.campaign)
        pipeline = Assembly(
            self._campaign, self._ports, self.folders, self._journal, lake, self._cycle, self._looks
        ).pipeline()
        # Counts that fail are left out: nobody waits for them.
        sampler = make_sampler(
            self._campaign,
            self._hasty_ports,
            self.folders,
            lake,
            self._journal.mention,
            self._listings,
        )
        try:
            with sampler, self._looks.look():
                return pipeline.run()
        finally:
            self.counting_failure = sampler.failure

    def counts(self) -> Sequence[RSECounted]:
        """The counts of files and bytes taken while this cycle was worked on, as many as a figure
        shows."""
        first = next(self._ledger.files(), None)
        since = (first.found_at if first else self._ports.clock.now()) - BEFORE
        return Series(self.folders.series).read(since, most=DRAWN)

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
