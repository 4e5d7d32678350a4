"""What a run says: its exit code, its summary, its progress."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from rich.console import Console

from rucio_inject.cli.exit_codes import ExitCode, of_error, of_outcome
from rucio_inject.cli.main import cli
from rucio_inject.cli.news import Done, News
from rucio_inject.cli.progress import LiveProgress, PlainProgress, trouble, troubles
from rucio_inject.cli.run_record import recorded
from rucio_inject.cli.summary import RunReport, as_errors, as_json, as_text
from rucio_inject.domain import errors as e
from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.injection import (
    Failure,
    FileRecord,
    FileState,
    RuleRecord,
    SourceCopy,
)
from rucio_inject.domain.outline import outline
from rucio_inject.domain.rule import RuleState, RuleView
from rucio_inject.domain.story import advance, begin_file, begin_rule
from rucio_inject.domain.usage import Room
from rucio_inject.outcome import Outcome, Totals
from rucio_inject.ports import Analysis, Identity
from rucio_inject.steps.prepare import Lake
from rucio_inject.testing.contracts.ledger import (
    FILE,
    NOON,
    RUN,
    SIBLING,
    begun,
    found,
    life,
    rule_facts,
)
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.testing.memory_ledger import MemoryLedger, Shelf
from rucio_inject.testing.scenes import Scene
from rucio_inject.words.numbers import duration, plural, size

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
        Totals.of(map(outline, files)),
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


def test_files_in_place_are_not_called_uploaded() -> None:
    known = outcome_of(record(FileState.VERIFIED))
    told = "\n".join(as_text(report(known, in_place=True, md5=False)))
    assert re.search(r"registered +1 file, .*, where they are, at A", told)
    assert "same size and adler32" in told
    assert not re.search("injected|uploaded|md5", told)


def test_the_summary_of_a_good_run() -> None:
    text = "\n".join(as_text(report(GONE)))
    assert "magic, cycle 1: done in 12.3 s" in text
    assert "injected      1 file, 5 B, in 1 dataset, through A" in text
    assert "QOS=FAST is LAPP-FAST" in text
    assert "proved gone   1 replica of 1 file" in text
    assert "ledger        /out/magic.json" in text


def rule(rule_id: str, dataset: DID = RUN, state: RuleState = RuleState.OK) -> RuleRecord:
    """A rule that was OK once, and is in some state now."""
    made = begin_rule(rule_facts()[1], 1)  # type: ignore[arg-type]
    return replace(made, rule_id=rule_id, dataset=dataset, state=state, ok_at=NOON)


def test_a_rule_that_was_ok_once_and_is_stuck_now_is_not_ok() -> None:
    waiting = replace(record(FileState.REPLICATING), waits_for="no room")
    rules = [rule("r1"), rule("r2", state=RuleState.STUCK), rule("r3", state=RuleState.REPLICATING)]
    text = "\n".join(as_text(report(outcome_of(waiting), rules=rules)))
    assert "replicated    0 files, 1 of 3 rules OK" in text
    # It was OK when it was given its end.
    ended = [replace(one, ending_at=NOON) for one in rules]
    assert "3 of 3 rules OK" in "\n".join(as_text(report(GONE, rules=ended)))


def test_rules_that_rucio_has_not_looked_at_are_not_counted_as_ok() -> None:
    other = DID("magic", "other")
    waiting = outcome_of(record(FileState.REPLICATING), record(FileState.GONE))
    rules = [rule("r1"), rule("r2"), rule("r3", other)]
    text = "\n".join(as_text(report(waiting, rules=rules)))
    assert "1 of 3 rules OK" in text
    assert "Rucio has yet to look at the files of 1 dataset" in text


def test_sources_that_were_removed_are_told() -> None:
    freed = [
        replace(
            record(FileState.VERIFIED),
            path=f"/data/inbox/{folder}/a.root",
            source=SourceCopy.FREED,
            generated=False,
        )
        for folder in ("x", "y")
    ]
    whole = report(outcome_of(*freed))
    assert "  freed         2 sources, 10 B, removed from /data/inbox" in list(as_text(whole))
    told = {"files": 2, "bytes": 10, "folder": "/data/inbox", "rse": None}
    assert as_json(whole)["freed"] == told
    # What we made ourselves, and removed, is no news.
    made = [replace(one, generated=True) for one in freed]
    assert not any("freed" in line for line in as_text(report(outcome_of(*made))))


def test_an_origin_rse_that_is_freed_is_told() -> None:
    lies = replace(record(FileState.VERIFIED), path="root://a//x", generated=False, in_place=True)
    outcome = replace(
        outcome_of(lies, replace(lies, source=SourceCopy.FREED)),
        leaving={DID("magic", "r2"): "it is not closed"},
        staying={DID("magic", "r3"): "rule R of account B to A holds magic:f at A, too"},
    )
    told = report(outcome, code=ExitCode.FILES_FAILED, in_place=True)
    text = list(as_text(told))
    assert "  freed         1 source, 5 B, removed by Rucio at A" in text
    assert "  not freed yet magic:r2: it is not closed" in text
    why = "rule R of account B to A holds magic:f at A, too"
    assert f"  not freed     magic:r3: {why}" in text
    assert as_json(told)["freed"] == {"files": 1, "bytes": 5, "folder": None, "rse": "A"}
    assert as_json(told)["leaving"] == {"magic:r2": "it is not closed"}
    assert as_json(told)["staying"] == {"magic:r3": why}
    assert f"  not freed     magic:r3: {why}" in list(as_errors(told))
    assert of_outcome(outcome) is ExitCode.FILES_FAILED
    assert of_outcome(replace(outcome, staying={})) is ExitCode.DONE


def test_how_full_the_origin_was_is_on_record() -> None:
    told: list[f.Fact] = []

    class Onlooker:
        def record(self, facts: Sequence[f.Fact]) -> None:
            told.extend(facts)

    outcome = replace(outcome_of(record(FileState.VERIFIED)), origin=Room(10, 4))
    with MemoryLedger(Shelf()) as ledger, recorded(ledger, FakeClock(), [Onlooker()]) as run:
        run.came_out(outcome, ExitCode.DONE)
    assert isinstance(told[-1], f.RunEnded)
    assert told[-1].origin == Room(10, 4)


def test_what_was_in_the_lake_before_was_not_injected() -> None:
    ours = record(FileState.GONE)
    theirs = replace(ours, adopted=True)
    text = "\n".join(as_text(report(outcome_of(ours, theirs, theirs))))
    assert "injected      1 file, 5 B, in 1 dataset, through A" in text
    assert "there before  2 files, 10 B: the lake had the same content already" in text
    text = "\n".join(as_text(report(outcome_of(theirs))))
    assert "injected" not in text
    assert "there before  1 file, 5 B, in 1 dataset: the lake" in text
    assert as_json(report(outcome_of(theirs)))["adopted"] == {"files": 1, "bytes": 5}


def test_rules_of_others_may_be_ended_by_them() -> None:
    others, ended = replace(rule("a"), adopted=True), replace(rule("b"), adopted=True, gone_at=NOON)
    told = report(outcome_of(record(FileState.VERIFIED)), rules=[others, ended, rule("c")])
    text = "\n".join(as_text(told))
    assert "1 rule was there before: whoever made such a rule may end it" in text
    assert as_json(told)["rules_there_before"] == 1
    unlooked = replace(told, outcome=replace(told.outcome, changed=False), rules=())
    assert as_json(unlooked)["rules_there_before"] is None
    assert "there before" not in "\n".join(as_text(report(GONE, rules=[rule("c")])))


def test_what_earlier_runs_did_is_told_as_such() -> None:
    outcome = outcome_of(*[record(FileState.VERIFIED)] * 3)
    text = "\n".join(as_text(report(outcome, done={Done.VERIFIED: 2, Done.REPLICATED: 3})))
    assert "through A (before this run)" in text
    assert "same size, adler32 and md5 (2 of them in this run)" in text
    assert text.count("this run") == 2
    assert "this run" not in "\n".join(as_text(report(outcome)))


def test_a_run_remembers_what_it_did() -> None:
    news = News()
    news.record(life(FILE))
    news.record([f.FileRegistered(at=NOON, did=FILE, rse="A", pfn=None, adopted=True)])
    assert news.done[Done.INJECTED] == news.done[Done.ADOPTED] == news.done[Done.GONE] == 1


def test_files_without_a_byte_are_told() -> None:
    known = record(FileState.GONE)
    assert known.measure is not None
    empty = replace(known, measure=replace(known.measure, size=0))
    text = "\n".join(as_text(report(outcome_of(known, empty))))
    assert "1 file without a single byte among them" in text


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


def test_a_stuck_rule_has_its_next_step_and_one_reason_is_told_once() -> None:
    why = "RequestErrMsg.TRANSFER_FAILED:DESTINATION [28] No space left on device."
    stuck = [replace(STUCK, rule_id=f"r{number}", error=why) for number in range(6)]
    files = [replace(record(FileState.REPLICATING, did), waits_for=why) for did in long_names(82)]
    lines = list(as_text(report(outcome_of(*files, not_ok=stuck))))
    text = "\n".join(lines)
    assert "6 rules to QOS=FAST are STUCK, 6 of 12 locks OK: transfer failed: DESTINATION" in text
    assert "rucio rule update --boost-rule r0" in text
    assert f"waiting       82 files, such as {files[0].did}: transfer failed" in text
    assert len([line for line in lines if "No space left" in line]) == 2
    assert "RequestErrMsg" not in text


def test_what_waits_and_is_not_listed_is_counted() -> None:
    files = [
        replace(record(FileState.REPLICATING, did), waits_for=f"reason {number}")
        for number, did in enumerate(long_names(82))
    ]
    lines = list(as_text(report(outcome_of(*files))))
    assert "  waiting       … and 62 files more" in lines


def test_what_could_not_be_analysed_is_one_example_and_a_hint() -> None:
    failures = tuple((Path(f"{n}.root"), e.AnalysisFailed(f"{n}.root is empty")) for n in (3, 1, 2))
    outcome = replace(GONE, analysis=Analysis("h", 1, 2, (), failures))
    told = [line for line in as_text(report(outcome)) if "root" in line]
    assert told == ["  not used      3 files; the first: 1.root is empty"]
    assert "analyse: false" in "\n".join(as_text(report(outcome)))
    assert [failure["file"] for failure in as_json(report(outcome))["analysis_failures"]] == [
        "1.root",
        "2.root",
        "3.root",
    ]


def test_a_quiet_run_tells_errors_only() -> None:
    whole = report(MISMATCH)
    text = "\n".join(as_errors(whole))
    assert text.startswith("magic, cycle 1: not all is done after 12.3 s (exit code 4)")
    assert "the reason" in text
    assert "/out/magic.json" not in text
    assert list(as_errors(report(GONE))) == []


def test_keys_of_json_have_no_blanks_and_words_have() -> None:
    whole = report(GONE, paths={"seed_ledger": Path("/o/s"), "figure_1": Path("/o/f")})
    assert as_json(whole)["paths"] == {"seed_ledger": "/o/s", "figure_1": "/o/f"}
    assert "  as in 2020    /o/s" in list(as_text(whole))


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


def plain(ledger: MemoryLedger) -> tuple[PlainProgress, io.StringIO]:
    """Plain progress on a ledger, and what it writes."""
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=False)
    return PlainProgress(console, ledger, FakeClock()), out


def told_by(out: io.StringIO) -> list[str]:
    """Its lines, without their times."""
    return [line.split(" ", 1)[1] for line in out.getvalue().splitlines()]


def test_another_cycle_has_its_own_milestones(ledger: MemoryLedger) -> None:
    ledger.record([begun(), found(FILE), *life(FILE), f.CycleEnded(at=NOON, cycle=1)])
    second = replace(found(SIBLING), cycle=2)
    progress, out = plain(ledger)
    with progress:
        for fact in (f.CycleBegun(at=NOON, cycle=2), second, *life(SIBLING)):
            ledger.record([fact])
            progress.record([fact])
    milestones = [line for line in told_by(out) if "of 1 file" in line]
    assert len(milestones) == 8
    assert not any("done before" in line for line in told_by(out))


def test_a_run_that_goes_on_says_what_was_done_before(ledger: MemoryLedger) -> None:
    ledger.record([begun(), found(FILE), *life(FILE)[:2]])
    progress, out = plain(ledger)
    with progress:
        progress.record([])
    assert told_by(out)[0].startswith("done before: measured")
    assert len(told_by(out)) == 1


def test_what_the_lake_had_is_not_said_to_be_uploaded(ledger: MemoryLedger) -> None:
    ledger.record([begun(), found(FILE), life(FILE)[0]])
    progress, out = plain(ledger)
    with progress:
        fact = f.FileRegistered(at=NOON, did=FILE, rse="A", pfn=None, adopted=True)
        ledger.record([fact])
        progress.record([fact])
    assert "uploaded: 0 of 1 file; 1 were in the lake already" in told_by(out)
    assert "registered: 1 of 1 file" in told_by(out)


def test_what_a_sample_speaks_for_is_not_said_to_be_read_back(ledger: MemoryLedger) -> None:
    progress, out = plain(ledger)
    with progress:
        for facts in Scene(files=4, sampled=3, ends=False).facts():
            ledger.record(facts)
            progress.record(facts)
    assert told_by(out)[-1] == "read back, or told: 4 of 4 files; 3 of them only told"
    again, out = plain(ledger)
    with again:
        again.record([])
    assert told_by(out)[0].endswith("replicated, read back, or told")
    table = io.StringIO()
    console = Console(file=table, width=100, force_terminal=True, color_system=None)
    live = LiveProgress(console, ledger, FakeClock(), title="m", goal=FileState.VERIFIED)
    console.print(live._table(ledger.usage()))
    (row,) = [row for row in table.getvalue().splitlines() if "read back, or told" in row]
    assert "4/4" in row
    assert row.rstrip().endswith("3 only told")


def test_files_that_wait_for_one_reason_are_told_in_one_line() -> None:
    waits = [f.FileWaits(at=NOON, did=did, rse="A", reason="full.") for did in long_names(5)]
    retried = f.CallRetried(at=NOON, call="look_up", reason="cannot connect to Rucio.", pause=0.5)
    assert list(troubles([*waits, retried])) == [
        f"{waits[0].did} is not at A: full; so are 4 files more",
        "cannot connect to Rucio: trying again in 0.5 s",
    ]


def test_the_live_table_has_a_line_a_row_on_a_narrow_terminal(ledger: MemoryLedger) -> None:
    out = io.StringIO()
    console = Console(file=out, width=60, force_terminal=True, color_system=None)
    dids = long_names(3)
    ledger.record([begun(), *(found(did) for did in dids), *life(dids[0])])
    clock = FakeClock()
    with LiveProgress(console, ledger, clock, title="m", goal=FileState.GONE) as progress:
        clock.advance(4000)
        table = progress._table(ledger.usage())
    with console.capture() as captured:
        console.print(table)
    rows = captured.get().splitlines()
    assert len(rows) == 8
    assert any("in datasets with rules" in row and "1/3" in row for row in rows)


def test_plain_progress_leaves_reasons_to_the_summary(ledger: MemoryLedger) -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=False)
    failed = [
        f.FileFailed(at=NOON, did=did, code="conflict", reason="a reason", hint=None)
        for did in long_names(3)
    ]
    skipped = f.NameSkipped(at=NOON, path="x", code="name", reason="a reason", hint=None)
    news = News()
    with PlainProgress(console, ledger, FakeClock()) as progress:
        for facts in ([failed[0]], [*failed, skipped, skipped]):
            progress.record(facts)
            news.record(facts)
    lines = [line.split(" ", 1)[1] for line in out.getvalue().splitlines()]
    assert lines == [
        f"set aside: {failed[0].did} (conflict)",
        f"set aside: {failed[0].did} (conflict) and 2 more",
        "skipped: 2 names",
    ]
    assert news.skips == ["a reason"] * 2


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


def test_every_code_has_its_meaning_and_is_told_in_the_help() -> None:
    told = str(cli.get_help(click.Context(cli, info_name="rucio-inject")))
    assert [int(code) for code in ExitCode if not re.search(rf"\b{int(code)} [a-z]", told)] == []
    # Another name for the same number would be no member.
    assert len(ExitCode) == len(ExitCode.__members__)
