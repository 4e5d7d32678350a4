"""Properties of the whole life of a campaign, whatever happens on the way."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.in_memory import quick_folder
from tests.injection_world import MOCK, World

from rucio_inject.campaign.units import parse_duration, parse_size
from rucio_inject.domain import facts as f
from rucio_inject.domain.checksum import normalise_adler32
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import Interrupted, LedgerError
from rucio_inject.domain.injection import FileState
from rucio_inject.domain.rule import RuleRequest, RuleState, RuleView
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.ports import Ledger
from rucio_inject.testing.contracts.ledger import MEASURE, NOON, RUN, begun, found, life, rule_facts
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.testing.memory_lake import Crash
from rucio_inject.testing.memory_ledger import MemoryLedger, Shelf

DURATIONS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}
SIZES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "TiB": 2**40}
FILES = [DID("magic", name) for name in ("a.root", "b.root", "ü.root")]
TEXTS = st.text(max_size=20)
MOMENTS = st.timedeltas(timedelta(0), timedelta(days=36_500)).map(lambda since: NOON + since)


@given(st.integers(0, 10**9), st.sampled_from(sorted(DURATIONS)), st.sampled_from(["", " ", "  "]))
def test_durations_are_what_they_say(number: int, unit: str, space: str) -> None:
    assert parse_duration(f"{space}{number}{space}{unit}{space}") == number * DURATIONS[unit]


@given(st.integers(0, 10**6), st.sampled_from(sorted(SIZES)))
def test_sizes_are_what_they_say(number: int, unit: str) -> None:
    assert parse_size(f"{number}{unit}") == number * SIZES[unit]


@given(st.integers(0, 2**32 - 1), st.integers(0, 4), st.booleans(), st.booleans())
def test_an_adler32_has_one_form(value: int, zeros: int, upper: bool, prefix: bool) -> None:
    normal = f"{value:08x}"
    text = "0" * zeros + f"{value:x}"
    text = text.upper() if upper else text
    assert normalise_adler32(f"0x{text}" if prefix else text) == normal
    assert normalise_adler32(normal) == normal


@st.composite
def facts(draw: st.DrawFn) -> list[f.Fact]:
    """Facts in any order: some are refused, and those that are taken must survive."""
    at, did = draw(MOMENTS), draw(st.sampled_from(FILES))
    rse, reason = draw(st.sampled_from("AB")), draw(TEXTS)
    rule = rule_facts(draw(st.sampled_from(["r1", "r2"])))
    request = RuleRequest(rse, draw(st.integers(1, 3)), draw(st.integers(0, 10**9)), reason)
    view = RuleView("r1", RUN, rse, 1, draw(st.sampled_from(RuleState)), 1, 2, 3, at, reason)
    whole = life(did, rse)
    one: f.Fact = draw(
        st.sampled_from(
            [
                *whole,
                *rule,
                f.FileFailed(at=at, did=did, code="x", reason=reason, hint=None),
                f.FileRetried(at=at, did=did),
                f.ReplicaRead(at=at, did=did, rse=rse, pfn=reason, measure=MEASURE),
                f.RuleMade(at=at, dataset=RUN, rule_id="r1", request=request, adopted=True),
                f.RuleChanged(at=at, view=view),
                f.CollectionAsked(at=at, did=RUN),
                f.NameSkipped(at=at, path=reason, code="name", reason=reason, hint=reason),
                begun(draw(st.integers(1, 3))),
            ]
        )
    )
    return draw(st.sampled_from([[one], whole[: draw(st.integers(0, len(whole)))]]))


@settings(max_examples=25, deadline=None)
@given(st.lists(facts(), max_size=12))
def test_what_is_on_record_survives(batches: list[list[f.Fact]]) -> None:
    """The ledger in a database and the one in memory say the same, now and when opened again."""
    with quick_folder() as folder:
        shelf, path = Shelf(), folder / "magic.db"
        start = [begun(), *(found(did) for did in FILES), *rule_facts("r1")[:2]]
        with sqlite(path) as ledger, MemoryLedger(shelf) as model:
            for batch in (start, rule_facts("r2")[:2], *batches):
                assert taken(ledger, batch) == taken(model, batch)
                assert everything(ledger) == everything(model)
        with sqlite(path) as ledger, MemoryLedger(shelf) as model:
            assert everything(ledger) == everything(model)


def sqlite(path: Path) -> SqlLedger:
    """The ledger in a file."""
    return SqlLedger(path, "magic", clock=FakeClock())


def taken(ledger: Ledger, facts: list[f.Fact]) -> bool:
    """Whether a ledger takes some facts."""
    try:
        ledger.record(facts)
    except LedgerError:
        return False
    return True


def everything(ledger: Ledger) -> tuple[object, ...]:
    """All that a ledger tells."""
    return (
        (ledger.cycle, ledger.cycle_ended, ledger.analysed),
        list(ledger.files()),
        [ledger.file(did) for did in FILES],
        dict(ledger.counts()),
        dict(ledger.usage()),
        list(ledger.datasets(list(FileState))),
        list(ledger.rules()),
        [ledger.asked_for(RUN, expression) for expression in "AB"],
        ledger.collections(),
    )


@settings(max_examples=25, deadline=None)
@given(
    crashes=st.lists(st.integers(1, 110), max_size=3),
    stops=st.lists(st.integers(0, 35), max_size=2),
    pauses=st.lists(st.integers(0, 20), min_size=5, max_size=5),
    subruns=st.integers(1, 2),
)
@example(crashes=[88, 16], stops=[], pauses=[5, 0, 0, 0, 0], subruns=2)
def test_nothing_is_lost_wherever_it_ends(
    crashes: list[int], stops: list[int], pauses: list[int], subruns: int
) -> None:
    with quick_folder() as folder:
        world = World(folder, {"source": {**MOCK, "subruns": subruns}})
        for number, crash in enumerate([*crashes, *([0] * len(stops))]):
            if crash:
                world.lake.crash_after(crash)
            else:
                world.clock.stop_after_checks(stops[number - len(crashes)])
            try:
                world.run()
            except (Crash, Interrupted):
                assert world.broken() == []
            world.lake.no_crash()
            world.clock.go_on()
            for _ in range(pauses[number]):
                world.clock.advance(1)
        world.run_to_the_end()
        world.assert_all_is_gone()
