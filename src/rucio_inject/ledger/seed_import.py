"""A ledger of 2020 (its shape: `seed_json`), told as facts.

Of each file only that is told which the seed gives evidence for, so that the next run does the
rest, and looks again at what may have changed since:

- The seed knows a source by its md5. A file is MEASURED if the source is there still and has that
  md5; size and adler32 are then read from it. Without it nothing can be compared ever: the file is
  QUARANTINED, and the reason tells what the seed says.
- REGISTERED, with a time under the campaign's upload RSE. It counts as adopted, as it was in the
  lake before this ledger: such a file is compared, and its dataset's rules are not ended. The seed
  has no rule ids, so no rule becomes ours.
- QUARANTINED, with another md5 read back, or with the replica at the upload RSE deleted.

No file comes further than REGISTERED. A seed names neither datasets nor rules, so it proves nothing
of what this campaign promises; as VERIFIED, a file's source might be freed while no rule keeps the
replicas that were read back years ago. What the seed proves of other RSEs goes on record as facts
about replicas: read back, if the md5 was the same and the PFN is known (`path`, which later scripts
kept); there, if a download was the same or it is said to be ALIVE. The next run puts the file into
its dataset, asks for the rules, and reads every replica back.

Times are the seed's. Keys that are not named here are passed over.
"""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from rucio_inject.campaign.model import RSE
from rucio_inject.domain import facts as f
from rucio_inject.domain.checksum import Measure, normalise_md5
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import (
    ChecksumMismatch,
    InjectError,
    NameRefused,
    ReplicaMissing,
    SourceChanged,
    SourceUnreadable,
    UsageError,
)
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.domain.story import advance, begin_file

LOCAL = "Local"

_RSE = TypeAdapter(RSE)
_AGAIN = "nothing was imported: mend or remove the entry, then import again"


class _Replica(BaseModel):
    """What the seed says of a source, an RSE or an RSE expression."""

    model_config = ConfigDict(frozen=True)

    registered: datetime | None = None
    downloaded: datetime | None = None
    copied: datetime | None = None
    deleted: datetime | None = None
    checksum: str | None = None
    path: str | None = None
    state: str | None = None

    @field_validator("registered", "downloaded", "copied", "deleted")
    @classmethod
    def _in_utc(cls, at: datetime | None) -> datetime | None:
        if at is None or at.tzinfo is None:
            return at and at.replace(tzinfo=UTC)
        try:
            return at.astimezone(UTC)
        except OverflowError:
            raise ValueError("is not within the years 1 to 9999 in UTC") from None

    @field_validator("checksum")
    @classmethod
    def _md5(cls, text: str | None) -> str | None:
        return None if text is None else normalise_md5(text)

    @property
    def dead(self) -> bool:
        """Whether the seed says that it was deleted."""
        return self.deleted is not None or self.state == "DEAD"

    def served(self, md5: str | None) -> bool:
        """Whether a download from it was compared, and was the same."""
        return self.downloaded is not None and self.checksum == md5


class _Entry(BaseModel):
    """What the seed says of a file."""

    scope: str = Field(alias="Scope")
    replicated: dict[str, _Replica] = Field(alias="Replicated")


_ENTRY = TypeAdapter(_Entry)


class Place(Protocol):
    """Where a file belongs in the catalogue."""

    @property
    def did(self) -> DID:
        """Its DID."""
        ...

    @property
    def dataset(self) -> DID:
        """The dataset that it is in."""
        ...

    @property
    def containers(self) -> tuple[DID, ...]:
        """The containers that the dataset is in, outermost first."""
        ...

    @property
    def metadata(self) -> Mapping[str, str | int]:
        """What its name tells."""
        ...


@dataclass(frozen=True, slots=True)
class Importer:
    """Makes facts of a seed's entries.

    `place` gives a name its place in the catalogue, or raises NameRefused; `measure` reads a
    source, or raises SourceUnreadable or SourceChanged; `known` tells whether a DID is on record.
    """

    place: Callable[[str], Place]
    measure: Callable[[Path], Measure]
    known: Callable[[DID], bool]
    upload_rse: str
    cycle: int
    now: datetime

    def facts(self, path: Path) -> tuple[list[f.FileFact], Mapping[FileState, int]]:
        """The facts of all entries of a seed ledger, and how many files come to which state.

        UsageError, which names the entry, if one of them is damaged, on record already or not of
        this campaign; nothing but sources is read.
        """
        told: list[f.FileFact] = []
        states: Counter[FileState] = Counter()
        for name, content in read_seed(path).items():
            try:
                facts = list(self._of_entry(name, content))
            except InjectError as error:
                raise UsageError(
                    f"{path}, entry {name}: {error.message}", hint=error.hint or _AGAIN
                ) from None
            told += facts
            states[_replayed(facts).state] += 1
        return told, states

    def _of_entry(self, name: str, content: object) -> Iterator[f.FileFact]:
        entry = _checked(content)
        did = self._named(name, entry.scope)
        if self.known(did):
            raise UsageError(f"{did} is on record already")
        local = entry.replicated.get(LOCAL, _Replica())
        others = {key: known for key, known in entry.replicated.items() if key != LOCAL}
        if any(map(_is_rse, others)) and self.upload_rse not in others:
            raise UsageError(
                f"it is at {', '.join(filter(_is_rse, others))}, but was not uploaded to "
                f"{self.upload_rse}, as this campaign does",
                hint="import it into a campaign with that upload.rse",
            )
        path = _path(local)
        # As a run would read it, whose source tells the folders, too.
        place = self.place(path if Path(path).name == name else name)
        times = sorted(known.registered for known in entry.replicated.values() if known.registered)
        yield f.FileFound(
            at=times[0] if times else self.now,
            did=did,
            path=path,
            dataset=place.dataset,
            containers=place.containers,
            cycle=self.cycle,
            generated=False,
            metadata=place.metadata,
        )
        try:
            measure = self._source(local)
        except InjectError as error:
            yield self._failed(did, error, others)
            return
        yield f.FileMeasured(at=local.registered or self.now, did=did, measure=measure)
        yield from self._replicas(did, measure, others)

    def _named(self, name: str, scope: str) -> DID:
        try:
            did = self.place(name).did
        except NameRefused as error:
            raise UsageError(error.message, hint=error.hint) from None
        if did != DID(scope, name):
            raise UsageError(
                f"it is {scope}:{name}, and would be {did} in this campaign",
                hint="import it into a campaign with that scope and naming",
            )
        return did

    def _source(self, local: _Replica) -> Measure:
        if local.checksum is None:
            raise SourceUnreadable("the seed has no checksum of its source")
        path = Path(_path(local))
        _refuse_special(path)
        measure = self.measure(path)
        if measure.md5 != local.checksum:
            raise SourceChanged(
                f"its source {local.path} has md5 {measure.md5} now, and had {local.checksum}",
                hint="put the source back as it was, or forget the file",
            )
        return measure

    def _replicas(
        self, did: DID, measure: Measure, others: Mapping[str, _Replica]
    ) -> Iterator[f.FileFact]:
        upload = others.get(self.upload_rse)
        if upload is None or upload.registered is None:
            return
        yield f.FileRegistered(
            at=upload.registered, did=did, rse=self.upload_rse, pfn=upload.path, adopted=True
        )
        if (error := _trouble(did, measure, others, self.upload_rse)) is not None:
            yield self._failed(did, error, others)
            return
        for rse in filter(_is_rse, others):
            known, moment = others[rse], self._last(others[rse])
            if known.dead:
                continue
            if known.served(measure.md5) and known.path is not None:
                yield f.ReplicaRead(at=moment, did=did, rse=rse, pfn=known.path, measure=measure)
            elif known.served(measure.md5) or known.state == "ALIVE":
                yield f.ReplicaReady(at=moment, did=did, rse=rse)

    def _last(self, known: _Replica) -> datetime:
        return known.downloaded or known.copied or known.registered or self.now

    def _failed(self, did: DID, error: InjectError, others: Mapping[str, _Replica]) -> f.FileFailed:
        evidence = "; ".join(_said(key, known) for key, known in others.items()) or "nothing more"
        reason = f"{error.message} (the seed ledger says: {evidence})"
        return f.FileFailed(at=self.now, did=did, code=error.code, reason=reason, hint=error.hint)


def read_seed(path: Path) -> Mapping[str, Any]:
    """The entries of a seed ledger, by name, as they are. UsageError if it is none."""
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=_no_twins)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", hint=_AGAIN) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(
            f"{path} is no seed ledger: its top level is no object",
            hint='its shape: {"NAME": {"Scope": …, "Replicated": {"Local": {…}, "RSE": {…}}}}',
        )
    return content


def _no_twins(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    known = dict(pairs)
    if len(known) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise UsageError(f"{twice!r} is there twice")
    return known


def _checked(content: object) -> _Entry:
    try:
        return _ENTRY.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where or 'it'}: {first['msg']}") from None


def _path(local: _Replica) -> str:
    if local.path is None or not Path(local.path).is_absolute():
        raise UsageError(f"{LOCAL}.path is {local.path!r}, and must be an absolute path")
    try:
        usable = b"\0" not in os.fsencode(local.path)
    except UnicodeEncodeError:
        usable = False
    if not usable:
        raise UsageError(f"{LOCAL}.path is {local.path!r}, which no file can be called")
    return local.path


def _refuse_special(path: Path) -> None:
    """SourceUnreadable for what is no regular file: to open a pipe would wait for its writer."""
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        raise SourceUnreadable(
            f"cannot read {path}: {error.strerror}",
            hint="check that it is there and that you may read it",
        ) from error
    if not regular:
        raise SourceUnreadable(
            f"{path} is no regular file", hint="put the source back as it was, or forget the file"
        )


def _is_rse(key: str) -> bool:
    try:
        _RSE.validate_python(key)
    except ValidationError:
        return False
    return True


def _trouble(
    did: DID, measure: Measure, others: Mapping[str, _Replica], upload_rse: str
) -> InjectError | None:
    """Why a file cannot go on, by the seed; None if it can."""
    other = [rse for rse, known in others.items() if known.checksum not in {None, measure.md5}]
    if other:
        return ChecksumMismatch(
            f"{did} came back with other bytes from {', '.join(other)}",
            hint="declare the bad replica so that Rucio makes a new one "
            "(rucio replica state update bad), then run the campaign",
        )
    if others[upload_rse].dead:
        return ReplicaMissing(
            f"{did} was deleted at {upload_rse}",
            hint="forget it if it has come to its end, or run the campaign to bring it again",
        )
    return None


def _said(key: str, known: _Replica) -> str:
    given = known.model_dump(mode="json", exclude_none=True)
    return f"{key} " + (", ".join(f"{what} {value}" for what, value in given.items()) or "alone")


def _replayed(facts: Sequence[f.FileFact]) -> FileRecord:
    """The record that some facts of one file make. LedgerError if they contradict each other."""
    found, *more = facts
    assert isinstance(found, f.FileFound)
    record = begin_file(found)
    for fact in more:
        record = advance(record, fact)
    return record
