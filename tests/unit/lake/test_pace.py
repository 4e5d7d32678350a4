"""Which daemons run when."""

from __future__ import annotations

from rucio_inject.lake.pace import EVERYBODY_AFTER, Pace

NAMES = ("evaluator", "submitter", "poller", "reaper")


def _started() -> Pace:
    pace = Pace(NAMES)
    assert pace.due({}, 0.0) == NAMES
    return pace


def test_at_first_and_now_and_then_everybody_runs() -> None:
    pace = _started()
    assert pace.due({}, EVERYBODY_AFTER / 2) == ()
    assert pace.due({}, EVERYBODY_AFTER) == NAMES


def test_only_those_with_work_run_in_pipeline_order() -> None:
    assert _started().due({"poller": 2, "evaluator": 1}, 1.0) == ("evaluator", "poller")


def test_work_that_does_not_shrink_is_left_alone_for_a_while() -> None:
    pace = _started()
    assert pace.due({"reaper": 5}, 2.0) == ("reaper",)
    assert pace.due({"reaper": 5}, 2.1) == ()
    assert pace.due({"reaper": 4}, 2.2) == ("reaper",)
    assert pace.due({"reaper": 4}, 2.3) == ()
    assert pace.due({"reaper": 4}, 3.3) == ("reaper",)


def test_the_same_amount_of_new_work_runs_at_once() -> None:
    pace = _started()
    assert pace.due({"submitter": 1}, 1.0) == ("submitter",)
    assert pace.due({"submitter": 0}, 1.01) == ()
    assert pace.due({"submitter": 1}, 1.02) == ("submitter",)


def test_rest_grows_to_a_limit_and_work_ends_it() -> None:
    pace = _started()
    rests = [pace.rest(worked=False) for _ in range(20)]
    assert rests == sorted(rests)
    assert 0 < rests[0] < 0.05
    assert rests[-1] == rests[-2] <= 0.5
    assert pace.rest(worked=True) == 0.0
    assert pace.rest(worked=False) == rests[0]
