"""`rucio-inject files`: the files on record, one by one: list, story, retry, forget."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import click

from rucio_inject.cli.exit_codes import ExitCode
from rucio_inject.cli.ledger_location import (
    Look,
    campaign_argument,
    dataset_did,
    find_file,
    fitted,
    ledger_options,
    location,
    looking,
    moment,
    relocated,
    shown,
    to_reader,
    told,
)
from rucio_inject.cli.main import tell
from rucio_inject.cli.words import duration, plural, size
from rucio_inject.clock import SystemClock
from rucio_inject.domain import facts as f
from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError, UsageError
from rucio_inject.domain.injection import FileRecord, FileState, RuleRecord
from rucio_inject.ledger.export import as_object, rules_by_dataset, write_jsonl
from rucio_inject.ledger.fact_json import fact_text
from rucio_inject.ledger.queries import Choice, StoredFact, cycles_with_files, files_of
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.steps.batches import batches

SCHEMA = 1

_JSON = click.option("--json", "as_json_", is_flag=True, help="Print JSON.")
_NAMES = click.argument("names", nargs=-1, metavar="[NAME]...")
# What databases can hold, and more than anybody has.
_CYCLES, _LIMITS = click.IntRange(1, 2**31 - 1), click.IntRange(0, 2**31 - 1)
_STATES = click.Choice([state.value for state in FileState], case_sensitive=False)


@click.group()
def files() -> None:
    """List files on record, tell their stories, retry or forget them."""


@files.command("list", epilog="Example: rucio-inject files list magic.yaml --state quarantined")
@campaign_argument
@ledger_options
@click.option("--state", "states", multiple=True, type=_STATES, help="Only files in this state.")
@click.option("--dataset", metavar="DID", help="Only files of this dataset.")
@click.option("--cycle", type=_CYCLES, help="Files of this cycle, not of the last.")
@click.option("--all-cycles", is_flag=True, help="Files of every cycle.")
@click.option("--limit", type=_LIMITS, help="At most so many files.")
@click.option("--json", "as_json_", is_flag=True, help="Print one JSON object a file and line.")
def list_(
    *,
    file: Path,
    output: Path | None,
    verbose: int,  # noqa: ARG001 -- the error's teller looks at the arguments itself
    states: tuple[str, ...],
    dataset: str | None,
    cycle: int | None,
    all_cycles: bool,
    limit: int | None,
    as_json_: bool,
) -> None:
    """List the files of CAMPAIGN.

    They come in the order in which they were found. Each line has state, size, DID, and why the
    file waits or was set aside. A run may go on meanwhile.
    """
    if cycle is not None and all_cycles:
        raise UsageError("--cycle and --all-cycles ask for different things", hint="give one")
    campaign = relocated(file, output)
    chosen = {FileState(state.upper()) for state in states} or None
    inside = dataset_did(campaign, dataset) if dataset else None
    with looking(campaign, SystemClock()) as look, to_reader():
        cycles: Sequence[int | None] = [cycle]
        if all_cycles:
            with look.database.reading() as connection:
                cycles = cycles_with_files(connection, look.number)
        records = (
            record
            for number in cycles
            for record in files_of(
                look.database, Choice(look.number, number, chosen, inside), lambda: 0
            )
        )
        shown_ = islice(records, limit)
        if as_json_:
            write_jsonl(sys.stdout, shown_)
        else:
            for record in shown_:
                click.echo(_line(record))


def _line(record: FileRecord) -> str:
    bytes_ = size(record.measure.size) if record.measure else "-"
    why = record.waits_for if record.state is FileState.REPLICATING else None
    if record.failure:
        why = record.failure.code
    return f"{record.state:<11}  {bytes_:>8}  {record.did}" + (f"  {why}" if why else "")


@files.command(epilog="Example: rucio-inject files show magic.yaml 20201026_M1_36973941.005")
@campaign_argument
@click.argument("name")
@ledger_options
@_JSON
def show(
    *,
    file: Path,
    name: str,
    output: Path | None,
    verbose: int,  # noqa: ARG001 -- the error's teller looks at the arguments itself
    as_json_: bool,
) -> None:
    """Tell the whole story of the file NAME.

    NAME may lack its scope, and its end, as long as it stands for one file on record: what
    happened when, the rules of its dataset, every replica, checksum and error.
    """
    with looking(relocated(file, output), SystemClock()) as look, to_reader():
        story = _story(look, _known(look, name))
        if as_json_:
            click.echo(json.dumps(_story_object(story)))
        else:
            click.echo("\n".join(fitted(_story_text(story))))


@files.command(epilog="Example: rucio-inject files retry magic.yaml --code storage-refused")
@campaign_argument
@_NAMES
@ledger_options
@click.option("--code", help="All files that were set aside with this code.")
@click.option("--all", "everything", is_flag=True, help="All files that were set aside.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say how many files that would be.")
@_JSON
def retry(
    *,
    file: Path,
    names: tuple[str, ...],
    output: Path | None,
    verbose: int,  # noqa: ARG001 -- the error's teller looks at the arguments itself
    code: str | None,
    everything: bool,
    dry_run: bool,
    as_json_: bool,
) -> None:
    """Take files out of quarantine.

    They go back to the state that they came from. Nothing is done to them now: the next run goes on
    with them. NAMEs may lack their scope and their end. Refused while a run goes on.
    """
    if (len(names) > 0) + (code is not None) + everything != 1:
        raise UsageError("which files?", hint="give NAMEs, or --code CODE, or --all")
    campaign, clock = relocated(file, output), SystemClock()
    with looking(campaign, clock) as look:
        dids = list(dict.fromkeys(find_file(look, name) for name in names))
        count = sum(1 for _ in _set_aside(look.ledger, dids, code)) if dry_run else 0
    if not dry_run:
        with SqlLedger(location(campaign), campaign.campaign, clock=clock) as ledger:
            for batch in batches(_set_aside(ledger, dids, code)):
                ledger.record([f.FileRetried(at=clock.now(), did=record.did) for record in batch])
                count += len(batch)
    if as_json_:
        click.echo(json.dumps({"schema": SCHEMA, "retried": count, "dry_run": dry_run}))
        return
    would = "would go" if dry_run else "go" if count != 1 else "goes"
    click.echo(f"{plural(count, 'file')} {would} on at the next run")
    if count and not dry_run:
        again = shlex.join([*(["--output", str(output)] if output else []), str(file)])
        click.echo(f"  → rucio-inject run {again}")


def _set_aside(ledger: SqlLedger, dids: Sequence[DID], code: str | None) -> Iterator[FileRecord]:
    """The quarantined files of the cycle begun last: those named, or those of a code (None: all).

    UsageError, before the first one is given, if one that is named is no such file, or if a code
    is that of none.
    """
    if dids:
        return iter([_quarantined(ledger, did) for did in dids])
    chosen = (
        record
        for record in ledger.files({FileState.QUARANTINED})
        if code is None or (record.failure is not None and record.failure.code == code)
    )
    first = next(chosen, None)
    if first is None and code is not None:
        raise UsageError(
            f"no file is set aside with code {code}",
            hint="rucio-inject status tells the codes; only files of the last cycle can go on",
        )
    return chain([first] if first else [], chosen)


def _quarantined(ledger: SqlLedger, did: DID) -> FileRecord:
    record = ledger.file(did)
    if record is None or record.state is not FileState.QUARANTINED:
        state = record.state if record else "not on record any more"
        raise UsageError(
            f"{did} is {state}: only a file that is {FileState.QUARANTINED} can be retried",
            hint="a run goes on with all other files by itself",
        )
    if record.cycle != ledger.cycle:
        raise UsageError(
            f"{did} is of cycle {record.cycle}, and the campaign is at cycle {ledger.cycle}",
            hint="files of earlier cycles cannot go on any more",
        )
    return record


@files.command(epilog="Example: rucio-inject files forget magic.yaml NAME")
@campaign_argument
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@ledger_options
@_JSON
@click.pass_context
def forget(
    ctx: click.Context,
    *,
    file: Path,
    names: tuple[str, ...],
    output: Path | None,
    verbose: int,
    as_json_: bool,
) -> None:
    """Take files that are nowhere off the record.

    Names must be whole. What happened to the files stays in their story. A file that, by the
    record, may have bytes in the lake is refused, and the others are forgotten. Refused while a
    run goes on.
    """
    campaign, clock = relocated(file, output), SystemClock()
    with looking(campaign, clock) as look:
        dids = list(dict.fromkeys(_whole(find_file(look, name), name) for name in names))
    forgotten: list[DID] = []
    refused: list[LedgerError] = []
    with SqlLedger(location(campaign), campaign.campaign, clock=clock) as ledger:
        for did in dids:
            try:
                ledger.forget(did)
            except LedgerError as error:
                refused.append(error)
                tell(error, verbose=verbose > 1)
            else:
                forgotten.append(did)
                if not as_json_:
                    click.echo(f"{did} is off the record")
    if as_json_:
        reasons = [{"reason": error.message, "hint": error.hint} for error in refused]
        whole = {"schema": SCHEMA, "forgotten": [str(did) for did in forgotten], "refused": reasons}
        click.echo(json.dumps(whole))
    ctx.exit(ExitCode.ERROR if refused else ExitCode.DONE)


def _whole(did: DID, name: str) -> DID:
    if name not in {str(did), did.name}:
        raise UsageError(f"{name} is only the beginning of {did}", hint="give the whole name")
    return did


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


def _known(look: Look, name: str) -> DID:
    """A file by its name; also one that was forgotten, by its whole name."""
    try:
        return find_file(look, name)
    except UsageError:
        did = dataset_did(look.campaign, name)
        first = next(look.ledger.story(did), None)
        if first is None or not isinstance(first.fact, f.FileFound) or look.ledger.file(did):
            raise
        return did


def _story(look: Look, did: DID) -> Story:
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


def _story_object(story: Story) -> dict[str, Any]:
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


def _story_text(story: Story) -> Iterator[str]:
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
