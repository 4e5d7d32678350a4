"""What a run says at its end: in words, or as one JSON object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rucio_inject.cli.drain import as_object
from rucio_inject.cli.exit_codes import ExitCode
from rucio_inject.cli.news import Done
from rucio_inject.cli.troubles import SHOWN, set_aside, troubles
from rucio_inject.domain.did import DID
from rucio_inject.domain.injection import FileState, RuleRecord
from rucio_inject.domain.rule import RuleState
from rucio_inject.outcome import Outcome
from rucio_inject.steps.prepare import Lake
from rucio_inject.words.moments import shown
from rucio_inject.words.numbers import duration, plural, size

SCHEMA = 1
# What the files that a run leaves are called in its summary, by their keys in JSON.
_CALLED = {
    "seed_ledger": "as in 2020",
    "figure_1": "figure 1",
    "physics_plot": "physics plot",
    "physics_numbers": "its numbers",
}


@dataclass(frozen=True, slots=True)
class RunReport:
    """Everything that a run's end is told from. `paths` maps what a file is to where it is;
    `skips` are the reasons why names were skipped; `cycles`: another cycle can be asked for;
    `done` is what this run did, of all that the outcome counts: None takes it for all. `in_place`:
    the files were at the upload RSE before, and `md5` says whether they were read for theirs."""

    campaign: str
    lake: Lake
    outcome: Outcome
    rules: Sequence[RuleRecord]
    seconds: float
    code: ExitCode
    paths: dict[str, Path]
    skips: Sequence[str] = ()
    cycles: bool = True
    done: Mapping[Done, int] | None = None
    in_place: bool = False
    md5: bool = True


def as_json(report: RunReport) -> dict[str, Any]:
    """The run as one object; its shape is versioned by `schema`."""
    outcome = report.outcome
    return {
        "schema": SCHEMA,
        "campaign": report.campaign,
        "cycle": outcome.cycle,
        "account": report.lake.identity.account,
        "exit_code": int(report.code),
        "seconds": round(report.seconds, 3),
        "changed": outcome.changed,
        **_what_came_of_files(report),
        **_what_is_left(outcome),
        **_analysis(outcome),
        "paths": {what: str(path) for what, path in report.paths.items()},
    }


def _what_came_of_files(report: RunReport) -> dict[str, Any]:
    outcome, totals = report.outcome, report.outcome.totals
    return {
        "files": {str(state): count for state, count in sorted(outcome.by_state.items())},
        "bytes": totals.bytes,
        "skipped": outcome.skipped,
        "skip_reasons": list(report.skips),
        "held_back": outcome.held_back,
        "drained": as_object(outcome.drain),
        "not_yet": [left.reason for left in outcome.not_yet],
        "adopted": {"files": totals.adopted, "bytes": totals.bytes_adopted},
        "freed": {
            "files": totals.freed,
            "bytes": totals.bytes_freed,
            "folder": totals.freed_from and str(totals.freed_from),
            "rse": report.lake.upload_rse if report.in_place and totals.freed else None,
        },
        # They are looked at only where something has changed.
        "rules_there_before": _not_ours(report) if outcome.changed else None,
        "empty": totals.empty,
        "this_run": {str(what): count for what, count in (report.done or {}).items()},
        "origin": outcome.origin
        and {
            "total": outcome.origin.total,
            "used": outcome.origin.used,
            "free": outcome.origin.free,
            "used_share": round(outcome.origin.share, 4),
        },
        "replicas_read_back": totals.replicas_read_back,
        "sampled": {"files": totals.sampled, "replicas_told": totals.replicas_told},
        "replicas_gone": totals.replicas_gone,
    }


def _what_is_left(outcome: Outcome) -> dict[str, Any]:
    """What did not come to its end, and why."""
    return {
        "failures": [
            {
                "did": str(record.did),
                "path": record.path,
                "code": record.failure.code,
                "reason": record.failure.reason,
                "hint": record.failure.hint,
                "came_from": str(record.failure.came_from),
            }
            for record in outcome.failed
            if record.failure
        ],
        "waiting": {str(r.did): r.waits_for for r in outcome.waiting},
        "rules_not_ok": [
            {"id": r.rule_id, "rse_expression": r.rse_expression, "state": str(r.state)}
            for r in outcome.not_ok
        ],
        "kept": {str(did): why for did, why in outcome.kept.items()},
        "endless": {str(did): why for did, why in outcome.endless.items()},
        "leaving": {str(did): why for did, why in outcome.leaving.items()},
        "staying": {str(did): why for did, why in outcome.staying.items()},
        "not_closed": {str(did): why for did, why in outcome.not_closed.items()},
        "still_there": [str(record.did) for record in outcome.still_there],
    }


def _analysis(outcome: Outcome) -> dict[str, Any]:
    made, error = outcome.analysis, outcome.analysis_error
    return {
        "analysis": made.headline if made else None,
        "analysis_error": error.message if error else None,
        "analysis_failures": [
            {"file": path.name, "reason": why.message}
            for path, why in sorted(made.failures if made else ())
        ],
    }


def as_text(report: RunReport) -> Iterator[str]:
    """The run in some lines."""
    outcome = report.outcome
    yield _title(report)
    yield ""
    done = _done(report) if outcome.changed else ()
    told = [*done, *_later(outcome), *_held_back(outcome), *_wrong(report)]
    yield from told
    if told:
        yield ""
    for what, path in report.paths.items():
        yield f"  {_CALLED.get(what, what):<13} {path}"


def _later(outcome: Outcome) -> Iterator[str]:
    """What the source sees and will offer by itself, and what will go from an origin RSE."""
    for left in outcome.not_yet[:SHOWN]:
        yield f"  not yet       {left.reason}"
    if (more := len(outcome.not_yet) - SHOWN) > 0:
        yield f"  not yet       … and {plural(more, 'file')} more"
    for dataset, why in list(outcome.leaving.items())[:SHOWN]:
        yield f"  not freed yet {dataset}: {why}"
    if (more := len(outcome.leaving) - SHOWN) > 0:
        yield f"  not freed yet … and {plural(more, 'dataset')} more"


def _held_back(outcome: Outcome) -> Iterator[str]:
    """Files that were not begun, and why."""
    if (drain := outcome.drain) is not None and outcome.held_back:
        yield (
            f"  drained       since {shown(drain.at)} by {drain.by}: "
            f"{plural(outcome.held_back, 'file')} not begun"
        )
        yield "                → rucio-inject drain --off CAMPAIGN lets runs take new files again"
    elif outcome.held_back:
        yield (
            f"  held back     {plural(outcome.held_back, 'file')}: so much is in flight as limits: "
            "allows"
        )
        yield "                → the same command goes on when Rucio has replicated it"


def as_errors(report: RunReport) -> Iterator[str]:
    """Only what is not as it should be; nothing if all is done."""
    if report.code is not ExitCode.DONE:
        yield _title(report)
        yield from _held_back(report.outcome)
        yield from _wrong(report)


def _title(report: RunReport) -> str:
    return f"{report.campaign}, cycle {report.outcome.cycle}: {_verdict(report)}"


def _wrong(report: RunReport) -> Iterator[str]:
    yield from set_aside(report.outcome, report.skips)
    yield from troubles(report.outcome)


def _verdict(report: RunReport) -> str:
    if report.code is ExitCode.DONE:
        if report.outcome.changed:
            return f"done in {duration(report.seconds)}"
        another = " (--new-cycle begins another)" if report.cycles else ""
        return f"nothing to do, it was done before{another}"
    return f"not all is done after {duration(report.seconds)} (exit code {int(report.code)})"


def _done(report: RunReport) -> Iterator[str]:
    totals, lake = report.outcome.totals, report.lake
    inside = f"in {plural(len(totals.datasets), 'dataset')}"
    if totals.injected:
        what = "registered    " if report.in_place else "injected      "
        how = "where they are, at" if report.in_place else "through"
        yield (
            f"  {what}{plural(totals.injected, 'file')}, {size(totals.bytes_injected)}, "
            f"{inside}, {how} {lake.upload_rse}{_earlier(report, Done.INJECTED, totals.injected)}"
        )
    if totals.adopted:
        yield (
            f"  there before  {plural(totals.adopted, 'file')}, {size(totals.bytes_adopted)}"
            f"{'' if totals.injected else ', ' + inside}: the lake had the same content already"
            f"{_earlier(report, Done.ADOPTED, totals.adopted)}"
        )
    if not totals.datasets:
        return
    if totals.empty:
        yield f"                {plural(totals.empty, 'file')} without a single byte among them"
    yield from _replicated(report)
    yield from _proved(report)


def _earlier(report: RunReport, what: Done, total: int) -> str:
    """Which part of it was done by this run, if not all: the rest was done by earlier ones."""
    now = total if report.done is None else min(report.done.get(what, 0), total)
    if now == total:
        return ""
    return f" ({now:,} of them in this run)" if now else " (before this run)"


def _replicated(report: RunReport) -> Iterator[str]:
    totals, lake = report.outcome.totals, report.lake
    replicated = totals.that_reached(FileState.REPLICATED)
    unseen = _unseen(report)
    ok = sum(_is_ok(rule) and rule.dataset not in unseen for rule in report.rules)
    yield (
        f"  replicated    {plural(replicated, 'file')}, {ok} of {len(report.rules)} rules OK"
        f"{_earlier(report, Done.REPLICATED, replicated)}"
    )
    if unseen:
        some = plural(len(unseen), "dataset")
        yield f"                Rucio has yet to look at the files of {some}: their OK is no proof"
    landing = any(rule.rse_expression == lake.upload_rse for rule in report.rules)
    if landing and lake.upload_rse not in lake.rses:
        what = "what was uploaded"
        if report.in_place:
            what = "what was not freed of what it had" if totals.freed else "what it had before"
        yield f"                {lake.upload_rse} keeps {what}, the source of the others"
    for expression, rses in lake.rses.items():
        where = ", ".join(rses)
        yield f"                {expression}" + ("" if where == expression else f" is {where}")
    if theirs := _not_ours(report):
        were = f"{plural(theirs, 'rule')} {'was' if theirs == 1 else 'were'} there before"
        yield f"                {were}: whoever made such a rule may end it, and its copies go"


def _not_ours(report: RunReport) -> int:
    """Rules that somebody else made, another campaign perhaps, and that keep our copies."""
    return sum(rule.adopted and rule.gone_at is None for rule in report.rules)


def _is_ok(rule: RuleRecord) -> bool:
    """Whether a rule is OK, or was when it was given its end."""
    ended = rule.gone_at is not None or rule.ending_at is not None
    return rule.ok_at is not None if ended else rule.state is RuleState.OK


def _unseen(report: RunReport) -> set[DID]:
    """Datasets with files that wait though every rule says OK: a rule that was made while its
    dataset was empty does, until Rucio has looked at the files."""
    not_ok = {rule.dataset for rule in report.rules if not _is_ok(rule)}
    return report.outcome.totals.waiting_datasets - not_ok


def _proved(report: RunReport) -> Iterator[str]:
    outcome, totals = report.outcome, report.outcome.totals
    verified = totals.that_reached(FileState.VERIFIED)
    read = verified - totals.sampled
    if read:
        same = "size, adler32 and md5" if report.md5 else "size and adler32"
        yield (
            f"  read back     {plural(totals.replicas_verified, 'replica')} of "
            f"{plural(read, 'file')}: same {same}"
            f"{_earlier(report, Done.VERIFIED, verified)}"
        )
    if totals.sampled:
        yield (
            f"  not read      {plural(totals.sampled, 'file')}: a sample was; the storages of "
            f"{plural(totals.replicas_told, 'replica')} tell the same size and adler32"
        )
    if outcome.analysis:
        yield f"  used          {outcome.analysis.headline}"
    if totals.freed:
        at_rse = f"by Rucio at {report.lake.upload_rse}"
        where = at_rse if report.in_place else f"from {totals.freed_from}"
        yield (
            f"  freed         {plural(totals.freed, 'source')}, {size(totals.bytes_freed)}, "
            f"removed {where}{_earlier(report, Done.FREED, totals.freed)}"
        )
    if (room := outcome.origin) is not None:
        yield (
            f"  origin        {size(room.free)} free of {size(room.total)}, {room.share:.0%} used"
        )
    gone = totals.that_reached(FileState.GONE)
    if gone:
        yield (
            f"  proved gone   {plural(totals.replicas_gone, 'replica')} of "
            f"{plural(gone, 'file')}, in catalogue and storage{_earlier(report, Done.GONE, gone)}"
        )
