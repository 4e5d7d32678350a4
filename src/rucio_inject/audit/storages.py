"""What lies on the storages below the campaign's scope, and on the sources, against the record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rucio_inject.audit.files import IN_LAKE
from rucio_inject.audit.findings import Finding, Kind, Repair
from rucio_inject.audit.reading import batches, reached_state
from rucio_inject.audit.world import Plan, Unseen, World
from rucio_inject.domain.errors import SourceUnreadable, StorageError
from rucio_inject.domain.injection import FileRecord, FileState, SourceCopy
from rucio_inject.measuring import measure_file
from rucio_inject.ports import StoredFile

UNFINISHED = frozenset({FileState.MEASURED, FileState.UPLOADED})


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
        known = self._world.catalogue.look_up(asked) if asked else {}
        for file in stored:
            found = known.get(file.did) if file.did is not None and not file.partial else None
            if found is None or rse not in found.replicas:
                record = self._world.ledger.file(file.did) if file.did is not None else None
                finding = _partial(rse, file, record) if file.partial else _whole(rse, file, record)
                if finding is not None:
                    yield finding


def is_our_partial(rse: str, record: FileRecord | None) -> bool:
    """Whether a partial file on an RSE is of an upload of ours."""
    return record is not None and record.upload_rse == rse and not record.adopted


def is_our_rest(rse: str, record: FileRecord | None) -> bool:
    """Whether a whole file on an RSE, unknown to the catalogue, is what we uploaded and ended.

    Once it was confirmed gone, whatever lies there was put there by others.
    """
    if record is None or record.adopted or record.upload_begun_at is None:
        return False
    replica = record.replicas.get(rse)
    begun_here = record.upload_rse == rse and replica is not None and replica.gone_at is None
    return begun_here and record.state is FileState.EXPIRING


def _partial(rse: str, file: StoredFile, record: FileRecord | None) -> Finding:
    ours = is_our_partial(rse, record)
    return _found(
        rse,
        file,
        "part of an upload of ours that did not end" if ours else "part of an upload of others",
        "the record says that an upload of its file was begun there, or it goes on just now"
        if ours
        else "its file is not on record as uploaded there",
        repair=Repair.REMOVE if ours else None,
    )


def _whole(rse: str, file: StoredFile, record: FileRecord | None) -> Finding | None:
    state = reached_state(record) if record is not None else None
    if record is not None and state in IN_LAKE and rse in record.replicas:
        # The catalogue lacks what was proved: told as missing.
        return None
    if is_our_rest(rse, record):
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
    size = "" if file.size is None else f" ({file.size} bytes)"
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
        """Real sources that are gone or changed, and any that was freed and is there."""
        for record in records:
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
        difference = self._difference(record, path)
        if difference:
            hint = "give new content a name of its own: it is not what is in the lake"
            return difference, "the bytes that were measured", hint
        return None

    def _difference(self, record: FileRecord, path: Path) -> str:
        if record.measure is None:
            return ""
        size = path.stat().st_size
        if size != record.measure.size:
            return f"size: {record.measure.size} != {size}"
        if not self._plan.checksums:
            return ""
        try:
            return ", ".join(record.measure.differences(measure_file(path)))
        except SourceUnreadable as error:
            return error.message


def _freed_and_there(path: Path) -> tuple[str, str, str]:
    hint = "is it a new file of that name? rucio-inject does not remove it"
    return f"a file at {path}", "none: it was removed", hint
