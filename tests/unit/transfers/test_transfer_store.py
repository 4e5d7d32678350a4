"""The store: order, fairness, what a crash leaves, and forgetting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rucio_inject.domain.errors import LakeError
from rucio_inject.lake.transfers.model import (
    FileRequest,
    FileState,
    JobRequest,
    JobState,
    JobType,
    Outcome,
    Verify,
)
from rucio_inject.lake.transfers.store import DuplicateJob, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


def job(
    name: str, files: int, job_type: JobType = JobType.REGULAR, priority: int = 3
) -> JobRequest:
    return JobRequest(
        job_type=job_type,
        priority=priority,
        verify=Verify.BOTH,
        metadata="{}",
        seed=None,
        files=tuple(
            FileRequest(f"file:///{name}/{at}", f"file:///to/{name}/{at}", at, None, "", False, "1")
            for at in range(files)
        ),
    )


def taken(store: Store, now: float = 1.0) -> str | None:
    task = store.claim(now)
    return None if task is None else task.source.removeprefix("file:///")


def states(store: Store, job_id: str) -> list[FileState]:
    return [file.state for file in store.find([job_id])[job_id].files]


def end(store: Store, state: FileState, now: float = 2.0) -> None:
    task = store.claim(now)
    assert task is not None
    store.finish(Outcome(task.file_id, state, None), now)


def test_higher_priorities_go_first(store: Store) -> None:
    store.accept("low", job("low", 1, priority=1), 0.0)
    store.accept("high", job("high", 1, priority=5), 0.0)
    store.accept("raised", job("raised", 1, priority=1), 0.0)
    store.set_priority("raised", 4)
    assert [taken(store) for _ in range(4)] == ["high/0", "raised/0", "low/0", None]


def test_jobs_take_turns(store: Store) -> None:
    store.accept("big", job("big", 6), 0.0)
    assert [taken(store) for _ in range(3)] == ["big/0", "big/1", "big/2"]
    store.accept("small", job("small", 2), 0.0)
    order = [taken(store) for _ in range(5)]
    assert order == ["small/0", "big/3", "small/1", "big/4", "big/5"]


def test_later_jobs_do_not_hold_an_earlier_one_for_ever(store: Store) -> None:
    store.accept("big", job("big", 50), 0.0)
    for at in range(60):
        store.accept(f"s{at}", job(f"s{at}", 1), 0.0)
        taken(store)
        taken(store)
    assert FileState.SUBMITTED not in states(store, "big")


def test_alternatives_wait_for_one_another(store: Store) -> None:
    store.accept("r", job("r", 3, JobType.MULTIPLE_REPLICA), 0.0)
    assert taken(store) == "r/0"
    assert taken(store) is None
    store.finish(Outcome(1, FileState.FAILED, "SOURCE [2]"), 2.0)
    end(store, FileState.FINISHED)
    assert states(store, "r") == [FileState.FAILED, FileState.FINISHED, FileState.NOT_USED]
    found = store.find(["r"])["r"]
    assert (found.state, found.finished_at) == (JobState.FINISHED, 2.0)


def test_hops_end_at_the_first_failure(store: Store) -> None:
    store.accept("h", job("h", 3, JobType.MULTI_HOP), 0.0)
    end(store, FileState.FINISHED)
    end(store, FileState.FAILED)
    assert taken(store) is None
    assert states(store, "h") == [FileState.FINISHED, FileState.FAILED, FileState.NOT_USED]
    assert store.find(["h"])["h"].finished_at == 2.0


def test_a_cancelled_file_stays_cancelled(store: Store) -> None:
    store.accept("j", job("j", 3), 0.0)
    first, second = store.claim(1.0), store.claim(1.0)
    assert first is not None
    assert second is not None
    store.cancel("j", [second.file_id], 3.0)
    for task in (first, second):
        store.finish(Outcome(task.file_id, FileState.FINISHED, None), 4.0)
    assert states(store, "j") == [FileState.CANCELED, FileState.FINISHED, FileState.CANCELED]
    assert store.find(["j"])["j"].finished_at == 4.0
    assert taken(store) is None


def test_what_was_active_is_done_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.accept("j", job("j", 2), 0.0)
    before = store.claim(1.0)
    base_id = store.base_id
    store.close()
    again = Store(tmp_path)
    assert before is not None
    assert [task.label for task in again.resume()] == [before.label]
    after = again.claim(2.0)
    assert after is not None
    assert (after.file_id, after.label, after.resumed) == (before.file_id, before.label, True)
    other = again.claim(2.0)
    assert other is not None
    assert not other.resumed
    assert other.label != after.label
    assert again.base_id == base_id
    again.close()


def test_an_id_is_taken_once(store: Store) -> None:
    store.accept("j", job("j", 1), 0.0)
    with pytest.raises(DuplicateJob):
        store.accept("j", job("other", 5), 0.0)
    assert states(store, "j") == [FileState.SUBMITTED]
    assert store.counts() == (1, 0)


def test_only_jobs_that_are_over_are_forgotten(store: Store) -> None:
    for name, now in (("old", 10.0), ("new", 100.0)):
        store.accept(name, job(name, 1), 0.0)
        end(store, FileState.FAILED, now)
    store.accept("open", job("open", 1), 0.0)
    assert store.purge(50.0, 10) == 1
    assert set(store.find(["old", "new", "open", "never"])) == {"new", "open"}
    assert store.purge(1000.0, 10) == 1
    assert set(store.find(["open"])) == {"open"}


def test_what_is_over_does_not_slow_the_rest(store: Store) -> None:
    """Counted in steps of SQLite's machine, which depend on nothing but the work."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    def cycle(name: str) -> int:
        nonlocal steps
        steps = 0
        store.accept(name, job(name, 1), 0.0)
        end(store, FileState.FINISHED)
        store.find([name])
        store.counts()
        store.resume()
        store.purge(1.0, 10)
        return steps

    store._connection.set_progress_handler(count, 1)
    with_none = cycle("first")
    for at in range(500):
        cycle(str(at))
    assert cycle("last") < 2 * with_none


def test_a_second_service_on_the_same_folder_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(LakeError, match=r"transfers\.sqlite"):
        Store(tmp_path)
