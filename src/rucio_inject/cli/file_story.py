"""The whole story of one file, as its ledger tells it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import click

from rucio_inject.cli.ledger_look import Look, dataset_did, find_file
from rucio_inject.domain import facts as f
from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import UsageError
from rucio_inject.domain.injection import FileRecord, RuleRecord
from rucio_inject.ledger.export import as_object, rules_by_dataset
from rucio_inject.ledger.fact_json import fact_text
from rucio_inject.ledger.queries import StoredFact
from rucio_inject.words.facts import told
from rucio_inject.words.moments import moment, shown
from rucio_inject.words.numbers import duration, plural

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Story:
    """All that the ledger can tell of a file; no record: it was forgotten. `rules` are those of
    its dataset, each with what happened to it."""

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


def known(look: Look, name: str) -> DID:
    """A file by its name, or by that of its source; also one that was forgotten, by its whole
    name."""
    # What its DID is called: see `domain.names`.
    called = name.rpartition("/")[2].replace("+", "_")
    try:
        return find_file(look, name)
    except UsageError:
        if called != name:
            with suppress(UsageError):
                return known(look, called)
        did = dataset_did(look.campaign, name)
        first = next(look.ledger.story(did), None)
        if first is None or not isinstance(first.fact, f.FileFound) or look.ledger.file(did):
            raise
        return did


def story_of(look: Look, did: DID) -> Story:
    record, facts = look.ledger.file(did), list(look.ledger.story(did))
    if record is None:
        return Story(did, None, facts, (), ())
    known = rules_by_dataset(look.database, look.number)(record.dataset)
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


def story_text(story: Story) -> Iterator[str]:
    yield str(story.did)
    yield ""
    if story.record is None:
        yield "  not on record any more: it was forgotten"
    else:
        yield from _record_lines(story.record)
        if retries := story.retries():
            yield f"  retried       {plural(retries, 'time')}"
        yield from _replica_lines(story.record)
    yield from _checksum_lines(story)
    yield from _error_lines(story)
    yield from _rule_lines(story)
    yield ""
    yield "What happened"
    yield from _fact_lines(story.facts)


def _record_lines(record: FileRecord) -> Iterator[str]:
    came = f", came from {record.failure.came_from}" if record.failure else ""
    colour = "red" if record.failure else None
    yield f"  state         {click.style(record.state, fg=colour)}{came}, in cycle {record.cycle}"
    made = ", made for the lake" if record.generated else ""
    yield f"  source        {record.path} ({record.source}{made})"
    yield f"  dataset       {record.dataset}"
    if record.containers:
        yield f"  inside        {' / '.join(map(str, record.containers))}"
    for key, value in record.metadata.items():
        yield f"  metadata      {key} = {value}"
    if record.waits_for:
        yield f"  waits for     {record.waits_for}"


def _replica_lines(record: FileRecord) -> Iterator[str]:
    if record.replicas:
        yield ""
        yield "Replicas"
    for rse, replica in record.replicas.items():
        times = (
            ("registered", replica.registered_at),
            ("read back", replica.read_back_at),
            ("gone", replica.gone_at),
        )
        yield f"  {rse}  " + ", ".join(f"{what} {shown(at)}" for what, at in times if at)
        if replica.pfn:
            yield f"    {replica.pfn}"


def _checksum_lines(story: Story) -> Iterator[str]:
    read = story.checksums()
    if not read:
        return
    yield ""
    yield "Checksums"
    width = max(len(where) for where, *_ in read)
    digits = max(len(f"{measure.size:,}") for _, _, measure, _ in read)
    for where, _, measure, differences in read:
        verdict = "" if where == "source" else "  same as the source"
        if differences:
            verdict = click.style("  DIFFERENT", fg="red")
        yield (
            f"  {where:<{width}}  {measure.size:>{digits},} B  adler32 {measure.adler32}  "
            f"md5 {measure.md5}{verdict}"
        )
        for difference in differences:
            yield f"  {'':<{width}}    {difference}"


def _error_lines(story: Story) -> Iterator[str]:
    errors = story.errors()
    if errors:
        yield ""
        yield "Errors"
    for error in errors:
        yield f"  {shown(error.at)}  {error.code}: {error.reason}"
        if error.hint:
            yield f"    → {error.hint}"


def _rule_lines(story: Story) -> Iterator[str]:
    if story.dataset or story.rules:
        yield ""
        yield "Its dataset and its rules"
        yield from _fact_lines(story.dataset)
    for rule, facts in story.rules:
        state = "gone" if rule.gone_at else rule.state
        yield f"  rule {rule.rule_id} to {rule.rse_expression}: {state}"
        yield from (f"  {line}" for line in _fact_lines(facts))


def _fact_lines(facts: Sequence[StoredFact]) -> Iterator[str]:
    for number, stored in enumerate(facts):
        seconds = (stored.at - facts[0].at).total_seconds()
        sign = "-" if seconds < 0 else "+"  # clocks may be set back
        elapsed = f"{sign}{duration(abs(seconds))}" if number else ""
        yield f"  {shown(stored.at)}  {elapsed:>13}  {told(stored.fact)}"
