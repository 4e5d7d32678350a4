"""Every way to an XRootD server keeps the storage's contract."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rucio_inject.rucio.session import Session
from rucio_inject.testing.contracts.storage import StorageContract
from rucio_inject.testing.contracts.world import ContractWorld

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("storage")]

MakeWorld = Callable[..., ContractWorld]


class TestBindings(StorageContract):
    """root:// by the bindings of XRootD's client."""

    @pytest.fixture
    def world(self, make_world: MakeWorld, session: Session) -> ContractWorld:
        from rucio_inject.rucio.drivers.xrootd import XrootdDriver

        drivers = {"root": XrootdDriver(session.credentials)}
        return make_world(drivers=drivers, schemes=("root",))


class TestWebdav(StorageContract):
    """davs:// by HTTP."""

    @pytest.fixture
    def world(self, make_world: MakeWorld, session: Session) -> ContractWorld:
        from rucio_inject.rucio.drivers.webdav import WebdavDriver

        drivers = {"davs": WebdavDriver(session.credentials)}
        return make_world(drivers=drivers, schemes=("davs",))


class TestGfal(StorageContract):
    """root:// by gfal2. It would reach davs:// too, with a new handshake for each call."""

    @pytest.fixture
    def world(self, make_world: MakeWorld, session: Session) -> ContractWorld:
        from rucio_inject.rucio.drivers.gfal import GfalDriver

        drivers = {"root": GfalDriver(session.credentials)}
        return make_world(drivers=drivers, schemes=("root",))


class TestUsual(StorageContract):
    """What is used when nothing is chosen."""

    @pytest.fixture
    def world(self, make_world: MakeWorld) -> ContractWorld:
        return make_world()
