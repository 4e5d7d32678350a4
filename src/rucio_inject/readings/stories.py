"""The whole story of one file, as its ledger tells it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rucio_inject.domain import facts as f
from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import UsageError
from rucio_inject.domain.injection import FileRecord, RuleRecord
from rucio_inject.ledger.export import as_object, rules_by_dataset
from rucio_inject.ledger.fact_json import fact_text
from rucio_inject.ledger.look import Look, dataset_did, find_file
from rucio_inject.ledger.queries import StoredFact
from rucio_inject.words.facts import told
from rucio_inject.words.moments import moment

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Story:
    """All that the ledger can tell of a file; no record: it was forgotten. `rules` are those of
    its dataset, and of the file alone, each with what happened to it."""

    did: DID
    record: FileRecord | None
    facts: Sequence[StoredFact]
    dataset: Sequence[StoredFact]
    rules: Sequence[tuple[RuleRecord, Sequence[StoredFact]]]

    def checksums(self) -> list[tuple[str, StoredFact, Measure, tuple[str, ...]]]:
        """Every time that bytes were read: where, the fact, their measure, and how they differ
        from what the source had then."""
        read: list[tuple[str, StoredFact, Measure, tuple[str, ...]]] = []
        source: Measure | None = None
        for stored in self.facts:
            match stored.fact:
                case f.FileMeasured(measure=measure):
                    source = measure
                    read.append(("source", stored, measure, ()))
                case f.ReplicaRead(rse=rse, measure=measure):
                    differences = source.differences(measure) if source else ()
                    read.append((rse, stored, measure, differences))
        return read

    def errors(self) -> list[f.FileFailed]:
        """Every time that it was set aside."""
        return [s.fact for s in self.facts if isinstance(s.fact, f.FileFailed)]

    def retries(self) -> int:
        """How often it went on after that."""
        return sum(isinstance(stored.fact, f.FileRetried) for stored in self.facts)


def known(look: Look, name: str, scope: str) -> DID:
    """A file by its name, or by that of its source; also one that was forgotten, by its whole
    name, in `scope` if it has none."""
    # What its DID is called: see `domain.names`.
    called = name.rpartition("/")[2].replace("+", "_")
    try:
        return find_file(look, name)
    except UsageError:
        if called != name:
            with suppress(UsageError):
                return known(look, called, scope)
        did = dataset_did(name, scope)
        first = next(look.ledger.story(did), None)
        if first is None or not isinstance(first.fact, f.FileFound) or look.ledger.file(did):
            raise
        return did


def story_of(look: Look, did: DID) -> Story:
    """All that is on record of a file."""
    record, facts = look.ledger.file(did), list(look.ledger.story(did))
    if record is None:
        return Story(did, None, facts, (), ())
    rules_of = rules_by_dataset(look.database, look.number)
    # One that was to go from its origin, and is needed there still, has a rule of its own.
    known = [*rules_of(record.dataset), *rules_of(did)]
    return Story(
        did,
        record,
        facts,
        list(look.ledger.story(record.dataset)),
        [(rule, list(look.ledger.rule_story(rule.rule_id))) for rule in known],
    )


def story_object(story: Story) -> dict[str, Any]:
    """The story as one object; its shape is versioned by `schema`."""
    return {
        "schema": SCHEMA,
        "did": str(story.did),
        "file": as_object(story.record) if story.record else None,
        "checksums": [
            {
                "at": moment(stored.at),
                "where": where,
                "size": measure.size,
                "adler32": measure.adler32,
                "md5": measure.md5,
                "equal": not differences,
                "differences": differences,
            }
            for where, stored, measure, differences in story.checksums()
        ],
        "errors": [
            {"at": moment(error.at), "code": error.code, "reason": error.reason, "hint": error.hint}
            for error in story.errors()
        ],
        "retries": story.retries(),
        "facts": _fact_objects(story.facts),
        "dataset_facts": _fact_objects(story.dataset),
        "rules": [
            {
                "id": rule.rule_id,
                "rse_expression": rule.rse_expression,
                "copies": rule.copies,
                "state": str(rule.state),
                "error": rule.error,
                "adopted": rule.adopted,
                "gone_at": rule.gone_at and moment(rule.gone_at),
                "facts": _fact_objects(facts),
            }
            for rule, facts in story.rules
        ],
    }


def _fact_objects(facts: Sequence[StoredFact]) -> list[dict[str, Any]]:
    return [
        {
            "at": moment(stored.at),
            "elapsed": round((stored.at - facts[0].at).total_seconds(), 6),
            "kind": stored.kind,
            "words": told(stored.fact),
            "fact": json.loads(fact_text(stored.fact)[1]),
        }
        for stored in facts
    ]
