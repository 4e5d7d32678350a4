"""What the command says of an audit, and its exit code."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.injection_world import HOLDERS, NAMES, SCOPE
from tests.unit.audit.bench import CRAB, RUN, SIBLING, Bench, rule_id

from rucio_inject.audit.findings import Finding, Kind, Report
from rucio_inject.cli import audit as command
from rucio_inject.cli.audit import Audited, as_json, conclusion, of_report, run_audit
from rucio_inject.cli.exit_codes import ExitCode
from rucio_inject.cli.main import cli
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError
from rucio_inject.domain.injection import Failure, FileState
from rucio_inject.testing.memory_daemons import pfn_of

CAMPAIGN = """\
campaign: magic
scope: magic
source: {kind: directory, path: inbox}
upload: {rse: A}
rules: [{rse_expression: QOS=FAST}]
"""


def audited(bench: Bench, *, fix: bool = False, show: bool = True) -> Audited:
    """The command's work, without signing in."""
    with bench.world.ledger() as ledger:
        world, plan = bench.world_and_plan(ledger)
        return run_audit(world, plan, bench.lines.append, campaign="test", fix=fix, show=show)


def report(*kinds: Kind) -> Report:
    """A report with a finding of each kind."""
    made = Report()
    made.take(Finding(kind, CRAB, there="a", expected="b", evidence="c") for kind in kinds)
    return made


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        ((), ExitCode.DONE),
        ((Kind.AWAITED,), ExitCode.LATER),
        ((Kind.UNSEEN, Kind.AWAITED), ExitCode.LATER),
        *(((kind, Kind.DARK, Kind.UNSEEN), ExitCode.CHECKSUM) for kind in command.WORST),
        *(
            ((kind, Kind.AWAITED), ExitCode.FILES_FAILED)
            for kind in Kind
            if kind not in command.WORST | command.PASSING
        ),
    ],
)
def test_the_exit_code_is_of_the_worst(kinds: tuple[Kind, ...], code: ExitCode) -> None:
    assert of_report(report(*kinds)) is code


def test_nothing_is_told_as_such(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    done = audited(bench)
    assert done.code is ExitCode.DONE
    assert capsys.readouterr().out == "test, cycle 1: 0 findings in 3 files and 12 replicas\n"
    assert list(conclusion(done)) == ["", "all is as it should be (sizes, no checksums)"]
    bench.checksums = True
    assert list(conclusion(audited(bench)))[-1] == "all is as it should be"


def test_a_campaign_that_waits_is_not_all_right(bench: Bench) -> None:
    bench.rewrite(CRAB, state=FileState.REPLICATING)
    failure = Failure("X", "no", None, FileState.FOUND, bench.lake.clock.now())
    bench.rewrite(SIBLING, state=FileState.QUARANTINED, failure=failure)
    done = audited(bench)
    assert done.code is ExitCode.LATER
    assert list(conclusion(done)) == [
        "",
        "not finished: 1 file waits: run the campaign again",
        "1 file set aside: rucio-inject status tells why",
    ]
    shown = as_json(done)["found"]
    assert (shown["waiting"], shown["set_aside"], shown["counts"]) == (1, 1, {})


def test_names_that_are_no_text_are_legible(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    pfn = pfn_of("PIC-INJECT", DID(SCOPE, "od\udcff\n\x1b[2J"))
    bench.lake.rses["PIC-INJECT"].bytes[pfn] = b"theirs"
    done = audited(bench)
    out = capsys.readouterr().out
    assert "od\\udcff\\n\\x1b[2J" in out
    assert json.dumps(as_json(done)).isascii()


def test_what_is_found_is_told_by_kind(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "SHOWN", 2)
    for rse in HOLDERS[:3]:
        bench.lake.lose(CRAB, rse)
    bench.lake.rses["PIC-INJECT"].bytes[pfn_of("PIC-INJECT", DID(SCOPE, "x"))] = b"theirs"
    bench.lake.unlistable.add("LAPP-FAST")
    done = audited(bench)
    out = capsys.readouterr().out
    assert "4 findings in 3 files" in out
    assert "\nlost (3)\n" in out
    assert f"  {CRAB} at INFN-NA-DPM\n" in out
    assert "  … and 1 more\n" in out
    assert "→ --fix: mark the replica bad\n" in out
    assert "\ndark (1)\n" in out
    assert "→ look at it; nobody but its owner should remove it\n" in out
    assert out.endswith("not listed, so dark files go unseen: LAPP-FAST\n")
    assert list(conclusion(done))[-1] == "3 findings can be repaired safely: give --fix"
    assert done.code is ExitCode.CHECKSUM


def test_what_cannot_be_repaired_is_said(bench: Bench) -> None:
    (bench.inbox / NAMES[0]).unlink()
    done = audited(bench)
    assert done.code is ExitCode.FILES_FAILED
    assert list(conclusion(done))[-1] == "nothing of it can be repaired here: see the hints"


def test_what_was_repaired_and_what_is_left(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.lake.may_mark_bad = False
    bench.lake.lose(CRAB, "LAPP-FAST")
    ends = rule_id(bench, RUN, "PIC-DCACHE")
    bench.lake.rules[ends].expires_at = bench.lake.clock.now() + timedelta(hours=1)
    done = audited(bench, fix=True)
    # It is shown before anything is done.
    assert "lost (1)" in capsys.readouterr().out
    lines = list(conclusion(done))
    assert lines[:3] == [
        "",
        "1 repair made, 1 not",
        f"  not made: mark the replica bad: {CRAB} at LAPP-FAST",
    ]
    assert "may not declare replicas bad" in lines[3]
    assert "left: 1 finding in 3 files and 12 replicas" in lines
    assert done.code is ExitCode.CHECKSUM


def test_after_a_repair_the_code_is_of_what_is_left(bench: Bench) -> None:
    ends = rule_id(bench, RUN, "PIC-DCACHE")
    bench.lake.rules[ends].expires_at = bench.lake.clock.now() + timedelta(hours=1)
    assert audited(bench).code is ExitCode.FILES_FAILED
    done = audited(bench, fix=True)
    assert done.code is ExitCode.DONE
    assert as_json(done)["found"]["counts"] == {"rule": 1}
    assert as_json(done)["left"]["counts"] == {}


def test_json_holds_it_all(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.lake.lose(CRAB, "LAPP-FAST")
    shown = json.loads(json.dumps(as_json(audited(bench, fix=True, show=False))))
    assert capsys.readouterr().out == ""
    assert (shown["schema"], shown["campaign"], shown["cycle"], shown["code"]) == (1, "test", 1, 5)
    (finding,) = shown["found"]["findings"]
    assert (finding["kind"], finding["did"], finding["rse"]) == ("lost", str(CRAB), "LAPP-FAST")
    assert finding["repair"] == "mark the replica bad"
    assert shown["repaired"] == [
        {
            "kind": "lost",
            "subject": str(CRAB),
            "rse": "LAPP-FAST",
            "repair": "mark the replica bad",
            "made": True,
            "error": None,
        }
    ]
    assert shown["left"]["counts"] == {"awaited": 1}


@pytest.mark.parametrize("options", [[], ["--fix"]])
def test_without_a_ledger_nothing_is_audited(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "c.yaml"
    path.write_text(CAMPAIGN)
    answer = CliRunner().invoke(cli, ["audit", *options, str(path)])
    assert isinstance(answer.exception, LedgerError)
    assert "there is no ledger" in answer.exception.message
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]
