"""From what a campaign says of its source to the class that serves it."""

from __future__ import annotations

from pathlib import Path

from rucio_inject.campaign.schema import Campaign, RawPayload, RootPayload
from rucio_inject.campaign.schema import DirectorySource as DirectorySettings
from rucio_inject.campaign.schema import InboxSource as InboxSettings
from rucio_inject.campaign.schema import ListingSource as ListingSettings
from rucio_inject.campaign.schema import MockSource as MockSettings
from rucio_inject.campaign.schema import PathsSource as PathsSettings
from rucio_inject.campaign.schema import RseSource as RseSettings
from rucio_inject.campaign.schema import SqlSource as SqlSettings
from rucio_inject.campaign.secret import read_secret
from rucio_inject.domain.names import Letter, Telescope
from rucio_inject.ports import Clock, Source, Storage
from rucio_inject.science.content import RawContent, RootContent
from rucio_inject.sources.at_rse import RseSource, from_pfns, listed
from rucio_inject.sources.database import database_url, from_query
from rucio_inject.sources.directory import DirectorySource
from rucio_inject.sources.inbox import Completeness, InboxSource
from rucio_inject.sources.listing import ListingSource
from rucio_inject.sources.mock import MockPlan, MockSource
from rucio_inject.sources.named import NamedSource, from_list
from rucio_inject.sources.payload import Payload


def make_source(  # noqa: PLR0911 -- a flat table
    campaign: Campaign, made_in: Path, cycle: int, storage: Storage, clock: Clock
) -> Source:
    """The campaign's source, for a cycle (1 the first): mock files differ from cycle to cycle.
    `made_in` is the folder of files that are made."""
    match campaign.source:
        case MockSettings() as mock:
            return MockSource(mock_plan(mock, cycle), made_in, payload(mock.payload))
        case DirectorySettings() as directory:
            return DirectorySource(
                directory.path, pattern=directory.pattern, recursive=directory.recursive
            )
        case ListingSettings() as listing:
            return ListingSource(listing.path, made_in, payload(listing.payload), seed=listing.seed)
        case InboxSettings() as inbox:
            complete = inbox.complete
            return InboxSource(
                inbox.path,
                clock,
                Completeness(complete.stable, complete.checksums, complete.trigger),
                pattern=inbox.pattern,
                recursive=inbox.recursive,
            )
        case PathsSettings() as paths:
            return NamedSource(paths.path, from_list(paths.list))
        case SqlSettings() as sql:
            password = read_secret(sql.password_file) if sql.password_file else None
            url = database_url(sql.url.get_secret_value(), password)
            return NamedSource(sql.path, from_query(url, sql.query, sql.parameters))
        case RseSettings() as rse:
            return rse_source(rse, campaign.upload.rse, storage, clock)


def rse_source(settings: RseSettings, rse: str, storage: Storage, clock: Clock) -> RseSource:
    """A source of files that an RSE holds already."""
    if settings.pfns is not None:
        return RseSource(clock, from_pfns(settings.pfns))
    shows = listed(
        storage,
        clock,
        rse,
        settings.folder,
        pattern=settings.pattern,
        stable=settings.stable,
    )
    return RseSource(clock, shows)


def mock_plan(mock: MockSettings, cycle: int) -> MockPlan:
    """What the mock files of a cycle are called."""
    return MockPlan(
        seed=mock.seed,
        cycle=cycle,
        night=mock.night,
        target=mock.target,
        wobble=mock.wobble,
        runs=mock.runs,
        subruns=mock.subruns,
        telescopes=tuple(Telescope(telescope) for telescope in mock.telescopes),
        letters=tuple(Letter(letter) for letter in mock.types),
    )


def payload(settings: RootPayload | RawPayload) -> Payload:
    """What makes the content of a generated file."""
    if isinstance(settings, RawPayload):
        return RawContent(settings.size)
    return RootContent(settings.events)
