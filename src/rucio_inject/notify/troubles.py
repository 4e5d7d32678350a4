"""What is wrong with a campaign, from the first sign of it until it is over.

An outage of one storage makes many rules STUCK, many files wait, and a run fail, hour after hour.
To people that is one thing: a message when it begins, another one if something of another kind is
wrong, too, a reminder after a day, and a message when it is over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from rucio_inject.domain import facts as f
from rucio_inject.domain.rule import RuleState

EXAMPLES = 3
_NOT_FAILED = frozenset({0, 130})
_MISMATCH = "checksum-mismatch"
TELLING = (f.RuleChanged, f.FileFailed, f.RunEnded, f.LookEnded)
"""The facts that may change what is wrong: see `Troubles.with_fact`."""


class Kind(StrEnum):
    """What can be wrong."""

    STUCK = "stuck"
    """A rule is STUCK or SUSPENDED."""
    MISMATCH = "mismatch"
    """Bytes that were read back were not the bytes that went in."""
    QUARANTINE = "quarantine"
    """A file was set aside."""
    FAILED = "failed"
    """A run, or a look of a watch, did not come to its end."""
    LATE = "late"
    """A run is not through when the next one is due, or could not begin."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One kind of what is wrong: how often it was seen, and the first few."""

    kind: Kind
    since: datetime
    count: int = 1
    examples: tuple[str, ...] = ()
    told: bool = False

    def seen_again(self, example: str) -> Trouble:
        """Once more."""
        more = len(self.examples) < EXAMPLES and example not in self.examples
        return replace(
            self,
            count=self.count + 1,
            examples=(*self.examples, example) if more else self.examples,
        )


@dataclass(frozen=True, slots=True)
class Troubles:
    """All that is wrong with one campaign. `told_at`: of the last message; None: nobody knows
    yet. `over`: it has come right, and those who were told it is wrong do not know yet."""

    open: Mapping[Kind, Trouble] = field(default_factory=dict)
    told_at: datetime | None = None
    over_at: datetime | None = None

    @property
    def news(self) -> Sequence[Trouble]:
        """What nobody was told of."""
        return [trouble for trouble in self.open.values() if not trouble.told]

    def with_fact(self, fact: f.Fact, stuck: set[str]) -> Troubles:
        """After one more fact. `stuck` are the rules that are STUCK now; it is kept up."""
        match fact:
            case f.RuleChanged():
                return self._rule(fact, stuck)
            case f.FileFailed():
                kind = Kind.MISMATCH if fact.code == _MISMATCH else Kind.QUARANTINE
                return self.with_trouble(kind, f"{fact.did}: {fact.reason}", fact.at)
            case f.RunEnded() | f.LookEnded() if fact.code == 0:
                return self.ended(fact.at)
            case f.RunEnded() | f.LookEnded() if fact.code not in _NOT_FAILED:
                return self.with_trouble(Kind.FAILED, fact.words, fact.at)
            case _:
                return self

    def _rule(self, fact: f.RuleChanged, stuck: set[str]) -> Troubles:
        view = fact.view
        if view.state in {RuleState.STUCK, RuleState.SUSPENDED}:
            known = view.rule_id in stuck
            stuck.add(view.rule_id)
            why = view.error or "no reason given"
            words = f"rule {view.rule_id} to {view.rse_expression} is {view.state}: {why}"
            return self if known else self.with_trouble(Kind.STUCK, words, fact.at)
        stuck.discard(view.rule_id)
        trouble = self.open.get(Kind.STUCK)
        if view.state is RuleState.OK and not stuck and trouble and not trouble.told:
            # It came right before anybody was told.
            return replace(self, open={k: t for k, t in self.open.items() if k != Kind.STUCK})
        return self

    def with_trouble(self, kind: Kind, example: str, at: datetime) -> Troubles:
        """After something went wrong. A name from a disk may hold bytes that are no text, and that
        neither a file nor a mail takes."""
        example = example.encode("utf-8", "backslashreplace").decode()
        known = self.open.get(kind)
        now = known.seen_again(example) if known else Trouble(kind, at, examples=(example,))
        return replace(self, open={**self.open, kind: now}, over_at=None)

    def ended(self, at: datetime) -> Troubles:
        """After a run, or a look, that did all that it should."""
        if not self.open:
            return self
        if self.told_at is None:
            return Troubles()
        return replace(self, over_at=at)

    def told(self, at: datetime) -> Troubles:
        """After people were told of all that is wrong."""
        known = {kind: replace(trouble, told=True) for kind, trouble in self.open.items()}
        return Troubles(known, at)


@dataclass(frozen=True, slots=True)
class Message:
    """What people are told: a line, and more lines."""

    title: str
    lines: tuple[str, ...]
    recovery: bool = False


def due(
    campaign: str,
    troubles: Troubles,
    now: datetime,
    *,
    group: float,
    remind: float,
    at_end: bool = False,
) -> Message | None:
    """The message that is to be sent now, if any. `group` seconds are waited for more of the same
    outage, unless the process ends; after `remind` seconds it is told again."""
    if troubles.over_at is not None:
        return _recovery(campaign, troubles)
    if not troubles.open:
        return None
    if news := troubles.news:
        first = min(trouble.since for trouble in news)
        # A clock that was set back makes no message wait.
        if at_end or not timedelta(0) <= now - first < timedelta(seconds=group):
            return _report(campaign, troubles, "is in trouble" if troubles.told_at is None else "")
        return None
    if troubles.told_at is not None and now - troubles.told_at >= timedelta(seconds=remind):
        return _report(campaign, troubles, "is still in trouble")
    return None


_WORDS = {
    Kind.STUCK: "rules STUCK or SUSPENDED",
    Kind.MISMATCH: "checksums that did not match",
    Kind.QUARANTINE: "files set aside",
    Kind.FAILED: "runs, or looks of a watch, that failed",
    Kind.LATE: "runs late",
}


def _report(campaign: str, troubles: Troubles, title: str) -> Message:
    lines: list[str] = []
    for trouble in troubles.open.values():
        since = f"{trouble.since:%Y-%m-%dT%H:%M:%SZ}"
        lines.append(f"{_WORDS[trouble.kind]}: {trouble.count}, since {since}")
        lines += [f"  {example}" for example in trouble.examples]
        if trouble.count > len(trouble.examples):
            lines.append(f"  … and {trouble.count - len(trouble.examples)} more")
    kinds = ", ".join(troubles.open)
    return Message(f"{campaign} {title or 'has more trouble'}: {kinds}", tuple(lines))


def _recovery(campaign: str, troubles: Troubles) -> Message:
    assert troubles.over_at is not None
    since = min(trouble.since for trouble in troubles.open.values())
    was = ", ".join(troubles.open)
    over, begun = f"{troubles.over_at:%Y-%m-%dT%H:%M:%SZ}", f"{since:%Y-%m-%dT%H:%M:%SZ}"
    lines = (f"a run did all that it should at {over}; the trouble began at {begun}",)
    return Message(f"{campaign} is well again (was: {was})", lines, recovery=True)
