"""Whether a campaign file still speaks of what its ledger has on record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rucio_inject.domain.errors import NameRefused, UsageError
from rucio_inject.domain.injection import FileRecord, FileState, SourceCopy
from rucio_inject.domain.place import Place
from rucio_inject.ports import Ledger, LeftOut, SourceFile

HINT = (
    "rules, end, deadlines, limits, access, retry, monitor, workers, source.free and "
    "rse_attributes may change while files are on record; for anything else name another campaign "
    "and ledger"
)
# From the intent to write bytes until they have been read back from everywhere.
UNDER_WAY = frozenset(
    {
        FileState.FOUND,
        FileState.MEASURED,
        FileState.UPLOADED,
        FileState.REGISTERED,
        FileState.REPLICATING,
        FileState.REPLICATED,
    }
)
# A few datasets, of which a file is looked at, and a few offered files are enough to see that a
# campaign is another one, and a million must not hold up every run.
DATASETS_LOOKED_AT, FILES_LOOKED_AT = 20, 100


@dataclass(frozen=True, slots=True)
class Meaning:
    """What decides which files a campaign speaks of.

    `generates`: its source makes files; `in_place`: its files lie at an RSE, and stay there.
    `offered` gives the name under which the source offers a file on record, None if that cannot be
    known; `place` gives a name its place in the catalogue, or raises NameRefused.
    """

    scope: str
    generates: bool
    in_place: bool
    offered: Callable[[FileRecord], str | None]
    place: Callable[[str], Place]


def refuse_changes(ledger: Ledger, meaning: Meaning) -> None:
    """UsageError if the campaign has changed in what decides which files it speaks of.

    One file speaks for its dataset; the first `DATASETS_LOOKED_AT` datasets are looked at.
    """
    for record in _examples(ledger):
        if record.did.scope != meaning.scope:
            raise changed("scope", record.did.scope, meaning.scope)
        if record.generated != meaning.generates:
            kinds = ("of files that are there", "of files that are made for the lake")
            raise changed("source.kind", kinds[record.generated], kinds[meaning.generates])
        if record.in_place != meaning.in_place:
            # What may be ended and freed depends on it.
            kinds = ("of files of this machine", "of files that lie at an RSE")
            raise changed("source.kind", kinds[record.in_place], kinds[meaning.in_place])
        name = meaning.offered(record)
        if name is not None:
            _refuse_other_naming(record, name, meaning.place)


def _examples(ledger: Ledger) -> Iterator[FileRecord]:
    for dataset in ledger.datasets(tuple(FileState))[:DATASETS_LOOKED_AT]:
        yield from islice(ledger.files(dataset=dataset), 1)


def _refuse_other_naming(record: FileRecord, name: str, place: Callable[[str], Place]) -> None:
    try:
        refuse_other_place(record, place(name))
    except NameRefused as error:
        before = f"{record.dataset} for {record.did}"
        raise changed("naming", before, f"none: {error.message}") from error


def refuse_other_place(record: FileRecord, place: Place) -> None:
    """UsageError if a file would now be in another dataset: it is in its own for good, and with
    another naming its records would tell lies."""
    if record.dataset not in {place.dataset, place.late}:
        raise changed("naming.dataset", f"{record.dataset} for {record.did}", str(place.dataset))
    if record.containers != place.containers:
        before, now = (
            ", ".join(map(str, chain)) for chain in (record.containers, place.containers)
        )
        raise changed("naming.containers", f"{before} for {record.did}", now)


def refuse_other_files(
    ledger: Ledger,
    offered: Iterable[SourceFile | LeftOut],
    place: Callable[[str], Place],
    folder: Path,
) -> None:
    """UsageError if all files that a folder offers, as far as they are on record, are there from
    elsewhere: under their names other bytes would pass for injected.

    The first `FILES_LOOKED_AT` are looked up. A folder of new files is no other source.
    """
    elsewhere: list[tuple[FileRecord, SourceFile]] = []
    for file in islice(offered, FILES_LOOKED_AT):
        if isinstance(file, LeftOut):
            continue
        try:
            record = ledger.file(place(file.name).did)
        except NameRefused:
            continue  # it is skipped with its reason when it is found
        if record is None:
            continue
        if Path(record.path).is_relative_to(folder) or _is_same(Path(record.path), file.path):
            return
        elsewhere.append((record, file))
    for record, file in elsewhere[:1]:
        raise changed("source.path", f"{record.path} for {record.did}", str(file.path))


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def refuse_other_upload(ledger: Ledger, upload_rse: str) -> None:
    """UsageError if a file is under way, was set aside under way, or is about to be freed at
    another upload RSE: what lies there would be off the record, and an end there would come
    unwatched. Looks at all such files, and at no others; at none if the RSE is the one that was
    chosen last."""
    if ledger.upload_rse == upload_rse:
        return
    for record in ledger.files({*UNDER_WAY, FileState.QUARANTINED}):
        state = record.failure.came_from if record.failure else record.state
        if state in UNDER_WAY:
            _refuse_another(record, upload_rse)
    for record in ledger.files(sources={SourceCopy.FREEING}):
        if record.in_place:
            _refuse_another(record, upload_rse)


def _refuse_another(record: FileRecord, upload_rse: str) -> None:
    if record.upload_rse not in {None, upload_rse}:
        raise changed("upload.rse", f"{record.upload_rse} for {record.did}", upload_rse)


def changed(key: str, before: str, now: str) -> UsageError:
    """The error that a key is not what it was."""
    return UsageError(
        f"{key} has changed since files were put on record: it was {before}, and is {now}",
        hint=HINT,
    )
