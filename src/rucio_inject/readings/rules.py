"""The rules of a cycle, by what they ask for and how they stand, and why files wait for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from rucio_inject.domain.injection import FileState, RuleRecord
from rucio_inject.domain.rule import RuleState
from rucio_inject.ledger.fact_json import rule_from
from rucio_inject.ledger.look import Look
from rucio_inject.ledger.queries import Choice, files_of
from rucio_inject.ledger.tables import rules
from rucio_inject.words.numbers import reason

GONE = "gone"
ENDING = "ending"
WAITING_LOOKED_AT = 2000


@dataclass(frozen=True, slots=True)
class Promise:
    """All rules of a cycle to one RSE expression: how many are in each state, `gone` and `ending`
    among them, and the errors that Rucio gives for those that are not OK."""

    rse_expression: str
    copies: int
    by_state: Mapping[str, int]
    errors: Mapping[str, int]

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.by_state.values())


@dataclass(frozen=True, slots=True)
class Waiting:
    """Files that wait for an RSE, or RSE expression, for one reason; and one of them."""

    rse: str
    reason: str
    files: int
    example: str


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a cycle, and what files wait for."""

    promises: Sequence[Promise]
    waiting: Sequence[Waiting]
    silent: int
    """Files that are being replicated, and nothing is known to hold them up."""

    @property
    def reasons(self) -> set[str]:
        """Why files wait."""
        return {one.reason for one in self.waiting}

    @property
    def states(self) -> list[str]:
        """The states that any rule is in: those of Rucio in its order, then ours."""
        known = {state for promise in self.promises for state in promise.by_state}
        return [state for state in [*map(str, RuleState), ENDING, GONE] if state in known]


def rules_of(look: Look, cycle: int) -> Rules:
    """The rules of a cycle; of many thousand waiting files the first ones' reasons are counted."""
    with look.database.reading() as connection:
        rows = connection.execute(
            select(rules.c.rule_id, rules.c.record)
            .where(rules.c.campaign == look.number, rules.c.cycle == cycle)
            .order_by(rules.c.id)
        ).all()
    by_expression: dict[str, list[RuleRecord]] = {}
    for rule_id, text in rows:
        rule = rule_from(text, rule_id)
        by_expression.setdefault(rule.rse_expression, []).append(rule)
    waiting, silent = _waiting(look, cycle)
    return Rules([_promise(kept) for kept in by_expression.values()], waiting, silent)


def _promise(kept: Sequence[RuleRecord]) -> Promise:
    states: Counter[str] = Counter(_standing(rule) for rule in kept)
    errors: Counter[str] = Counter(
        reason(rule.error) for rule in kept if rule.error and _standing(rule) != RuleState.OK
    )
    return Promise(kept[0].rse_expression, kept[0].copies, states, errors)


def _standing(rule: RuleRecord) -> str:
    if rule.gone_at is not None:
        return GONE
    return ENDING if rule.ending_at is not None else str(rule.state)


def _waiting(look: Look, cycle: int) -> tuple[list[Waiting], int]:
    found: dict[tuple[str, str], Waiting] = {}
    silent = 0
    choice = Choice(look.number, cycle, {FileState.REPLICATING})
    for number, record in enumerate(files_of(look.database, choice, lambda: 0)):
        if number == WAITING_LOOKED_AT:
            break
        if record.waits_for is None:
            silent += 1
            continue
        rse, _, why = record.waits_for.partition(": ")
        key = (rse, reason(why))
        known = found.get(key, Waiting(*key, 0, str(record.did)))
        found[key] = Waiting(*key, known.files + 1, known.example)
    return sorted(found.values(), key=lambda one: -one.files), silent
