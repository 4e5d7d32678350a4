"""The real world behind the ports, and what is wrapped around it: retries, renewal, throttling."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from rucio_inject.campaign.schema import Campaign, Renewing
from rucio_inject.doctor.probe import Route
from rucio_inject.domain.facts import Fact
from rucio_inject.domain.names import GENERIC_NAME
from rucio_inject.patience import Patience, patient
from rucio_inject.ports import Analyser, Bell, Catalogue, Clock, Health, Storage
from rucio_inject.renewal import Keeper, Perishable, Renewal, kept_alive
from rucio_inject.rucio.session import Session, SignIn
from rucio_inject.science.analyser import PhysicsAnalyser
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
    durable: bool = False,
) -> Ports:
    """A real Rucio, signed in to with these options; before, with what may have to be renewed.
    `names` are those that the site's schema takes for DIDs; `durable`: what a folder of this
    machine was given, or is read back from it, survives a power cut."""
    session = _signed_in(sign_in, clock, renewing)
    # Rucio reads its configuration when it is imported, so it is imported after signing in.
    from rucio_inject.rucio.catalogue import RucioCatalogue  # noqa: PLC0415
    from rucio_inject.rucio.storage import RucioStorage  # noqa: PLC0415

    analyser = PhysicsAnalyser() if analyse else None
    catalogue, storage = (
        RucioCatalogue(session),
        RucioStorage(session, names=names, durable=durable, clock=clock),
    )
    return Ports(catalogue, storage, analyser, clock, bell, session.credentials)


def _signed_in(sign_in: SignIn, clock: Clock, renewing: Renewing | None) -> Session:
    # Rucio decides at import whether it is a client; a server's own rucio.cfg must not mislead it.
    os.environ.setdefault("RUCIO_CLIENT_MODE", "1")
    session = Session(sign_in, clock)
    if renewing is not None:
        # Whatever is to be told is told again when there is somebody to listen.
        Keeper(session.look_up(), renewal_of(renewing), clock, lambda _: None).look()
    session.client()
    return session


def renewal_of(settings: Renewing) -> Renewal:
    """How what we sign in with is kept alive."""
    return Renewal(settings.renew, settings.before, settings.warn)


def doctor_ports(
    sign_in: SignIn, clock: Clock, renewing: Renewing | None = None
) -> tuple[Health, Catalogue, Storage, Callable[[str], list[Route]]]:
    """A real Rucio to be looked at, signed in to with these options, with what may have to be
    renewed before; and the routes to its RSEs."""
    session = _signed_in(sign_in, clock, renewing)
    from rucio_inject.rucio.catalogue import RucioCatalogue  # noqa: PLC0415
    from rucio_inject.rucio.health import RucioHealth  # noqa: PLC0415
    from rucio_inject.rucio.storage import RucioStorage  # noqa: PLC0415

    storage = RucioStorage(session, clock=clock)

    def routes(rse: str) -> list[Route]:
        return [Route(name, alone) for name, alone in storage.each_way(rse)]

    return RucioHealth(session, clock), RucioCatalogue(session), storage, routes


def patient_ports(ports: Ports, campaign: Campaign, mention: Callable[[Fact], None]) -> Ports:
    """The same world, asked again when it cannot answer, with what signs us in kept alive, and
    uploads held back to their rate. `mention` is told of both, from whichever thread."""
    if ports.credentials is not None:
        renewal = renewal_of(campaign.sign_in)
        keeper = Keeper(ports.credentials, renewal, ports.clock, mention)
        catalogue, kept = kept_alive(ports.catalogue, keeper), kept_alive(ports.storage, keeper)
        ports = replace(ports, catalogue=catalogue, storage=kept)
    patience = Patience(campaign.retry.attempts, longest=campaign.retry.longest)
    clock, storage = ports.clock, ports.storage
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
