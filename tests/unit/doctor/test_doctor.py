"""The examination, on the in-memory lake: what is bad is told, and nothing is left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from rucio_inject.doctor import here
from rucio_inject.doctor.doctor import Doctor, Local, Needs, looked
from rucio_inject.doctor.findings import Finding, Verdict
from rucio_inject.doctor.probe import OLD, PREFIX, Probe, Route
from rucio_inject.domain.errors import (
    CatalogueUnavailable,
    DiskFull,
    InjectError,
    StorageRefused,
    StorageUnavailable,
)
from rucio_inject.ports import ServerHealth, SessionLife
from rucio_inject.sources.directory import DirectorySource
from rucio_inject.sources.inbox import Completeness, InboxSource
from rucio_inject.testing.fake_clock import START, FakeClock
from rucio_inject.testing.memory_catalogue import MemoryCatalogue
from rucio_inject.testing.memory_lake import Crash, MemoryLake
from rucio_inject.testing.memory_storage import MemoryStorage

SCOPE = "MAGIC"
NEEDS = Needs(SCOPE, "PIC-INJECT", {"PIC-DCACHE": 1, "QOS=FAST": 1})
RSES = ["PIC-INJECT", "PIC-DCACHE", "LAPP-FAST"]


class Ways:
    """Implements `ports.Health` as a test says."""

    def __init__(self) -> None:
        self.told = ServerHealth("41.5.1", "41.5.1", START, START)
        self.ends: datetime | None = None
        self.life = SessionLife(START + timedelta(hours=1), "userpass", renewed=True)
        self.error: InjectError | None = None

    def server(self) -> ServerHealth:
        """See the port."""
        if self.error:
            raise self.error
        return self.told

    def credentials_end(self) -> datetime | None:
        """See the port."""
        return self.ends

    def session_life(self) -> SessionLife:
        """See the port."""
        return self.life

    def reach(self, url: str) -> None:
        """See the port."""
        if "away" in url:
            raise StorageUnavailable(f"{url} does not answer")


class Practice:
    """A doctor and whom it examines."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.lake = MemoryLake(self.clock)
        self.lake.scopes[SCOPE] = self.lake.account
        self.ways = Ways()
        self.folder = folder
        self.storage = MemoryStorage(self.lake)
        self.more: list[Route] = []
        self.needs: Needs | None = NEEDS
        self.account: str | None = "magic"

    def probe(self, account: str) -> Probe:
        """What tries a storage out."""
        return Probe(self.routes, self.clock, SCOPE, f"{account}@here", self.folder)

    def routes(self, _rse: str) -> list[Route]:
        """The ways to an RSE: one, if a test does not say otherwise."""
        return self.more or [Route("memory://", self.storage)]

    def findings(self) -> list[Finding]:
        """All of them."""
        return list(self.run())

    def run(self) -> Iterator[Finding]:
        """One after the other."""
        catalogue = MemoryCatalogue(self.lake)
        return Doctor(self.ways, catalogue, self.clock, self.account, self.needs, self.probe).run()

    def not_good(self) -> list[tuple[str, str, Verdict]]:
        """What is not good."""
        return [
            (finding.check, finding.subject, finding.verdict)
            for finding in self.findings()
            if finding.verdict is not Verdict.GOOD
        ]

    def held(self) -> list[str]:
        """Everything that lies on the storages."""
        return [pfn for rse in self.lake.rses.values() for pfn in rse.bytes]


@pytest.fixture
def practice(tmp_path: Path) -> Practice:
    return Practice(tmp_path)


def test_a_lake_that_is_well(practice: Practice) -> None:
    findings = practice.findings()
    assert [f for f in findings if f.verdict is not Verdict.GOOD] == []
    tried = [f.subject for f in findings if f.check == "storage"]
    assert tried == RSES
    assert practice.held() == []
    assert practice.lake.files == {}
    assert practice.lake.rules == {}


def test_without_a_campaign_only_the_way_is_looked_at(practice: Practice) -> None:
    practice.needs = None
    assert {f.check for f in practice.findings()} == {
        "server",
        "clock",
        "credentials",
        "sign-in",
        "session",
    }
    assert practice.lake.calls == 1


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(0, Verdict.GOOD), (60, Verdict.WARNING), (-300, Verdict.BAD)]
)
def test_clocks_that_differ(practice: Practice, seconds: int, verdict: Verdict) -> None:
    practice.ways.told = replace(practice.ways.told, clock=START + timedelta(seconds=seconds))
    (found,) = [f for f in practice.findings() if f.check == "clock"]
    assert found.verdict is verdict
    assert str(abs(seconds)) in found.told


def test_a_server_that_tells_no_time(practice: Practice) -> None:
    practice.ways.told = replace(practice.ways.told, clock=None, version="38.1.0")
    assert practice.not_good() == [
        ("server", "", Verdict.WARNING),
        ("clock", "", Verdict.SKIPPED),
    ]


@pytest.mark.parametrize(
    ("hours", "verdict"), [(-1, Verdict.BAD), (1, Verdict.WARNING), (12, Verdict.GOOD)]
)
def test_how_long_a_proxy_lives(practice: Practice, hours: int, verdict: Verdict) -> None:
    practice.ways.ends = START + timedelta(hours=hours)
    (found,) = [f for f in practice.findings() if f.check == "credentials"]
    assert found.verdict is verdict
    assert (found.error is not None) is (verdict is Verdict.BAD)


def test_who_is_not_known_is_asked_nothing_more(practice: Practice) -> None:
    practice.lake.signed_in = False
    findings = practice.findings()
    (sign_in,) = [f for f in findings if f.check == "sign-in"]
    assert sign_in.verdict is Verdict.BAD
    assert sign_in.error is not None
    assert sign_in.error.code == "sign-in"
    assert {f.check for f in findings if f.verdict is Verdict.SKIPPED} >= {"scope", "storage"}


def test_a_server_that_is_away(practice: Practice) -> None:
    practice.ways.error = CatalogueUnavailable("connection refused")
    practice.lake.down = "connection refused"
    assert {check for check, _, verdict in practice.not_good() if verdict is Verdict.BAD} == {
        "server",
        "sign-in",
    }


def test_another_account(practice: Practice) -> None:
    practice.account = "cta"
    assert ("sign-in", "cta", Verdict.BAD) in practice.not_good()


def test_a_scope_of_somebody_else(practice: Practice) -> None:
    practice.lake.scopes[SCOPE] = "cta"
    assert practice.not_good() == [("scope", SCOPE, Verdict.BAD)]
    del practice.lake.scopes[SCOPE]
    assert practice.not_good() == [("scope", SCOPE, Verdict.WARNING)]


def test_expressions_that_mean_nothing(practice: Practice) -> None:
    practice.needs = Needs(SCOPE, "PIC-INJECT", {"QOS=GOLD": 1, "QOS=FAST": 2})
    assert practice.not_good() == [
        ("rses", "QOS=GOLD", Verdict.BAD),
        ("rses", "QOS=FAST", Verdict.BAD),
    ]


def test_no_quota(practice: Practice) -> None:
    practice.lake.rses["PIC-DCACHE"].limits["magic"] = 0
    assert practice.not_good() == [("quota", "PIC-DCACHE", Verdict.BAD)]


def test_a_transfer_service_that_is_away(practice: Practice) -> None:
    practice.lake.rses["LAPP-FAST"].attributes["fts"] = "https://fts.good:8446, https://fts.away"
    findings = [f for f in practice.findings() if f.check == "transfers"]
    assert [f.verdict for f in findings] == [Verdict.GOOD, Verdict.BAD]


@pytest.mark.parametrize("trouble", ["offline", "refuses_writes", "refuses_deletion"])
def test_one_bad_storage_stops_no_other(practice: Practice, trouble: str) -> None:
    setattr(practice.lake.rses["PIC-DCACHE"], trouble, True)
    assert practice.not_good() == [("storage", "PIC-DCACHE", Verdict.BAD)]


def test_a_storage_that_returns_other_bytes(
    practice: Practice, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = practice.storage.put

    def spoiling(rse: str, path: Path, did: object) -> object:
        stored = put(rse, path, did)  # type: ignore[arg-type]
        practice.lake.rses[rse].bytes[stored.pfn] = b"other bytes"
        return stored

    monkeypatch.setattr(practice.storage, "put", spoiling)
    findings = [f for f in practice.findings() if f.check == "storage"]
    assert {f.error.code for f in findings if f.error} == {"checksum-mismatch"}
    assert practice.held() == []


@pytest.mark.parametrize(
    ("hours", "renewed", "verdict"),
    [
        (1, True, Verdict.GOOD),
        (1, False, Verdict.WARNING),
        (12, False, Verdict.GOOD),
        (None, False, Verdict.SKIPPED),
    ],
)
def test_how_long_rucio_takes_our_token(
    practice: Practice, hours: int | None, verdict: Verdict, *, renewed: bool
) -> None:
    ends = None if hours is None else START + timedelta(hours=hours)
    practice.ways.life = SessionLife(ends, "oidc", renewed)
    (found,) = [f for f in practice.findings() if f.check == "session"]
    assert (found.subject, found.verdict) == ("oidc", verdict)
    assert hours is None or f"{60 * hours} minutes" in found.told


class OneWay:
    """A protocol that fails at each of its calls of a kind."""

    def __init__(self, storage: MemoryStorage, name: str, error: InjectError) -> None:
        self._storage, self._name, self._error = storage, name, error

    def __getattr__(self, name: str) -> object:
        if name == self._name:
            return self._fail
        return getattr(self._storage, name)

    def _fail(self, *_: object) -> None:
        raise self._error


@pytest.mark.parametrize("doing", ["taken", "put", "measure", "checksum", "remove"])
@pytest.mark.parametrize("bad_first", [True, False])
def test_each_protocol_is_tried(practice: Practice, doing: str, *, bad_first: bool) -> None:
    error = StorageRefused("no permission")
    bad = Route("davs://pic", OneWay(practice.storage, doing, error))  # type: ignore[arg-type]
    good = Route("root://pic", practice.storage)
    practice.more = [bad, good] if bad_first else [good, bad]
    practice.needs = Needs(SCOPE, "PIC-INJECT", {})
    found = [f for f in practice.findings() if f.check == "storage" and "earlier" not in f.told]
    told = {f.told.split(": ")[0]: f.verdict for f in found}
    assert told == {"over davs://pic": Verdict.BAD, "over root://pic": Verdict.GOOD}
    # One that cannot remove leaves its file to the next doctor, if there is no other way.
    assert practice.held() == [] or (doing == "remove" and not bad_first)


def test_a_protocol_that_is_not_reached_where_another_is(practice: Practice) -> None:
    away = OneWay(practice.storage, "taken", StorageUnavailable("connection refused"))
    practice.more = [Route("davs://pic", away), Route("root://pic", practice.storage)]  # type: ignore[arg-type]
    practice.needs = Needs(SCOPE, "PIC-INJECT", {})
    found = [f for f in practice.findings() if f.check == "storage"]
    assert [f.verdict for f in found] == [Verdict.WARNING, Verdict.GOOD]
    practice.more.pop()
    (found_bad,) = [f for f in practice.findings() if f.check == "storage"]
    assert found_bad.verdict is Verdict.BAD
    assert found_bad.error is not None


def test_an_origin_is_not_written_to(practice: Practice) -> None:
    practice.needs = replace(NEEDS, in_place=True)
    assert practice.not_good() == [("storage", "PIC-INJECT", Verdict.SKIPPED)]


@pytest.mark.parametrize("doing", ["put", "measure", "checksum"])
def test_what_a_killed_doctor_left_is_removed_by_the_next(practice: Practice, doing: str) -> None:
    practice.lake.crash_after(2, doing)
    with pytest.raises(Crash):
        practice.findings()
    practice.lake.no_crash()
    practice.storage.remove = MemoryStorage(practice.lake).remove  # type: ignore[method-assign]
    findings = practice.findings()
    assert [f for f in findings if f.verdict is Verdict.BAD] == []
    assert practice.held() == []


def test_a_killed_process_cannot_even_remove(
    practice: Practice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(rse: str, pfn: str) -> None:
        raise Crash

    monkeypatch.setattr(practice.storage, "remove", killed)
    with pytest.raises(Crash):
        practice.findings()
    assert len(practice.held()) == 1
    assert PREFIX in practice.held()[0]
    monkeypatch.undo()
    findings = practice.findings()
    assert any("of an earlier doctor were removed" in f.told for f in findings)
    assert practice.held() == []


def test_old_halves_go_and_young_ones_stay(practice: Practice) -> None:
    place = f"memory://PIC-INJECT/{SCOPE}/{PREFIX}.0123456789ab.0123456789ab.rucio.upload"
    data = f"memory://PIC-INJECT/{SCOPE}/data.root"
    practice.lake.rses["PIC-INJECT"].bytes |= {place: b"half", data: b"events"}
    practice.storage.modified[place] = START
    practice.storage.modified[data] = START - timedelta(days=9)
    practice.findings()
    assert practice.held() == [place, data]
    practice.clock.advance(OLD.total_seconds() + 1)
    practice.findings()
    assert practice.held() == [data]


class TestHere:
    """This machine."""

    def test_a_folder_that_is_to_be_made(self, tmp_path: Path) -> None:
        assert "is to be made" in here.writable(tmp_path / "a" / "b")
        assert list(tmp_path.iterdir()) == []

    def test_one_that_cannot_be_written_to(self) -> None:
        with pytest.raises(StorageRefused, match="cannot write to /proc"):
            here.writable(Path("/proc/nothing"))

    def test_a_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert "B is free on the disk" in here.room(tmp_path)
        monkeypatch.setattr(here, "ENOUGH", 10**30)
        with pytest.raises(DiskFull):
            here.room(tmp_path)

    def test_what_a_source_offers_first(self, tmp_path: Path) -> None:
        folder = tmp_path / "origin"
        assert here.look_into(DirectorySource(folder), "directory").verdict is Verdict.BAD
        folder.mkdir()
        assert here.look_into(DirectorySource(folder), "directory").verdict is Verdict.WARNING
        inbox = InboxSource(folder, FakeClock(), Completeness())
        assert "nothing yet" in here.look_into(inbox, "inbox").told
        (folder / "a.root").symlink_to("/etc/hostname")
        odd = here.look_into(inbox, "inbox")
        assert (odd.verdict, "link" in odd.told) == (Verdict.WARNING, True)
        (folder / "b.root").write_text("b")
        told = here.look_into(DirectorySource(folder, pattern="b*"), "directory")
        assert (told.verdict, "b.root" in told.told) == (Verdict.GOOD, True)

    def test_what_is_bad_is_a_finding(self) -> None:
        def look() -> str:
            raise DiskFull("full", hint="make room")

        found = looked(Local("disk", "/x", look))
        assert (found.verdict, found.hint) == (Verdict.BAD, "make room")
