"""Where adapters meet steps: the one place that knows both a campaign's settings and the classes
that serve them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rucio_inject.campaign.schema import Campaign, FolderSource, Renewing
from rucio_inject.campaign.schema import RseSource as RseSettings
from rucio_inject.doctor.probe import Route
from rucio_inject.domain.facts import Fact
from rucio_inject.domain.injection import FileState
from rucio_inject.domain.names import GENERIC_NAME
from rucio_inject.looking import SOURCE_READS, looked_through
from rucio_inject.monitor.series import Sampler, Series
from rucio_inject.patience import Patience, patient
from rucio_inject.pipeline import Pipeline, Steps
from rucio_inject.plan import Plan
from rucio_inject.ports import Analyser, Bell, Catalogue, Clock, Health, Source, Storage
from rucio_inject.renewal import Keeper, Perishable, Renewal, kept_alive
from rucio_inject.rucio.session import Session, SignIn
from rucio_inject.science.analyser import PhysicsAnalyser
from rucio_inject.steps.access import AccessFiles, AnalyseFiles, RemoveCopies
from rucio_inject.steps.close import CloseDatasets, closed
from rucio_inject.steps.compare import CompareWithCatalogue
from rucio_inject.steps.discover import Discover
from rucio_inject.steps.expire import ConfirmGone, EndRules
from rucio_inject.steps.foresee import ForeseeFiles, Promise
from rucio_inject.steps.free import FreeSources
from rucio_inject.steps.free_origin import FreeAtOrigin
from rucio_inject.steps.in_place import MeasureInPlace, TakeAsTheyLie
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.measure import MeasureFiles
from rucio_inject.steps.organise import Organise
from rucio_inject.steps.place import DescribeFiles, PlaceFiles
from rucio_inject.steps.planning import MakePlan, Wanted
from rucio_inject.steps.prepare import Lake
from rucio_inject.steps.proofs import Proofs
from rucio_inject.steps.recheck import Recheck
from rucio_inject.steps.restore import RestoreFiles
from rucio_inject.steps.room import CheckRoom
from rucio_inject.steps.sampling import Sampling
from rucio_inject.steps.turns import Turns, Valve
from rucio_inject.steps.upload import UploadFiles
from rucio_inject.steps.watch import Watch
from rucio_inject.supply import make_source
from rucio_inject.terms import (
    all_rules,
    ceiling,
    closing,
    lifetimes,
    makes_files,
    origin,
    origin_terms,
    placing,
    sample,
    sizes,
    watermark,
)
from rucio_inject.throttle import TokenBucket, throttled


@dataclass(frozen=True, slots=True)
class Ports:
    """The world that a campaign works on."""

    catalogue: Catalogue
    storage: Storage
    analyser: Analyser | None
    clock: Clock
    bell: Bell | None = None
    """Rings when Rucio tells of an event, where it does."""
    credentials: Perishable | None = None
    """What we sign in with, where it ends."""


def rucio_ports(
    sign_in: SignIn,
    clock: Clock,
    *,
    analyse: bool,
    bell: Bell | None = None,
    renewing: Renewing | None = None,
    names: re.Pattern[str] = GENERIC_NAME,
) -> Ports:
    """A real Rucio, signed in to with these options; before, with what may have to be renewed.
    `names` are those that the site's schema takes for DIDs."""
    # Rucio decides at import whether it is a client; a server's own rucio.cfg must not mislead it.
    os.environ.setdefault("RUCIO_CLIENT_MODE", "1")
    session = Session(sign_in, clock)
    if renewing is not None:
        # Whatever is to be told is told again when there is somebody to listen.
        Keeper(session.look_up(), renewal_of(renewing), clock, lambda _: None).look()
    session.client()
    # Rucio reads its configuration when it is imported, so it is imported after signing in.
    from rucio_inject.rucio.catalogue import RucioCatalogue  # noqa: PLC0415
    from rucio_inject.rucio.storage import RucioStorage  # noqa: PLC0415

    analyser = PhysicsAnalyser() if analyse else None
    catalogue, storage = RucioCatalogue(session), RucioStorage(session, names=names)
    return Ports(catalogue, storage, analyser, clock, bell, session.credentials)


def renewal_of(settings: Renewing) -> Renewal:
    """How what we sign in with is kept alive."""
    return Renewal(settings.renew, settings.before, settings.warn)


def doctor_ports(
    sign_in: SignIn, clock: Clock
) -> tuple[Health, Catalogue, Storage, Callable[[str], list[Route]]]:
    """A real Rucio to be looked at, signed in to with these options; and the routes to its
    RSEs."""
    os.environ.setdefault("RUCIO_CLIENT_MODE", "1")
    session = Session(sign_in, clock)
    session.client()
    from rucio_inject.rucio.catalogue import RucioCatalogue  # noqa: PLC0415
    from rucio_inject.rucio.health import RucioHealth  # noqa: PLC0415
    from rucio_inject.rucio.storage import RucioStorage  # noqa: PLC0415

    storage = RucioStorage(session)

    def routes(rse: str) -> list[Route]:
        return [Route(name, alone) for name, alone in storage.each_way(rse)]

    return RucioHealth(session, clock), RucioCatalogue(session), storage, routes


def patient_ports(ports: Ports, campaign: Campaign, journal: Journal) -> Ports:
    """The same world, asked again when it cannot answer, with what signs us in kept alive, and
    uploads held back to their rate."""
    if ports.credentials is not None:
        renewal = renewal_of(campaign.sign_in)
        keeper = Keeper(ports.credentials, renewal, ports.clock, journal.mention)
        catalogue, kept = kept_alive(ports.catalogue, keeper), kept_alive(ports.storage, keeper)
        ports = replace(ports, catalogue=catalogue, storage=kept)
    patience = Patience(campaign.retry.attempts, longest=campaign.retry.longest)
    clock, mention, storage = ports.clock, journal.mention, ports.storage
    if campaign.limits.rate is not None:
        # Inside: what is sent again counts again.
        storage = throttled(storage, TokenBucket(campaign.limits.rate, clock))
    return replace(
        ports,
        catalogue=patient(ports.catalogue, patience, clock, mention),
        storage=patient(storage, patience, clock, mention, by_rse=True),
    )


@dataclass(frozen=True, slots=True)
class Folders:
    """Where a campaign keeps what it makes, below its output folder."""

    output: Path

    @property
    def source(self) -> Path:
        """Files made by mock and listing sources."""
        return self.output / "source"

    @property
    def read_back(self) -> Path:
        """Files read back from the lake."""
        return self.output / "read-back"

    @property
    def series(self) -> Path:
        """Counts in time."""
        return self.output / "counts.jsonl"

    @property
    def figure_1(self) -> Path:
        """Files and bytes on the RSEs in time."""
        return self.output / "figure1.png"


def make_pipeline(
    campaign: Campaign,
    ports: Ports,
    folders: Folders,
    journal: Journal,
    lake: Lake,
    cycle: int,
) -> Pipeline:
    """Every step of a campaign's cycle, on a lake that has been surveyed."""
    source = make_source(campaign, folders.source, cycle, ports.storage, ports.clock)
    compare = CompareWithCatalogue(journal, ports.catalogue, campaign.upload.rse)
    rse, account, catalogue = campaign.upload.rse, lake.identity.account, ports.catalogue
    organise = Organise(journal, catalogue, account=account, rules=all_rules(campaign))
    access = campaign.access
    end = campaign.end
    at_rse = isinstance(campaign.source, RseSettings)
    frees = isinstance(campaign.source, FolderSource | RseSettings) and campaign.source.free
    closes = closing(campaign)
    sampling = Sampling(journal.ledger, sample(campaign))
    valve = Valve(journal.ledger, ports.clock)
    measure, upload = _bringing(campaign, ports, journal, source, compare)
    again = AccessFiles(
        journal,
        catalogue,
        ports.storage,
        folder=folders.read_back,
        workers=access.workers,
        keep=False,
        sampling=sampling,
    )
    steps = Steps(
        discover=Discover(
            journal, source, placing(campaign), cycle, closed=partial(closed, catalogue)
        ),
        measure=measure,
        recheck=Recheck(journal, catalogue, rse, account=account, frees=frees),
        compare=compare,
        room=CheckRoom(
            journal.ledger, catalogue, lake, all_rules(campaign), sizes(campaign, ports.storage)
        ),
        restore=RestoreFiles(journal, catalogue, upload, rse),
        valve=valve,
        turns=Turns(journal.ledger, ceiling(campaign, lake), valve, sizes(campaign)),
        upload=upload,
        place=PlaceFiles(journal, catalogue, organise, rse, in_place=at_rse),
        organise=organise,
        describe=DescribeFiles(journal, catalogue),
        watch=Watch(
            journal,
            catalogue,
            account=account,
            deadline=campaign.replication.deadline,
            bell=ports.bell,
        ),
        access=AccessFiles(
            journal,
            catalogue,
            ports.storage,
            folder=folders.read_back,
            workers=access.workers,
            keep=access.keep or access.analyse,
            sampling=sampling,
        ),
        analyse=AnalyseFiles(journal, ports.analyser, folders.output) if ports.analyser else None,
        tidy=None
        if access.keep
        else RemoveCopies(journal, folders.read_back, scope=campaign.scope),
        end=EndRules(
            journal,
            catalogue,
            account=account,
            lifetimes=lifetimes(campaign),
            default=end.lifetime,
        )
        if end
        else None,
        confirm=ConfirmGone(
            journal,
            catalogue,
            ports.storage,
            account=account,
            deadline=end.deadline + max(lifetimes(campaign).values()),
            bell=ports.bell,
        )
        if end
        else None,
        free=FreeSources(
            journal,
            Proofs(journal, catalogue, again),
            made_in=folders.source if makes_files(campaign) else None,
            real_ones_too=frees and not at_rse,
            watermark=watermark(campaign, catalogue, ports.storage),
        ),
        free_origin=FreeAtOrigin(
            journal,
            catalogue,
            ports.storage,
            Proofs(journal, catalogue, again),
            upload,
            account=account,
            rse=rse,
            workers=campaign.upload.workers,
            terms=origin_terms(campaign, catalogue, ports.storage),
        )
        if isinstance(upload, TakeAsTheyLie)
        else None,
        origin=origin(campaign, catalogue, ports.storage),
        close=CloseDatasets(journal, catalogue, closes) if closes else None,
    )
    return Pipeline(journal, steps, FileState.GONE if end else FileState.VERIFIED)


def _bringing(
    campaign: Campaign,
    ports: Ports,
    journal: Journal,
    source: Source,
    compare: CompareWithCatalogue,
) -> tuple[MeasureFiles, UploadFiles | TakeAsTheyLie]:
    """What measures files, and what sees to it that the upload RSE holds them."""
    rse, workers = campaign.upload.rse, campaign.upload.workers
    if isinstance(campaign.source, RseSettings):
        read = campaign.source.read
        asking = MeasureInPlace(journal, source, ports.storage, rse=rse, workers=workers, read=read)
        return asking, TakeAsTheyLie(journal, asking, rse=rse, workers=workers)
    upload = UploadFiles(journal, source, ports.storage, compare, rse=rse, workers=workers)
    return MeasureFiles(journal, source, workers), upload


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
) -> Sampler:
    """What counts the campaign's RSEs while it runs; `mention` is shown each count."""
    return Sampler(
        ports.catalogue,
        ports.storage,
        ports.clock,
        rses=lake.all_rses(),
        interval=campaign.monitor.interval,
        series=Series(folders.series),
        mention=mention,
    )
