"""Giving the room at the source back, once the lake has proved that it holds the files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from rucio_inject.batches import batches
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import (
    InjectError,
    ReplicaMissing,
    SourceChanged,
    SourceUnreadable,
    StorageRefused,
)
from rucio_inject.domain.facts import SourceFreed, SourceFreeing
from rucio_inject.domain.injection import FileRecord, FileState, ReplicaRecord, SourceCopy
from rucio_inject.domain.usage import Room
from rucio_inject.measuring import Seen, measure_seen, seen_now
from rucio_inject.ports import Catalogue, KnownFile
from rucio_inject.steps.access import AccessFiles
from rucio_inject.steps.compare import measure_of
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.locks import Held, look_up_locks, rules_that_keep
from rucio_inject.steps.organise import ending_datasets

VERIFIED = frozenset({FileState.VERIFIED})
LEFT = frozenset({SourceCopy.KEPT, SourceCopy.FREEING})
# What is read at the source before the lake is asked: both answers are to be young when it goes.
PORTION_BYTES = 4 << 30
PROVED = VERIFIED | {FileState.EXPIRING, FileState.GONE}


@dataclass(frozen=True, slots=True)
class Watermark:
    """When room is made: above the share `high`, until `low`. `look` tells how full it is."""

    high: float
    low: float
    look: Callable[[], Room]


class FreeSources:
    """Removes source copies of verified files: generated ones, and others if asked to."""

    def __init__(
        self,
        journal: Journal,
        catalogue: Catalogue,
        access: AccessFiles,
        *,
        made_in: Path | None,
        real_ones_too: bool,
        watermark: Watermark | None = None,
    ) -> None:
        """`access` reads replicas back; `made_in` is the folder of generated files, None if there
        are none: none of them is removed anywhere else. `watermark` None: all that may go does."""
        self._journal = journal
        self._catalogue = catalogue
        self._access = access
        self._began = journal.clock.now()
        self._made_in = made_in
        self._real_ones_too = real_ones_too
        self._watermark = watermark
        self._refused: list[StorageRefused] = []

    def run(self) -> None:
        """Remove what may be removed. StorageRefused, after all others, for what the disk does
        not let us remove."""
        self._refused = []
        if self._made_in is not None:
            self._remove_made(self._made_in)
        if self._real_ones_too:
            self._free_real_ones()
        if self._refused:
            refused = self._refused
            others = f" (and {len(refused) - 1} others)" if refused[1:] else ""
            raise StorageRefused(refused[0].message + others, hint=refused[0].hint)

    def _remove_made(self, folder: Path) -> None:
        for record in self._journal.ledger.files(PROVED, sources=LEFT):
            if record.generated and Path(record.path).is_relative_to(folder):
                self._remove(record)

    def _free_real_ones(self) -> None:
        """In the order in which they were found: the oldest go first."""
        lacking = self._lacking()
        files = (r for r in self._journal.ledger.files(VERIFIED, sources=LEFT) if _may_be_freed(r))
        for some in batches(files):
            waiting: Sequence[FileRecord] = some
            while waiting and (lacking is None or lacking > 0):
                enough, waiting = _enough(waiting, lacking)
                for record, seen in self._safe(enough):
                    gone = self._remove(record, partial(_rewritten, record, seen))
                    if gone and lacking is not None:
                        lacking -= measure_of(record).size
            if lacking is not None and lacking <= 0:
                return

    def _lacking(self) -> int | None:
        """Bytes that are to be made room for; None: whatever may go."""
        if self._watermark is None:
            return None
        room = self._watermark.look()
        return room.beyond(self._watermark.low) if room.share > self._watermark.high else 0

    def _safe(self, files: Sequence[FileRecord]) -> Iterator[tuple[FileRecord, Seen | None]]:
        """Real files whose every replica is there now, and that are still what was injected; with
        what shows whether one is written anew, None for one that is not there any more.

        What was proved by an earlier run, perhaps weeks ago and by a campaign that has changed
        since, is proved once more. A file that was not read itself goes only when all of its
        dataset that were to be read were.
        """
        ending = ending_datasets(self._journal.ledger)
        proved = [r for r in files if r.state in VERIFIED and r.dataset not in ending]
        stale = [record for record in proved if not self._is_fresh(record)]
        still_good = self._access.again(stale)
        proved = [record for record in proved if record not in stale or record.did in still_good]
        left: Sequence[FileRecord] = [r for r in proved if self._is_spoken_for(r)]
        while left:
            some, left = _enough(left, PORTION_BYTES)
            yield from self._kept_in_the_lake(list(self._unchanged(some)))

    def _unchanged(self, files: Sequence[FileRecord]) -> Iterator[tuple[FileRecord, Seen | None]]:
        """Those of some files that are at the source what was injected, or are not there."""
        for record in files:
            self._journal.clock.check()
            try:
                yield record, _seen(record)
            except (SourceUnreadable, SourceChanged) as error:
                self._journal.tell([self._journal.failed(record.did, error)])

    def _kept_in_the_lake(
        self, files: Sequence[tuple[FileRecord, Seen | None]]
    ) -> Iterator[tuple[FileRecord, Seen | None]]:
        """Those of some files whose replicas are there and held, by what the catalogue says now."""
        known = self._catalogue.look_up([record.did for record, _ in files]) if files else {}
        rules = self._locks({record.dataset for record, _ in files})
        # Half an answer may pass for a whole one: what it lacks is asked for once more.
        lacking = {r.dataset for r, _ in files if _unkept(r, rules[r.dataset])}
        rules |= self._locks(lacking)
        for record, seen in files:
            error = _lost(record, known.get(record.did)) or _unkept(record, rules[record.dataset])
            # The others were read since.
            error = error or _rewritten(record, seen)
            if error is None:
                yield record, seen
            else:
                self._journal.tell([self._journal.failed(record.did, error)])

    def _is_spoken_for(self, record: FileRecord) -> bool:
        """Whether a file was read, or all of its dataset's sample were."""
        sampling = self._access.sampling
        return sampling.reads(record) or sampling.speaks(record.dataset)

    def _locks(self, datasets: Collection[DID]) -> dict[DID, list[Held]]:
        """What the rules of datasets hold now, asked anew for each batch of files."""
        keeping = rules_that_keep(self._journal.ledger, datasets)
        return {
            dataset: [
                look_up_locks(self._catalogue, rule.rule_id, rule.rse_expression, rule.copies)
                for rule in rules
            ]
            for dataset, rules in keeping.items()
        }

    def _is_fresh(self, record: FileRecord) -> bool:
        """Whether every replica was proved in this run, in the way that the campaign asks for."""
        read = self._access.sampling.reads(record)
        times = [_proved_at(replica, read=read) for replica in record.replicas.values()]
        return all(at is not None and at > self._began for at in times)

    def _remove(
        self, record: FileRecord, forbids: Callable[[], InjectError | None] = lambda: None
    ) -> bool:
        """Whether the source copy is gone. `forbids` is asked last, and may say why it stays."""
        self._journal.clock.check()
        path = Path(record.path)
        # Also when an earlier run told it: a run that has lost its lease learns of it here.
        self._journal.tell([SourceFreeing(at=self._journal.clock.now(), did=record.did)])
        if (why := forbids()) is not None:
            self._journal.tell([self._journal.failed(record.did, why)])
            return False
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._refused.append(
                StorageRefused(
                    f"cannot remove the source copy {path}: {error.strerror}",
                    hint="mend its folder's permissions, then run the same command again",
                )
            )
            return False
        self._journal.tell([SourceFreed(at=self._journal.clock.now(), did=record.did)])
        return True


def _proved_at(replica: ReplicaRecord, *, read: bool) -> datetime | None:
    """When a replica was proved last; with `read`, when it was read."""
    times = [replica.read_back_at] if read else [replica.read_back_at, replica.told_at]
    return max((at for at in times if at is not None), default=None)


def _may_be_freed(record: FileRecord) -> bool:
    """Whether a file is a real one of this machine, and none that lies at an RSE."""
    return not record.generated and not record.in_place and record.source is not SourceCopy.FREED


def _enough(
    files: Sequence[FileRecord], wanted: int | None
) -> tuple[Sequence[FileRecord], Sequence[FileRecord]]:
    """The first files whose bytes are as many as wanted, and the others."""
    if wanted is None:
        return files, ()
    for number, record in enumerate(files, 1):
        wanted -= measure_of(record).size
        if wanted <= 0:
            return files[:number], files[number:]
    return files, ()


def _lost(record: FileRecord, known: KnownFile | None) -> InjectError | None:
    there = known.replicas if known else {}
    lost = [rse for rse in record.replicas if rse not in there or not there[rse].available]
    if not lost:
        return None
    return ReplicaMissing(
        f"{record.did} is no longer at {', '.join(lost)}: its source is kept",
        hint=f"rucio replica list file {record.did} --all-states",
    )


def _unkept(record: FileRecord, rules: Sequence[Held]) -> InjectError | None:
    """Replicas that no rule holds may be deleted at any time: then the source is all there is."""
    letting_go = [rule for rule in rules if not rule.keeps(record.did)]
    if rules and not letting_go:
        return None
    which = ", ".join(f"rule {rule.rule_id} to {rule.where}" for rule in letting_go)
    return ReplicaMissing(
        f"{record.did} is not held by {which or 'any rule'}: its source is kept",
        hint=f"is it still in {record.dataset}? run the same command again to put it back",
    )


def _seen(record: FileRecord) -> Seen | None:
    """What shows whether a source, which is what was injected, is written anew; None if it is not
    there. SourceUnreadable, or SourceChanged if it is another one by now."""
    path = Path(record.path)
    if not path.exists():
        return None
    measure, seen = measure_seen(path)
    if measure_of(record).differences(measure):
        raise _is_another(path)
    return seen


def _rewritten(record: FileRecord, seen: Seen | None) -> InjectError | None:
    """Why a source must not go: it is not what was read of it any more."""
    path = Path(record.path)
    try:
        now = seen_now(path)
    except SourceUnreadable as error:
        return error
    return None if now in {None, seen} else _is_another(path)


def _is_another(path: Path) -> SourceChanged:
    return SourceChanged(
        f"{path} is not the file that was injected any more: it is kept",
        hint="give the new content a name of its own",
    )
