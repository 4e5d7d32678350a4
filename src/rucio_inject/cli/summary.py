"""What a run says at its end: in words, or as one JSON object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rucio_inject.cli.exit_codes import ExitCode
from rucio_inject.cli.words import duration, plural, size
from rucio_inject.domain.injection import FileState, RuleRecord
from rucio_inject.outcome import Outcome
from rucio_inject.steps.prepare import Lake

SCHEMA = 1
SHOWN_FAILURES = 20


@dataclass(frozen=True, slots=True)
class RunReport:
    """Everything that a run's end is told from. `paths` maps what a file is to where it is;
    `skips` are the reasons why names were skipped; `cycles`: another cycle can be asked for."""

    campaign: str
    lake: Lake
    outcome: Outcome
    rules: Sequence[RuleRecord]
    seconds: float
    code: ExitCode
    paths: dict[str, Path]
    skips: Sequence[str] = ()
    cycles: bool = True


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
        "files": {str(state): count for state, count in sorted(outcome.by_state.items())},
        "bytes": outcome.totals.bytes,
        "skipped": outcome.skipped,
        "skip_reasons": list(report.skips),
        "replicas_read_back": outcome.totals.replicas_read_back,
        "replicas_gone": outcome.totals.replicas_gone,
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
        "still_there": [str(record.did) for record in outcome.still_there],
        "analysis": outcome.analysis.headline if outcome.analysis else None,
        "analysis_error": outcome.analysis_error.message if outcome.analysis_error else None,
        "paths": {what: str(path) for what, path in report.paths.items()},
    }


def as_text(report: RunReport) -> Iterator[str]:
    """The run in some lines."""
    outcome = report.outcome
    yield f"{report.campaign}, cycle {outcome.cycle}: {_verdict(report)}"
    yield ""
    told = [*(_done(report) if outcome.changed else ()), *_set_aside(report), *_trouble(outcome)]
    yield from told
    if told:
        yield ""
    for what, path in report.paths.items():
        yield f"  {what:<13} {path}"


def _verdict(report: RunReport) -> str:
    if report.code is ExitCode.DONE:
        if report.outcome.changed:
            return f"done in {duration(report.seconds)}"
        another = " (--new-cycle begins another)" if report.cycles else ""
        return f"nothing to do, it was done before{another}"
    return f"not all is done after {duration(report.seconds)} (exit code {int(report.code)})"


def _done(report: RunReport) -> Iterator[str]:
    totals, lake = report.outcome.totals, report.lake
    injected = totals.that_reached(FileState.REGISTERED)
    if not injected:
        return
    yield (
        f"  injected      {plural(injected, 'file')}, {size(totals.bytes_injected)}, "
        f"in {plural(len(totals.datasets), 'dataset')}, through {lake.upload_rse}"
    )
    replicated = totals.that_reached(FileState.REPLICATED)
    ok = sum(rule.ok_at is not None for rule in report.rules)
    yield f"  replicated    {plural(replicated, 'file')}, {ok} of {len(report.rules)} rules OK"
    landing = any(rule.rse_expression == lake.upload_rse for rule in report.rules)
    if landing and lake.upload_rse not in lake.rses:
        yield f"                {lake.upload_rse} keeps what was uploaded, the source of the others"
    for expression, rses in lake.rses.items():
        where = ", ".join(rses)
        yield f"                {expression}" + ("" if where == expression else f" is {where}")
    yield from _proved(report.outcome)


def _proved(outcome: Outcome) -> Iterator[str]:
    totals = outcome.totals
    verified = totals.that_reached(FileState.VERIFIED)
    if verified:
        yield (
            f"  read back     {plural(totals.replicas_verified, 'replica')} of "
            f"{plural(verified, 'file')}: same size, adler32 and md5"
        )
    if outcome.analysis:
        yield f"  used          {outcome.analysis.headline}"
    gone = totals.that_reached(FileState.GONE)
    if gone:
        yield (
            f"  proved gone   {plural(totals.replicas_gone, 'replica')} of "
            f"{plural(gone, 'file')}, in catalogue and storage"
        )


def _set_aside(report: RunReport) -> Iterator[str]:
    outcome = report.outcome
    failed = [record for record in outcome.failed if record.failure]
    hinted: str | None = None
    for record in failed[:SHOWN_FAILURES]:
        assert record.failure is not None
        reason, hint = record.failure.reason, record.failure.hint
        named = str(record.did) in reason or record.path in reason
        yield f"  set aside     {reason if named else f'{record.did}: {reason}'}"
        if hint and hint != hinted:
            yield f"                → {hint}"
        hinted = hint
    more = outcome.totals.by_state[FileState.QUARANTINED] - len(failed[:SHOWN_FAILURES])
    if more > 0:
        yield f"  set aside     … and {more} more: `rucio-inject files list` shows them"
    for reason in report.skips[:SHOWN_FAILURES]:
        yield f"  skipped       {reason}"
    if outcome.skipped > len(report.skips[:SHOWN_FAILURES]):
        rest = outcome.skipped - len(report.skips[:SHOWN_FAILURES])
        yield f"  skipped       … and {plural(rest, 'name')} more"


def _trouble(outcome: Outcome) -> Iterator[str]:
    for rule in outcome.not_ok:
        why = f": {rule.error}" if rule.error else ""
        yield (
            f"  not OK        rule {rule.rule_id} to {rule.rse_expression} is {rule.state}, "
            f"{rule.locks_ok} of {rule.locks_ok + rule.locks_replicating + rule.locks_stuck} "
            f"locks OK{why}"
        )
    for record in outcome.waiting[:SHOWN_FAILURES]:
        yield f"  waiting       {record.did}: {record.waits_for or 'its transfer is not done yet'}"
    for dataset, why in outcome.kept.items():
        yield f"  kept          the rules of {dataset}: {why}"
    for record in outcome.still_there[:SHOWN_FAILURES]:
        yield f"  still there   {record.did}: the RSE has not deleted it yet"
    if outcome.analysis_error:
        yield f"  not used      {outcome.analysis_error.message}"
    for path, error in outcome.analysis.failures if outcome.analysis else ():
        yield f"  not used      {path.name}: {error.message}"
