"""What the commands on a ledger share: where it is, how it is opened, names, and facts in words."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import click
from sqlalchemy import ColumnElement, func, select

from rucio_inject.campaign.load import load_campaign
from rucio_inject.campaign.schema import Campaign
from rucio_inject.cli.words import duration, plural, size
from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import UsageError
from rucio_inject.domain.usage import Usage
from rucio_inject.ledger.engine import Database, is_url, postgresql_database, sqlite_database
from rucio_inject.ledger.fact_json import as_text
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.ledger.tables import campaigns, files
from rucio_inject.ports import Clock

Command = TypeVar("Command", bound=Callable[..., Any])

READER_GONE = 141
"""The exit code that a shell reports for a program that SIGPIPE ended."""

SHOWN_NAMES = 5
_GAP = re.compile(r" {2,}")
# Names that difflib looks at; those next to the wanted one in the order of names.
_NEIGHBOURS = 200

campaign_argument = click.argument(
    "file", metavar="CAMPAIGN", type=click.Path(path_type=Path, readable=False)
)


def ledger_options(command: Command) -> Command:
    """Add the options that all commands on a ledger have."""
    output = click.option(
        "--output",
        type=click.Path(path_type=Path),
        help="Folder that the campaign was run with, if it was run with --output.",
    )
    verbose = click.option("-v", "verbose", count=True, help="-vv shows where an error came from.")
    return output(verbose(command))


def location(campaign: Campaign) -> str | Path:
    """Where the ledger of a campaign is: a path, or a URL."""
    return campaign.ledger_place


def relocated(file: Path, output: Path | None) -> Campaign:
    """The campaign of a file, with another output folder; a ledger that is a file moves there."""
    campaign = load_campaign(file)
    if output is None:
        return campaign
    changes: dict[str, object] = {"output": output}
    if isinstance(campaign.ledger, Path):
        changes["ledger"] = output / campaign.ledger.name
    return campaign.model_copy(update=changes)


@dataclass(frozen=True, slots=True)
class Look:
    """A ledger that is read, perhaps while a run goes on: through its own methods, and by SQL on
    the rows of campaign `number`."""

    campaign: Campaign
    ledger: SqlLedger
    database: Database
    number: int


@contextmanager
def looking(campaign: Campaign, clock: Clock) -> Iterator[Look]:
    """Open a campaign's ledger for reading only. LedgerError if it is not there or damaged."""
    place = location(campaign)
    with SqlLedger(place, campaign.campaign, clock=clock, reading=True) as ledger:
        database = (
            postgresql_database(str(place), read_only=True)
            if is_url(place)
            else sqlite_database(Path(place), read_only=True)
        )
        try:
            with database.reading() as connection:
                mine = select(campaigns.c.id).where(campaigns.c.name == campaign.campaign)
                number = int(connection.execute(mine).scalar_one())
            yield Look(campaign, ledger, database, number)
        finally:
            database.close()


@contextmanager
def to_reader() -> Iterator[None]:
    """Write to standard output; a reader who goes away ends the command without a complaint."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered goes nowhere, so that Python does not fail on it at its end.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        sys.exit(READER_GONE)


def fitted(lines: Iterable[str]) -> list[str]:
    """Lines, those that are longer than a terminal is wide broken below the text of their last
    column. Elsewhere they stay whole, for grep."""
    if not sys.stdout.isatty():
        return list(lines)
    width = shutil.get_terminal_size().columns
    return [part for line in lines for part in _broken(line, width)]


def _broken(line: str, width: int) -> list[str]:
    gaps = [gap.end() for gap in _GAP.finditer(line[: width // 2])]
    indent = " " * (gaps[-1] if gaps else 0)
    broken = textwrap.wrap(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return broken or [""]


def dataset_did(campaign: Campaign, text: str) -> DID:
    """A dataset as it was typed, with or without its scope. UsageError if it is no DID."""
    text = as_text(text)
    try:
        return DID.parse(text) if ":" in text else DID(campaign.scope, text)
    except ValueError as error:
        raise UsageError(str(error), hint="name it as SCOPE:NAME, or NAME alone") from None


def find_file(look: Look, text: str) -> DID:
    """The one file on record, of whichever cycle, that a name stands for.

    The name may lack its scope and its end. UsageError if it stands for none, which tells the
    nearest names, or for several.
    """
    # What is no text is in no database: it is looked for as what it would be shown as.
    scope, colon, name = as_text(text).rpartition(":")
    if not name:
        raise UsageError("a name is empty", hint="see: rucio-inject files list")
    chosen = [files.c.scope == scope] if colon else []
    # By its characters: LIKE would take small letters for capitals in SQLite.
    begins = func.substr(files.c.name, 1, len(name)) == name
    with_that_name = _dids(look, *chosen, files.c.name == name)
    known = with_that_name or _dids(look, *chosen, begins, limit=SHOWN_NAMES + 1)
    if len(known) == 1:
        return known[0]
    if known:
        more = ["…"] if len(known) > SHOWN_NAMES else []
        shown = ", ".join([*map(str, known[:SHOWN_NAMES]), *more])
        raise UsageError(
            f"{text} stands for more than one file on record: {shown}",
            hint="give more of the name" if not with_that_name else "give its scope, too",
        )
    near = _nearest(look, name)
    raise UsageError(
        f"{text} is not on record in campaign {look.campaign.campaign}",
        hint=f"the nearest names: {', '.join(near)}" if near else "see: rucio-inject files list",
    )


def _dids(look: Look, *conditions: ColumnElement[bool], limit: int = SHOWN_NAMES + 1) -> list[DID]:
    statement = (
        select(files.c.scope, files.c.name)
        .where(files.c.campaign == look.number, *conditions)
        .order_by(files.c.scope, files.c.name)
        .limit(limit)
    )
    with look.database.reading() as connection:
        return [DID(scope, name) for scope, name in connection.execute(statement)]


def _nearest(look: Look, name: str) -> Sequence[str]:
    """Names like this one, the likest first: of few names all are compared, of many those next to
    it, as each comparison takes some time."""
    mine = select(files.c.name).where(files.c.campaign == look.number)
    before = mine.where(files.c.name < name).order_by(files.c.name.desc()).limit(_NEIGHBOURS)
    after = mine.where(files.c.name >= name).order_by(files.c.name).limit(_NEIGHBOURS)
    with look.database.reading() as connection:
        names = [
            *connection.execute(before).scalars(),
            *connection.execute(after).scalars(),
        ]
    return get_close_matches(name, dict.fromkeys(names), n=3)


def moment(at: datetime) -> str:
    """A moment for programs: ISO 8601 in UTC, exact."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def shown(at: datetime) -> str:
    """A moment for people: ISO 8601 in UTC, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def subject(fact: f.Fact) -> str:
    """What a fact is about: a DID, a rule, an RSE; empty if it is about the campaign."""
    match fact:
        case f.FileFact() | f.CollectionAsked() | f.CollectionEnding() | f.CollectionGone():
            return str(fact.did)
        case f.RuleAsked():
            return str(fact.dataset)
        case f.RuleMade() | f.RuleEnding() | f.RuleGone():
            return f"rule {fact.rule_id}"
        case f.RuleChanged():
            return f"rule {fact.view.rule_id}"
        case f.AttributeAsked() | f.RSECounted():
            return fact.rse
        case _:
            return ""


def told(fact: f.Fact) -> str:  # noqa: C901, PLR0911, PLR0912 -- a flat table
    """A fact in a short line, without the name of the file or rule that it is about."""
    match fact:
        case f.CycleBegun():
            return f"cycle {fact.cycle} begun"
        case f.CycleEnded():
            return f"cycle {fact.cycle} has come to its end"
        case f.ScopeMade():
            return f"scope {fact.scope} made for account {fact.account}"
        case f.AttributeAsked():
            before = "unset" if fact.before is None else fact.before
            return f"attribute {fact.key} to be set to {fact.value}; it was {before}"
        case f.NameSkipped():
            return f"{fact.path} skipped ({fact.code}): {fact.reason}"
        case f.FileFound():
            return f"found at {fact.path}"
        case f.FileMeasured():
            return f"source read: {size(fact.measure.size)}, md5 {fact.measure.md5}"
        case f.UploadBegun():
            return f"upload to {fact.rse} begun"
        case f.FileUploaded():
            return f"uploaded to {fact.rse}: {fact.pfn}"
        case f.FileRegistered():
            found = "; it was there before" if fact.adopted else ""
            return f"registered with its replica at {fact.rse}{found}"
        case f.FileOrganised():
            return "in its dataset, which has its rules"
        case f.CollectionAsked():
            return "to be made in the catalogue"
        case f.RuleAsked():
            return f"rule to be asked for: {_request(fact)}"
        case f.RuleMade():
            return f"{'found' if fact.adopted else 'made'}: {_request(fact)}"
        case f.RuleChanged():
            view = fact.view
            why = f" ({view.error})" if view.error else ""
            return (
                f"{view.state}{why}; locks: {view.locks_ok} OK, "
                f"{view.locks_replicating} replicating, {view.locks_stuck} stuck"
            )
        case f.ReplicaReady():
            return f"replica at {fact.rse}"
        case f.FileReplicated():
            return f"everywhere it should be: {', '.join(fact.rses)}"
        case f.FileWaits():
            return f"waits for {fact.rse}: {fact.reason}"
        case f.ReplicaRead():
            return f"read back from {fact.rse}: {size(fact.measure.size)}, md5 {fact.measure.md5}"
        case f.FileVerified():
            return "verified: the same bytes came back from everywhere"
        case f.AnalysisMade():
            return f"{plural(fact.files, 'file')} analysed: {fact.headline}"
        case f.FileSetBack():
            return f"set back to {fact.state}: {fact.reason}"
        case f.RuleEnding():
            return f"to end in {duration(fact.lifetime)}, with its replicas"
        case f.FileExpiring():
            return "every rule on it was given its end"
        case f.RuleGone():
            return "gone"
        case f.ReplicaGone():
            return f"replica at {fact.rse} gone, from catalogue and storage"
        case f.FileGone():
            return "gone from every RSE"
        case f.SourceFreeing():
            return "source to be removed"
        case f.SourceFreed():
            return "source removed"
        case f.CollectionEnding():
            return "to be given its end"
        case f.CollectionGone():
            return "gone from the catalogue"
        case f.FileFailed():
            return f"set aside ({fact.code}): {fact.reason}"
        case f.FileRetried():
            return "goes on from where it failed"
        case f.CallRetried():
            return f"{fact.call} is tried again after {duration(fact.pause)}: {fact.reason}"
        case f.RSECounted():
            catalogue, storage = _witness(fact.catalogue), _witness(fact.storage)
            return f"counted: {catalogue} in the catalogue, {storage} on the storage"
        case _:
            raise AssertionError(type(fact))


def _request(fact: f.RuleAsked | f.RuleMade) -> str:
    return f"{plural(fact.request.copies, 'replica')} at {fact.request.rse_expression}"


def _witness(usage: Usage | None) -> str:
    return "unknown" if usage is None else plural(usage.files, "file")
