"""What is seen while a campaign runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rucio_inject.cli.output import legible, to_nowhere
from rucio_inject.domain import facts as f
from rucio_inject.domain.injection import FileState, reached
from rucio_inject.domain.rule import RuleState
from rucio_inject.domain.usage import Usage
from rucio_inject.ports import Clock, Ledger
from rucio_inject.words.numbers import duration, plural, reason, size

# What a file has come to, in the words of the display.
MILESTONES: tuple[tuple[str, FileState], ...] = (
    ("found", FileState.FOUND),
    ("measured", FileState.MEASURED),
    ("uploaded", FileState.UPLOADED),
    ("registered", FileState.REGISTERED),
    ("in datasets with rules", FileState.REPLICATING),
    ("replicated", FileState.REPLICATED),
    ("read back", FileState.VERIFIED),
    ("ending", FileState.EXPIRING),
    ("gone", FileState.GONE),
)
# The name of a milestone to which some files came by what their storages told of them.
TOLD = {"read back": "read back, or told"}


class Progress(Protocol):
    """Shows facts as they come; a context manager around the run."""

    def record(self, facts: Sequence[f.Fact]) -> None:
        """See `ports.FactSink`."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class PatientConsole(Console):
    """A console on standard error whose reader may go away: then it says no more, and the run
    goes on."""

    def __init__(self) -> None:
        super().__init__(stderr=True)

    def on_broken_pipe(self) -> None:
        """Rich would end the program here."""
        self.quiet = True
        to_nowhere(sys.stderr)


def trouble(fact: f.Fact) -> str | None:
    """What is said at once, in one line, of what may yet come right; None for all else.

    Why files are set aside or skipped is for the summary: that does not change any more.
    """
    match fact:
        case f.CallRetried():
            return f"{reason(fact.reason)}: trying again in {fact.pause:.1f} s"
        case f.CredentialEnds():
            return f"what we sign in with ends at {fact.ends:%Y-%m-%dT%H:%M:%SZ}; {fact.reason}"
        case f.FileSetBack():
            return f"{fact.did} goes back to {fact.state}: {reason(fact.reason)}"
        case f.FileWaits():
            return f"{fact.did} is not at {fact.rse}: {reason(fact.reason)}"
        case f.RuleChanged() if fact.view.state in {RuleState.STUCK, RuleState.SUSPENDED}:
            view = fact.view
            return (
                f"rule {view.rule_id} to {view.rse_expression} is {view.state}: "
                f"{reason(view.error or 'no reason given')}"
            )
        case _:
            return None


def troubles(facts: Sequence[f.Fact]) -> Iterator[str]:
    """What is said at once of some facts; files that wait for one reason are told in one line."""
    waiting = [fact for fact in facts if isinstance(fact, f.FileWaits)]
    alike = Counter((fact.rse, fact.reason) for fact in waiting)
    for fact in facts:
        line = trouble(fact)
        if isinstance(fact, f.FileWaits) and line is not None:
            count = alike.pop((fact.rse, fact.reason), 0)
            if count:
                yield line + (f"; so are {plural(count - 1, 'file')} more" if count > 1 else "")
        elif line is not None:
            yield line


def losses(facts: Sequence[f.Fact]) -> Iterator[str]:
    """In short, which files will not go on."""
    failed = [fact for fact in facts if isinstance(fact, f.FileFailed)]
    if failed:
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        yield f"set aside: {failed[0].did} ({failed[0].code}){more}"
    skipped = sum(isinstance(fact, f.NameSkipped) for fact in facts)
    if skipped:
        yield f"skipped: {plural(skipped, 'name')}"


class NoProgress:
    """Shows nothing."""

    def record(self, facts: Sequence[f.Fact]) -> None:
        """See `Progress`."""

    def __enter__(self) -> Self:
        """See `Progress`."""
        return self

    def __exit__(self, *_: object) -> None:
        """See `Progress`."""


class PlainProgress:
    """A line for each milestone that all files have come to, and for trouble: for logs."""

    def __init__(self, console: Console, ledger: Ledger, clock: Clock) -> None:
        self._console = console
        self._ledger = ledger
        self._clock = clock
        self._said: Counter[str] = Counter()
        self._adopted = 0
        self._cycle = 0

    def __enter__(self) -> Self:
        """Remember what an earlier run has done: only news is told, after a line on that."""
        counts = self._ledger.counts()
        self._said, self._cycle = _reached(counts), self._ledger.cycle
        before = [n for n, _ in MILESTONES[1:] if self._said[n] and self._said[n] >= _going(counts)]
        if before and not self._ledger.cycle_ended:
            names = [TOLD.get(n, n) for n in before] if self._ledger.sampled() else before
            self._line(f"done before: {', '.join(names)}")
        return self

    def __exit__(self, *_: object) -> None:
        """Say what was not said yet."""
        self._say_milestones(partly=True)

    def record(self, facts: Sequence[f.Fact]) -> None:
        """See `Progress`."""
        for line in (*troubles(facts), *losses(facts)):
            self._line(line)
        if self._ledger.cycle != self._cycle:
            # What was said is of another cycle's files.
            self._said, self._adopted, self._cycle = Counter(), 0, self._ledger.cycle
        self._adopted += sum(isinstance(fact, f.FileRegistered) and fact.adopted for fact in facts)
        self._say_milestones(partly=False)

    def _say_milestones(self, *, partly: bool) -> None:
        counts = self._ledger.counts()
        total = sum(counts.values())
        now = _reached(counts)
        for name, state in MILESTONES[1:]:
            news = now[name] > self._said[name]
            if news and (partly or now[name] >= _going(counts)):
                self._said[name] = now[name]
                called, come, note = name, now[name], ""
                if state is FileState.UPLOADED and self._adopted:
                    # The catalogue had them: nobody has uploaded them.
                    come = max(come - self._adopted, 0)
                    note = f"; {self._adopted} were in the lake already"
                elif name in TOLD and (sampled := self._ledger.sampled()):
                    called, note = TOLD[name], f"; {sampled} of them only told"
                self._line(f"{called}: {come} of {plural(total, 'file')}{note}")

    def _line(self, text: str) -> None:
        stamp = self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        self._console.print(
            legible(f"{stamp} {text}"), markup=False, highlight=False, soft_wrap=True
        )


def _going(by_state: Mapping[FileState, int]) -> int:
    """How many files were not set aside."""
    return sum(by_state.values()) - by_state.get(FileState.QUARANTINED, 0)


def _reached(by_state: Mapping[FileState, int]) -> Counter[str]:
    """How much has come as far as each milestone."""
    return Counter(
        {
            name: sum(n for have, n in by_state.items() if reached(have, goal))
            for name, goal in MILESTONES
        }
    )


class LiveProgress:
    """A table that is drawn anew a few times a second, from what is on record."""

    def __init__(
        self, console: Console, ledger: Ledger, clock: Clock, *, title: str, goal: FileState
    ) -> None:
        """`goal`: the state in which a file has come to the campaign's end."""
        self._console = console
        self._ledger = ledger
        self._clock = clock
        self._title = title
        self._goal = goal
        self._began = clock.monotonic()
        self._live = Live(
            console=console, get_renderable=self._draw, refresh_per_second=2, transient=True
        )

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wipe the table: the summary says what it said."""
        self._live.stop()

    def record(self, facts: Sequence[f.Fact]) -> None:
        """See `Progress`. Only trouble is printed; the table reads the ledger by itself."""
        for line in troubles(facts):
            self._console.print(Text(legible(line), style="yellow"))

    def _draw(self) -> RenderableType:
        used = self._ledger.usage()
        seconds = self._clock.monotonic() - self._began
        head = Text(f"{self._title}   {duration(seconds)}", style="bold")
        aside = used.get(FileState.QUARANTINED, Usage(0, 0)).files
        return Group(head, self._table(used), Text(self._rules_line(aside)))

    def _table(self, used: Mapping[FileState, Usage]) -> Table:
        table = Table.grid(padding=(0, 2))
        # On a narrow terminal the bars give way: a row is a line.
        table.add_column(no_wrap=True, min_width=max(len(name) for name, _ in MILESTONES))
        table.add_column(min_width=4, max_width=24)
        for _ in range(3):
            table.add_column(no_wrap=True)
        total = sum(usage.files for usage in used.values())
        files = _reached({state: usage.files for state, usage in used.items()})
        sizes = _reached({state: usage.bytes for state, usage in used.items()})
        last = [state for _, state in MILESTONES].index(self._goal)
        for name, _ in MILESTONES[1 : last + 1]:
            sampled = self._ledger.sampled() if name in TOLD else 0
            notes = (self._eta(files[name], total), f"{sampled} only told" if sampled else "")
            table.add_row(
                Text(TOLD[name] if sampled else name),
                ProgressBar(total=max(total, 1), completed=files[name]),
                Text(f"{files[name]}/{total}", justify="right"),
                Text(size(sizes[name]), justify="right"),
                Text(", ".join(filter(None, notes)), style="dim"),
            )
        return table

    def _eta(self, come: int, total: int) -> str:
        """Time left for a milestone that some have come to, at the pace so far."""
        seconds = self._clock.monotonic() - self._began
        if not 0 < come < total:
            return ""
        return f"{duration(seconds * (total - come) / come)} to go"

    def _rules_line(self, failed: int) -> str:
        states: Mapping[RuleState, int] = Counter(
            rule.state for rule in self._ledger.rules() if rule.gone_at is None
        )
        parts = [f"{state} {count}" for state, count in sorted(states.items())]
        aside = f"   set aside {failed}" if failed else ""
        return f"rules  {'  '.join(parts) or 'none'}{aside}"
