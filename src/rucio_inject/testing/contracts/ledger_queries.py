"""The contract of `ports.Ledger`, where files are many: which of them, in what order, how many."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from itertools import takewhile

import pytest

from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.injection import FileState, SourceCopy
from rucio_inject.domain.outline import outline
from rucio_inject.domain.rule import RuleRequest
from rucio_inject.ports import Ledger
from rucio_inject.testing.contracts.ledger import (
    FILE,
    MEASURE,
    NOON,
    RUN,
    SIBLING,
    OpenLedger,
    begun,
    found,
    life,
    rule_facts,
)
from rucio_inject.testing.scenes import Scene

MANY = 1203
"""More than two pages of any ledger that reads in pages."""
OTHER_RUN = DID("magic", "05089064")
MORNING = NOON + timedelta(hours=12)


def named(number: int) -> DID:
    """The DID of one of many files; in the order of their names, they are found backwards."""
    return DID("magic", f"{MANY - number:05}.root")


def found_in(dataset: DID, did: DID, cycle: int = 1) -> f.FileFound:
    """The fact that a file of some dataset was found."""
    return f.FileFound(
        at=NOON,
        did=did,
        path=f"/data/{did.name}",
        dataset=dataset,
        containers=(),
        cycle=cycle,
        generated=False,
    )


def measured_now(did: DID) -> f.FileMeasured:
    """The fact that takes a file from FOUND to MEASURED."""
    return f.FileMeasured(at=MORNING, did=did, measure=MEASURE)


def failed(did: DID) -> f.FileFailed:
    """The fact that takes a file into quarantine."""
    return f.FileFailed(at=MORNING, did=did, code="name", reason="no", hint=None)


def dids(ledger: Ledger, states: Iterable[FileState] | None = None) -> list[DID]:
    """The files of the cycle begun last, by name."""
    return [record.did for record in ledger.files(None if states is None else tuple(states))]


class LedgerQueriesContract:
    """A subclass gives the fixture `open_ledger`, as for `LedgerContract`."""

    def test_many_files_come_in_the_order_of_their_finding(self, open_ledger: OpenLedger) -> None:
        every = [named(number) for number in range(MANY)]
        with open_ledger() as ledger:
            ledger.record([begun(), *(found(did) for did in every)])
            ledger.record([measured_now(did) for did in every[::2]])
            ledger.record([failed(did) for did in every[::3]])
            states = {FileState.FOUND, FileState.QUARANTINED}
            assert dids(ledger) == every
            assert dids(ledger, states) == [
                did for number, did in enumerate(every) if number % 2 or not number % 3
            ]
            assert dids(ledger, {FileState.GONE}) == dids(ledger, ()) == []

    @pytest.mark.parametrize("states", [None, [FileState.FOUND, FileState.MEASURED]])
    def test_files_that_move_on_meanwhile_come_once(
        self, open_ledger: OpenLedger, states: list[FileState] | None
    ) -> None:
        every = [named(number) for number in range(MANY)]
        with open_ledger() as ledger:
            ledger.record([begun(), *(found(did) for did in every)])
            seen: list[DID] = []
            for record in ledger.files(states):
                if len(seen) % 100 == 0:
                    ledger.record([measured_now(did) for did in (record.did, every[-1])])
                seen.append(record.did)
            assert seen == every

    def test_files_that_leave_meanwhile_do_not_come(self, open_ledger: OpenLedger) -> None:
        every = [named(number) for number in range(10)]
        with open_ledger() as ledger:
            ledger.record([begun(), *(found(did) for did in every)])
            drawn = ledger.files({FileState.FOUND})
            assert next(drawn).did == every[0]
            ledger.record([measured_now(did) for did in every[:9]])
            assert [record.did for record in drawn] == every[9:]

    def test_a_file_comes_as_it_is_at_that_moment(self, open_ledger: OpenLedger) -> None:
        every = [named(number) for number in range(3)]
        with open_ledger() as ledger:
            ledger.record([begun(), *(found(did) for did in every)])
            drawn = ledger.files()
            next(drawn)
            ledger.record([measured_now(every[2])])
            assert [record.state for record in drawn] == [FileState.FOUND, FileState.MEASURED]

    def test_a_file_found_again_keeps_its_place(self, open_ledger: OpenLedger) -> None:
        every = [named(number) for number in range(3)]
        with open_ledger() as ledger:
            ledger.record([begun(), *(found(did) for did in every), measured_now(every[0])])
            ledger.record([found(every[0])])
            assert dids(ledger) == every
            assert ledger.counts() == {FileState.FOUND: 3}

    def test_one_dataset_alone(self, open_ledger: OpenLedger) -> None:
        mine, theirs = [named(n) for n in range(3)], [named(n) for n in range(3, 5)]
        with open_ledger() as ledger:
            ledger.record([begun(), *(found_in(RUN, did) for did in mine)])
            ledger.record([found_in(OTHER_RUN, did) for did in theirs])
            ledger.record([measured_now(mine[1]), measured_now(theirs[0])])
            measured = ledger.files({FileState.MEASURED}, dataset=RUN)
            assert [record.did for record in measured] == [mine[1]]
            assert [record.did for record in ledger.files(dataset=OTHER_RUN)] == theirs
            assert ledger.counts(dataset=RUN) == {FileState.FOUND: 2, FileState.MEASURED: 1}
            assert ledger.counts() == {FileState.FOUND: 3, FileState.MEASURED: 2}
            assert ledger.counts(dataset=DID("magic", "nothing")) == {}

    def test_datasets_come_in_the_order_of_their_finding(self, open_ledger: OpenLedger) -> None:
        runs = [DID("magic", name) for name in ("z", "a", "m")]
        with open_ledger() as ledger:
            ledger.record([begun(), *(found_in(run, named(n)) for n, run in enumerate(runs * 2))])
            ledger.record([measured_now(named(0))])
            assert list(ledger.datasets({FileState.FOUND, FileState.MEASURED})) == runs
            # The first file of z that is FOUND was found after those of the others.
            assert list(ledger.datasets({FileState.FOUND})) == [*runs[1:], runs[0]]
            assert list(ledger.datasets({FileState.MEASURED})) == runs[:1]
            assert list(ledger.datasets({FileState.GONE})) == list(ledger.datasets(())) == []

    def test_datasets_by_what_became_of_sources(self, open_ledger: OpenLedger) -> None:
        freed, kept = named(0), named(1)
        both = {FileState.VERIFIED, FileState.FOUND}
        until_freed = takewhile(lambda fact: not isinstance(fact, f.FileExpiring), life(freed))
        with open_ledger() as ledger:
            ledger.record([begun(), found_in(RUN, freed), *until_freed])
            ledger.record([found_in(OTHER_RUN, kept)])
            assert list(ledger.datasets(both, sources={SourceCopy.FREED})) == [RUN]
            assert list(ledger.datasets(both, sources={SourceCopy.KEPT})) == [OTHER_RUN]
            assert list(ledger.datasets(both, sources=set(SourceCopy))) == [RUN, OTHER_RUN]
            found_ones = ledger.datasets({FileState.FOUND}, sources={SourceCopy.FREED})
            assert list(found_ones) == []

    def test_datasets_have_the_number_of_their_files(self, open_ledger: OpenLedger) -> None:
        runs = [DID("magic", name) for name in ("z", "a", "z")]
        with open_ledger() as ledger:
            ledger.record([begun(), *(found_in(run, named(n)) for n, run in enumerate(runs))])
            ledger.record([measured_now(named(0))])
            both = {FileState.FOUND, FileState.MEASURED}
            assert list(ledger.dataset_counts(both)) == [(runs[0], 2), (runs[1], 1)]
            assert list(ledger.dataset_counts({FileState.FOUND})) == [(runs[1], 1), (runs[0], 1)]
            assert list(ledger.dataset_counts({FileState.GONE})) == []

    def test_the_last_order_to_drain_counts(self, open_ledger: OpenLedger) -> None:
        on = f.DrainOrdered(at=NOON, on=True, by="me on here", reason="new disks")
        off = f.DrainOrdered(at=NOON, on=False, by="you on there")
        seen: list[f.DrainOrdered | None] = []
        for order in (on, off):
            with open_ledger() as ledger:
                seen.append(ledger.drain)
                ledger.record([order])
                seen.append(ledger.drain)
        assert seen == [None, on, on, None]

    def test_files_by_what_became_of_their_sources(self, open_ledger: OpenLedger) -> None:
        every = [named(number) for number in range(3)]
        with open_ledger() as ledger:
            ledger.record([begun(), *(found(did) for did in every), *life(every[1])])
            kept, freed = {SourceCopy.KEPT, SourceCopy.FREEING}, {SourceCopy.FREED}
            assert [r.did for r in ledger.files(sources=kept)] == [every[0], every[2]]
            assert [r.did for r in ledger.files(sources=freed)] == [every[1]]
            assert list(ledger.files({FileState.GONE}, sources=kept)) == []
            assert [r.did for r in ledger.files({FileState.GONE}, dataset=RUN, sources=freed)]
            assert list(ledger.files(sources=())) == []

    @pytest.mark.parametrize("length", range(len(life(FILE)) + 1))
    def test_outlines_are_the_records_in_short(self, open_ledger: OpenLedger, length: int) -> None:
        path = b"/data/\xff\xe9/a.root".decode("utf-8", "surrogateescape")
        odd = replace(found(SIBLING, 2), path=path)
        failed = f.FileFailed(at=NOON, did=SIBLING, code="c", reason="r", hint=None)
        other = replace(found(named(1)), cycle=2, metadata={"note": "\\ud8"})
        with open_ledger() as ledger:
            ledger.record([begun(), found(named(0)), *life(named(0))])
            ledger.record([begun(2), found(FILE, 2), *life(FILE)[:length], odd, failed, other])
            records = [ledger.file(did) for did in (FILE, SIBLING, named(1))]
            wanted = [outline(record) for record in records if record is not None]
            assert sorted(ledger.outlines(), key=str) == sorted(wanted, key=str)

    def test_questions_are_about_the_cycle_begun_last(self, open_ledger: OpenLedger) -> None:
        with open_ledger() as ledger:
            ledger.record([begun(), found(FILE)])
            ledger.record([begun(2), found_in(OTHER_RUN, named(1), cycle=2)])
            assert dids(ledger) == [named(1)]
            assert ledger.counts() == {FileState.FOUND: 1}
            assert list(ledger.datasets({FileState.FOUND})) == [OTHER_RUN]
            ledger.record([f.CycleEnded(at=NOON, cycle=2)])
            assert ledger.cycle_ended
            ledger.record([begun(2)])
            assert not ledger.cycle_ended

    def test_a_rule_asked_for_is_ours(self, open_ledger: OpenLedger) -> None:
        asked, made, *_ = rule_facts()
        with open_ledger() as ledger:
            assert not ledger.asked_for(RUN, "QOS=FAST")
            ledger.record([asked])
            ledger.record([asked])
        with open_ledger() as ledger:
            assert ledger.asked_for(RUN, "QOS=FAST")
            assert not ledger.asked_for(RUN, "QOS=SLOW")
            assert not ledger.asked_for(OTHER_RUN, "QOS=FAST")
            ledger.record([made])
            assert ledger.asked_for(RUN, "QOS=FAST")

    def test_a_rule_found_there_is_not_ours(self, open_ledger: OpenLedger) -> None:
        request = RuleRequest("QOS=FAST", 2, 60)
        adopted = f.RuleMade(at=NOON, dataset=RUN, rule_id="r1", request=request, adopted=True)
        with open_ledger() as ledger:
            ledger.record([f.RuleAsked(at=NOON, dataset=RUN, request=request), adopted])
            assert not ledger.asked_for(RUN, "QOS=FAST")

    def test_files_that_a_sample_speaks_for_are_counted(self, open_ledger: OpenLedger) -> None:
        with open_ledger() as ledger:
            for facts in Scene(files=5, sampled=3, ends=False).facts():
                ledger.record(facts)
            assert ledger.sampled() == 3
            # What is on record of it stays, and counts again when they are back.
            back = Scene().did(0)
            reason = "its replica was erased"
            state = FileState.REPLICATING
            ledger.record([f.FileSetBack(at=MORNING, did=back, state=state, reason=reason)])
            ledger.record([failed(Scene().did(1))])
            assert ledger.sampled() == 1
            ledger.record([begun(2)])
            assert ledger.sampled() == 0

    def test_rules_are_in_the_order_of_their_making(self, open_ledger: OpenLedger) -> None:
        names = ["r3", "r1", "r2"]
        with open_ledger() as ledger:
            ledger.record([begun(), *(fact for name in names for fact in rule_facts(name)[:3])])
            ledger.record([rule_facts("r1")[1]])
            assert [rule.rule_id for rule in ledger.rules()] == names
            assert ledger.rules()[1].changed_at is None

    def test_the_rules_of_some_datasets(self, open_ledger: OpenLedger) -> None:
        runs = [DID("magic", f"{MANY - number:08}") for number in range(MANY)]
        request = RuleRequest("QOS=FAST", 1, 60)

        def made(run: DID, rule_id: str) -> f.RuleMade:
            return f.RuleMade(at=NOON, dataset=run, rule_id=rule_id, request=request, adopted=False)

        with open_ledger() as ledger:
            ledger.record([begun(), made(runs[0], "before"), begun(2)])
            ledger.record([made(run, f"{n}-{run.name}") for n in range(2) for run in runs])
            whole = ledger.rules()
            assert len(whole) == 2 * MANY
            assert ledger.rules(datasets=[*runs, *runs]) == whole
            some = {runs[700], runs[2], OTHER_RUN}
            assert ledger.rules(datasets=some) == [r for r in whole if r.dataset in some]
            assert list(ledger.rules(datasets=[])) == []

    def test_a_longest_name_and_a_longest_expression(self, open_ledger: OpenLedger) -> None:
        long = DID("s" * 25, "n" * 500)
        expression = "|".join(f"rse-{number:x}" for number in range(600))
        request = RuleRequest(expression, 1, 60)
        path = "/" + "/".join(f"{number:x}" * 8 for number in range(400))
        skipped = f.NameSkipped(at=NOON, path=path, code="name", reason="no", hint=None)
        with open_ledger() as ledger:
            asked = f.RuleAsked(at=NOON, dataset=long, request=request)
            ledger.record([begun(), found_in(long, long), asked, skipped])
            assert ledger.asked_for(long, expression)
            assert dids(ledger) == [long]

    def test_a_source_may_lie_in_any_folder_that_a_disk_has(self, open_ledger: OpenLedger) -> None:
        path = b"/data/\xff\xe9/a.root".decode("utf-8", "surrogateescape")
        fact = f.FileFound(
            at=NOON,
            did=FILE,
            path=path,
            dataset=RUN,
            containers=(),
            cycle=1,
            generated=False,
        )
        with open_ledger() as ledger:
            ledger.record([begun(), fact])
            ledger.record([measured_now(FILE)])
        with open_ledger() as ledger:
            record = ledger.file(FILE)
            assert record is not None
            assert (record.path, record.state) == (path, FileState.MEASURED)

    def test_one_record_of_many_facts_of_many_files(self, open_ledger: OpenLedger) -> None:
        every = [named(number) for number in range(20)]
        with open_ledger() as ledger:
            ledger.record(
                [begun(), *(found(did) for did in every), *(g for did in every for g in life(did))]
            )
            assert ledger.counts() == {FileState.GONE: 20}

    def test_threads_may_record_at_once(self, open_ledger: OpenLedger) -> None:
        every = [named(number) for number in range(80)]
        with open_ledger() as ledger:
            ledger.record([begun(), *(found(did) for did in every)])

            def measure(mine: list[DID]) -> None:
                for did in mine:
                    ledger.record([measured_now(did)])
                    assert ledger.file(did) is not None

            threads = [threading.Thread(target=measure, args=(every[n::4],)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert ledger.counts() == {FileState.MEASURED: 80}
