"""What a site needs to run a campaign by its own clock: a cron line, systemd units, a Kubernetes
manifest. No secret is in any of them: they name the campaign file."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from rucio_inject.campaign.cron import WEEKDAYS, Cron, parse_cron
from rucio_inject.campaign.schema import Campaign
from rucio_inject.campaign.service_keys import Schedule
from rucio_inject.domain.errors import UsageError

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*|[0-9]+")
_LONGEST_JOB = 52
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
# A run that is told to stop ends what is under way, which may be a large upload.
_STOP_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Job:
    """A campaign file, the folder that its command runs in, and the command's program."""

    campaign: Campaign
    file: Path
    folder: Path
    program: str = "rucio-inject"

    @property
    def schedule(self) -> Schedule:
        """When it runs. UsageError if it has none."""
        if self.campaign.schedule is None:
            raise UsageError(
                f"{self.file} has no schedule", hint="add schedule: 1h, or a cron expression"
            )
        return self.campaign.schedule

    @property
    def name(self) -> str:
        """What its unit is called."""
        return f"rucio-inject-{self.campaign.campaign}"

    def command(self, file: str) -> list[str]:
        """What is run."""
        new = ["--new-cycle"] if self.campaign.source.kind == "mock" else []
        return [self.program, "run", *new, "--quiet", file]


def cron_of(schedule: Schedule) -> Cron:
    """A schedule as a cron expression. UsageError for an interval that none can tell."""
    if schedule.cron is not None:
        return parse_cron(schedule.cron)
    every = schedule.every or 0
    if every % _MINUTE == 0 and _HOUR % every == 0:
        text = "0 * * * *" if every == _HOUR else f"*/{every // _MINUTE} * * * *"
    elif every % _HOUR == 0 and _DAY % every == 0:
        text = "0 0 * * *" if every == _DAY else f"0 */{every // _HOUR} * * *"
    else:
        raise UsageError(
            f"{schedule.in_words()} cannot be told to cron, which counts anew each hour and day",
            hint="name an interval that an hour or a day is a multiple of, or a cron expression; "
            "--systemd takes any",
        )
    return parse_cron(text)


def cron_lines(job: Job) -> str:
    """Lines for crontab(5)."""
    schedule = job.schedule
    command = f"cd {shlex.quote(str(job.folder))} && {shlex.join(job.command(str(job.file)))}"
    # In a crontab a percent sign ends the command.
    line = f"{cron_of(schedule).text}  {command}".replace("%", "\\%")
    if schedule.timezone == "UTC":
        zone = "# in the machine's own time zone, which should be UTC"
    else:
        zone = f"# Debian's cron knows no time zones; cronie does\nCRON_TZ={schedule.timezone}"
    return f"{zone}\n{line}\n"


def calendar_of(cron: Cron, zone: str) -> Sequence[str]:
    """A cron expression as systemd's OnCalendar: two of them where either day is enough."""
    time = f"{_listed(cron.hours, 24)}:{_listed(cron.minutes, 60)}:00 {zone}"
    months = _listed(cron.months, 12)
    weekdays = ",".join(WEEKDAYS[day].capitalize() for day in cron.weekdays)
    of_week = "" if len(cron.weekdays) == len(WEEKDAYS) else f"{weekdays} "
    days = _listed(cron.days, 31)
    if cron.either_day:
        return [f"*-{months}-{days} {time}", f"{of_week}*-{months}-* {time}"]
    return [f"{of_week}*-{months}-{days} {time}"]


def _listed(numbers: Sequence[int], most: int) -> str:
    return "*" if len(numbers) == most else ",".join(f"{number:02d}" for number in numbers)


def systemd_units(job: Job, user: str) -> Mapping[str, str]:
    """A service, which runs as `user`, and its timer, by the names of their files. UsageError if
    that can be no user's name or number."""
    if not _USER.fullmatch(user):
        raise UsageError(
            f"{user!r} is no name of a user", hint="name one who may sign in to Rucio, or a number"
        )
    schedule = job.schedule
    try:
        calendars = calendar_of(cron_of(schedule), schedule.timezone)
    except UsageError:
        when = f"OnActiveSec=0\nOnUnitActiveSec={schedule.every}s"
    else:
        when = "\n".join(f"OnCalendar={calendar}" for calendar in calendars)
    words = f"rucio-inject campaign {job.campaign.campaign}"
    command = " ".join(_for_systemd(part) for part in job.command(str(job.file)))
    # No /tmp of its own: proxies and tokens lie in the one that all have.
    service = f"""\
# The proxy of {user} is looked for at /tmp/x509up_uUID, a token at /tmp/bt_uUID, and rucio.cfg
# where Rucio's client looks. What lies elsewhere is named below [Service]:
#   Environment=X509_USER_PROXY=/path/of/proxy
#   Environment=RUCIO_CONFIG=/path/of/rucio.cfg
[Unit]
Description={words}
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
User={user}
WorkingDirectory={_specifiers(str(job.folder))}
ExecStart={command}
TimeoutStopSec={_STOP_SECONDS}
NoNewPrivileges=yes
ProtectSystem=full
"""
    timer = f"""\
[Unit]
Description={words}, {schedule.in_words()}

[Timer]
{when}
Persistent=true
AccuracySec=1s

[Install]
WantedBy=timers.target
"""
    return {f"{job.name}.service": service, f"{job.name}.timer": timer}


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")


def _for_systemd(part: str) -> str:
    """A part of a command as systemd.service(5) reads it."""
    plain = _specifiers(part).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{plain}"' if re.search(r"[\s'\"\\;]", plain) else plain


def kubernetes_manifest(job: Job, image: str) -> str:
    """A CronJob that finds the campaign in a ConfigMap, rucio.cfg and what else signs in in a
    Secret, and ledger and output in a PersistentVolumeClaim: all of them of its own name."""
    schedule = job.schedule
    name = _NOT_IN_NAMES.sub("-", job.name.lower())[:_LONGEST_JOB].strip("-")
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": _STOP_SECONDS,
        "containers": [
            {
                "name": "run",
                "image": image,
                "command": job.command("/etc/rucio-inject/campaign.yaml"),
                "workingDir": "/var/lib/rucio-inject",
                "env": [{"name": "RUCIO_CONFIG", "value": "/etc/rucio/rucio.cfg"}],
                "volumeMounts": [
                    {"name": "campaign", "mountPath": "/etc/rucio-inject", "readOnly": True},
                    {"name": "rucio", "mountPath": "/etc/rucio", "readOnly": True},
                    {"name": "state", "mountPath": "/var/lib/rucio-inject"},
                ],
            }
        ],
        "volumes": [
            {"name": "campaign", "configMap": {"name": name}},
            {"name": "rucio", "secret": {"secretName": name, "defaultMode": 0o400}},
            {"name": "state", "persistentVolumeClaim": {"claimName": name}},
        ],
    }
    manifest = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "rucio-inject"}},
        "spec": {
            "schedule": cron_of(schedule).text,
            "timeZone": "Etc/UTC" if schedule.timezone == "UTC" else schedule.timezone,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3600,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {"spec": {"backoffLimit": 0, "template": {"spec": pod}}},
        },
    }
    file = shlex.quote(str(job.file))
    return (
        f"# kubectl create configmap {name} --from-file=campaign.yaml={file}\n"
        f"# kubectl create secret generic {name} --from-file=rucio.cfg\n"
        f"# and a PersistentVolumeClaim {name}\n{_yaml(manifest)}"
    )


def _yaml(tree: Mapping[str, Any]) -> str:
    out = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(dict(tree), out)
    return out.getvalue()
