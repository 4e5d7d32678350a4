"""What a run remembers of what it has proved."""

from __future__ import annotations

from rucio_inject.domain.did import DID
from rucio_inject.domain.injection import FileRecord, ReplicaRecord
from rucio_inject.steps.fresh import ProvedNow
from rucio_inject.testing.fake_clock import START


def record(name: str, *rses: str) -> FileRecord:
    replicas = {rse: ReplicaRecord(read_back_at=START) for rse in rses}
    did, run = DID("S", name), DID("S", "run")
    return FileRecord(did, "/x", run, (), 1, START, generated=False, replicas=replicas)


def test_every_replica_counts_and_how_it_was_proved() -> None:
    proved = ProvedNow()
    proved.note(DID("S", "x"), [("A", True), ("B", False)])
    assert proved.covers(record("x", "A", "B"), read=False)
    assert not proved.covers(record("x", "A", "B"), read=True)
    assert proved.covers(record("x", "A"), read=True)
    assert not proved.covers(record("x", "A", "C"), read=False)
    assert not proved.covers(record("y", "A"), read=False)


def test_what_was_found_bad_since_is_proved_no_more() -> None:
    proved = ProvedNow()
    proved.note(DID("S", "x"), [("A", True)])
    proved.forget(DID("S", "x"))
    assert not proved.covers(record("x", "A"), read=True)


def test_the_last_ones_are_remembered() -> None:
    proved = ProvedNow(2)
    for name in ("x", "y", "x", "z"):
        proved.note(DID("S", name), [("A", True)])
    covered = [name for name in "xyz" if proved.covers(record(name, "A"), read=True)]
    assert covered == ["x", "z"]
