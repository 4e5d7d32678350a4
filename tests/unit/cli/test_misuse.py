"""What is typed wrong, and readers who go away."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.test_run_words import MISMATCH, report

from rucio_inject.cli import own_ledger, run
from rucio_inject.cli.main import main, tell
from rucio_inject.cli.progress import PatientConsole
from rucio_inject.cli.summary import RunReport
from rucio_inject.domain.errors import Interrupted, LedgerUnavailable, UsageError
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.testing.fake_clock import FakeClock

PROGRAM = [sys.executable, "-m", "rucio_inject"]


def test_a_command_that_is_none_is_told_with_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["statsu"])
    assert ended.value.code == 2
    assert "Did you mean 'status'?" in capsys.readouterr().err


def test_a_duration_that_is_none_is_explained_once() -> None:
    with pytest.raises(UsageError) as caught:
        run._seconds("soon")
    assert caught.value.message == (
        "--wait: 'soon' is no duration: write a number and s, m, h or d, as in 90s"
    )
    assert caught.value.hint is None


def test_what_was_interrupted_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    tell(Interrupted("stopped as you asked"))
    assert capsys.readouterr().err == "stopped as you asked\n"


# A module that meets Ctrl-C where Python ignores what is raised, as its own importer may.
LOADING = """
import os, signal, weakref
class Module: pass
module = Module()
callback = weakref.ref(module, lambda _: os.kill(os.getpid(), signal.SIGINT))
del module
print("loaded all the same")
"""


def test_ctrl_c_is_heard_while_a_command_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "loading.py").write_text(LOADING)
    begin = (
        "import sys; from rucio_inject.cli import main;"
        f"sys.path.insert(0, {str(tmp_path)!r});"
        "main._COMMANDS['run'] = ('loading', '');"
        "main.main(['run'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", begin], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "\nstopped at once; run the same command again to go on\n"


def test_ctrl_c_stops_nothing_that_has_come_to_its_end() -> None:
    begin = (
        "import atexit, os, signal; from rucio_inject.cli.main import main;"
        # Called last, of those that are called when Python ends.
        "atexit.register(os.kill, os.getpid(), signal.SIGINT);"
        "main(['--version'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", begin], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_who_goes_away_is_told_apart_from_a_failure() -> None:
    with subprocess.Popen(
        [*PROGRAM, "campaign", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()  # before Python has begun
        assert process.stderr.read() == b""
    assert process.returncode == 141


class Closed(io.StringIO):
    """An output whose reader has gone away."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    def fileno(self) -> int:
        return self.descriptor

    descriptor = -1


def test_a_run_goes_on_when_its_reader_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "out").open("w") as file:
        closed = Closed()
        closed.descriptor = file.fileno()
        monkeypatch.setattr(sys, "stdout", closed)
        run._say("whoami")
        # What comes later goes nowhere, and not into a pipe without an end.
        file.write("late")
    assert (tmp_path / "out").read_text() == ""


def test_progress_goes_on_when_its_reader_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "err").open("w") as file:
        closed = Closed()
        closed.descriptor = file.fileno()
        monkeypatch.setattr(sys, "stderr", closed)
        console = PatientConsole()
        console.print("a milestone")
        console.print("another")
        assert console.quiet


def test_who_waits_for_another_run_is_told_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign: Any = own_campaign(tmp_path)
    clock = FakeClock()
    with SqlLedger(campaign.ledger_place, campaign.campaign, clock=clock):
        with (
            pytest.raises(LedgerUnavailable, match=r"; waited 5\.0 s for it$"),
            own_ledger.own_ledger(campaign, clock, 5),
        ):
            raise AssertionError
        told = capsys.readouterr().err
        assert told.startswith("waiting for process ")
        assert told.endswith(", up to 5.0 s\n")
        # Who does not wait is refused at once, without these words.
        with (
            pytest.raises(LedgerUnavailable, match=r"until [^;]*$"),
            own_ledger.own_ledger(campaign, clock, 0),
        ):
            raise AssertionError
        assert capsys.readouterr().err == ""
    with own_ledger.own_ledger(campaign, clock, 1) as ledger:
        assert ledger.cycle == 0
    assert capsys.readouterr().err == ""


def own_campaign(folder: Path) -> Any:
    """As much of a campaign as its ledger needs."""

    class Named:
        campaign = "magic"
        ledger_place = folder / "magic.db"

    return Named()


def test_a_quiet_run_writes_nothing_to_standard_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole: RunReport = report(MISMATCH)
    run._conclude(whole, run.Display("none", json=False, quiet=True))
    told = capsys.readouterr()
    assert told.out == ""
    assert "the reason" in told.err
    run._conclude(whole, run.Display("none", json=True, quiet=True))
    assert '"exit_code": 4' in capsys.readouterr().out
    run._conclude(whole, run.Display("none", json=False, quiet=False))
    assert "the reason" in capsys.readouterr().out
