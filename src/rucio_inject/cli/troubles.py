"""What is not as it should be after a run, with what to do about it: the summary's second half."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.domain.rule import RuleState, RuleView
from rucio_inject.outcome import Outcome
from rucio_inject.words.numbers import plural, reason

SHOWN = 20
_INDENT = " " * 16
_NOT_YET = "its transfer is not done yet"
_ENDLESS = (
    "a child rule must become OK first (or: rucio rule update --child-rule-id None RULE); an end "
    "that was taken back is given by hand, if nobody needs the files: rucio rule update --lifetime "
    "1 RULE"
)


def set_aside(outcome: Outcome, skips: Sequence[str]) -> Iterator[str]:
    """Files that cannot go on, and names that were skipped for the reasons `skips`."""
    failed = [record for record in outcome.failed if record.failure]
    hinted: str | None = None
    for record in failed[:SHOWN]:
        assert record.failure is not None
        why, hint = record.failure.reason, record.failure.hint
        named = str(record.did) in why or record.path in why
        yield f"  set aside     {why if named else f'{record.did}: {why}'}"
        if hint and hint != hinted:
            yield f"{_INDENT}→ {hint}"
        hinted = hint
    more = outcome.totals.by_state[FileState.QUARANTINED] - len(failed[:SHOWN])
    if more > 0:
        yield f"  set aside     … and {more} more: `rucio-inject files list` shows them"
    for why in skips[:SHOWN]:
        yield f"  skipped       {why}"
    if outcome.skipped > len(skips[:SHOWN]):
        yield f"  skipped       … and {plural(outcome.skipped - len(skips[:SHOWN]), 'name')} more"


def troubles(outcome: Outcome) -> Iterator[str]:
    """What Rucio or an RSE has not done, and what could not be used."""
    yield from _rules(outcome.not_ok)
    yield from _waiting(outcome)
    for dataset, why in outcome.kept.items():
        yield f"  kept          the rules of {dataset}: {why}"
    for dataset, why in outcome.staying.items():
        yield f"  not freed     {dataset}: {why}"
    for dataset, why in outcome.endless.items():
        yield f"  does not end  {dataset}: {why}"
    if outcome.endless:
        yield f"{_INDENT}→ {_ENDLESS}"
    for dataset, why in outcome.not_closed.items():
        yield f"  not closed    {dataset}: {why}"
    yield from _still_there(outcome)
    yield from _unused(outcome)


def _rules(not_ok: Iterable[RuleView]) -> Iterator[str]:
    """Rules with one reason in one line: a dead storage makes many rules STUCK."""
    alike: dict[tuple[str, RuleState, str], list[RuleView]] = {}
    for rule in not_ok:
        key = (rule.rse_expression, rule.state, reason(rule.error or ""))
        alike.setdefault(key, []).append(rule)
    for (expression, state, why), rules in list(alike.items())[:SHOWN]:
        ok = sum(rule.locks_ok for rule in rules)
        locks = ok + sum(rule.locks_replicating + rule.locks_stuck for rule in rules)
        one = len(rules) == 1
        which = f"rule {rules[0].rule_id}" if one else f"{len(rules)} rules"
        told = f"{which} to {expression} {'is' if one else 'are'} {state}"
        yield f"  not OK        {told}, {ok} of {locks} locks OK" + (f": {why}" if why else "")
        if not one:
            yield f"{_INDENT}such as rule {rules[0].rule_id}"
    if len(alike) > SHOWN:
        yield f"  not OK        … and rules with {len(alike) - SHOWN} other reasons"
    firsts: dict[RuleState, RuleView] = {}
    for rule in not_ok:
        firsts.setdefault(rule.state, rule)
    yield from (f"{_INDENT}→ {_todo(rule)}" for rule in firsts.values())


def _todo(rule: RuleView) -> str:
    """What to do about a rule that is not OK at the deadline."""
    match rule.state:
        case RuleState.STUCK:
            return (
                "mend the reason; Rucio tries a STUCK rule again by itself, half an hour later as "
                f"it is installed, or at once: rucio rule update --boost-rule {rule.rule_id}; then "
                "run the same command again"
            )
        case RuleState.SUSPENDED:
            return "Rucio has given up on a SUSPENDED rule: its administrators must look"
        case RuleState.WAITING_APPROVAL:
            return "a person with the right to approve rules must do so"
        case _:
            return "run the same command again to wait longer (replication.deadline)"


def _waiting(outcome: Outcome) -> Iterator[str]:
    alike: dict[str, list[FileRecord]] = {}
    for record in outcome.waiting:
        alike.setdefault(reason(record.waits_for or _NOT_YET), []).append(record)
    for why, records in list(alike.items())[:SHOWN]:
        first = records[0].did
        if len(records) == 1:
            yield f"  waiting       {first}: {why}"
        else:
            yield f"  waiting       {len(records)} files, such as {first}: {why}"
    told = sum(len(records) for records in list(alike.values())[:SHOWN])
    if (more := outcome.totals.by_state[FileState.REPLICATING] - told) > 0:
        yield f"  waiting       … and {plural(more, 'file')} more"


def _still_there(outcome: Outcome) -> Iterator[str]:
    shown = outcome.still_there[:SHOWN]
    for record in shown:
        yield f"  still there   {record.did}: the RSE has not deleted it yet"
    if (more := outcome.totals.by_state[FileState.EXPIRING] - len(shown)) > 0:
        yield f"  still there   … and {plural(more, 'file')} more"


def _unused(outcome: Outcome) -> Iterator[str]:
    failures = sorted(outcome.analysis.failures) if outcome.analysis else []
    if outcome.analysis_error:
        yield f"  not used      {outcome.analysis_error.message}"
    for path, error in failures[:1]:
        told = error.message if path.name in error.message else f"{path.name}: {error.message}"
        if len(failures) > 1:
            told = f"{len(failures)} files; the first: {told}"
        yield f"  not used      {told}"
    if outcome.analysis_error or failures:
        yield (
            f"{_INDENT}→ what was proved of them stays proved; where not all can be analysed, "
            "leave it out (access: analyse: false in the campaign)"
        )
