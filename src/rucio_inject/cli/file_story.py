"""The whole story of one file, in lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from rucio_inject.domain.injection import FileRecord
from rucio_inject.ledger.queries import StoredFact
from rucio_inject.readings.stories import Story
from rucio_inject.words.facts import told
from rucio_inject.words.moments import shown
from rucio_inject.words.numbers import duration, plural


def story_text(story: Story) -> Iterator[str]:
    """The story in lines; those in doubt are coloured."""
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
            f"md5 {measure.md5 or '-'}{verdict}"
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
