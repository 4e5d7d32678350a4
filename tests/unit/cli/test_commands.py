"""The commands, given what nobody should give them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from rucio_inject.cli import kept, options
from rucio_inject.cli.campaign import campaign
from rucio_inject.cli.lake import lake
from rucio_inject.cli.main import cli, main, tell
from rucio_inject.domain.errors import CampaignInvalid, UsageError
from rucio_inject.rucio.session import SignIn

COMMANDS = [
    [],
    ["run"],
    ["names"],
    ["campaign"],
    ["campaign", "check"],
    ["campaign", "schema"],
    ["lake"],
    *(["lake", name] for name in ("start", "stop", "status", "reset", "env", "proxy", "token")),
    ["status"],
    ["audit"],
    ["files"],
    *(["files", name] for name in ("list", "show", "retry", "forget")),
    ["ledger"],
    *(["ledger", name] for name in ("export", "import")),
]
GOOD = """\
campaign: night
scope: MAGIC
source: {kind: directory, path: inbox}
upload: {rse: A}
rules: [{rse_expression: B}]
"""


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: list[str]) -> None:
    answer = CliRunner().invoke(cli, [*command, "--help"])
    assert answer.exit_code == 0
    listed = answer.output.partition("Commands:")[2]
    assert "..." not in listed, "a short help is cut off"


@pytest.mark.parametrize("command", COMMANDS[1:], ids=" ".join)
def test_an_unknown_option_is_a_usage_error(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--nonsense"])
    assert ended.value.code == 2
    assert "--nonsense" in capsys.readouterr().err


def test_every_campaign_file_is_checked(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(GOOD)
    bad.write_text(GOOD.replace("scope", "skope"))
    answer = CliRunner().invoke(campaign, ["check", str(bad), str(good)])
    assert answer.exit_code == 2
    assert "line 2: skope: unknown key" in answer.output
    assert "good.yaml: campaign night is well formed" in answer.output


def test_many_problems_are_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    tell(CampaignInvalid("x", problems=tuple((n, "", "bad") for n in range(25))))
    told = capsys.readouterr().err
    assert told.count("bad") == 20
    assert "… and 5 more" in told


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_poor_encoding_ends_no_command(tmp_path: Path, encoding: str) -> None:
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "rucio_inject", "run", str(tmp_path / "→ none")]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 2
    assert b"No such file" in done.stderr
    assert b"Traceback" not in done.stderr
    command = [sys.executable, "-m", "rucio_inject", "campaign", "schema"]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_full_disk_behind_the_output_is_told_without_a_traceback() -> None:
    command = [sys.executable, "-m", "rucio_inject", "campaign", "schema"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode != 0
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr


def test_new_cycle_is_refused_where_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(GOOD)
    # No server is named: the refusal comes before anything is asked.
    answer = CliRunner().invoke(
        cli, ["run", "--new-cycle", "--output", str(tmp_path / "o"), str(path)]
    )
    assert isinstance(answer.exception, UsageError)
    assert "the source of night is a directory" in answer.exception.message
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.yaml"]


class TestForeignFolders:
    """What `lake` does with a folder that is no lake's."""

    @pytest.mark.parametrize("command", [["reset", "--yes"], ["stop"], ["env"]])
    def test_nothing_is_touched_and_the_hint_says_what_to_do(
        self, tmp_path: Path, command: list[str]
    ) -> None:
        (tmp_path / "thesis.tex").write_text("x")
        answer = CliRunner().invoke(lake, [*command, "--folder", str(tmp_path)])
        assert "is not a lake, and not empty" in str(answer.exception)
        assert "name the lake's folder" in getattr(answer.exception, "hint", "")
        assert (tmp_path / "thesis.tex").exists()

    def test_status_offers_no_start_that_would_be_refused(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("x")
        answer = CliRunner().invoke(lake, ["status", "--folder", str(tmp_path)])
        assert answer.exit_code == 1
        assert "holds other things" in answer.output
        assert "lake start" not in answer.output

    @pytest.mark.parametrize("command", ["start", "stop", "status", "reset", "env"])
    def test_a_file_is_no_folder(self, tmp_path: Path, command: str) -> None:
        path = tmp_path / "file"
        path.write_text("x")
        answer = CliRunner().invoke(lake, [command, "--folder", str(path)])
        assert isinstance(answer.exception, UsageError)
        assert "is not a folder" in answer.exception.message

    @pytest.mark.parametrize("command", ["start", "stop", "status", "reset", "env"])
    def test_a_closed_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
    ) -> None:
        stat = Path.stat

        def closed(path: Path, **how: Any) -> Any:
            if path.is_relative_to(tmp_path):
                raise PermissionError(13, "Permission denied", str(path))
            return stat(path, **how)

        # Root may look everywhere, so a closed folder has to be played.
        monkeypatch.setattr(Path, "stat", closed)
        answer = CliRunner().invoke(lake, [command, "--folder", str(tmp_path / "lake")])
        assert isinstance(answer.exception, UsageError), answer.exception
        assert "may not be looked into" in answer.exception.message


class TestPassword:
    """Where the password of --user comes from."""

    def answer(self, monkeypatch: pytest.MonkeyPatch, text: str) -> list[str]:
        """Somebody at a terminal answers this; gives the questions."""
        # In the test itself: pytest sets the streams anew between a fixture and its test.
        terminal = io.StringIO()
        terminal.isatty = lambda: True  # type: ignore[method-assign]
        monkeypatch.setattr(sys, "stdin", terminal)
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.delenv(options.PASSWORD, raising=False)
        monkeypatch.delenv("RUCIO_AUTH_TYPE", raising=False)
        questions: list[str] = []

        def prompt(question: str, **how: Any) -> str:
            assert how["hide_input"]
            assert how["err"]
            questions.append(question)
            return text

        monkeypatch.setattr("click.prompt", prompt)
        return questions

    def test_it_is_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        questions = self.answer(monkeypatch, "secret")
        assert options.with_password(SignIn(user="ana")).password == "secret"
        assert len(questions) == 1
        assert "ana" in questions[0]

    def test_no_answer_leaves_it_to_rucio_cfg(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer(monkeypatch, "")
        assert options.with_password(SignIn(user="ana")).password is None

    def test_the_environment_answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        questions = self.answer(monkeypatch, "asked")
        monkeypatch.setenv("RUCIO_PASSWORD", "kept")
        assert options.with_password(SignIn(user="ana")).password == "kept"
        assert options.with_password(SignIn(user="ana", password="given")).password == "given"
        # Without --user it would be sent for the user of rucio.cfg.
        assert options.with_password(SignIn()).password is None
        assert not questions

    @pytest.mark.parametrize("strategy", ["x509", "oidc"])
    def test_other_strategies_need_none(
        self, monkeypatch: pytest.MonkeyPatch, strategy: str
    ) -> None:
        questions = self.answer(monkeypatch, "asked")
        assert options.with_password(SignIn(user="a", auth_strategy=strategy)).password is None
        monkeypatch.setenv("RUCIO_AUTH_TYPE", strategy)
        assert options.with_password(SignIn(user="a")).password is None
        assert not questions

    def test_nobody_is_asked_where_nobody_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        questions = self.answer(monkeypatch, "asked")
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        assert options.with_password(SignIn(user="ana")).password is None
        assert not questions


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (None, ""),
        (
            OSError(28, "No space left"),
            "counting of files and bytes stopped: /o/c cannot be written: No space left\n",
        ),
        (KeyError("x"), "counting of files and bytes stopped: KeyError('x')\n"),
    ],
)
def test_that_counting_stopped_is_told(
    failure: Exception | None, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    injector: Any = SimpleNamespace(
        counting_failure=failure, folders=SimpleNamespace(series=Path("/o/c"))
    )
    kept._tell_counting(injector)
    assert capsys.readouterr().err == told
