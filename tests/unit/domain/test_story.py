"""Which facts may follow which, and what they leave on record."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError
from rucio_inject.domain.injection import (
    BACK,
    MOVES,
    ORDER,
    FileRecord,
    FileState,
    SourceCopy,
    reached,
)
from rucio_inject.domain.rule import RuleRequest, RuleState, RuleView
from rucio_inject.domain.story import (
    advance,
    advance_rule,
    begin_file,
    begin_rule,
    replicas_left,
)
from rucio_inject.testing.contracts.ledger import FILE, MEASURE, found, life
from rucio_inject.testing.contracts.world import measured

AT = datetime(2026, 3, 2, tzinfo=UTC)
NEW = begin_file(found(FILE))
# The fact that moves a file to a state, with nothing else to it.
MOVER: dict[FileState, f.FileFact] = {
    FileState.MEASURED: f.FileMeasured(at=AT, did=FILE, measure=MEASURE),
    FileState.UPLOADED: f.FileUploaded(at=AT, did=FILE, rse="A", pfn="p"),
    FileState.REGISTERED: f.FileRegistered(at=AT, did=FILE, rse="A", pfn="p"),
    FileState.REPLICATING: f.FileOrganised(at=AT, did=FILE),
    FileState.REPLICATED: f.FileReplicated(at=AT, did=FILE, rses=("A",)),
    FileState.EXPIRING: f.FileExpiring(at=AT, did=FILE),
    FileState.GONE: f.FileGone(at=AT, did=FILE),
    FileState.QUARANTINED: f.FileFailed(at=AT, did=FILE, code="x", reason="y", hint=None),
}


def at_state(state: FileState) -> FileRecord:
    """A record that came to a state the usual way."""
    record = NEW
    for fact in life(FILE):
        if record.state is state:
            return record
        assert isinstance(fact, f.FileFact)
        record = advance(record, fact)
    if state is FileState.QUARANTINED:
        return advance(NEW, MOVER[FileState.QUARANTINED])
    return record


@pytest.mark.parametrize("to", MOVER)
@pytest.mark.parametrize("start", FileState)
def test_every_move(start: FileState, to: FileState) -> None:
    record = at_state(start)
    assert record.state is start
    if to is start or to in MOVES[start]:
        assert advance(record, MOVER[to]).state is to
    else:
        with pytest.raises(LedgerError, match=f"from {start} to {to}"):
            advance(record, MOVER[to])


def test_a_whole_life_ends_gone() -> None:
    record = at_state(FileState.GONE)
    assert (record.state, record.source) == (FileState.GONE, SourceCopy.FREED)
    assert replicas_left(record.replicas) == ()
    assert (record.upload_rse, record.waits_for) == ("A", None)


class TestVerifiedNeedsEvidence:
    """VERIFIED is only said of bytes that were read."""

    def read(self, rse: str, content: bytes = b"bytes") -> f.ReplicaRead:
        return f.ReplicaRead(at=AT, did=FILE, rse=rse, pfn="p", measure=measured(content))

    def verified(self, record: FileRecord) -> FileRecord:
        return advance(record, f.FileVerified(at=AT, did=FILE))

    def test_not_when_nothing_was_read(self) -> None:
        with pytest.raises(LedgerError, match="not verified"):
            self.verified(at_state(FileState.REPLICATED))

    def test_not_when_one_replica_was_not_read(self) -> None:
        record = advance(at_state(FileState.REPLICATED), self.read("A"))
        record = advance(record, f.ReplicaReady(at=AT, did=FILE, rse="B"))
        with pytest.raises(LedgerError, match="'B'"):
            self.verified(record)
        assert self.verified(advance(record, self.read("B"))).state is FileState.VERIFIED

    def test_not_when_the_bytes_are_others(self) -> None:
        record = advance(at_state(FileState.REPLICATED), self.read("A", b"others"))
        with pytest.raises(LedgerError, match="'A'"):
            self.verified(record)

    def test_not_without_any_replica(self) -> None:
        with pytest.raises(LedgerError):
            self.verified(replace(at_state(FileState.REPLICATED), replicas={}))

    @pytest.mark.parametrize("state", [s for s in FileState if s not in ORDER[5:7]])
    def test_not_before_it_is_replicated_nor_after(self, state: FileState) -> None:
        record = advance(at_state(state), self.read("A"))
        record = replace(record, measure=MEASURE)
        with pytest.raises(LedgerError):
            self.verified(record)


@pytest.mark.parametrize("generated", [True, False])
@pytest.mark.parametrize("state", FileState)
def test_the_source_is_given_up_only_after_it_was_verified(
    state: FileState, generated: bool
) -> None:
    """A real one only while the replicas that were verified are there: never at their end."""
    freed = f.SourceFreed(at=AT, did=FILE)
    record = replace(at_state(state), generated=generated)
    if state is FileState.VERIFIED or (generated and reached(state, FileState.VERIFIED)):
        assert advance(record, freed).source is SourceCopy.FREED
    else:
        with pytest.raises(LedgerError, match=f"given up while it is {state}"):
            advance(record, freed)


def test_replicas_whose_source_was_freed_never_end() -> None:
    record = advance(
        replace(at_state(FileState.VERIFIED), generated=False), f.SourceFreed(at=AT, did=FILE)
    )
    with pytest.raises(LedgerError, match="these are all copies"):
        advance(record, f.FileExpiring(at=AT, did=FILE))


class TestSetBack:
    """Somebody took away what was proved."""

    def back(self, record: FileRecord, state: FileState) -> FileRecord:
        return advance(record, f.FileSetBack(at=AT, did=FILE, state=state, reason="reaped"))

    @pytest.mark.parametrize("to", FileState)
    @pytest.mark.parametrize("start", FileState)
    def test_every_way_back(self, start: FileState, to: FileState) -> None:
        record = at_state(start)
        if to in BACK.get(start, ()):
            assert self.back(record, to).state is to
        else:
            with pytest.raises(LedgerError, match=f"cannot go back to {to}"):
                self.back(record, to)

    def test_the_end_has_no_way_back(self) -> None:
        assert not {FileState.EXPIRING, FileState.GONE, FileState.QUARANTINED} & set(BACK)

    def test_what_is_to_be_brought_again_has_no_evidence_left(self) -> None:
        back = self.back(at_state(FileState.VERIFIED), FileState.MEASURED)
        assert (back.replicas, back.adopted, back.measure) == ({}, False, MEASURE)

    def test_what_is_to_be_organised_again_must_be_read_again(self) -> None:
        record = advance(at_state(FileState.REPLICATING), f.ReplicaReady(at=AT, did=FILE, rse="B"))
        back = self.back(record, FileState.REGISTERED)
        assert list(back.replicas) == ["A"]
        verified = self.back(at_state(FileState.VERIFIED), FileState.REGISTERED)
        assert verified.replicas["A"].read_back is None

    @pytest.mark.parametrize("state", [FileState.UPLOADED, FileState.REGISTERED])
    def test_that_bytes_may_lie_there_stays_on_record(self, state: FileState) -> None:
        assert self.back(at_state(state), FileState.MEASURED).upload_begun_at

    def test_what_has_no_source_cannot_be_brought_again(self) -> None:
        freed = advance(at_state(FileState.VERIFIED), f.SourceFreed(at=AT, did=FILE))
        with pytest.raises(LedgerError):
            self.back(freed, FileState.MEASURED)
        assert self.back(freed, FileState.REGISTERED).state is FileState.REGISTERED


def test_what_an_upload_that_failed_may_have_left_stays_on_record() -> None:
    begun = advance(at_state(FileState.FOUND), f.UploadBegun(at=AT, did=FILE, rse="A"))
    failed = advance(begun, MOVER[FileState.QUARANTINED])
    again = advance(failed, f.FileRetried(at=AT, did=FILE))
    assert (again.state, again.upload_begun_at) == (FileState.FOUND, AT)


class TestAnUploadThatLeftNothing:
    nothing = f.UploadLeftNothing(at=AT, did=FILE, rse="A")

    def test_is_on_record_until_another_begins(self) -> None:
        begun = f.UploadBegun(at=AT, did=FILE, rse="A")
        left = advance(advance(at_state(FileState.FOUND), begun), self.nothing)
        assert (left.upload_begun_at, left.nothing_left_at) == (AT, AT)
        again = advance(advance(left, MOVER[FileState.QUARANTINED]), f.FileRetried(at=AT, did=FILE))
        assert again.nothing_left_at == AT
        assert advance(again, begun).nothing_left_at is None

    def test_was_begun_there(self) -> None:
        elsewhere = f.UploadBegun(at=AT, did=FILE, rse="B")
        for record in (at_state(FileState.FOUND), advance(at_state(FileState.FOUND), elsewhere)):
            with pytest.raises(LedgerError, match="can have left nothing"):
                advance(record, self.nothing)

    def test_left_no_replica(self) -> None:
        with pytest.raises(LedgerError, match="can have left nothing"):
            advance(at_state(FileState.UPLOADED), self.nothing)


def test_a_file_that_is_brought_again_is_described_again() -> None:
    described = advance(at_state(FileState.REPLICATING), f.FileDescribed(at=AT, did=FILE))
    assert described.described_at == AT
    assert described.state is FileState.REPLICATING
    back = f.FileSetBack(at=AT, did=FILE, state=FileState.MEASURED, reason="reaped")
    assert advance(described, back).described_at is None


def test_a_replica_that_a_rule_has_moved_is_no_promise() -> None:
    record = at_state(FileState.REPLICATING)
    for rse in ("B", "C"):
        record = advance(record, f.ReplicaReady(at=AT, did=FILE, rse=rse))
    moved = advance(record, f.FileReplicated(at=AT, did=FILE, rses=("A", "C")))
    assert list(moved.replicas) == ["A", "C"]


PROMISED = (FileState.REPLICATED, FileState.VERIFIED)


@pytest.mark.parametrize("state", [s for s in ORDER[:-1] if s not in PROMISED])
def test_a_retry_goes_back_to_where_it_came_from(state: FileState) -> None:
    before = at_state(state)
    failed = advance(before, MOVER[FileState.QUARANTINED])
    assert failed.failure is not None
    assert (failed.failure.came_from, failed.failure.code) == (state, "x")
    assert advance(failed, f.FileRetried(at=AT, did=FILE)) == before


@pytest.mark.parametrize("state", PROMISED)
def test_a_retry_after_a_bad_replica_asks_the_locks_again(state: FileState) -> None:
    failed = advance(at_state(state), MOVER[FileState.QUARANTINED])
    retried = advance(failed, f.FileRetried(at=AT, did=FILE))
    assert retried.state is FileState.REPLICATING


def test_a_file_that_fails_twice_still_knows_where_it_came_from() -> None:
    failed = advance(at_state(FileState.REGISTERED), MOVER[FileState.QUARANTINED])
    again = advance(failed, MOVER[FileState.QUARANTINED])
    retried = advance(again, f.FileRetried(at=AT, did=FILE))
    assert retried.state is FileState.REGISTERED


@pytest.mark.parametrize("state", ORDER)
def test_only_what_failed_is_retried(state: FileState) -> None:
    with pytest.raises(LedgerError, match="has not failed"):
        advance(at_state(state), f.FileRetried(at=AT, did=FILE))


def test_a_file_waits_with_a_reason_until_it_is_replicated() -> None:
    record = advance(
        at_state(FileState.REPLICATING), f.FileWaits(at=AT, did=FILE, rse="B", reason="no source")
    )
    assert record.waits_for == "B: no source"
    assert advance(record, MOVER[FileState.REPLICATED]).waits_for is None


def test_a_replica_keeps_the_moment_of_its_registration() -> None:
    record = at_state(FileState.REGISTERED)
    first = record.replicas["A"].registered_at
    later = advance(record, f.ReplicaReady(at=AT, did=FILE, rse="A"))
    assert later.replicas["A"].registered_at == first
    assert later.replicas["A"].pfn == record.replicas["A"].pfn


def test_reached() -> None:
    assert reached(FileState.GONE, FileState.FOUND)
    assert reached(FileState.VERIFIED, FileState.VERIFIED)
    assert not reached(FileState.REPLICATED, FileState.VERIFIED)
    assert not reached(FileState.QUARANTINED, FileState.FOUND)


def test_a_rule_s_life() -> None:
    run = DID("magic", "run")
    made = f.RuleMade(
        at=AT, dataset=run, rule_id="r", request=RuleRequest("A", 1, 60), adopted=True
    )
    rule = begin_rule(made, 1)
    assert (rule.state, rule.adopted, rule.lifetime) == (RuleState.INJECT, True, 60)
    for state, error in ((RuleState.STUCK, "no"), (RuleState.OK, None), (RuleState.STUCK, "flap")):
        view = RuleView("r", run, "A", 1, state, 0, 0, 0, None, error)
        rule = advance_rule(rule, f.RuleChanged(at=AT, view=view))
        assert (rule.state, rule.error) == (state, error)
    assert rule.ok_at == AT
    rule = advance_rule(rule, f.RuleEnding(at=AT, rule_id="r", lifetime=5))
    rule = advance_rule(rule, f.RuleGone(at=AT, rule_id="r"))
    assert (rule.ending_at, rule.gone_at, rule.lifetime) == (AT, AT, 5)
