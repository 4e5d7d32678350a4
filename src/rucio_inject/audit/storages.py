"""What lies on the storages below the campaign's scope, and on the sources, against the record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from rucio_inject.audit.files import IN_LAKE
from rucio_inject.audit.findings import Finding, Kind, Repair
from rucio_inject.audit.reading import (
    Difference,
    compared,
    differs,
    look_up_each,
    reached_state,
)
from rucio_inject.audit.world import Plan, Unseen, World
from rucio_inject.batches import batches
from rucio_inject.domain.errors import SourceUnreadable, StorageError
from rucio_inject.domain.injection import FileRecord, FileState, SourceCopy
from rucio_inject.measuring import measure_file
from rucio_inject.ports import StoredFile

UPLOADING = frozenset({FileState.FOUND, FileState.MEASURED})
"""States in which an upload that was begun may have been killed."""
UNFINISHED = UPLOADING | {FileState.UPLOADED}
# No upload writes nothing for so long: a partial file that is younger may be a live one's.
OLD = timedelta(hours=1)


class LookForDarkFiles:
    """Lists storages, and asks the catalogue about what lies there."""

    def __init__(self, world: World, plan: Plan, unseen: Unseen) -> None:
        self._world = world
        self._plan = plan
        self._unseen = unseen
        self.not_listed: list[str] = []
        """RSEs that cannot be listed."""

    def findings(self, rses: Iterable[str]) -> Iterator[Finding]:
        """Files of the scope that the catalogue does not know at these RSEs."""
        for rse in rses:
            try:
                listing = self._world.storage.listing(rse, self._plan.scope)
                if listing is None:
                    self.not_listed.append(rse)
                    continue
                for stored in batches(listing):
                    self._world.clock.check()
                    yield from self._dark(rse, stored)
            except StorageError as error:
                self._unseen.add(rse, error)

    def _dark(self, rse: str, stored: Sequence[StoredFile]) -> Iterator[Finding]:
        asked = [file.did for file in stored if file.did is not None and not file.partial]
        known, refused = look_up_each(self._world.catalogue, asked)
        for file in stored:
            found = known.get(file.did) if file.did is not None and not file.partial else None
            if found is not None and rse in found.replicas:
                continue
            record = self._world.ledger.file(file.did) if file.did is not None else None
            if file.partial:
                yield self._partial(rse, file, record)
            elif file.did is not None and file.did in refused:
                why = f"Rucio does not tell: {refused[file.did].message}"
                yield _found(rse, file, "a file that may be no replica", why)
            elif (finding := _whole(rse, file, record)) is not None:
                yield finding

    def _partial(self, rse: str, file: StoredFile, record: FileRecord | None) -> Finding:
        old = file.modified is not None and self._world.clock.now() - file.modified > OLD
        if not is_our_partial(rse, record):
            what = "a partial upload: ours perhaps, or of another campaign"
            return _found(rse, file, what, "no upload of ours to there is open on record")
        if not old:
            what = "a partial upload: ours perhaps, and perhaps it goes on"
            why = "the record says that an upload of its file was begun there"
            hint = "look again when it was not written to for an hour"
            return _found(rse, file, what, why, hint=hint)
        return _found(
            rse,
            file,
            "part of an upload of ours that did not end",
            "the record says that an upload of its file was begun there, and nobody has written "
            "to it for an hour",
            repair=Repair.REMOVE,
        )


def is_our_partial(rse: str, record: FileRecord | None) -> bool:
    """Whether a partial file on an RSE may be of an upload of ours that was killed.

    Once the file has come further, its upload has ended: another campaign may be storing the same
    DID.
    """
    if record is None or record.adopted or record.upload_begun_at is None:
        return False
    return record.upload_rse == rse and reached_state(record) in UPLOADING


def is_our_rest(rse: str, record: FileRecord | None) -> bool:
    """Whether a whole file on an RSE, unknown to the catalogue, is what we uploaded and ended.

    Once it was confirmed gone, whatever lies there was put there by others. The record alone does
    not tell whose bytes they are: those are to be compared, too.
    """
    if record is None or record.adopted or record.upload_begun_at is None:
        return False
    replica = record.replicas.get(rse)
    begun_here = record.upload_rse == rse and replica is not None and replica.gone_at is None
    return begun_here and record.state is FileState.EXPIRING


def _whole(rse: str, file: StoredFile, record: FileRecord | None) -> Finding | None:
    state = reached_state(record) if record is not None else None
    if record is not None and state in IN_LAKE and rse in record.replicas:
        # The catalogue lacks what was proved: told as missing.
        return None
    if record is not None and is_our_rest(rse, record):
        if record.measure is None or compared(record.measure, file.size, file.adler32, None):
            what = "a file of others, where one of ours was"
            return _found(rse, file, what, "its bytes are not those on record")
        why = "it was uploaded there, its end was asked for, and the catalogue has forgotten it"
        return _found(rse, file, "what is left of a file of ours", why, repair=Repair.REMOVE)
    begun = record is not None and record.upload_begun_at is not None and record.upload_rse == rse
    if begun and state in UNFINISHED:
        return _found(
            rse,
            file,
            "an upload of ours that is not registered",
            f"the record says that it is {state}",
            hint="run the campaign again: it goes on with it",
        )
    return _found(rse, file, "a file of others", "no upload to there is on record")


def _found(
    rse: str,
    file: StoredFile,
    there: str,
    evidence: str,
    *,
    repair: Repair | None = None,
    hint: str | None = "look at it; nobody but its owner should remove it",
) -> Finding:
    size = "" if file.size is None else f" ({file.size:,} B)"
    return Finding(
        Kind.DARK,
        file.did,
        there=f"{there}: {file.pfn}{size}",
        expected="nothing, or a replica that the catalogue knows",
        evidence=evidence,
        rse=rse,
        pfn=file.pfn,
        repair=repair,
        hint=None if repair else hint,
    )


class LookAtSources:
    """Compares source files with what the record says of them. Never touches one."""

    def __init__(self, world: World, plan: Plan) -> None:
        self._world = world
        self._plan = plan

    def findings(self, records: Iterable[FileRecord]) -> Iterator[Finding]:
        """Real sources that are gone or changed, and any that was freed and is there. What is at an
        RSE is looked at as all replicas are."""
        for record in records:
            if record.in_place:
                continue
            try:
                problem = self._problem(record)
            except OSError as error:
                reason = f"it cannot be looked at: {error.strerror}"
                problem = reason, "a source that can be read", "mend its permissions"
            if problem is not None and self._world.ledger.file(record.did) == record:
                there, expected, hint = problem
                yield Finding(
                    Kind.SOURCE,
                    record.did,
                    there=there,
                    expected=expected,
                    evidence=f"{record.path} is {record.source} on record",
                    hint=hint,
                )

    def _problem(self, record: FileRecord) -> tuple[str, str, str] | None:
        path = Path(record.path)
        if record.source is SourceCopy.FREED:
            return _freed_and_there(path) if path.exists() else None
        if record.generated or record.source is not SourceCopy.KEPT:
            # What was made for the lake is made again where it is needed.
            return None
        if not path.exists():
            hint = "it was not removed by rucio-inject; the lake's replicas may be the only copies"
            return "no file", "the source file, which was kept", hint
        try:
            difference = self._difference(record, path)
        except SourceUnreadable as error:
            return error.message, "a source that can be read", error.hint or "mend it"
        if difference is not None:
            hint = "give new content a name of its own: it is not what is in the lake"
            return difference.there, difference.expected, hint
        return None

    def _difference(self, record: FileRecord, path: Path) -> Difference | None:
        if record.measure is None:
            return None
        by_size = compared(record.measure, path.stat().st_size, None, None)
        if by_size is not None or not self._plan.checksums:
            return by_size
        return differs(record.measure, measure_file(path))


def _freed_and_there(path: Path) -> tuple[str, str, str]:
    hint = "is it a new file of that name? rucio-inject does not remove it"
    return f"a file at {path}", "none: it was removed", hint
