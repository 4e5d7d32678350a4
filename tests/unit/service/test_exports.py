"""What is exported is taken by those that it is for."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import kubernetes_validate
import pytest
from click.testing import CliRunner, Result
from croniter import croniter
from ruamel.yaml import YAML

from rucio_inject.campaign.service_keys import Schedule
from rucio_inject.cli.main import cli
from rucio_inject.domain.errors import UsageError
from rucio_inject.service.timetable import Timetable

SCHEDULES = {
    "17 * * * *": None,
    "1h": "0 * * * *",
    "15m": "*/15 * * * *",
    "6h": "0 */6 * * *",
    "1d": "0 0 * * *",
    "*/20 3-5 1,15 jan-jun *": None,
    "30 2 * * mon-fri": None,
    "0 12 13 * fri": None,
    "{cron: 5 4 * * 0, timezone: Europe/Madrid}": "5 4 * * 0",
}


def campaign(folder: Path, schedule: str, name: str = "Magic_1.hourly") -> Path:
    """A campaign file in a folder with blanks and signs in its name."""
    inside = folder / "my 100% data; $HOME"
    inside.mkdir(exist_ok=True)
    path = inside / "c.yaml"
    path.write_text(
        f"campaign: {name}\nscope: magic\nsource: {{kind: mock}}\nupload: {{rse: A}}\n"
        f"rules: [{{rse_expression: B}}]\nschedule: {schedule}\n"
    )
    return path


def export(folder: Path, schedule: str, *options: str) -> Result:
    """The command, as it ends."""
    file = str(campaign(folder, schedule))
    return CliRunner().invoke(cli, ["schedule", "export", file, *options])


def quoted(schedule: str) -> str:
    """As YAML has it."""
    return schedule if schedule.startswith("{") else json.dumps(schedule)


@pytest.mark.parametrize("kinds", [[], ["--cron", "--systemd"], ["--k8s", "--cron"]])
def test_one_kind_is_exported_at_a_time(tmp_path: Path, kinds: list[str]) -> None:
    refused = export(tmp_path, "1h", *kinds).exception
    assert isinstance(refused, UsageError)
    assert refused.message == "which one?"


def test_the_ready_one_has_a_schedule() -> None:
    ready = Path(__file__).parents[3] / "campaigns" / "functional-test.yaml"
    for options in (["show"], ["export", "--systemd"], ["export", "--cron"], ["export", "--k8s"]):
        answer = CliRunner().invoke(cli, ["schedule", *options, str(ready)])
        assert answer.exit_code == 0, answer.exception
        assert "functional-test" in answer.stdout


@pytest.mark.parametrize(("schedule", "cron"), SCHEDULES.items())
def test_a_cron_line(tmp_path: Path, schedule: str, cron: str | None) -> None:
    printed = export(tmp_path, quoted(schedule), "--cron").stdout
    line = printed.splitlines()[-1]
    expression, command = line.split("  ", 1)
    assert expression == (cron or schedule)
    assert croniter.is_valid(expression)
    assert command.startswith("cd ")
    assert "100\\% data" in command
    assert "%" not in command.replace("\\%", "")
    assert " --new-cycle --quiet " in command
    assert ("CRON_TZ=Europe/Madrid" in printed) == ("Madrid" in schedule)


def crontab(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """What Debian's cron says of some lines; it takes short names of files only."""
    (folder / "c").write_text(text)
    return subprocess.run(
        ["crontab", "-n", "c"], cwd=folder, capture_output=True, text=True, check=False
    )


def test_crontab_takes_the_lines(tmp_path: Path) -> None:
    for schedule in SCHEDULES:
        export(tmp_path, quoted(schedule), "--cron", "--into", str(tmp_path))
        file = tmp_path / "rucio-inject-Magic_1.hourly.cron"
        checked = crontab(tmp_path, file.read_text())
        assert checked.returncode == 0, checked.stderr
    assert crontab(tmp_path, "61 * * * *  true\n").returncode != 0


@pytest.mark.parametrize("schedule", [*SCHEDULES, "7h", "90s"])
def test_systemd_takes_the_units(tmp_path: Path, schedule: str) -> None:
    units = tmp_path / "units"
    exported = export(tmp_path, quoted(schedule), "--systemd", "--into", str(units))
    assert exported.exit_code == 0, exported.output
    paths = [Path(line) for line in exported.stdout.splitlines()]
    assert {path.suffix for path in paths} == {".service", ".timer"}
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
    )
    # What it says of other units of this machine is not about ours.
    ours = [line for line in checked.stderr.splitlines() if "rucio-inject" in line]
    assert (checked.returncode, ours) == (0, []), checked.stderr


def test_the_service_finds_what_signs_in(tmp_path: Path) -> None:
    us = pwd.getpwuid(os.geteuid()).pw_name
    for options, user in (([], us), (["--user", "nobody"], "nobody"), (["--user", "0"], "0")):
        lines = export(tmp_path, "1h", "--systemd", *options).stdout.splitlines()
        assert f"User={user}" in lines
        # Proxies and tokens are in the /tmp of all.
        assert not [line for line in lines if line.startswith("PrivateTmp")]
        comments = [line for line in lines if line.startswith("#")]
        assert f"# The proxy of {user} is looked for at /tmp/x509up_uUID" in comments[1]
        for name in ("X509_USER_PROXY", "RUCIO_CONFIG"):
            assert any(f"Environment={name}=" in line for line in comments)
    for odd in ("a b", "%u", "x\nExecStart=y", "-"):
        refused = export(tmp_path, "1h", "--systemd", "--user", odd).exception
        assert isinstance(refused, UsageError)
        assert "no name of a user" in refused.message


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_systemd_ticks_when_we_do(tmp_path: Path, schedule: str) -> None:
    exported = export(tmp_path, quoted(schedule), "--systemd").stdout
    calendars = [
        line.removeprefix("OnCalendar=")
        for line in exported.splitlines()
        if line.startswith("OnCalendar=")
    ]
    base = "2026-02-28 23:58:30 UTC"
    nexts = []
    for calendar in calendars:
        told = subprocess.run(
            ["systemd-analyze", "calendar", f"--base-time={base}", calendar],
            capture_output=True,
            text=True,
            check=True,
            env={"TZ": "UTC", "PATH": "/usr/bin:/bin"},
        ).stdout
        at = next(line for line in told.splitlines() if "Next elapse" in line or "(in UTC)" in line)
        nexts.append(at.split(": ", 1)[1].split(" ", 1)[1].removesuffix(" UTC"))
    tree = YAML(typ="safe").load(quoted(schedule))
    settings = (
        tree
        if isinstance(tree, dict)
        else (
            {"every": int(schedule[:-1]) * {"m": 60, "h": 3600, "d": 86_400}[schedule[-1]]}
            if schedule[-1] in "mhd" and " " not in schedule
            else {"cron": schedule}
        )
    )
    ours = Timetable(Schedule.model_validate(settings)).after(
        datetime(2026, 2, 28, 23, 58, 30, tzinfo=UTC)
    )
    if "Madrid" not in schedule:
        assert min(nexts) == f"{ours:%Y-%m-%d %H:%M:%S}"


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_kubernetes_takes_the_manifest(tmp_path: Path, schedule: str) -> None:
    exported = export(tmp_path, quoted(schedule), "--k8s", "--image", "site/inject:1")
    manifest = YAML(typ="safe").load(exported.stdout)
    kubernetes_validate.validate(manifest, "1.31", strict=True)
    assert manifest["metadata"]["name"] == "rucio-inject-magic-1-hourly"
    assert manifest["spec"]["concurrencyPolicy"] == "Forbid"
    container = manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "site/inject:1"
    assert container["command"][0] == "rucio-inject"


def test_kubernetes_takes_no_key_that_it_does_not_know(tmp_path: Path) -> None:
    exported = export(tmp_path, "1h", "--k8s", "--image", "site/inject:1")
    manifest = YAML(typ="safe").load(exported.stdout)
    manifest["spec"]["concurencyPolicy"] = "Forbid"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, "1.31", strict=True)


@pytest.mark.parametrize("kind", ["--cron", "--k8s"])
@pytest.mark.parametrize("every", ["7h", "90s", "2d", "45m"])
def test_an_interval_that_cron_cannot_tell(tmp_path: Path, every: str, kind: str) -> None:
    refused = export(tmp_path, every, kind)
    assert isinstance(refused.exception, UsageError)
    assert "cannot be told to cron" in refused.exception.message


def test_which_one_and_without_a_schedule(tmp_path: Path) -> None:
    assert isinstance(export(tmp_path, "1h").exception, UsageError)
    nothing = export(tmp_path, "null", "--cron").exception
    assert isinstance(nothing, UsageError)
    assert "has no schedule" in nothing.message


def test_the_next_times_are_shown(tmp_path: Path) -> None:
    file = str(campaign(tmp_path, "1h"))
    shown = CliRunner().invoke(cli, ["schedule", "show", file, "--count", "3", "--json"])
    told = json.loads(shown.stdout)
    assert told["schedule"] == "every 1h"
    moments = [datetime.fromisoformat(at) for at in told["next"]]
    assert [at.minute for at in moments] == [0, 0, 0]
    assert (moments[2] - moments[0]).total_seconds() == 7200
    assert "every 1h" in CliRunner().invoke(cli, ["schedule", "show", file]).stdout
