"""The JSON ledger in the shape that the MAGIC group's scripts wrote in 2020.

    {"<file name>": {"Scope": …, "Replicated": {
        "Local":        {"registered": …, "checksum": <md5>, "path": …},
        "<RSE or RSE expression>": {"registered": …, "downloaded": …, "checksum": <md5>}}}}

The keys of `Replicated` are RSEs and expressions as the campaign asks for them, and the RSEs that
served a download. Times are UTC, to the second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from rucio_inject.domain.did import DID
from rucio_inject.domain.injection import FileRecord, RuleRecord

Entry = dict[str, str]


def by_dataset(rules: Iterable[RuleRecord]) -> Callable[[DID], Sequence[RuleRecord]]:
    """Gives the rules of a dataset, in the order of `rules`."""
    known: dict[DID, list[RuleRecord]] = {}
    for rule in rules:
        known.setdefault(rule.dataset, []).append(rule)
    return lambda dataset: known.get(dataset, [])


def seed_entry(record: FileRecord, rules: Sequence[RuleRecord]) -> dict[str, object]:
    """What the ledger holds under the name of one file, whose dataset has these rules."""
    return {"Scope": record.did.scope, "Replicated": _replicated(record, rules)}


def _replicated(record: FileRecord, rules: Sequence[RuleRecord]) -> Mapping[str, Entry]:
    local: Entry = {}
    if record.measure is not None and record.measured_at is not None:
        local = {
            "registered": _time(record.measured_at),
            "path": record.path,
        }
        if record.measure.md5 is not None:
            local["checksum"] = record.measure.md5
    entries: dict[str, Entry] = {"Local": local}
    for rule in rules:
        entries[rule.rse_expression] = {"registered": _time(rule.made_at)}
    for rse, replica in record.replicas.items():
        entry = entries.setdefault(rse, {})
        if replica.registered_at is not None:
            entry.setdefault("registered", _time(replica.registered_at))
        if replica.read_back_at is not None and replica.read_back is not None:
            entry["downloaded"] = _time(replica.read_back_at)
            entry["checksum"] = replica.read_back.md5 or replica.read_back.adler32
    return {key: entry for key, entry in entries.items() if entry}


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
