"""What is seen while a campaign runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rucio_inject.cli.words import duration, plural, size
from rucio_inject.domain import facts as f
from rucio_inject.domain.injection import FileState, reached
from rucio_inject.domain.rule import RuleState
from rucio_inject.domain.usage import Usage
from rucio_inject.ports import Clock, Ledger

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


def trouble(fact: f.Fact) -> str | None:
    """What is said at once, in one line, of what may yet come right; None for all else.

    Why files are set aside or skipped is for the summary: that does not change any more.
    """
    match fact:
        case f.CallRetried():
            return f"{fact.reason}: trying again in {fact.pause:.1f} s"
        case f.FileSetBack():
            return f"{fact.did} goes back to {fact.state}: {fact.reason}"
        case f.FileWaits():
            return f"{fact.did} is not at {fact.rse}: {fact.reason}"
        case f.RuleChanged() if fact.view.state in {RuleState.STUCK, RuleState.SUSPENDED}:
            view = fact.view
            return (
                f"rule {view.rule_id} to {view.rse_expression} is {view.state}: "
                f"{view.error or 'no reason given'}"
            )
        case _:
            return None


def losses(facts: Sequence[f.Fact]) -> Iterator[str]:
    """In short, which files will not go on."""
    failed = [fact for fact in facts if isinstance(fact, f.FileFailed)]
    if failed:
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        yield f"set aside: {failed[0].did} ({failed[0].code}){more}"
    skipped = sum(isinstance(fact, f.NameSkipped) for fact in facts)
    if skipped:
        yield f"skipped: {plural(skipped, 'name')}"


class Skips:
    """Remembers why names were skipped, for the summary."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def record(self, facts: Sequence[f.Fact]) -> None:
        """See `ports.FactSink`."""
        self.reasons += [fact.reason for fact in facts if isinstance(fact, f.NameSkipped)]


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

    def __enter__(self) -> Self:
        """Remember what an earlier run has done: only news is told."""
        self._said = _reached(self._ledger.counts())
        return self

    def __exit__(self, *_: object) -> None:
        """Say what was not said yet."""
        self._say_milestones(partly=True)

    def record(self, facts: Sequence[f.Fact]) -> None:
        """See `Progress`."""
        for fact in facts:
            if (line := trouble(fact)) is not None:
                self._line(line)
        for line in losses(facts):
            self._line(line)
        self._say_milestones(partly=False)

    def _say_milestones(self, *, partly: bool) -> None:
        counts = self._ledger.counts()
        total = sum(counts.values())
        going = total - counts.get(FileState.QUARANTINED, 0)
        now = _reached(counts)
        for name, _ in MILESTONES[1:]:
            news = now[name] > self._said[name]
            if news and (partly or now[name] >= going):
                self._said[name] = now[name]
                self._line(f"{name}: {now[name]} of {plural(total, 'file')}")

    def _line(self, text: str) -> None:
        stamp = self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        self._console.print(f"{stamp} {text}", markup=False, highlight=False, soft_wrap=True)


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
        for fact in facts:
            if (line := trouble(fact)) is not None:
                self._console.print(Text(line, style="yellow"))

    def _draw(self) -> RenderableType:
        used = self._ledger.usage()
        seconds = self._clock.monotonic() - self._began
        head = Text(f"{self._title}   {duration(seconds)}", style="bold")
        aside = used.get(FileState.QUARANTINED, Usage(0, 0)).files
        return Group(head, self._table(used), Text(self._rules_line(aside)))

    def _table(self, used: Mapping[FileState, Usage]) -> Table:
        table = Table.grid(padding=(0, 2))
        total = sum(usage.files for usage in used.values())
        files = _reached({state: usage.files for state, usage in used.items()})
        sizes = _reached({state: usage.bytes for state, usage in used.items()})
        last = [state for _, state in MILESTONES].index(self._goal)
        for name, _ in MILESTONES[1 : last + 1]:
            table.add_row(
                Text(name),
                ProgressBar(total=max(total, 1), completed=files[name], width=24),
                Text(f"{files[name]}/{total}", justify="right"),
                Text(size(sizes[name]), justify="right"),
                Text(self._eta(files[name], total), style="dim"),
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
