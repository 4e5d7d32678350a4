"""Job states and what one file's end means for the others: FTS3's rules as tables."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rucio_inject.lake.transfers.model import (
    FileState,
    FollowUp,
    JobState,
    JobType,
    clamp_priority,
    follow_up,
    job_state,
)

W, A, D, F, C, N = (
    FileState.SUBMITTED,
    FileState.ACTIVE,
    FileState.FINISHED,
    FileState.FAILED,
    FileState.CANCELED,
    FileState.NOT_USED,
)
REGULAR, REPLICAS, HOPS = JobType.REGULAR, JobType.MULTIPLE_REPLICA, JobType.MULTI_HOP


@pytest.mark.parametrize(
    ("job_type", "files", "state"),
    [
        (REGULAR, [W, W], JobState.SUBMITTED),
        (REGULAR, [A, W], JobState.ACTIVE),
        (REGULAR, [D, W], JobState.ACTIVE),
        (REGULAR, [D, D], JobState.FINISHED),
        (REGULAR, [F, F], JobState.FAILED),
        (REGULAR, [D, F], JobState.FINISHEDDIRTY),
        (REGULAR, [D, C], JobState.CANCELED),
        (REGULAR, [D, F, A], JobState.ACTIVE),
        (REPLICAS, [F, W], JobState.ACTIVE),
        (REPLICAS, [D, N], JobState.FINISHED),
        (REPLICAS, [F, D], JobState.FINISHED),
        (REPLICAS, [F, F], JobState.FAILED),
        (REPLICAS, [F, C], JobState.CANCELED),
        (REPLICAS, [D, C], JobState.FINISHED),
        (HOPS, [D, W], JobState.ACTIVE),
        (HOPS, [D, D], JobState.FINISHED),
        (HOPS, [D, F], JobState.FAILED),
        (HOPS, [F, N], JobState.FAILED),
        (HOPS, [D, C], JobState.CANCELED),
    ],
)
def test_job_state(job_type: JobType, files: list[FileState], state: JobState) -> None:
    assert job_state(job_type, files) is state


@given(st.sampled_from(JobType), st.lists(st.sampled_from(FileState), min_size=1, max_size=4))
def test_a_job_with_all_files_ended_is_over(job_type: JobType, files: list[FileState]) -> None:
    over = job_state(job_type, files) not in {JobState.SUBMITTED, JobState.ACTIVE}
    if all(file.final for file in files):
        assert over
    elif job_type is REGULAR:
        assert not over


@pytest.mark.parametrize(
    ("job_type", "ended", "then"),
    [
        (REGULAR, D, FollowUp.NOTHING),
        (JobType.SESSION_REUSE, F, FollowUp.NOTHING),
        (REPLICAS, D, FollowUp.DROP_REST),
        (REPLICAS, F, FollowUp.RELEASE_NEXT),
        (HOPS, D, FollowUp.RELEASE_NEXT),
        (HOPS, F, FollowUp.DROP_REST),
    ],
)
def test_follow_up(job_type: JobType, ended: FileState, then: FollowUp) -> None:
    assert follow_up(job_type, ended) is then


def test_priorities_stay_between_1_and_5() -> None:
    brought = [clamp_priority(given_one) for given_one in (-3, 0, 1, 3, 5, 9)]
    assert brought == [1, 1, 1, 3, 5, 5]
    assert all(low <= high for low, high in itertools.pairwise(brought))
