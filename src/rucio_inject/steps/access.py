"""Reading every promised replica back, and comparing it with what went in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import (
    AnalysisFailed,
    ChecksumMismatch,
    InjectError,
    ReplicaMissing,
    StorageRefused,
)
from rucio_inject.domain.facts import AnalysisMade, Fact, FileVerified, ReplicaRead
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.measuring import measure_file
from rucio_inject.ports import Analyser, Analysis, Catalogue, KnownFile, Storage
from rucio_inject.steps.batches import batches
from rucio_inject.steps.journal import Journal
from rucio_inject.steps.measure import make_folder
from rucio_inject.steps.pool import in_threads


@dataclass(frozen=True, slots=True)
class ReadBack:
    """One replica that was read back."""

    rse: str
    pfn: str
    measure: Measure
    path: Path


class AccessFiles:
    """Reads each file from every RSE that should hold it."""

    def __init__(
        self,
        journal: Journal,
        catalogue: Catalogue,
        storage: Storage,
        *,
        folder: Path,
        workers: int,
        keep: bool,
    ) -> None:
        """`folder` takes the bytes, below a folder for each RSE. `keep`: one copy of each file
        stays there to be used; else the disk holds no more than `workers` copies at a time."""
        self._journal = journal
        self._catalogue = catalogue
        self._storage = storage
        self._folder = folder
        self._workers = workers
        self._keep = keep

    def run(self) -> Mapping[DID, Path]:
        """Read the REPLICATED ones back; gives the copies kept of those that are VERIFIED now.

        A replica that cannot be read, or is not the same, sets its file aside: its rules are kept.
        """
        replicated = self._journal.ledger.files({FileState.REPLICATED})
        copies: dict[DID, Path] = {}
        for record, outcome in self._read(replicated, all_rses=True):
            if isinstance(outcome, InjectError):
                self._journal.tell([self._journal.failed(record.did, outcome)])
                continue
            facts = self._compared(record, outcome)
            self._journal.tell(facts)
            if isinstance(facts[-1], FileVerified) and self._keep:
                copies[record.did] = outcome[-1].path
        return copies

    def again(self, files: Sequence[FileRecord]) -> frozenset[DID]:
        """Read VERIFIED files back once more; those that are still the same everywhere. The others
        are set aside."""
        good: set[DID] = set()
        for record, outcome in self._read(files, all_rses=True):
            if isinstance(outcome, InjectError):
                self._journal.tell([self._journal.failed(record.did, outcome)])
                continue
            facts = self._compared(record, outcome)
            self._journal.tell(facts)
            if isinstance(facts[-1], FileVerified):
                good.add(record.did)
        return frozenset(good)

    def read_one(self, files: Iterable[FileRecord]) -> Mapping[DID, Path]:
        """Read one replica of each file that was verified earlier, for use; what cannot be read
        now is left out, since the proof is on record already."""
        return {
            record.did: outcome[-1].path
            for record, outcome in self._read(files, all_rses=False)
            if not isinstance(outcome, InjectError)
        }

    def _read(
        self, files: Iterable[FileRecord], *, all_rses: bool
    ) -> Iterator[tuple[FileRecord, list[ReadBack] | InjectError]]:
        def read(file: tuple[FileRecord, KnownFile | None]) -> list[ReadBack]:
            record, known = file
            rses = list(record.replicas) if all_rses else list(record.replicas)[-1:]
            return self._read_back(record, rses, known)

        clock = self._journal.clock
        known = self._looked_up(files)
        for batch in in_threads(known, read, workers=self._workers, clock=clock):
            for (record, _), outcome in batch:
                yield record, outcome

    def _looked_up(
        self, files: Iterable[FileRecord]
    ) -> Iterator[tuple[FileRecord, KnownFile | None]]:
        for batch in batches(files):
            known = self._catalogue.look_up([record.did for record in batch])
            yield from ((record, known.get(record.did)) for record in batch)

    def _read_back(
        self, record: FileRecord, rses: Sequence[str], known: KnownFile | None
    ) -> list[ReadBack]:
        read: list[ReadBack] = []
        for rse in rses:
            replica = known.replicas.get(rse) if known else None
            if replica is None or not replica.available or replica.pfn is None:
                raise ReplicaMissing(
                    f"{record.did} should be at {rse}, but the catalogue offers no replica there",
                    hint=f"rucio replica list file {record.did} --all-states",
                )
            path = self._folder / rse / record.did.name
            make_folder(path.parent)
            self._storage.get(rse, replica.pfn, path)
            read.append(ReadBack(rse, replica.pfn, measure_file(path), path))
            # Measured bytes are done with; one copy a file is enough to be used.
            if not self._keep or rse != rses[-1]:
                _remove(path)
        return read

    def _compared(self, record: FileRecord, replicas: Sequence[ReadBack]) -> list[Fact]:
        now = self._journal.clock.now()
        facts: list[Fact] = [
            ReplicaRead(at=now, did=record.did, rse=back.rse, pfn=back.pfn, measure=back.measure)
            for back in replicas
        ]
        wrong = [
            f"{back.rse} ({', '.join(differences)})"
            for back in replicas
            if record.measure and (differences := record.measure.differences(back.measure))
        ]
        if not wrong:
            return [*facts, FileVerified(at=now, did=record.did)]
        error = ChecksumMismatch(
            f"{record.did} came back with other bytes from {', '.join(wrong)}",
            hint="its rules are kept; declare the bad replica so that Rucio makes a new one "
            "(rucio replica state update bad), then run the same command again",
        )
        return [*facts, self._journal.failed(record.did, error)]


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        raise StorageRefused(
            f"cannot remove {path}, which was read back: {error.strerror}",
            hint="mend its folder's permissions, then run the same command again",
        ) from error


class AnalyseFiles:
    """Lets an application use the bytes that came from the lake, and keeps what it made."""

    def __init__(self, journal: Journal, analyser: Analyser, out: Path) -> None:
        self._journal = journal
        self._analyser = analyser
        self._out = out

    def run(self, copies: Mapping[DID, Path]) -> Analysis | None:
        """Analyse the ROOT files among local copies; None if there are none.

        A file that does not open as ROOT is verified all the same: its bytes are the source's.
        AnalysisFailed if nothing could be made at all.
        """
        files = [path for path in copies.values() if path.suffix == ".root"]
        if not files:
            return None
        self._out.mkdir(parents=True, exist_ok=True)
        made = self._analyser.analyse(files, self._out)
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
