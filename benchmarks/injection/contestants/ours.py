"""A campaign of ours, from the folder of source files to the proof that all replicas are whole.

Injected is a file when it is registered, attached, and its dataset has its rules: the time counts
from the call of `run` to the last FileOrganised. The run then goes on until every rule is OK and
every replica was read back. Facts are shown once the ledger has them on disk, so that is in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.injection.job import ACCOUNT, DESTINATIONS, RSE, Done, Job
from benchmarks.injection.rest_calls import CallCounter
from ruamel.yaml import YAML

from rucio_inject.domain.errors import Interrupted
from rucio_inject.domain.facts import Fact

# Copies of what was read back are kept on disk up to here, as a download does.
KEPT = 1 << 30


@dataclass(slots=True)
class Moment:
    """When a kind of fact came first and last (seconds), how often, and how many REST calls had
    been made by then."""

    first: float
    last: float
    count: int = 0
    calls: int = 0


class Moments:
    """An onlooker that notes when each kind of fact was on record; seconds since `begin`."""

    def __init__(self, calls: CallCounter) -> None:
        self._calls = calls
        self.begin()

    def begin(self) -> None:
        """Begin anew, now."""
        self._begun = time.perf_counter()
        self.calls_before = self._calls.total
        self.kinds: dict[str, Moment] = {}

    def record(self, facts: Sequence[Fact]) -> None:
        """See the port."""
        now, calls = time.perf_counter() - self._begun, self._calls.total
        for fact in facts:
            moment = self.kinds.setdefault(type(fact).__name__, Moment(now, now))
            moment.last, moment.calls = now, calls
            moment.count += 1


def campaign_keys(job: Job) -> dict[str, Any]:
    """The campaign, as its file has it; what is not told here is as for every user."""
    return {
        "campaign": job.scope,
        "account": ACCOUNT,
        "scope": job.scope,
        "source": {"kind": "directory", "path": str(job.folder / "files")},
        "naming": {"grammars": ["magic"]},
        "upload": {"rse": RSE, "workers": job.threads},
        "rules": [{"rse_expression": r} for r in ([RSE] if job.only_inject else DESTINATIONS)],
        "replication": {"deadline": "2h"},
        "access": {
            "workers": job.threads,
            "keep": sum(source.size for source in job.sources) < KEPT,
        },
        "output": str(job.work / "output"),
    }


def compete(job: Job, calls: CallCounter) -> Done:
    """Inject the job's files, which are all of its folder."""
    path = job.work / "campaign.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML().dump(campaign_keys(job), file)
    moments = _run(path, calls, job)
    sources, kinds = job.sources, moments.kinds
    proofs = () if job.only_inject else ("FileReplicated", "FileVerified")
    for kind in ("FileOrganised", *proofs):
        if kind not in kinds:
            raise SystemExit(f"the campaign came to its end without a {kind}")
    organised = kinds["FileOrganised"]
    return Done(
        files=organised.count,
        size=sum(source.size for source in sources),
        seconds=organised.last,
        calls=organised.calls - moments.calls_before,
        datasets=tuple(dict.fromkeys(source.dataset for source in sources)),
        details={
            "facts": {kind: asdict(moment) for kind, moment in kinds.items()},
            "calls_before": moments.calls_before,
            **({} if job.only_inject else _proved(kinds)),
        },
    )


def _proved(kinds: Mapping[str, Moment]) -> dict[str, Any]:
    """What came after the injection."""
    replicated, verified = kinds["FileReplicated"], kinds["FileVerified"]
    return {
        "replicated_seconds": replicated.last,
        "replicated_files": replicated.count,
        "verified_files": verified.count,
        "read_seconds": verified.last - replicated.last,
        "read_replicas": kinds["ReplicaRead"].count,
    }


class StopsWhenInjected:
    """An onlooker that stops the run as a user would, when every file is injected."""

    def __init__(self, moments: Moments, files: int, stop: Callable[[], None]) -> None:
        self._moments = moments
        self._files = files
        self._stop = stop

    def record(self, facts: Sequence[Fact]) -> None:
        """See the port. Facts come to `moments` first."""
        del facts
        organised = self._moments.kinds.get("FileOrganised")
        if organised is not None and organised.count == self._files:
            self._stop()


def _run(path: Path, calls: CallCounter, job: Job) -> Moments:
    """Run a campaign; gives its moments once it was prepared."""
    from rucio_inject.api import Injector  # noqa: PLC0415 -- imports count for memory, not for time
    from rucio_inject.campaign.load import load_campaign  # noqa: PLC0415
    from rucio_inject.clock import SystemClock  # noqa: PLC0415
    from rucio_inject.factory import rucio_ports  # noqa: PLC0415
    from rucio_inject.ledger.sql_ledger import SqlLedger  # noqa: PLC0415
    from rucio_inject.rucio.session import SignIn  # noqa: PLC0415

    campaign, clock = load_campaign(path), SystemClock()
    campaign.output_folder.mkdir(parents=True)
    ports = rucio_ports(SignIn(account=campaign.account), clock, analyse=False)
    with SqlLedger(campaign.ledger_place, campaign.campaign, clock=clock) as ledger:
        moments = Moments(calls)
        stops = [StopsWhenInjected(moments, job.files, clock.stop)] if job.only_inject else []
        injector = Injector(campaign, ports, ledger, [moments, *stops])
        lake = injector.prepare()
        moments.begin()
        with suppress(Interrupted) if job.only_inject else nullcontext():
            injector.run(lake)
    return moments
