"""RSEs whose settings change while a process goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.unit.rucio.test_storage import FILE, files, settings_of

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import CatalogueUnavailable, StorageUnavailable
from rucio_inject.rucio.credentials import Credentials
from rucio_inject.rucio.session import Session
from rucio_inject.testing.fake_clock import FakeClock

if TYPE_CHECKING:
    from rucio_inject.rucio.storage import RucioStorage


@dataclass
class Rucio:
    """Tells an RSE's settings, as they are, to whichever thread; `away`: with an error."""

    settings: Callable[[], dict[str, Any]]
    away: bool = False
    asked: int = 0
    credentials: Credentials = field(default_factory=lambda: Credentials(FakeClock(), {}))

    def client(self) -> Rucio:
        return self

    def get_rse(self, rse: str) -> dict[str, Any]:
        self.asked += 1
        if self.away:
            raise CatalogueUnavailable("Rucio is away")
        return self.settings()


@dataclass
class Site:
    """An RSE in a folder, its storage, and the clock that this goes by."""

    folder: Path
    writable: bool = True
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        from rucio_inject.rucio.storage import RucioStorage

        self.pool = self.folder / "pool"
        self.pool.mkdir()
        self.source = self.folder / "source"
        self.source.write_bytes(b"ours")
        self.rucio = Rucio(lambda: settings_of(self.pool, availability_write=self.writable))
        self.storage: RucioStorage = RucioStorage(cast("Session", self.rucio), clock=self.clock)

    def put(self, name: str) -> None:
        self.storage.put("RSE", self.source, DID("scope", name))


@pytest.fixture
def site(tmp_path: Path, rucio_cfg: Path) -> Site:
    return Site(tmp_path)


def test_an_rse_that_was_blocked_is_written_to_as_soon_as_it_may_be(site: Site) -> None:
    site.writable = False
    with pytest.raises(StorageUnavailable, match="blocked for writing"):
        site.put("one")
    site.writable = True
    site.put("one")
    assert files(site.pool) == {"one": b"ours"}


def test_an_rse_that_gets_blocked_is_left_alone_a_minute_later(site: Site) -> None:
    site.put("one")
    site.writable = False
    asked = site.rucio.asked
    site.put("two")
    assert site.rucio.asked == asked
    site.clock.wait(60)
    with pytest.raises(StorageUnavailable, match="blocked for writing"):
        site.put("three")
    assert files(site.pool) == {"one": b"ours", "two": b"ours"}


def test_a_storage_is_used_as_it_was_while_rucio_is_away(site: Site) -> None:
    site.put("one")
    site.clock.wait(60)
    site.rucio.away, asked = True, site.rucio.asked
    site.put("two")
    # Nor is it asked at each call.
    assert site.rucio.asked == asked + 1
    site.clock.wait(60)
    site.rucio.away, site.writable = False, False
    with pytest.raises(StorageUnavailable, match="blocked for writing"):
        site.put("three")


def test_what_follows_from_settings_is_kept_while_they_are_the_same(site: Site) -> None:
    site.put("one")
    known = site.storage._rses
    (way,) = known.ways("x", "RSE", "write")
    site.clock.wait(60)
    assert known.ways("x", "RSE", "write")[0] is way
    moved = site.folder / "moved"
    site.pool.rename(moved)
    site.pool = moved
    with pytest.raises(StorageUnavailable, match="is not there"):
        site.storage.taken("RSE", FILE)
    site.clock.wait(60)
    assert site.storage.taken("RSE", FILE) is None
