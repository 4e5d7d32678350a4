"""Old evidence goes when nothing that it tells of is anywhere, and not before."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select
from tests.ledger_databases import Location, clock, location

from rucio_inject.campaign.schema import Campaign
from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError, LedgerUnavailable
from rucio_inject.domain.rule import RuleRequest
from rucio_inject.domain.usage import Usage
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.ledger.tables import events
from rucio_inject.monitor.series import Series
from rucio_inject.service.retention import keep_to_retention
from rucio_inject.testing.contracts.ledger import NIGHT, life
from rucio_inject.testing.fake_clock import FakeClock

__all__ = ["clock", "location"]

Open = Callable[[], SqlLedger]


def cycle_facts(number: int, at: datetime, *, files: int = 3, gone: bool = True) -> list[f.Fact]:
    """All that happens in a cycle."""
    dataset, rule = DID("magic", f"run{number}"), f"rule{number}"
    dids = [DID("magic", f"{number}.{n}.root") for n in range(files)]
    told: list[f.Fact] = [f.CycleBegun(at=at, cycle=number)]
    told += [
        f.FileFound(
            at=at,
            did=did,
            path=f"/data/{did.name}",
            dataset=dataset,
            containers=(NIGHT,),
            cycle=number,
            generated=True,
        )
        for did in dids
    ]
    told += [f.CollectionAsked(at=at, did=NIGHT), f.CollectionAsked(at=at, did=dataset)]
    request = RuleRequest("A")
    told.append(f.RuleAsked(at=at, dataset=dataset, request=request))
    told.append(f.RuleMade(at=at, dataset=dataset, rule_id=rule, request=request, adopted=False))
    for did in dids:
        told += life(did) if gone else life(did)[:10]
    if gone:
        told += [
            f.RuleEnding(at=at, rule_id=rule, lifetime=1),
            f.RuleGone(at=at, rule_id=rule),
            f.CollectionGone(at=at, did=dataset),
            f.CollectionGone(at=at, did=NIGHT),
            f.CycleEnded(at=at, cycle=number),
        ]
    return told


@pytest.fixture
def open_ledger(location: Location, clock: FakeClock) -> Open:
    """Opens the ledger."""
    return lambda: SqlLedger(location, "magic", clock=clock)


def campaign(folder: Path, **retention: int) -> Campaign:
    """A campaign that keeps its evidence so long."""
    return Campaign.model_validate(
        {
            "campaign": "magic",
            "scope": "magic",
            "source": {"kind": "mock"},
            "upload": {"rse": "A"},
            "rules": [{"rse_expression": "B"}],
            "output": str(folder),
            "retention": retention,
        }
    )


def on_record(ledger: SqlLedger) -> list[int]:
    """Cycles with files."""
    return sorted({record.cycle for record in ledger.all_files()})


def number_of_facts(ledger: SqlLedger) -> int:
    """How many rows tell what happened."""
    with ledger._database.reading() as connection:
        return connection.execute(select(func.count()).select_from(events)).scalar_one()


def test_the_last_cycles_are_kept(open_ledger: Open, clock: FakeClock, tmp_path: Path) -> None:
    with open_ledger() as ledger:
        for number in range(1, 7):
            ledger.record(cycle_facts(number, clock.now()))
            clock.advance(3600)
        one = len(cycle_facts(1, clock.now()))
        assert keep_to_retention(campaign(tmp_path, cycles=2), ledger, clock) == [1, 2, 3, 4]
        assert on_record(ledger) == [5, 6]
        # Of containers only what is made again is told again.
        assert number_of_facts(ledger) <= 2 * one
        assert ledger.cycle == 6
        assert ledger.cycle_ended
        assert keep_to_retention(campaign(tmp_path, cycles=2), ledger, clock) == []
        ledger.record([*cycle_facts(7, clock.now(), gone=False)])
        assert keep_to_retention(campaign(tmp_path, cycles=2), ledger, clock) == []
        assert on_record(ledger) == [5, 6, 7], "one that goes on is none that has ended"
    lines = (tmp_path / "cycles.jsonl").read_text().splitlines()
    summaries = [json.loads(line) for line in lines]
    assert [summary["cycle"] for summary in summaries] == [1, 2, 3, 4]
    assert {
        key: summaries[0][key]
        for key in ("files", "datasets", "rules", "replicas_read_back", "replicas_gone")
    } == {"files": 3, "datasets": 1, "rules": 1, "replicas_read_back": 3, "replicas_gone": 3}


def test_by_age(open_ledger: Open, clock: FakeClock, tmp_path: Path) -> None:
    with open_ledger() as ledger:
        for number in range(1, 5):
            ledger.record(cycle_facts(number, clock.now()))
        assert keep_to_retention(campaign(tmp_path, age=86_400), ledger, clock) == []
        clock.advance(2 * 86_400)
        assert keep_to_retention(campaign(tmp_path, age=86_400), ledger, clock) == [1, 2, 3]
        assert keep_to_retention(campaign(tmp_path), ledger, clock) == []


def test_what_is_somewhere_is_kept(open_ledger: Open, clock: FakeClock, tmp_path: Path) -> None:
    at = clock.now()
    left = DID("magic", "1.0.root")
    still = [
        fact
        for fact in cycle_facts(1, at)
        if not (isinstance(fact, f.FileGone) and fact.did == left)
    ]
    rule = [fact for fact in cycle_facts(2, at) if not isinstance(fact, f.RuleGone)]
    dataset = [
        fact
        for fact in cycle_facts(3, at)
        if not (isinstance(fact, f.CollectionGone) and fact.did.name == "run3")
    ]
    aside = cycle_facts(4, at, gone=False)
    did = DID("magic", "4.1.root")
    aside.append(f.FileFailed(at=at, did=did, code="x", reason="y", hint=None))
    with open_ledger() as ledger:
        for told in (still, rule, dataset, aside, cycle_facts(5, at), cycle_facts(6, at)):
            ledger.record(told)
        assert keep_to_retention(campaign(tmp_path, cycles=1), ledger, clock) == [5]
        assert on_record(ledger) == [1, 2, 3, 4, 6]
        for cycle in (1, 2, 3, 4, 6, 99):
            with pytest.raises(LedgerError, match="cannot be forgotten"):
                ledger.remove_cycle(cycle)
        assert len(list(ledger.story(left))) > 5


def test_nothing_goes_without_its_summary(
    open_ledger: Open, clock: FakeClock, tmp_path: Path
) -> None:
    (tmp_path / "cycles.jsonl").mkdir()
    with open_ledger() as ledger:
        for number in (1, 2):
            ledger.record(cycle_facts(number, clock.now()))
        with pytest.raises(LedgerUnavailable, match="no cycle was forgotten"):
            keep_to_retention(campaign(tmp_path, cycles=1), ledger, clock)
        assert on_record(ledger) == [1, 2]


def test_a_ledger_does_not_grow_without_end(clock: FakeClock, tmp_path: Path) -> None:
    place = tmp_path / "magic.db"
    sizes = []
    with SqlLedger(place, "magic", clock=clock) as ledger:
        for number in range(1, 61):
            begun = f.RunBegun(at=clock.now(), process="p")
            ended = f.RunEnded(at=clock.now(), code=0, words="done", seconds=1)
            ledger.record([begun, *cycle_facts(number, clock.now(), files=40), ended])
            clock.advance(3600)
            keep_to_retention(campaign(tmp_path, cycles=3), ledger, clock)
            sizes.append(place.stat().st_size)
    assert max(sizes[10:]) <= 1.2 * max(sizes[:10])


def test_an_older_file_is_made_smaller_once(clock: FakeClock, tmp_path: Path) -> None:
    place = tmp_path / "magic.db"
    with SqlLedger(place, "magic", clock=clock) as ledger:
        for number in range(1, 21):
            ledger.record(cycle_facts(number, clock.now(), files=50))
    with sqlite3.connect(place, isolation_level=None) as connection:
        connection.execute("PRAGMA auto_vacuum = NONE")
        connection.execute("VACUUM")
    connection.close()
    before = place.stat().st_size
    with SqlLedger(place, "magic", clock=clock) as ledger:
        keep_to_retention(campaign(tmp_path, cycles=1), ledger, clock)
        assert on_record(ledger) == [20]
    assert place.stat().st_size < before / 4


def test_counts_are_thinned(clock: FakeClock, tmp_path: Path) -> None:
    series = Series(tmp_path / "counts.jsonl")
    start = clock.now()
    for second in range(0, 600, 5):
        at = start + timedelta(seconds=second)
        series.append(
            [
                f.RSECounted(at=at, rse=rse, catalogue=Usage(1, 1), storage=None)
                for rse in ("A", "B")
            ]
        )
    series.thin(whole_since=start, since=start)
    assert len(series.read()) == 240
    series.thin(whole_since=start + timedelta(seconds=300), since=start + timedelta(seconds=60))
    counts = series.read()
    assert [count.rse for count in counts[:8]] == ["A", "B"] * 4
    assert len([c for c in counts if c.at < start + timedelta(seconds=300)]) == 8
    assert len([c for c in counts if c.at >= start + timedelta(seconds=300)]) == 120
    before = (tmp_path / "counts.jsonl").stat().st_ino
    series.thin(whole_since=start, since=start)
    assert (tmp_path / "counts.jsonl").stat().st_ino == before, "nothing to do: not written anew"
