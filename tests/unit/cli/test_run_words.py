"""What a run says: its exit code, its summary, its progress."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rucio_inject.cli.exit_codes import ExitCode, of_error, of_outcome
from rucio_inject.cli.progress import LiveProgress, PlainProgress, Skips, trouble
from rucio_inject.cli.summary import RunReport, as_json, as_text
from rucio_inject.cli.words import duration, plural, size
from rucio_inject.domain import errors as e
from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.injection import Failure, FileRecord, FileState
from rucio_inject.domain.rule import RuleState, RuleView
from rucio_inject.domain.story import advance, begin_file, begin_rule
from rucio_inject.outcome import Outcome, Totals
from rucio_inject.ports import Analysis, Identity
from rucio_inject.steps.prepare import Lake
from rucio_inject.testing.contracts.ledger import FILE, NOON, RUN, begun, found, life, rule_facts
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.testing.memory_ledger import MemoryLedger, Shelf

LAKE = Lake(Identity("magic", {}), "A", {"A": ("A",), "QOS=FAST": ("LAPP-FAST",)})
STUCK = RuleView("r1", RUN, "QOS=FAST", 1, RuleState.STUCK, 1, 0, 1, None, "NO_SOURCES")


def record(state: FileState, did: DID = FILE) -> FileRecord:
    """A file that came to a state."""
    known = begin_file(found(did))
    for fact in life(did):
        if known.state is state:
            break
        assert isinstance(fact, f.FileFact)
        known = advance(known, fact)
    return known


def failed(code: str) -> FileRecord:
    """A file that was set aside."""
    failure = Failure(code, "the reason", "the hint", FileState.REPLICATED, NOON)
    known = record(FileState.REPLICATED)
    return replace(known, state=FileState.QUARANTINED, failure=failure)


def outcome_of(*files: FileRecord, **changes: Any) -> Outcome:
    """What a run leaves that ends with these files."""
    in_state = {s: [r for r in files if r.state is s] for s in FileState}
    return Outcome(
        1,
        Totals.of(files),
        failed=in_state[FileState.QUARANTINED],
        waiting=in_state[FileState.REPLICATING],
        still_there=in_state[FileState.EXPIRING],
        **changes,
    )


GONE = outcome_of(record(FileState.GONE))
MISMATCH = outcome_of(failed("checksum-mismatch"))
MIXED = outcome_of(failed("checksum-mismatch"), record(FileState.EXPIRING))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (e.Interrupted("x"), 130),
        (e.UsageError("x"), 2),
        (e.CampaignInvalid("x"), 2),
        (e.SignInFailed("x"), 6),
        (e.CatalogueUnavailable("x"), 5),
        (e.StorageUnavailable("x"), 5),
        (e.DeadlinePassed("x"), 5),
        (e.ChecksumMismatch("x"), 4),
        (e.NameRefused("x"), 3),
        (e.LedgerError("x"), 1),
        (e.QuotaExceeded("x"), 1),
        (e.InjectError("x"), 1),
    ],
)
def test_the_exit_code_of_an_error(error: e.InjectError, code: int) -> None:
    assert of_error(error) == code


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (GONE, 0),
        (replace(GONE, changed=False), 0),
        (replace(GONE, skipped=1), 3),
        (outcome_of(failed("conflict")), 3),
        (replace(GONE, kept={RUN: "why"}), 3),
        (replace(GONE, analysis_error=e.AnalysisFailed("x")), 3),
        (outcome_of(record(FileState.REPLICATING)), 5),
        (outcome_of(record(FileState.EXPIRING)), 5),
        (outcome_of(record(FileState.REPLICATING), not_ok=[STUCK]), 7),
        (MISMATCH, 4),
        (
            replace(MIXED, not_ok=[STUCK], skipped=1),
            4,
        ),
    ],
)
def test_the_exit_code_of_an_outcome_is_the_worst(outcome: Outcome, code: int) -> None:
    assert of_outcome(outcome) == code


def report(outcome: Outcome, **changes: object) -> RunReport:
    """A report of an outcome."""
    rules = [begin_rule(rule_facts()[1], 1)]  # type: ignore[arg-type]
    whole = RunReport(
        campaign="magic",
        lake=LAKE,
        outcome=outcome,
        rules=rules,
        seconds=12.3456,
        code=of_outcome(outcome),
        paths={"ledger": Path("/out/magic.json")},
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def test_the_summary_of_a_good_run() -> None:
    text = "\n".join(as_text(report(GONE)))
    assert "magic, cycle 1: done in 12.3 s" in text
    assert "injected      1 file, 5 B, in 1 dataset, through A" in text
    assert "QOS=FAST is LAPP-FAST" in text
    assert "proved gone   1 replica of 1 file" in text
    assert "ledger        /out/magic.json" in text


def test_the_summary_of_nothing_to_do() -> None:
    text = list(as_text(report(replace(GONE, changed=False))))
    assert "nothing to do" in text[0]
    assert not any("injected" in line for line in text)


def test_another_cycle_is_offered_only_where_there_can_be_one() -> None:
    done = replace(GONE, changed=False)
    assert "--new-cycle" in next(as_text(report(done)))
    assert "--new-cycle" not in next(as_text(report(done, cycles=False)))


def test_the_landing_rule_is_listed_with_the_others() -> None:
    lake = replace(LAKE, rses={"QOS=FAST": ("LAPP-FAST",)})
    rule = begin_rule(rule_facts()[1], 1)  # type: ignore[arg-type]
    landing = replace(rule, rse_expression="A")
    text = "\n".join(as_text(report(GONE, lake=lake, rules=[rule, landing])))
    assert "of 2 rules OK\n                A keeps what was uploaded" in text
    assert "A keeps" not in "\n".join(as_text(report(GONE, lake=lake, rules=[rule])))
    # LAKE has a rule of the campaign to A itself.
    assert "A keeps" not in "\n".join(as_text(report(GONE, rules=[rule, landing])))


def test_why_names_were_skipped_is_told_once_and_at_the_end() -> None:
    reasons = [f"'{number}.txt' is no name" for number in range(25)]
    text = "\n".join(as_text(report(replace(GONE, skipped=25), skips=reasons)))
    assert text.count("is no name") == 20
    assert "skipped       … and 5 names more" in text
    assert as_json(report(replace(GONE, skipped=25), skips=reasons))["skip_reasons"] == reasons


def test_the_summary_tells_what_is_wrong() -> None:
    outcome = replace(
        MIXED,
        not_ok=[STUCK],
        kept={RUN: "1 of its 2 files are not verified"},
        skipped=1,
        analysis=Analysis("h", 1, 2, (), ((Path("x.root"), e.AnalysisFailed("no tree")),)),
    )
    text = "\n".join(as_text(report(outcome, skips=["'x.txt' is no name"])))
    for piece in (
        "exit code 4",
        "set aside     magic:a.root: the reason",
        "→ the hint",
        "rule r1 to QOS=FAST is STUCK, 1 of 2 locks OK: NO_SOURCES",
        "the rules of magic:05089063: 1 of its 2 files",
        "still there   magic:a.root",
        "skipped       'x.txt' is no name",
        "x.root: no tree",
    ):
        assert piece in text


def test_many_failures_are_summed_up() -> None:
    text = "\n".join(as_text(report(outcome_of(*[failed("conflict")] * 30))))
    assert text.count("the reason") == 20
    assert "and 10 more" in text


def test_the_json_summary_is_json() -> None:
    outcome = replace(MIXED, not_ok=[STUCK], kept={RUN: "why"})
    told = json.loads(json.dumps(as_json(report(outcome))))
    assert (told["schema"], told["exit_code"], told["files"]) == (
        1,
        4,
        {"EXPIRING": 1, "QUARANTINED": 1},
    )
    assert told["failures"][0]["came_from"] == "REPLICATED"
    assert told["rules_not_ok"][0]["id"] == "r1"
    assert told["kept"] == {str(RUN): "why"}
    assert told["seconds"] == 12.346


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger(Shelf())


def long_names(count: int) -> list[DID]:
    """DIDs with names as long as telescopes make them."""
    name = "20200203_M1_{:08d}.001_Y_Boomerang-W3-W0.40_035.root"
    return [DID("MAGIC_PIC_BRUZZESE", name.format(number)) for number in range(count)]


def test_the_live_table_fits_100_columns(ledger: MemoryLedger) -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True, color_system=None)
    dids = long_names(1200)
    ledger.record([begun(), *(found(did) for did in dids), *rule_facts()[:3]])
    ledger.record([fact for did in dids[:700] for fact in life(did)[:10]])
    clock = FakeClock()
    with LiveProgress(console, ledger, clock, title="magic", goal=FileState.GONE) as progress:
        clock.advance(4000)
        console.print(progress._draw())
    lines = out.getvalue().splitlines()
    assert any("700/1200" in line for line in lines)
    assert any("STUCK 1" in line for line in lines)
    assert max(len(line.rstrip()) for line in lines) <= 100


def test_plain_progress_has_a_line_a_milestone(ledger: MemoryLedger) -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=False)
    ledger.record([begun(), found(FILE)])
    with PlainProgress(console, ledger, FakeClock()) as progress:
        for fact in life(FILE):
            ledger.record([fact])
            progress.record([fact])
        waits = f.FileWaits(at=NOON, did=FILE, rse="A", reason="a [bold]reason[/bold]")
        progress.record([waits])
    lines = out.getvalue().splitlines()
    assert [line.split(" ", 1)[1] for line in lines[:2]] == [
        "measured: 1 of 1 file",
        "uploaded: 1 of 1 file",
    ]
    assert sum("read back" in line for line in lines) == 1
    assert lines[-1].endswith("magic:a.root is not at A: a [bold]reason[/bold]")
    assert lines[0].startswith("2026-03-01T12:00:00Z ")


def test_plain_progress_leaves_reasons_to_the_summary(ledger: MemoryLedger) -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=False)
    failed = [
        f.FileFailed(at=NOON, did=did, code="conflict", reason="a reason", hint=None)
        for did in long_names(3)
    ]
    skipped = f.NameSkipped(at=NOON, path="x", code="name", reason="a reason", hint=None)
    skips = Skips()
    with PlainProgress(console, ledger, FakeClock()) as progress:
        for facts in ([failed[0]], [*failed, skipped, skipped]):
            progress.record(facts)
            skips.record(facts)
    lines = [line.split(" ", 1)[1] for line in out.getvalue().splitlines()]
    assert lines == [
        f"set aside: {failed[0].did} (conflict)",
        f"set aside: {failed[0].did} (conflict) and 2 more",
        "skipped: 2 names",
    ]
    assert skips.reasons == ["a reason"] * 2


def test_good_news_is_no_trouble() -> None:
    assert [trouble(fact) for fact in life(FILE) if not isinstance(fact, f.FileWaits)] == [
        None
    ] * 13
    assert "NO_SOURCES" in str(trouble(f.RuleChanged(at=NOON, view=STUCK)))


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (4_600_000, "4.6 MB"), (10**18, "1000.0 PB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (4.24, "4.2 s"),
        (59.99, "1 min 00 s"),
        (60, "1 min 00 s"),
        (119.9, "2 min 00 s"),
        (185, "3 min 05 s"),
        (7800, "2 h 10 min"),
        (172_740, "47 h 59 min"),
        (172_800, "2 days"),
        (1_000_000, "12 days"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_plurals() -> None:
    assert [plural(n, "file") for n in (0, 1, 2)] == ["0 files", "1 file", "2 files"]


def test_every_code_has_its_meaning() -> None:
    assert len({int(code) for code in ExitCode}) == len(ExitCode) == 9
