"""Whether a campaign file still speaks of what its ledger has on record."""

from __future__ import annotations

from rucio_inject.domain.errors import UsageError
from rucio_inject.domain.injection import FileState
from rucio_inject.ports import Ledger

HINT = (
    "rules, end, deadlines, access, retry, monitor, workers, source.free and rse_attributes may "
    "change while files are on record; for anything else name another campaign and ledger"
)
# From the intent to write bytes until they have been read back from everywhere.
UNDER_WAY = (
    FileState.MEASURED,
    FileState.UPLOADED,
    FileState.REGISTERED,
    FileState.REPLICATING,
    FileState.REPLICATED,
)


def refuse_changes(ledger: Ledger, *, scope: str, upload_rse: str, generates: bool) -> None:
    """UsageError if the campaign has changed in what decides where its files are.

    `generates`: its source makes files. One file speaks for all: they had one campaign.
    """
    first = next(ledger.files(), None)
    if first is None:
        return
    if first.did.scope != scope:
        raise changed("scope", first.did.scope, scope)
    if first.generated != generates:
        kinds = ("of files that are there", "of files that are made for the lake")
        raise changed("source.kind", kinds[first.generated], kinds[generates])
    for state in UNDER_WAY:
        record = next(ledger.files({state}), None)
        if record is not None and record.upload_rse not in {None, upload_rse}:
            raise changed("upload.rse", str(record.upload_rse), upload_rse)


def changed(key: str, before: str, now: str) -> UsageError:
    """The error that a key is not what it was."""
    return UsageError(
        f"{key} has changed since files were put on record: it was {before}, and is {now}",
        hint=HINT,
    )
