"""The audit of a campaign: what is on record against what there is, and safe repairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from rucio_inject.audit.files import ATTACHED, LookAtFiles
from rucio_inject.audit.findings import Looked, Repaired, Report
from rucio_inject.audit.organised import LookAtCollections, LookAtRules
from rucio_inject.audit.reading import counted, reached_state
from rucio_inject.audit.repair import MakeRepairs
from rucio_inject.audit.storages import LookAtSources, LookForDarkFiles
from rucio_inject.audit.world import Plan, Unseen, World
from rucio_inject.batches import batches
from rucio_inject.domain.did import DID
from rucio_inject.domain.injection import FileState

DONE = frozenset({FileState.VERIFIED, FileState.EXPIRING, FileState.GONE, FileState.QUARANTINED})
"""Files in these states wait for nothing, or for a person."""


class Audit:
    """Looks at everything that a campaign has on record of the cycle begun last."""

    def __init__(self, world: World, plan: Plan, tell: Callable[[str], None]) -> None:
        """`tell` is shown a line after each part and each batch of files."""
        self._world = world
        self._plan = plan
        self._tell = tell

    def look(self) -> Report:
        """Find what is wrong. Reads only, and may be done beside a run."""
        report, unseen = Report(), Unseen()
        files = LookAtFiles(self._world, self._plan, unseen)
        sources = LookAtSources(self._world, self._plan)
        states: Counter[FileState] = Counter()
        ending = self._world.ending()
        chains: dict[DID, tuple[DID, ...]] = {}
        rses = {self._plan.upload_rse: None}
        count = 0
        for records in batches(self._world.ledger.files()):
            self._world.clock.check()
            report.take(sources.findings(records))
            report.take(files.findings(records))
            for record in records:
                states[record.state] += 1
                rses.update(dict.fromkeys(record.replicas))
                if reached_state(record) in ATTACHED and record.dataset not in ending:
                    chains[record.dataset] = record.containers
            count += len(records)
            replicas = counted(files.replicas, "replica")
            self._tell(f"{counted(count, 'file')} on record, {replicas} looked at")
        report.take(files.absent.rest())
        collections = LookAtCollections(self._world, self._plan)
        report.take(collections.findings(chains))
        self._tell(f"{counted(len(chains), 'dataset')} looked into")
        rules = LookAtRules(self._world, self._plan, collections.detached)
        report.take(rules.findings(list(chains)))
        dark = LookForDarkFiles(self._world, self._plan, unseen)
        report.take(dark.findings(rses))
        self._tell(f"{counted(len(rses) - len(dark.not_listed), 'storage')} listed")
        report.take(unseen.findings())
        report.looked = Looked(
            count,
            files.replicas,
            tuple(dark.not_listed),
            waiting=count - sum(states[state] for state in DONE),
            set_aside=states[FileState.QUARANTINED],
            shown=files.absent.shown,
        )
        return report

    def fix(self, report: Report) -> Iterator[Repaired]:
        """Repair what is safe to repair. The ledger must be held."""
        yield from MakeRepairs(self._world, self._plan).run(report)
