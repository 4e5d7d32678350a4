"""Numbers in Prometheus's text format; needs the extra [service]."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rucio_inject.domain.injection import FileState
from rucio_inject.domain.rule import RuleState
from rucio_inject.monitor.numbers import Numbers

_PREFIX = "rucio_inject"


class _NumbersCollector(Collector):
    def __init__(self, ask: Callable[[], Sequence[Numbers]]) -> None:
        self._ask = ask

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        return families(self._ask())


def text(ask: Callable[[], Sequence[Numbers]]) -> str:
    """All numbers, as Prometheus scrapes them, or a node exporter reads them from a file."""
    registry = CollectorRegistry()
    registry.register(_NumbersCollector(ask))
    return generate_latest(registry).decode()


def families(all_numbers: Sequence[Numbers]) -> Iterator[Metric]:
    """Every metric; a campaign is a label of each."""
    yield from _of_files(all_numbers)
    yield from _of_rules(all_numbers)
    yield from _of_rses(all_numbers)
    yield from _of_runs(all_numbers)
    yield from _counters(all_numbers)


def _gauge(name: str, words: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", words, labels=("campaign", *labels))


def _of_files(all_numbers: Sequence[Numbers]) -> Iterable[Metric]:
    files = _gauge("files", "Files of the cycle begun last, by state.", "state")
    size = _gauge("bytes", "Bytes of these files, as far as they are measured.", "state")
    cycle = _gauge("cycle", "The number of the cycle begun last.")
    ended = _gauge("cycle_ended", "1 if that cycle has come to its end.")
    datasets = _gauge("datasets", "Datasets with a rule of that cycle.")
    containers = _gauge("containers", "Containers that the campaign made and that are not gone.")
    for numbers in all_numbers:
        for state in FileState:
            used = numbers.files.get(state)
            files.add_metric((numbers.campaign, state), used.files if used else 0)
            size.add_metric((numbers.campaign, state), used.bytes if used else 0)
        cycle.add_metric((numbers.campaign,), numbers.cycle)
        ended.add_metric((numbers.campaign,), int(numbers.ended))
        datasets.add_metric((numbers.campaign,), numbers.datasets)
        containers.add_metric((numbers.campaign,), numbers.containers)
    return files, size, cycle, ended, datasets, containers


def _of_rules(all_numbers: Sequence[Numbers]) -> Iterable[Metric]:
    rules = _gauge("rules", "Rules of the cycle that are not gone, by state.", "state")
    locks = _gauge(
        "locks", "Locks of these rules, one a file and RSE, by state.", "rse_expression", "state"
    )
    for numbers in all_numbers:
        for state in RuleState:
            rules.add_metric((numbers.campaign, state), numbers.rules_in(state))
        for expression, known in numbers.locks.items():
            locks.add_metric((numbers.campaign, expression, "OK"), known.ok)
            locks.add_metric((numbers.campaign, expression, "REPLICATING"), known.replicating)
            locks.add_metric((numbers.campaign, expression, "STUCK"), known.stuck)
    return rules, locks


def _of_rses(all_numbers: Sequence[Numbers]) -> Iterable[Metric]:
    files = _gauge("rse_files", "Files on an RSE, by catalogue and by storage.", "rse", "witness")
    size = _gauge("rse_bytes", "Bytes on an RSE, by catalogue and by storage.", "rse", "witness")
    counted = _gauge("rse_counted_timestamp_seconds", "When an RSE was counted last.", "rse")
    for numbers in all_numbers:
        for rse, count in numbers.counts.items():
            counted.add_metric((numbers.campaign, rse), count.at.timestamp())
            for witness, usage in (("catalogue", count.catalogue), ("storage", count.storage)):
                if usage is not None:
                    files.add_metric((numbers.campaign, rse, witness), usage.files)
                    size.add_metric((numbers.campaign, rse, witness), usage.bytes)
    return files, size, counted


def _of_runs(all_numbers: Sequence[Numbers]) -> Iterable[Metric]:
    running = _gauge("running", "1 while a run goes on.")
    begun = _gauge("run_begun_timestamp_seconds", "When the last run began.")
    ended = _gauge("run_ended_timestamp_seconds", "When the last run ended.")
    code = _gauge("run_exit_code", "The exit code of the last run that ended.")
    seconds = _gauge("run_seconds", "How long that run took.")
    due = _gauge("next_run_timestamp_seconds", "When the next run is due.")
    for numbers in all_numbers:
        name = (numbers.campaign,)
        running.add_metric(name, int(numbers.running))
        if numbers.run_begun is not None:
            begun.add_metric(name, numbers.run_begun.timestamp())
        if numbers.run_ended is not None:
            ended.add_metric(name, numbers.run_ended.at.timestamp())
            code.add_metric(name, numbers.run_ended.code)
            seconds.add_metric(name, numbers.run_ended.seconds)
        if numbers.next_run is not None:
            due.add_metric(name, numbers.next_run.timestamp())
    return running, begun, ended, code, seconds, due


def _counter(name: str, words: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"{_PREFIX}_{name}", words, labels=("campaign", *labels))


def _counters(all_numbers: Sequence[Numbers]) -> Iterable[Metric]:
    facts = _counter("facts", "Everything that happened, by the kind of fact.", "kind")
    failed = _counter("files_failed", "Files that were set aside, by reason.", "code")
    runs = _counter("runs", "Runs that ended, by exit code.", "code")
    read_back = _counter("read_back_bytes", "Bytes that were read back and compared.")
    for numbers in all_numbers:
        for kind, count in numbers.facts.items():
            facts.add_metric((numbers.campaign, kind), count)
        for failure, count in numbers.failed.items():
            failed.add_metric((numbers.campaign, failure), count)
        for code, count in numbers.runs.items():
            runs.add_metric((numbers.campaign, str(code)), count)
        read_back.add_metric((numbers.campaign,), numbers.read_back_bytes)
    return facts, failed, runs, read_back
