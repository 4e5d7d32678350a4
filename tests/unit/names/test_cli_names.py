"""The command `names`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rucio_inject.cli.names import names
from rucio_inject.domain.errors import CampaignInvalid, UsageError

DATA = Path(__file__).parents[2] / "data"
GOOD = "/data/M1/OSA/Calibrated/2020/02/04/20200204_M1_05089063.001_Y_4C+41.11-W0.40+270.root"
# Output buffered as users have it, whatever the environment of the tests says.
BUFFERED = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
COMMAND = [sys.executable, "-c", "from rucio_inject.cli.names import names; names()"]


def run(*arguments: str, text: str | bytes = "") -> Result:
    return CliRunner().invoke(names, list(arguments), input=text)


def objects(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_name_that_is_understood() -> None:
    result = run("-", text=GOOD + "\n")
    assert result.exit_code == 0
    (told,) = objects(result)
    assert list(told) == [
        *("schema", "list", "line", "name", "fields"),
        *("did_name", "dataset", "containers", "metadata"),
    ]
    assert (told["schema"], told["list"], told["line"]) == (1, "-", 1)
    assert told["name"] == GOOD.rpartition("/")[2]
    assert told["fields"]["source"] == "4C+41.11"
    assert told["did_name"] == "20200204_M1_05089063.001_Y_4C_41.11-W0.40_270.root"
    assert told["dataset"] == "05089063"
    assert told["containers"][-1] == "2020_02_04.4C_41.11.Calibrated_M1"
    assert told["metadata"]["run_number"] == 5089063


def test_names_that_are_not_understood_do_not_hold_up_the_others() -> None:
    result = run("-", text=f"\n/data/M1/\r\n{GOOD}\r\n  \nMD5SUMS")
    assert result.exit_code == 3
    folder, good, sums = objects(result)
    assert (folder["line"], good["line"], sums["line"]) == (2, 3, 5)
    assert list(folder) == ["schema", "list", "line", "name", "error"]
    assert folder["name"] == "/data/M1/"
    assert folder["error"]["code"] == "name"
    assert folder["error"]["message"] == "'/data/M1/' is a folder, not a file"
    assert folder["error"]["hint"]
    assert "error" not in good
    assert "checksums" in sums["error"]["message"]


def test_real_lists() -> None:
    lists = [str(DATA / "magic_paths_processed_night.txt"), str(DATA / "lst1_paths_sample.txt")]
    result = run(*lists)
    assert result.exit_code == 3
    told = objects(result)
    assert len(told) == 812 + 300
    assert sum("error" in line for line in told) == 12
    assert {line["list"] for line in told} == set(lists)
    assert run(lists[1]).exit_code == 0


def test_grammar() -> None:
    lst1 = str(DATA / "lst1_paths_sample.txt")
    assert run(lst1, "--grammar", "magic").exit_code == 3
    assert run(lst1, "--grammar", "magic", "--grammar", "lst1").exit_code == 0
    assert run(lst1, "--grammar", "veritas").exit_code == 2


def test_templates() -> None:
    chosen = ["--dataset", "{run}.{level}", "--container", "{date}", "--container", "{stream}"]
    (told,) = objects(run("-", *chosen, text=GOOD))
    assert (told["dataset"], told["containers"]) == ("05089063.Calibrated", ["20200204"])


CAMPAIGN = r"""
campaign: third
scope: VISTA
source: {kind: mock}
naming:
  grammars:
    - name: vista
      experiment: VISTA
      pattern: 'v(?P<night>\d{8})_(?P<run>\d{5})_(?P<band>[YJHK]+)(?P<extension>\.fits)'
      example: v20240912_00123_K.fits
    - magic
  characters: "+"
  name: "{level}/{name}"
  dataset: "{run}.x"
  containers: ["{night}"]
upload: {rse: A}
rules: [{rse_expression: B}]
"""


def test_names_as_a_campaign_reads_them(tmp_path: Path) -> None:
    campaign = tmp_path / "third.yaml"
    campaign.write_text(CAMPAIGN)
    text = f"/data/v20240912_00123_K.fits\n{GOOD}\n"
    theirs, ours = objects(run("-", "--campaign", str(campaign), text=text))
    # Its pattern tells no level, which the DID's name is made of.
    assert "tells no level" in theirs["error"]["message"]
    assert ours["did_name"] == f"Calibrated/{GOOD.rpartition('/')[2]}"
    assert (ours["dataset"], ours["containers"]) == ("05089063.x", ["2020_02_04"])
    assert run("-", "--campaign", str(campaign), text="dl1_LST-1.Run03143.0003.h5").exit_code == 3


@pytest.mark.parametrize(
    "option", [("--grammar", "magic"), ("--dataset", "{run}"), ("--container", "{night}")]
)
def test_what_the_campaign_says_is_not_said_twice(tmp_path: Path, option: tuple[str, str]) -> None:
    campaign = tmp_path / "third.yaml"
    campaign.write_text(CAMPAIGN)
    result = run("-", "--campaign", str(campaign), *option, text=GOOD)
    assert isinstance(result.exception, UsageError)
    assert f"{option[0]} and --campaign" in result.exception.message


def test_a_campaign_that_is_none(tmp_path: Path) -> None:
    result = run("-", "--campaign", str(tmp_path / "nowhere.yaml"), text=GOOD)
    assert isinstance(result.exception, CampaignInvalid)


def test_a_dataset_that_cannot_be_named_is_a_refusal() -> None:
    result = run("-", "--dataset", "{stream}", text=GOOD)
    assert result.exit_code == 3
    assert "tells no stream" in objects(result)[0]["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-", "--dataset", "{nope}"], r"\{nope\} is no field"),
        (["-", "--container", "{run}"], "used more than once"),
        (["-", "nowhere.txt"], "'nowhere.txt' is not there"),
        (["-", "."], "'.' is a folder"),
    ],
)
def test_usage_errors_come_before_any_output(arguments: list[str], reason: str) -> None:
    result = run(*arguments, text=GOOD)
    assert isinstance(result.exception, UsageError)
    with pytest.raises(UsageError, match=reason):
        raise result.exception
    assert result.exception.hint
    assert result.stdout == ""


def test_nothing_given_is_a_usage_error() -> None:
    assert run().exit_code == 2


def test_bytes_that_are_no_names(tmp_path: Path) -> None:
    odd = tmp_path / "odd.txt"
    odd.write_bytes(
        b"\xef\xbb\xbf" + GOOD.rpartition("/")[2].encode() + b"\n\xff\x00\xfe\n" + b"x" * 1_000_000
    )
    result = run(str(odd))
    assert result.exit_code == 3
    good, binary, long = objects(result)
    assert "error" not in good
    assert "is no name of" in binary["error"]["message"]
    assert long["error"]["message"] == "the line is longer than 4096 characters"
    assert len(long["name"]) < 200


@pytest.mark.parametrize("given", ["file", "-"])
def test_a_data_file_is_no_list(tmp_path: Path, given: str) -> None:
    data = b"PAR1\x15\x04" + bytes(range(14, 256)) + bytes(40) + b"\n\xff\xfe\n"
    path = tmp_path / "x.parquet"
    path.write_bytes(data)
    result = run(str(path)) if given == "file" else run("-", text=data.decode("latin-1"))
    assert isinstance(result.exception, UsageError)
    assert "is no text" in result.exception.message
    assert result.stdout == ""


def test_after_a_line_that_is_too_long_the_next_is_read() -> None:
    result = run("-", text="x" * 20_000 + "\n" + GOOD + "\n")
    long, good = objects(result)
    assert (long["line"], good["line"]) == (1, 2)
    assert "error" in long
    assert "error" not in good


def test_a_reader_that_goes_away_is_no_mess(tmp_path: Path) -> None:
    names_file = tmp_path / "names.txt"
    names_file.write_text((GOOD + "\n") * 2_000)  # far more than a pipe holds
    with subprocess.Popen(
        [*COMMAND, str(names_file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=BUFFERED,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 141
    assert errors == ""


def test_a_line_is_answered_before_the_next_one_comes() -> None:
    with subprocess.Popen(
        [*COMMAND, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=BUFFERED
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(2):
            process.stdin.write(GOOD + "\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["dataset"] == "05089063"
        process.stdin.close()
    assert process.returncode == 0


def test_a_reader_that_goes_away_between_two_lines_is_no_mess() -> None:
    with subprocess.Popen(
        [*COMMAND, "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=BUFFERED,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(GOOD + "\n")
        process.stdin.flush()
        assert process.stdout.readline()
        process.stdout.close()
        process.stdin.write(GOOD + "\n")
        process.stdin.close()
        errors = process.stderr.read()
    assert process.returncode == 141
    assert errors == ""
