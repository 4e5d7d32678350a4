"""An output folder is one campaign's."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.injection_world import World

from rucio_inject.campaign.own_folder import own_folder, refuse_folder_of_another
from rucio_inject.cli.main import cli
from rucio_inject.domain.errors import UsageError

CAMPAIGN = """\
campaign: {name}
scope: MAGIC
source: {{kind: mock}}
upload: {{rse: A}}
rules: [{{rse_expression: B}}]
"""


def test_a_folder_is_made_and_kept_for_its_campaign(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "out"
    own_folder(folder, "one")
    own_folder(folder, "one")
    refuse_folder_of_another(folder, "one")
    for refused in (own_folder, refuse_folder_of_another):
        with pytest.raises(UsageError, match="is that of campaign one"):
            refused(folder, "two")


def test_a_folder_with_other_things_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    refuse_folder_of_another(tmp_path, "one")
    refuse_folder_of_another(tmp_path / "thesis.tex", "one")
    refuse_folder_of_another(tmp_path / "none", "one")
    with pytest.raises(UsageError, match="cannot make the output folder"):
        own_folder(tmp_path / "thesis.tex", "one")


def test_another_campaign_is_refused_before_its_ledger_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    own_folder(folder, "one")
    path = tmp_path / "two.yaml"
    path.write_text(CAMPAIGN.format(name="two"))
    answer = CliRunner().invoke(cli, ["run", "--output", str(folder), str(path)])
    assert isinstance(answer.exception, UsageError)
    assert "is that of campaign one" in answer.exception.message
    assert [entry.name for entry in folder.iterdir()] == [".rucio-inject"]


def test_the_library_refuses_it_too_and_a_run_takes_the_folder(tmp_path: Path) -> None:
    first, second = World(tmp_path), World(tmp_path, {"campaign": "other"})
    first.run()
    with pytest.raises(UsageError, match="is that of campaign test"):
        second.run()
    assert second.lake.files == {}
