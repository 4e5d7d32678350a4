"""A campaign's steps, put together: what its settings say meets the lake that was surveyed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from typing import TypeAlias

from rucio_inject.campaign.schema import Campaign
from rucio_inject.campaign.schema import RseSource as RseSettings
from rucio_inject.domain.facts import Fact
from rucio_inject.domain.injection import FileState
from rucio_inject.factory import Folders, Ports
from rucio_inject.looking import SOURCE_READS, looked_through
from rucio_inject.monitor.series import Listings, Sampler, Series
from rucio_inject.pipeline import Pipeline, Steps
from rucio_inject.plan import Plan
from rucio_inject.steps.access import AccessFiles, AnalyseFiles, RemoveCopies
from rucio_inject.steps.close import CloseDatasets, closed
from rucio_inject.steps.compare import CompareWithCatalogue
from rucio_inject.steps.confirm import ConfirmGone
from rucio_inject.steps.discover import Discover
from rucio_inject.steps.expire import EndRules
from rucio_inject.steps.foresee import ForeseeFiles, Promise
from rucio_inject.steps.free import FreeSources
from rucio_inject.steps.free_origin import FreeAtOrigin
from rucio_inject.steps.fresh import ProvedNow
from rucio_inject.steps.in_place import MeasureInPlace, TakeAsTheyLie
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.leaving import Leaving
from rucio_inject.steps.looks import Looks
from rucio_inject.steps.measure import MeasureFiles
from rucio_inject.steps.organise import Organise
from rucio_inject.steps.place import DescribeFiles, PlaceFiles
from rucio_inject.steps.planning import MakePlan, Wanted
from rucio_inject.steps.prepare import Lake
from rucio_inject.steps.proofs import Proofs
from rucio_inject.steps.recheck import GivenUp, Recheck
from rucio_inject.steps.restore import RestoreFiles
from rucio_inject.steps.room import CheckRoom
from rucio_inject.steps.same_file import SameFile
from rucio_inject.steps.sampling import Sampling
from rucio_inject.steps.turns import Turns, Valve
from rucio_inject.steps.upload import UploadFiles
from rucio_inject.steps.watch import Watch
from rucio_inject.supply import make_source
from rucio_inject.terms import (
    all_rules,
    came_with,
    ceiling,
    closing,
    fixed,
    frees_sources,
    lifetimes,
    makes_files,
    origin,
    origin_terms,
    placing,
    sample,
    sizes,
    watermark,
)

Bringing: TypeAlias = UploadFiles | TakeAsTheyLie
"""What sees to it that the upload RSE holds a file."""


class Assembly:
    """The steps of a campaign's cycle, on a lake that has been surveyed. What several of them need
    is made once."""

    def __init__(
        self,
        campaign: Campaign,
        ports: Ports,
        folders: Folders,
        journal: Journal,
        lake: Lake,
        cycle: int,
        looks: Looks,
    ) -> None:
        self._campaign = campaign
        self._looks = looks
        self._ports = ports
        self._folders = folders
        self._journal = journal
        self._lake = lake
        self._cycle = cycle
        self._rse = campaign.upload.rse
        self._account = lake.identity.account
        self._at_rse = isinstance(campaign.source, RseSettings)
        self._sampling = Sampling(journal.ledger, sample(campaign))
        self._proved = ProvedNow()
        self._compare = CompareWithCatalogue(journal, ports.catalogue, self._rse)
        self._source = make_source(campaign, folders.source, cycle, ports.storage, ports.clock)

    def pipeline(self) -> Pipeline:
        """All of them, and the state in which a file has come to the campaign's end."""
        campaign, journal, catalogue = self._campaign, self._journal, self._ports.catalogue
        organise = Organise(journal, catalogue, account=self._account, rules=all_rules(campaign))
        valve, closes = Valve(journal.ledger, self._ports.clock), closing(campaign)
        measure, upload = self._bringing()
        end, confirm = self._ending()
        discover = self._discover()
        steps = Steps(
            discover=discover,
            measure=measure,
            recheck=self._recheck(),
            compare=self._compare,
            room=self._room(),
            restore=RestoreFiles(journal, catalogue, upload, self._rse),
            valve=valve,
            turns=Turns(journal.ledger, ceiling(campaign, self._lake), valve, sizes(campaign)),
            upload=upload,
            place=PlaceFiles(journal, catalogue, organise, self._rse, in_place=self._at_rse),
            organise=organise,
            describe=DescribeFiles(journal, catalogue),
            watch=self._watch(),
            access=self._access(keep=campaign.access.keep or campaign.access.analyse),
            analyse=self._analyse(),
            tidy=self._tidy(),
            end=end,
            confirm=confirm,
            free=self._free(),
            free_origin=self._free_origin(upload, discover),
            origin=origin(campaign, catalogue, self._ports.storage),
            close=CloseDatasets(journal, catalogue, closes, self._looks) if closes else None,
        )
        goal = FileState.GONE if end else FileState.VERIFIED
        return Pipeline(journal, steps, goal, self._looks)

    def _recheck(self) -> Recheck:
        given_up = GivenUp.SOURCES if self._frees else GivenUp.NOTHING
        return Recheck(
            self._journal,
            self._ports.catalogue,
            self._rse,
            account=self._account,
            given_up=GivenUp.REPLICAS if self._campaign.end else given_up,
            looks=self._looks,
        )

    def _discover(self) -> Discover:
        return Discover(
            self._journal,
            self._source,
            placing(self._campaign),
            self._cycle,
            closed=partial(closed, self._ports.catalogue),
            looks=self._looks,
        )

    @property
    def _frees(self) -> bool:
        source = self._campaign.source
        at_rse = isinstance(source, RseSettings) and source.free
        return at_rse or frees_sources(self._campaign)

    def _bringing(self) -> tuple[MeasureFiles, Bringing]:
        """What measures files, and what sees to it that the upload RSE holds them."""
        workers, storage = self._campaign.upload.workers, self._ports.storage
        source, journal, rse = self._source, self._journal, self._rse
        if isinstance(self._campaign.source, RseSettings):
            read = self._campaign.source.read
            asking = MeasureInPlace(journal, source, storage, rse=rse, workers=workers, read=read)
            return asking, TakeAsTheyLie(journal, asking, rse=rse, workers=workers)
        most = ceiling(self._campaign, self._lake).files
        upload = UploadFiles(
            journal,
            source,
            storage,
            self._compare,
            rse=rse,
            workers=workers,
            at_once=inf if most is None else most,
        )
        measure = MeasureFiles(journal, source, workers, makes=makes_files(self._campaign))
        return measure, upload

    def _room(self) -> CheckRoom:
        return CheckRoom(
            self._journal.ledger,
            self._ports.catalogue,
            self._lake,
            all_rules(self._campaign),
            sizes(self._campaign, self._ports.storage),
        )

    def _watch(self) -> Watch:
        return Watch(
            self._journal,
            self._ports.catalogue,
            account=self._account,
            deadline=self._campaign.replication.deadline,
            bell=self._ports.bell,
        )

    def _access(self, *, keep: bool) -> AccessFiles:
        return AccessFiles(
            self._journal,
            self._ports.catalogue,
            self._ports.storage,
            folder=self._folders.read_back,
            workers=self._campaign.access.workers,
            keep=keep,
            sampling=self._sampling,
            proved=self._proved,
            looks=self._looks,
        )

    def _analyse(self) -> AnalyseFiles | None:
        analyser = self._ports.analyser
        return AnalyseFiles(self._journal, analyser, self._folders.output) if analyser else None

    def _tidy(self) -> RemoveCopies | None:
        if self._campaign.access.keep:
            return None
        folder = self._folders.read_back
        return RemoveCopies(self._journal, folder, scope=self._campaign.scope)

    def _ending(self) -> tuple[EndRules | None, ConfirmGone | None]:
        """What gives rules their end, and what proves that all is gone then."""
        end, live_on = self._campaign.end, lifetimes(self._campaign)
        if end is None:
            return None, None
        ending = EndRules(
            self._journal,
            self._ports.catalogue,
            SameFile(self._ports.storage),
            account=self._account,
            lifetimes=live_on,
            default=end.lifetime,
        )
        confirm = ConfirmGone(
            self._journal,
            self._ports.catalogue,
            self._ports.storage,
            account=self._account,
            deadline=end.deadline + max(live_on.values()),
            bell=self._ports.bell,
        )
        return ending, confirm

    def _proofs(self) -> Proofs:
        return Proofs(
            self._journal,
            self._ports.catalogue,
            self._access(keep=False),
            account=self._account,
            promised=all_rules(self._campaign),
        )

    def _free(self) -> FreeSources:
        campaign = self._campaign
        return FreeSources(
            self._journal,
            self._proofs(),
            SameFile(self._ports.storage),
            made_in=self._folders.source if makes_files(campaign) else None,
            real_ones_too=frees_sources(campaign),
            watermark=watermark(campaign, self._ports.catalogue, self._ports.storage),
            came_with=came_with(campaign),
        )

    def _free_origin(self, upload: Bringing, discover: Discover) -> FreeAtOrigin | None:
        if not isinstance(upload, TakeAsTheyLie):
            return None
        catalogue, storage = self._ports.catalogue, self._ports.storage
        proofs, terms = self._proofs(), origin_terms(self._campaign, catalogue, storage)
        leaving = Leaving(
            self._journal,
            catalogue,
            storage,
            proofs,
            account=self._account,
            rse=self._rse,
            frees=terms is not None,
            fixed=fixed(all_rules(self._campaign), self._lake),
            rewritten=discover.rewritten,
        )
        return FreeAtOrigin(
            self._journal,
            catalogue,
            proofs,
            upload,
            leaving,
            account=self._account,
            rse=self._rse,
            workers=self._campaign.upload.workers,
            terms=terms,
        )


def make_plan(
    campaign: Campaign,
    ports: Ports,
    folders: Folders,
    journal: Journal,
    lake: Lake,
    cycle: int,
    asked: Mapping[str, int],
) -> Plan:
    """What a run of the cycle would do; only looks. `asked` counts the calls of the ports."""
    source = make_source(campaign, folders.source, cycle, ports.storage, ports.clock)
    goal = FileState.GONE if campaign.end else FileState.VERIFIED
    promise = Promise(lake, all_rules(campaign), goal)
    foresee = ForeseeFiles(
        journal.ledger,
        ports.catalogue,
        Discover(journal, looked_through(source, SOURCE_READS), placing(campaign), cycle),
        CompareWithCatalogue(journal, ports.catalogue, campaign.upload.rse),
        promise,
        sizes(campaign, ports.storage),
    )
    wanted = Wanted(campaign.scope, campaign.rse_attributes, campaign.end is not None)
    return MakePlan(journal.ledger, ports.catalogue, foresee, promise).make(wanted, cycle, asked)


def make_sampler(
    campaign: Campaign,
    ports: Ports,
    folders: Folders,
    lake: Lake,
    mention: Callable[[Fact], None],
    listings: Listings | None = None,
) -> Sampler:
    """What counts the campaign's RSEs while it runs; `mention` is shown each count; `listings` are
    known from earlier looks."""
    listed = campaign.monitor.storage
    return Sampler(
        ports.catalogue,
        None if listed == "off" else ports.storage,
        ports.clock,
        rses=lake.all_rses(),
        interval=campaign.monitor.interval,
        series=Series(folders.series),
        scope=campaign.scope if listed == "scope" else None,
        listings=listings,
        mention=mention,
    )
