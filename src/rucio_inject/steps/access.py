"""Reading every promised replica back, and comparing it with what went in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from rucio_inject.batches import batches
from rucio_inject.domain.checksum import Announced, Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import (
    AnalysisFailed,
    ChecksumMismatch,
    InjectError,
    ReplicaMissing,
    StorageRefused,
)
from rucio_inject.domain.facts import AnalysisMade, Fact, FileVerified, ReplicaRead, ReplicaTold
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.domain.names.placement import leads_elsewhere
from rucio_inject.domain.story import replicas_left
from rucio_inject.ports import Analyser, Analysis, Catalogue, KnownFile, Storage
from rucio_inject.steps.fresh import ProvedNow
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.looks import Looks
from rucio_inject.steps.measure import make_folder
from rucio_inject.steps.pool import in_threads
from rucio_inject.steps.sampling import Sampling

# Files asked for at once, while others are read.
LOOKED_UP = 250
# How names of files end that an application can open.
ROOT = ".root"


@dataclass(frozen=True, slots=True)
class ReadBack:
    """One replica that was read back."""

    rse: str
    pfn: str
    measure: Measure


@dataclass(frozen=True, slots=True)
class Told:
    """One replica of which its storage told size and adler32."""

    rse: str
    pfn: str
    size: int
    adler32: str


Proof: TypeAlias = ReadBack | Told


class AccessFiles:
    """Reads each file from every RSE that should hold it; of those that a sample leaves out, each
    storage is asked for size and checksum instead."""

    def __init__(
        self,
        journal: Journal,
        catalogue: Catalogue,
        storage: Storage,
        *,
        folder: Path,
        workers: int,
        keep: bool,
        sampling: Sampling,
        proved: ProvedNow,
        looks: Looks | None = None,
    ) -> None:
        """`folder` takes the bytes, below a folder for each RSE, if `keep`: one copy of each file
        then stays there to be used. `sampling` says which files are read; what is proved is noted
        in `proved`; `looks`: which look of a watch this is, if it is of one."""
        self._looks = looks or Looks(journal.clock)
        self.sampling = sampling
        self.proved = proved
        self._journal = journal
        self._catalogue = catalogue
        self._storage = storage
        self._folder = folder
        self._workers = workers
        self._keep = keep
        self._went_back = False

    def run(self) -> Mapping[DID, Path]:
        """Read the REPLICATED ones back; gives the copies kept of those that are VERIFIED now.

        A replica that cannot be read, or is not the same, sets its file aside: its rules are kept.
        """
        ledger = self._journal.ledger
        replicated = ledger.files({FileState.REPLICATED})
        copies: dict[DID, Path] = {}
        for verified in self._verify(chain(replicated, self._to_be_read_now())):
            for record, proofs in verified if self._keep else ():
                if isinstance(proofs[-1], ReadBack):
                    copies[record.did] = self._copy(proofs[-1].rse, record)
        return copies

    def _to_be_read_now(self) -> Iterator[FileRecord]:
        """Files that were not read, and are of the sample since others came to their dataset. Once
        a run: those that it verifies itself are of the same sample. If nothing happened, none did.
        """
        grown = self._looks.whole or self._journal.changed
        if grown and self.sampling.chooses and not self._went_back:
            self._went_back = True
            for record in self._journal.ledger.files({FileState.VERIFIED}):
                if record.sampled and self.sampling.reads(record):
                    yield record

    def again(self, files: Sequence[FileRecord]) -> frozenset[DID]:
        """Read VERIFIED files back once more; those that are still the same everywhere. The others
        are set aside."""
        return frozenset(record.did for good in self._verify(files) for record, _ in good)

    def read_one(self, files: Iterable[FileRecord]) -> Mapping[DID, Path]:
        """Read one replica of each file that was verified earlier, for use; what cannot be read
        now is left out, since the proof is on record already."""
        return {
            record.did: self._copy(outcome[-1].rse, record)
            for some in self._prove(files, self._read_one)
            for record, outcome in some
            if not isinstance(outcome, InjectError)
        }

    def _verify(
        self, files: Iterable[FileRecord]
    ) -> Iterator[list[tuple[FileRecord, list[Proof]]]]:
        """Read files back and tell what came of it; yields those that are VERIFIED by it."""
        for some in self._prove(files, self._proofs):
            told: list[Fact] = []
            good: list[tuple[FileRecord, list[Proof]]] = []
            for record, outcome in some:
                self.proved.forget(record.did)
                if isinstance(outcome, InjectError):
                    told.append(self._journal.failed(record.did, outcome))
                    continue
                told += self._compared(record, outcome)
                if isinstance(told[-1], FileVerified):
                    good.append((record, outcome))
            self._journal.tell(told)
            for record, proofs in good:
                ways = ((proof.rse, isinstance(proof, ReadBack)) for proof in proofs)
                self.proved.note(record.did, ways)
            yield good

    def _prove(
        self,
        files: Iterable[FileRecord],
        how: Callable[[tuple[FileRecord, KnownFile | None]], list[Proof]],
    ) -> Iterator[list[tuple[FileRecord, list[Proof] | InjectError]]]:
        known = self._looked_up(files)
        for batch in in_threads(known, how, workers=self._workers, crew=self._journal.crew):
            yield [(record, outcome) for (record, _), outcome in batch]

    def _looked_up(
        self, files: Iterable[FileRecord]
    ) -> Iterator[tuple[FileRecord, KnownFile | None]]:
        """Files with what the catalogue knows of them: the next ones are asked for while these
        are read."""

        def look_up(batch: Sequence[FileRecord]) -> Mapping[DID, KnownFile]:
            return self._catalogue.look_up([record.did for record in batch])

        crew, asked = self._journal.crew, batches(files, LOOKED_UP)
        for some in in_threads(asked, look_up, workers=2, crew=crew, ahead=1, gather=0):
            for batch, known in some:
                if isinstance(known, InjectError):
                    raise known
                yield from ((record, known.get(record.did)) for record in batch)

    def _read_one(self, file: tuple[FileRecord, KnownFile | None]) -> list[Proof]:
        record, known = file
        return [self._read_back(record, rse, known) for rse in _held(record)[-1:]]

    def _proofs(self, file: tuple[FileRecord, KnownFile | None]) -> list[Proof]:
        record, known = file
        how = self._read_back if self.sampling.reads(record) else self._ask
        return [how(record, rse, known) for rse in _held(record)]

    def _read_back(self, record: FileRecord, rse: str, known: KnownFile | None) -> ReadBack:
        pfn = _pfn(record, rse, known)
        # One copy a file is enough to be used.
        if self._keep and rse == _held(record)[-1]:
            path = self._copy(rse, record)
            make_folder(path.parent)
            return ReadBack(rse, pfn, self._storage.get(rse, pfn, path))
        return ReadBack(rse, pfn, self._storage.measure(rse, pfn))

    def _ask(self, record: FileRecord, rse: str, known: KnownFile | None) -> Proof:
        pfn = _pfn(record, rse, known)
        found = self._storage.checksum(rse, pfn)
        if found.size is None or found.adler32 is None:
            # A storage that tells nothing proves nothing: it is read.
            return ReadBack(rse, pfn, self._storage.measure(rse, pfn))
        return Told(rse, pfn, found.size, found.adler32)

    def _copy(self, rse: str, record: FileRecord) -> Path:
        """Where a copy is kept. StorageRefused for a name that leads anywhere else: names on record
        may be of another program's making."""
        if leads_elsewhere(record.did.name) or leads_elsewhere(rse) or "/" in rse:
            raise StorageRefused(f"{record.did} at {rse} would be kept outside {self._folder}")
        return self._folder / rse / record.did.name

    def _compared(self, record: FileRecord, proofs: Sequence[Proof]) -> list[Fact]:
        now = self._journal.clock.now()
        facts: list[Fact] = [_fact(record.did, proof, now) for proof in proofs]
        wrong = [
            f"{proof.rse} ({', '.join(differences)})"
            for proof in proofs
            if record.measure and (differences := _differences(record.measure, proof))
        ]
        if not wrong:
            sampled = any(isinstance(proof, Told) for proof in proofs)
            return [*facts, FileVerified(at=now, did=record.did, sampled=sampled)]
        error = ChecksumMismatch(
            f"{record.did} came back with other bytes from {', '.join(wrong)}",
            hint="its rules are kept; declare the bad replica so that Rucio makes a new one "
            "(rucio replica state update bad), then run the same command again",
        )
        return [*facts, self._journal.failed(record.did, error)]


def _held(record: FileRecord) -> list[str]:
    """RSEs that should hold a file: Rucio may be removing it where it was before us."""
    return [rse for rse in replicas_left(record.replicas) if not record.leaves(rse)]


def _pfn(record: FileRecord, rse: str, known: KnownFile | None) -> str:
    replica = known.replicas.get(rse) if known else None
    if replica is None or not replica.available or replica.pfn is None:
        raise ReplicaMissing(
            f"{record.did} should be at {rse}, but the catalogue offers no replica there",
            hint=f"rucio replica list file {record.did} --all-states",
        )
    return replica.pfn


def _fact(did: DID, proof: Proof, now: datetime) -> Fact:
    if isinstance(proof, ReadBack):
        return ReplicaRead(at=now, did=did, rse=proof.rse, pfn=proof.pfn, measure=proof.measure)
    return ReplicaTold(
        at=now, did=did, rse=proof.rse, pfn=proof.pfn, size=proof.size, adler32=proof.adler32
    )


def _differences(measure: Measure, proof: Proof) -> tuple[str, ...]:
    if isinstance(proof, ReadBack):
        return measure.differences(proof.measure)
    return Announced(proof.size, proof.adler32).differences(measure)


class AnalyseFiles:
    """Lets an application use the bytes that came from the lake, and keeps what it made."""

    def __init__(self, journal: Journal, analyser: Analyser, out: Path) -> None:
        self._journal = journal
        self._analyser = analyser
        self._out = out

    def lacking(self, copies: Collection[DID]) -> Iterator[FileRecord]:
        """Files that were verified by an earlier run, and are not among the `copies` that came
        now, nor in what was made then; all of them if that has others in it, too. What a sample
        speaks for nobody has read, and is not read for this, nor what is no ROOT file."""
        counted = self._counted()
        for record in self._journal.ledger.files({FileState.VERIFIED}):
            left_out = record.did in copies or record.sampled
            if not left_out and record.did.name.endswith(ROOT) and record.did.name not in counted:
                yield record

    def _counted(self) -> frozenset[str]:
        """Names of files that were analysed before and are all VERIFIED now; none if one of them
        is not, as they were of another cycle, or has ended: nothing can be taken off a sum."""
        counted = self._analyser.counted(self._out)
        verified = self._journal.ledger.files({FileState.VERIFIED}) if counted else ()
        there = sum(record.did.name in counted for record in verified)
        return counted if there == len(counted) else frozenset()

    def run(self, copies: Mapping[DID, Path]) -> Analysis | None:
        """Analyse the ROOT files among local copies, with what was analysed before; None if there
        are none.

        A file that does not open as ROOT is verified all the same: its bytes are the source's.
        AnalysisFailed if nothing could be made at all.
        """
        counted = self._counted()
        files = [
            path for did, path in copies.items() if path.suffix == ROOT and did.name not in counted
        ]
        if not files and not counted:
            return None
        self._out.mkdir(parents=True, exist_ok=True)
        made = self._analyser.analyse(files, self._out, add=bool(counted))
        if not made.files:
            reasons = "; ".join(f"{path.name}: {error.message}" for path, error in made.failures)
            raise AnalysisFailed(f"none of {len(files)} files could be used: {reasons}")
        self._journal.tell(
            [
                AnalysisMade(
                    at=self._journal.clock.now(),
                    files=made.files,
                    events=made.events,
                    headline=made.headline,
                    paths=tuple(str(path) for path in made.paths),
                )
            ]
        )
        return made


class RemoveCopies:
    """Removes what was read back, once it has been used."""

    def __init__(self, journal: Journal, folder: Path, *, scope: str) -> None:
        """`scope` is the scope of the campaign's files."""
        self._journal = journal
        self._folder = folder
        self._scope = scope

    def run(self) -> None:
        """Remove the copies of files on record, also those that a killed run left behind.

        Nothing else: the folder may be one that somebody uses. StorageRefused if the disk does not
        let us.
        """
        try:
            for rse in sorted(self._folder.iterdir() if self._folder.is_dir() else ()):
                self._empty(rse)
            if self._folder.is_dir() and not any(self._folder.iterdir()):
                self._folder.rmdir()
        except OSError as error:
            raise StorageRefused(
                f"cannot remove what was read back to {self._folder}: {error.strerror}",
                hint="mend its permissions, then run the same command again",
            ) from error

    def _empty(self, rse: Path) -> None:
        # Deepest first, so that folders are empty when their turn comes.
        for path in sorted(rse.rglob("*"), reverse=True) if rse.is_dir() else ():
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            elif self._is_ours(path.relative_to(rse)):
                path.unlink()
        if rse.is_dir() and not any(rse.iterdir()):
            rse.rmdir()

    def _is_ours(self, name: Path) -> bool:
        return self._journal.ledger.file(DID(self._scope, name.as_posix())) is not None
