"""`rucio-inject files`: the files on record, one by one: list, story, retry, forget."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import chain, islice
from pathlib import Path

import click

from rucio_inject.campaign.schema import Campaign
from rucio_inject.cli.exit_codes import ExitCode
from rucio_inject.cli.file_story import story_text
from rucio_inject.cli.ledger_look import campaign_argument, ledger_options, relocated
from rucio_inject.cli.main import tell
from rucio_inject.cli.output import fitted, legible, to_reader
from rucio_inject.cli.verbosity import shows_traces
from rucio_inject.clock import SystemClock
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError, UsageError
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.ledger.export import write_jsonl
from rucio_inject.ledger.look import Look, dataset_did, find_file, looking
from rucio_inject.ledger.queries import Choice, cycles_with_files, files_of
from rucio_inject.ledger.retry import retry_files, set_aside
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.ports import Clock
from rucio_inject.readings.funnel import is_on_record
from rucio_inject.readings.stories import known, story_object, story_of
from rucio_inject.words.numbers import plural, size

SCHEMA = 1

_JSON = click.option("--json", "as_json_", is_flag=True, help="Print JSON.")
_NAMES = click.argument("names", nargs=-1, metavar="[NAME]...")
# What databases can hold, and more than anybody has.
_CYCLES, _LIMITS = click.IntRange(1, 2**31 - 1), click.IntRange(0, 2**31 - 1)
_STATES = click.Choice([state.value for state in FileState], case_sensitive=False)


def _looking(campaign: Campaign, clock: Clock) -> AbstractContextManager[Look]:
    return looking(campaign.ledger_place, campaign.campaign, clock)


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
    inside = dataset_did(dataset, campaign.scope) if dataset else None
    with _looking(campaign, SystemClock()) as look, to_reader():
        if cycle is not None and not is_on_record(look, cycle):
            raise UsageError(
                f"cycle {cycle} is not on record", hint="rucio-inject status tells what is"
            )
        # The number, once: a cycle that is begun meanwhile must not be mixed in.
        cycles: Sequence[int] = [cycle or look.ledger.cycle]
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
        first = next(records, None)
        if first is None:
            click.echo("no file on record is like that", err=True)
        shown_ = islice(chain([first] if first else [], records), limit)
        if as_json_:
            write_jsonl(sys.stdout, shown_)
        else:
            for record in shown_:
                click.echo(legible(_line(record)))


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
    as_json_: bool,
) -> None:
    """Tell the whole story of the file NAME.

    NAME may lack its scope, and its end, as long as it stands for one file on record, and may be
    the name, or path, of its source: what happened when, the rules of its dataset, every replica,
    checksum and error. A file that was forgotten is found by its whole name.
    """
    campaign = relocated(file, output)
    with _looking(campaign, SystemClock()) as look, to_reader():
        story = story_of(look, known(look, name, campaign.scope))
        if as_json_:
            click.echo(json.dumps(story_object(story)))
        else:
            click.echo("\n".join(fitted(story_text(story))))


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
    with _looking(campaign, clock) as look:
        dids = list(dict.fromkeys(find_file(look, name) for name in names))
        count = sum(1 for _ in set_aside(look.ledger, dids, code)) if dry_run else 0
    if not dry_run:
        with SqlLedger(campaign.ledger_place, campaign.campaign, clock=clock) as ledger:
            count = retry_files(ledger, dids, code, clock)
    if as_json_:
        click.echo(json.dumps({"schema": SCHEMA, "retried": count, "dry_run": dry_run}))
        return
    would = "would go" if dry_run else "go" if count != 1 else "goes"
    click.echo(f"{plural(count, 'file')} {would} on at the next run")
    if count and not dry_run:
        again = shlex.join([*(["--output", str(output)] if output else []), str(file)])
        click.echo(f"  → rucio-inject run {again}")


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
    as_json_: bool,
) -> None:
    """Take files that are nowhere off the record.

    Names must be whole. What happened to the files stays in their story, which `files show` tells
    by the whole name. A file that, by the
    record, may have bytes in the lake is refused, and the others are forgotten. Refused while a
    run goes on.
    """
    campaign, clock = relocated(file, output), SystemClock()
    with _looking(campaign, clock) as look:
        dids = list(dict.fromkeys(_whole(find_file(look, name), name) for name in names))
    forgotten: list[DID] = []
    refused: list[LedgerError] = []
    with SqlLedger(campaign.ledger_place, campaign.campaign, clock=clock) as ledger:
        for did in dids:
            try:
                ledger.forget(did)
            except LedgerError as error:
                refused.append(error)
                tell(error, verbose=shows_traces(ctx))
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
