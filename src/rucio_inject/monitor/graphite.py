"""Numbers for Graphite: under the names that the group's dashboards read, and under our own."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Sequence

from rucio_inject.domain.rule import RuleState
from rucio_inject.monitor.numbers import Numbers
from rucio_inject.ports import Clock
from rucio_inject.posting import TIMEOUT, NotDelivered

# A dot begins another level, and a name with these could not be asked for.
_NOT_IN_NAMES = re.compile(r"[^a-z0-9_=+-]")


def level(text: str) -> str:
    """A text as one level of a Graphite name."""
    return _NOT_IN_NAMES.sub("_", text.lower())


def names(numbers: Numbers) -> Iterator[tuple[str, float]]:
    """What the group's dashboards read, `rucio.…`, and the same campaign's numbers of ours,
    `rucio_inject.<campaign>.…`."""
    yield "rucio.rules.total_stuck", numbers.rules_in(RuleState.STUCK, RuleState.SUSPENDED)
    yield (
        "rucio.rules.total_replicating",
        numbers.rules_in(RuleState.REPLICATING, RuleState.INJECT, RuleState.WAITING_APPROVAL),
    )
    yield "rucio.rules.total_ok", numbers.rules_in(RuleState.OK)
    yield "rucio.rules.total_rules", len(numbers.rules)
    for expression, locks in numbers.locks.items():
        place = f"rucio.rse.{level(expression)}"
        yield f"{place}.total_replica_stuck", locks.stuck
        yield f"{place}.total_replica_replicating", locks.replicating
        yield f"{place}.total_replica_ok", locks.ok
    for rse, count in numbers.counts.items():
        if count.catalogue is not None:
            yield f"rucio.usage.{level(rse)}.total_bytes_used", count.catalogue.bytes
    yield "rucio.grouping.file", numbers.files_in_lake
    yield "rucio.grouping.dataset", numbers.datasets
    yield "rucio.grouping.container", numbers.containers
    yield from _ours(numbers)


def _ours(numbers: Numbers) -> Iterator[tuple[str, float]]:
    ours = f"rucio_inject.{level(numbers.campaign)}"
    yield f"{ours}.cycle", numbers.cycle
    for state, used in numbers.files.items():
        yield f"{ours}.files.{level(state)}", used.files
        yield f"{ours}.bytes.{level(state)}", used.bytes
    for rse, count in numbers.counts.items():
        for witness, usage in (("catalogue", count.catalogue), ("storage", count.storage)):
            if usage is not None:
                yield f"{ours}.rse.{level(rse)}.{witness}.files", usage.files
                yield f"{ours}.rse.{level(rse)}.{witness}.bytes", usage.bytes
    for code, files in numbers.failed.items():
        yield f"{ours}.failed.{level(code)}", files
    yield f"{ours}.read_back_bytes", numbers.read_back_bytes
    if numbers.run_ended is not None:
        yield f"{ours}.run.exit_code", numbers.run_ended.code
        yield f"{ours}.run.seconds", numbers.run_ended.seconds


def lines(numbers: Numbers, prefix: str, host: str, at: float) -> str:
    """The plain protocol: `<prefix>.<host>.<name> <value> <seconds since 1970>` a line."""
    before = f"{prefix}.{level(host)}"
    return "".join(f"{before}.{name} {value:g} {at:.0f}\n" for name, value in names(numbers))


class GraphiteOutlet:
    """Sends numbers to a Graphite server every `interval` seconds, and once more at the end."""

    def __init__(
        self,
        place: tuple[str, int],
        prefix: str,
        interval: float,
        ask: Callable[[], Sequence[Numbers]],
        clock: Clock,
    ) -> None:
        """`ask` gives the numbers of a campaign, or nothing if they cannot be known now."""
        self._place = place
        self._prefix = prefix
        self._interval = interval
        self._ask = ask
        self._clock = clock
        self._next = clock.monotonic() + interval

    def pump(self, *, last: bool = False) -> None:
        """Send them if it is time. NotDelivered if they are not taken: the next ones tell more."""
        if not last and self._clock.monotonic() < self._next:
            return
        self._next = self._clock.monotonic() + self._interval
        at = self._clock.now().timestamp()
        host = socket.gethostname()
        told = "".join(lines(numbers, self._prefix, host, at) for numbers in self._ask())
        if not told:
            return
        try:
            with socket.create_connection(self._place, timeout=TIMEOUT) as server:
                server.sendall(told.encode())
        except OSError as error:
            host, port = self._place
            why = error.strerror or str(error)
            raise NotDelivered(f"Graphite at {host}:{port} cannot be reached: {why}") from None
