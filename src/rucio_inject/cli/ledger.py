"""`rucio-inject ledger`: what is on record in shapes that others read, and a ledger of 2020."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TextIO

import click

from rucio_inject.campaign.schema import Campaign
from rucio_inject.cli.ledger_look import campaign_argument, ledger_options, relocated
from rucio_inject.cli.output import legible, to_reader
from rucio_inject.cli.output_files import STANDARD_OUTPUT, refuse_ledger, refuse_other_than_file
from rucio_inject.clock import SystemClock
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import UsageError
from rucio_inject.domain.facts import CycleBegun, FileFact, FileFailed, FileFound
from rucio_inject.domain.injection import FileState
from rucio_inject.ledger import export as exports
from rucio_inject.ledger.look import Look, is_begun, looking
from rucio_inject.ledger.seed_import import Importer
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.measuring import measure_file
from rucio_inject.ports import Clock
from rucio_inject.terms import placing
from rucio_inject.whole_files import replacing_alone
from rucio_inject.words.numbers import plural

SCHEMA = 1

_TEXTS = {"csv": exports.write_csv, "jsonl": exports.write_jsonl}


@click.group()
def ledger() -> None:
    """Export what is on record, or import a ledger of 2020."""


@ledger.command(epilog="Example: rucio-inject ledger export magic.yaml --format csv --out m.csv")
@campaign_argument
@ledger_options
@click.option(
    "--format",
    "format_",
    required=True,
    type=click.Choice(["seed", "csv", "jsonl", "parquet"]),
    help="seed: the JSON of 2020; csv and parquet: a row a file; jsonl: an object a file.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The file to write, or - for standard output.  [default: -]",
)
@click.option("--all-cycles", is_flag=True, help="Files of every cycle, not of the last one only.")
def export(
    *,
    file: Path,
    output: Path | None,
    format_: str,
    out: Path | None,
    all_cycles: bool,
) -> None:
    """Write the files of CAMPAIGN as they are on record.

    The file named with --out is there whole or not at all. A run may go on meanwhile. The seed's
    shape has measured files only. The columns of csv and parquet are told by the header; times are
    UTC, sizes bytes, and lists in csv are joined by blanks.
    """
    out = None if out == STANDARD_OUTPUT else out
    if format_ == "parquet":
        exports.check_parquet()
        if out is None:
            raise UsageError("Parquet is not for standard output", hint="name a file with --out")
    campaign = relocated(file, output)
    if out is not None:
        refuse_other_than_file(out)
        refuse_ledger(out, campaign, "--out")
    with looking(campaign.ledger_place, campaign.campaign, SystemClock()) as look:
        # The number, once: a cycle that is begun meanwhile must not be mixed in.
        cycle = None if all_cycles else look.ledger.cycle
        records = look.ledger.all_files(cycle=cycle)
        if format_ == "parquet" and out is not None:
            with _whole(out) as part:
                exports.write_parquet(part, records)
            return
        write = _TEXTS.get(format_) or _seed_writer(look, cycle)
        with _text_to(out) as stream:
            write(stream, records)


def _seed_writer(look: Look, cycle: int | None) -> partial[None]:
    exports.check_names_differ(look.database, look.number, cycle=cycle)
    rules_of = exports.rules_by_dataset(look.database, look.number)
    return partial(exports.write_seed, rules_of=rules_of)


@contextmanager
def _text_to(out: Path | None) -> Iterator[TextIO]:
    if out is None:
        with to_reader():
            yield sys.stdout
        return
    with _whole(out) as part, part.open("w", encoding="utf-8", newline="") as stream:
        yield stream


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A file that is there whole or not at all. UsageError if it cannot be written."""
    try:
        with replacing_alone(out) as part:
            yield part
    except OSError as error:
        raise UsageError(
            f"cannot write {out}: {error.strerror or error}", hint="name another file with --out"
        ) from error


@ledger.command("import", epilog="Example: rucio-inject ledger import my.yaml 2020.json -n")
@campaign_argument
@click.argument("seed", metavar="SEED.json", type=click.Path(path_type=Path))
@ledger_options
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be imported.")
@click.option("--json", "as_json_", is_flag=True, help="Print one JSON object.")
def import_(
    *,
    file: Path,
    seed: Path,
    output: Path | None,
    dry_run: bool,
    as_json_: bool,
) -> None:
    """Put the files of a ledger of 2020 on record in CAMPAIGN.

    The campaign's source is a directory. All of them or none: an entry that is damaged, on record
    already, or of another scope, naming or upload RSE is named, and nothing is imported. Sources
    that are still there are read, and compared with the seed's md5. A file comes to REGISTERED at
    most, and is set aside where the seed tells of a loss; the next run asks Rucio, and proves the
    rest anew.
    """
    campaign, clock = relocated(file, output), SystemClock()
    if campaign.source.kind != "directory":
        raise UsageError(
            f"the files of {campaign.campaign} are those of no directory: its source.kind is "
            f"{campaign.source.kind}",
            hint="import into a campaign whose source is a directory",
        )
    if is_begun(campaign):
        with looking(campaign.ledger_place, campaign.campaign, clock) as look:
            facts, states = _importer(campaign, clock, look.ledger).facts(seed)
    else:
        facts, states = _importer(campaign, clock, None).facts(seed)
    # Only now, so that a seed that is refused leaves no new ledger behind.
    if facts and not dry_run:
        with SqlLedger(campaign.ledger_place, campaign.campaign, clock=clock) as book:
            _record(book, facts, clock)
    _tell_imported(states, _set_aside(facts), dry_run=dry_run, as_json_=as_json_)


def _record(book: SqlLedger, facts: Sequence[FileFact], clock: Clock) -> None:
    """Put facts on record, all or none. UsageError if a run took up one of the files meanwhile."""
    found = [fact for fact in facts if isinstance(fact, FileFound)]
    cycle = found[0].cycle
    for fact in found:
        if book.file(fact.did) is not None or book.cycle > cycle:
            raise UsageError(
                f"{fact.did} or its cycle was put on record meanwhile",
                hint="nothing was imported: import again",
            )
    open_already = book.cycle == cycle and not book.cycle_ended
    begun = [] if open_already else [CycleBegun(at=clock.now(), cycle=cycle)]
    # It comes last, as its moment does: those of the files are the seed's, years ago.
    book.record([*facts, *begun])


def _importer(campaign: Campaign, clock: SystemClock, book: SqlLedger | None) -> Importer:
    def known(did: DID) -> bool:
        return book is not None and book.file(did) is not None

    return Importer(
        place=placing(campaign),
        measure=measure_file,
        known=known,
        upload_rse=campaign.upload.rse,
        cycle=max(book.cycle, 1) if book else 1,
        now=clock.now(),
    )


def _set_aside(facts: Sequence[FileFact]) -> Mapping[str, list[FileFailed]]:
    """Why files are set aside, by code."""
    by_code: dict[str, list[FileFailed]] = {}
    for fact in facts:
        if isinstance(fact, FileFailed):
            by_code.setdefault(fact.code, []).append(fact)
    return by_code


def _tell_imported(
    states: Mapping[FileState, int],
    failed: Mapping[str, list[FileFailed]],
    *,
    dry_run: bool,
    as_json_: bool,
) -> None:
    if as_json_:
        told = {
            "schema": SCHEMA,
            "imported": {str(state): count for state, count in states.items()},
            "set_aside": [
                {"did": str(fact.did), "code": code, "reason": fact.reason, "hint": fact.hint}
                for code, facts in failed.items()
                for fact in facts
            ],
            "dry_run": dry_run,
        }
        click.echo(json.dumps(told))
        return
    total = plural(sum(states.values()), "file")
    click.echo(f"{total} {'would be ' if dry_run else ''}imported")
    for state, count in states.items():
        click.echo(f"  {count:>9,}  {state}")
    for code, facts in failed.items():
        click.echo(legible(f"  set aside  {plural(len(facts), 'file')}: {code}"))
        click.echo(legible(f"             such as {facts[0].did}: {facts[0].reason}"))
        if facts[0].hint:
            click.echo(legible(f"             → {facts[0].hint}"))
