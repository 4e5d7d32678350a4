"""What commands say, whatever names and reasons hold, and wherever it goes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from rucio_inject.cli import status
from rucio_inject.cli.exit_codes import ExitCode, worst
from rucio_inject.cli.main import cli, main, tell
from rucio_inject.cli.output import fitted, legible
from rucio_inject.cli.verbosity import Verbosity
from rucio_inject.clock import SystemClock
from rucio_inject.domain import facts as f
from rucio_inject.domain.errors import InjectError, LedgerError, LedgerUnavailable
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.testing.contracts.ledger import FILE, NOON, SIBLING, begun, found, life

CAMPAIGN = """\
campaign: magic
scope: magic
source: {kind: directory, path: inbox}
upload: {rse: A}
rules: [{rse_expression: QOS=FAST}]
"""
NASTY = "a\nb\x1b]0;title\x07\x1b[2Jc\u202e\udcff"
HARMLESS = "a\\nb\\x1b]0;title\\x07\\x1b[2Jc\\u202e\\udcff"


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    """A campaign with a file whose source has a nasty name, and that failed for a nasty reason,
    and one that waits for such a reason."""
    path = tmp_path / "c.yaml"
    path.write_text(f"{CAMPAIGN}output: {tmp_path}\n")
    odd = f.FileFound(
        at=NOON,
        did=FILE,
        path=f"/data/{NASTY}",
        dataset=found(FILE).dataset,
        containers=(),
        cycle=1,
        generated=False,
    )
    failed = f.FileFailed(at=NOON, did=FILE, code="storage", reason=NASTY, hint=NASTY)
    with SqlLedger(tmp_path / "magic.db", "magic", clock=SystemClock()) as ledger:
        ledger.record([begun(), odd, failed, found(SIBLING), *life(SIBLING)[:5]])
        ledger.record([f.FileWaits(at=NOON, did=SIBLING, rse="A", reason=NASTY)])
    return path


class TestLegible:
    """Text from disks and servers."""

    def test_nothing_moves_the_cursor(self) -> None:
        assert legible(NASTY) == HARMLESS
        assert fitted([NASTY]) == [HARMLESS]

    def test_letters_and_our_colours_stay(self) -> None:
        line = click.style("θ² → ü", fg="red") + "  same"
        assert legible(line) == line

    @pytest.mark.parametrize(
        "command",
        [["files", "show", "NAME"], ["files", "list"], ["status"]],
        ids=lambda command: command[-1] if command[-1] != "NAME" else "show",
    )
    def test_commands_print_nothing_else(self, campaign: Path, command: list[str]) -> None:
        where = [str(campaign), FILE.name] if "NAME" in command else [str(campaign)]
        answer = CliRunner().invoke(cli, [*(c for c in command if c != "NAME"), *where], color=True)
        assert answer.exit_code == 0, answer.output
        assert HARMLESS in answer.output
        left = answer.output.replace("\x1b[31m", "").replace("\x1b[0m", "").replace("\n", "")
        assert left.isprintable()

    def test_errors_do_not_either(self, capsys: pytest.CaptureFixture[str]) -> None:
        tell(InjectError(f"two\nlines of {NASTY}", hint=NASTY))
        told = capsys.readouterr().err
        assert "two\nlines of " in told, "lines of a message are its own"
        assert "\x07" not in told
        assert "\x1b[2J" not in told


@pytest.mark.parametrize(
    "command",
    [["files", "list"], ["status"], ["ledger", "export", "--format", "csv"]],
    ids=" ".join,
)
def test_closed_output_is_refused_without_a_traceback(campaign: Path, command: list[str]) -> None:
    line = [sys.executable, "-m", "rucio_inject", *command, str(campaign)]
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *line], stderr=subprocess.PIPE, check=False
    )
    assert b"Traceback" not in done.stderr
    assert b"standard output is closed" in done.stderr
    assert done.returncode == ExitCode.USAGE


@pytest.mark.parametrize(
    ("given", "traced"),
    [([], False), (["-v"], False), (["-vv"], True), (["-v", "-v"], True), (["-vvv"], True)],
)
@pytest.mark.parametrize("command", [["status"], ["files", "list"]], ids=" ".join)
def test_a_trace_is_shown_however_it_is_asked_for(
    command: Sequence[str],
    given: Sequence[str],
    traced: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"{CAMPAIGN}output: {tmp_path}\n")
    with pytest.raises(SystemExit) as ended:
        main([*command, *given, str(path)])
    assert ended.value.code == ExitCode.ERROR
    told = capsys.readouterr().err
    assert "there is no ledger at" in told
    assert (LedgerError.__name__ in told) is traced


def test_verbosity_begins_with_none() -> None:
    assert not Verbosity().traces
    assert Verbosity(2).traces


def test_the_worst_code_is_not_the_greatest() -> None:
    assert worst(ExitCode.LATER, ExitCode.ERROR) is ExitCode.ERROR
    assert worst(ExitCode.USAGE, ExitCode.LATER, ExitCode.DONE) is ExitCode.USAGE
    assert {worst(code, ExitCode.DONE) for code in ExitCode} == set(ExitCode)


def test_status_ends_with_the_worst_code(
    tmp_path: Path, campaign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = iter([LedgerError("damaged"), LedgerUnavailable("away")])

    def gather(*_: object) -> None:
        raise next(errors)

    monkeypatch.setattr(status, "gather", gather)
    answer = CliRunner().invoke(cli, ["status", str(campaign), str(campaign)])
    assert answer.exit_code == ExitCode.ERROR
