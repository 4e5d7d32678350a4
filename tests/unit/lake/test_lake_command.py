"""The command `rucio-inject lake`, as far as it needs no lake."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from rucio_inject.cli.lake import lake
from rucio_inject.lake import config, content, folder
from rucio_inject.lake.paths import LakePaths
from rucio_inject.lake.state import LakeState, save_state


def _made(root: Path) -> LakePaths:
    """A lake that was started once and is stopped."""
    paths = LakePaths(root)
    folder.prepare(paths, passable=False)
    save_state(paths.state, LakeState(port=1234))
    paths.content.write_text(content.default_text())
    config.write_clients(paths, ["magic"], config.ClientFacts(1234))
    return paths


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from rucio_inject.cli.lake import lake\n"
        "lake(['start', '--help'], standalone_mode=False)\n"
        "heavy = {'rucio', 'psutil', 'sqlalchemy', 'gunicorn', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "fsync" in done.stdout


def test_status_without_a_lake_fails_and_says_what_to_do(tmp_path: Path) -> None:
    answer = CliRunner().invoke(lake, ["status", "--folder", str(tmp_path / "none")])
    assert answer.exit_code == 1
    assert "rucio-inject lake start" in answer.output


def test_status_of_a_stopped_lake_as_json(tmp_path: Path) -> None:
    _made(tmp_path / "lake")
    answer = CliRunner().invoke(lake, ["status", "--json", "--folder", str(tmp_path / "lake")])
    assert answer.exit_code == 1
    status = json.loads(answer.output)
    assert (status["version"], status["exists"], status["running"]) == (1, True, False)
    assert [one["alive"] for one in status["processes"]] == [False] * 4


def test_env_is_read_by_a_shell_even_from_a_folder_with_odd_letters(tmp_path: Path) -> None:
    paths = _made(tmp_path / "it's a $HOME")
    answer = CliRunner().invoke(lake, ["env", "--folder", str(paths.root)])
    assert answer.exit_code == 0
    lines = answer.output.splitlines()
    assert all(line.startswith("export RUCIO_") for line in lines if "proxy" not in line.lower())
    done = subprocess.run(
        ["sh", "-c", answer.output + 'printf "%s" "$RUCIO_HOME"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == str(paths.client_home("magic"))


def test_env_of_root(tmp_path: Path) -> None:
    paths = _made(tmp_path / "lake")
    answer = CliRunner().invoke(
        lake, ["env", "--account", "root"], env={"RUCIO_INJECT_LAKE": str(paths.root)}
    )
    assert "export RUCIO_ACCOUNT='root'" in answer.output.splitlines()
    assert shlex.quote(str(paths.client_home("root"))).strip("'") in answer.output


def test_reset_asks_and_no_means_no(tmp_path: Path) -> None:
    paths = _made(tmp_path / "lake")
    answer = CliRunner().invoke(lake, ["reset", "--folder", str(paths.root)], input="n\n")
    assert answer.exit_code != 0
    assert paths.state.exists()
    answer = CliRunner().invoke(lake, ["reset", "--yes", "--folder", str(paths.root)])
    assert answer.exit_code == 0
    assert not paths.root.exists()


def test_reset_of_a_lake_with_a_damaged_state(tmp_path: Path) -> None:
    paths = _made(tmp_path / "lake")
    paths.state.write_text("null")
    answer = CliRunner().invoke(lake, ["reset", "--yes", "--folder", str(paths.root)])
    assert answer.exit_code == 0, answer.output
    assert not paths.root.exists()
