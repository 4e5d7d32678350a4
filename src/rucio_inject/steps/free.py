"""Giving the room at the source back, once the lake has proved that it holds the files."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from rucio_inject.batches import batches
from rucio_inject.domain.errors import (
    InjectError,
    SourceChanged,
    SourceIsReplica,
    SourceUnreadable,
    StorageRefused,
)
from rucio_inject.domain.facts import Fact, SourceFreed, SourceFreeing
from rucio_inject.domain.injection import FileRecord, FileState, SourceCopy
from rucio_inject.domain.usage import Room
from rucio_inject.measuring import Seen, measure_seen, seen_now, there
from rucio_inject.steps.compare import measure_of
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.organise import ending_datasets
from rucio_inject.steps.proofs import Proofs
from rucio_inject.steps.same_file import CannotTell, SameFile

VERIFIED = frozenset({FileState.VERIFIED})
LEFT = frozenset({SourceCopy.KEPT, SourceCopy.FREEING})
# What is read at the source before the lake is asked: both answers are to be young when it goes.
PORTION_BYTES = 4 << 30
# Files of a portion. The disk is waited for once before they are removed, and once after.
PORTION_FILES = 100
PROVED = VERIFIED | {FileState.EXPIRING, FileState.GONE}


@dataclass(frozen=True, slots=True)
class Watermark:
    """When room is made: above the share `high`, until `low`. `look` tells how full it is."""

    high: float
    low: float
    look: Callable[[], Room]

    def lacking(self, freed_since: Callable[[datetime], int] = lambda _: 0) -> int:
        """Bytes that are to be made room for; 0 if there is enough. What tells how full it is may
        be old: `freed_since` counts what was freed since a moment."""
        room = self.look()
        if room.share <= self.high:
            return 0
        freed = freed_since(room.told_at) if room.told_at is not None else 0
        return max(room.beyond(self.low) - freed, 0)


class FreeSources:
    """Removes source copies of verified files: generated ones, and others if asked to."""

    def __init__(
        self,
        journal: Journal,
        proofs: Proofs,
        same_file: SameFile,
        *,
        made_in: Path | None,
        real_ones_too: bool,
        watermark: Watermark | None = None,
        came_with: Callable[[Path], Sequence[Path]] = lambda _: (),
    ) -> None:
        """`made_in` is the folder of generated files, None if there are none: none of them is
        removed anywhere else. `watermark` None: all that may go does. `came_with`: what tells of
        a real file alone, and goes with it."""
        self._journal = journal
        self._proofs = proofs
        self._same_file = same_file
        self._made_in = made_in
        self._real_ones_too = real_ones_too
        self._watermark = watermark
        self._came_with = came_with
        self._refused: list[StorageRefused] = []

    def run(self) -> None:
        """Remove what may be removed. StorageRefused, after all others, for what the disk does
        not let us remove."""
        self._refused = []
        self._same_file.forget()
        if self._made_in is not None:
            self._remove_made(self._made_in)
        if self._real_ones_too:
            self._free_real_ones()
        if self._refused:
            refused = self._refused
            others = f" (and {len(refused) - 1} others)" if refused[1:] else ""
            raise StorageRefused(refused[0].message + others, hint=refused[0].hint)

    def _remove_made(self, folder: Path) -> None:
        left = self._journal.ledger.files(PROVED, sources=LEFT)
        made = (r for r in left if r.generated and Path(r.path).is_relative_to(folder))
        for some in batches(made, PORTION_FILES):
            self._remove([(record, None) for record in some])

    def _free_real_ones(self) -> None:
        """In the order in which they were found: the oldest go first."""
        # None: whatever may go.
        lacking = self._watermark.lacking() if self._watermark else None
        files = (r for r in self._journal.ledger.files(VERIFIED, sources=LEFT) if _may_be_freed(r))
        for some in batches(files):
            waiting: Sequence[FileRecord] = some
            while waiting and (lacking is None or lacking > 0):
                enough, waiting = _enough(waiting, lacking)
                for safe in self._safe(enough):
                    freed = self._remove([(r, partial(_rewritten, r, seen)) for r, seen in safe])
                    if lacking is not None:
                        lacking -= freed
            if lacking is not None and lacking <= 0:
                return

    def _safe(self, files: Sequence[FileRecord]) -> Iterator[list[tuple[FileRecord, Seen | None]]]:
        """Real files whose every replica is there now, and that are still what was injected, in
        portions; with what shows whether one is written anew, None for one that is not there any
        more.

        What was proved by an earlier run is proved once more.
        """
        ending = ending_datasets(self._journal.ledger, {record.dataset for record in files})
        proved = [r for r in files if r.state in VERIFIED and r.dataset not in ending]
        left: Sequence[FileRecord] = self._proofs.renewed(proved)
        while left:
            some, _ = _enough(left[:PORTION_FILES], PORTION_BYTES)
            left = left[len(some) :]
            yield list(self._kept_in_the_lake(list(self._unchanged(some))))

    def _unchanged(self, files: Sequence[FileRecord]) -> Iterator[tuple[FileRecord, Seen | None]]:
        """Those of some files that are at the source what was injected, and no replica itself, or
        that are not there."""
        for record in files:
            self._journal.clock.check()
            try:
                seen = _seen(record)
                if seen is not None:
                    self._same_file.refuse(record)
                yield record, seen
            except CannotTell as error:
                self._refused.append(error)
            except (SourceUnreadable, SourceChanged, SourceIsReplica) as error:
                self._journal.tell([self._journal.failed(record.did, error)])

    def _kept_in_the_lake(
        self, files: Sequence[tuple[FileRecord, Seen | None]]
    ) -> Iterator[tuple[FileRecord, Seen | None]]:
        """Those of some files whose replicas are there and held, by what the catalogue says now."""
        not_held = self._proofs.not_held([record for record, _ in files])
        for record, seen in files:
            # The others were read since.
            error = not_held.get(record.did) or _rewritten(record, seen)
            if error is None:
                yield record, seen
            else:
                self._journal.tell([self._journal.failed(record.did, error)])

    def _remove(
        self, files: Sequence[tuple[FileRecord, Callable[[], InjectError | None] | None]]
    ) -> int:
        """Remove the source copies of a few files; gives the bytes that are free. What comes with a
        file is asked last, and may say why that stays."""
        self._journal.clock.check()
        now = self._journal.clock.now
        # Also when an earlier run told it: a run that has lost its lease learns of it here.
        self._journal.tell(SourceFreeing(at=now(), did=record.did) for record, _ in files)
        freed, facts = 0, list[Fact]()
        for record, forbids in files:
            if forbids is not None and (why := forbids()) is not None:
                facts.append(self._journal.failed(record.did, why))
            elif (room := self._take_away(record)) is not None:
                facts.append(SourceFreed(at=now(), did=record.did))
                freed += room
        self._journal.tell(facts)
        return freed

    def _take_away(self, record: FileRecord) -> int | None:
        """Bytes that are free now that a source copy is gone, with what came with it; None if any
        of it is there still."""
        path = Path(record.path)
        beside = () if record.generated else self._came_with(path)
        # The file first: if what tells of it stays, by a crash or a refusal, the next run goes on.
        freed = self._unlink(path)
        if freed is None:
            return None
        told = [self._unlink(one) for one in beside if not _is_folder(one)]
        return None if None in told else freed

    def _unlink(self, path: Path) -> int | None:
        """Bytes that are free now that a source copy, or what came with it, is gone; None if it is
        there still."""
        try:
            found = path.lstat()
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return 0
        except OSError as error:
            self._refused.append(
                StorageRefused(
                    f"cannot remove the source copy {path}: {error.strerror}",
                    hint="mend its folder's permissions, then run the same command again",
                )
            )
            return None
        # A link has none of what it leads to, and what has another name stays.
        alone = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
        return found.st_size if alone else 0


def _is_folder(path: Path) -> bool:
    """Whether a folder is at a path. What the system tells nothing of is none: it is told when it
    cannot be removed."""
    return os.path.isdir(path) and not os.path.islink(path)  # noqa: PTH112, PTH114 -- no errors


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


def _seen(record: FileRecord) -> Seen | None:
    """What shows whether a source, which is what was injected, is written anew; None if it is not
    there. SourceUnreadable, or SourceChanged if it is another one by now."""
    path = Path(record.path)
    if not there(path):
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
