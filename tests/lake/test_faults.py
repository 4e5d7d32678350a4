"""A short cut of the fault runner: kills, lost answers, errors, three commands at once, and an
origin that is freed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults import judge, kills, local, network, origin
from tests.faults.field import Field
from tests.faults.judge import Promise
from tests.faults.lake import PROMISED, Lake
from tests.faults.proxy import Kind, Trouble

from rucio_inject.lake.embedded import EmbeddedLake

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("lake")]

SEED = 5
# Often enough that no run gets through without meeting some.
ROUGH = network.Net(
    (
        Trouble(Kind.LOST, 0.2, path="^(POST|PUT|DELETE)"),
        Trouble(Kind.ERROR, 0.05),
        Trouble(Kind.EXPIRED, 0.05),
    ),
    tries=2,
)


@pytest.fixture
def field(running_lake: EmbeddedLake, tmp_path: Path) -> Field:
    """Where a scenario is played."""
    return Field(Lake(running_lake.paths.root), tmp_path, SEED, kills=5)


def test_killed_at_random_nothing_is_lost_doubled_or_freed_early(field: Field) -> None:
    draw = field.draw("short cut")
    left = kills.Kills(field.kills)
    kills.play(field, field.job("kill"), draw, left)
    assert left.phases.total() > 0
    assert field.played.broken == []


def test_an_origin_whose_freeing_is_killed(field: Field) -> None:
    left = kills.Kills(3)
    job = field.job("origin", real=True, origin=True, runs=1, subruns=2)
    assert job.run().code == 0
    # The judge sees that it is not freed yet.
    assert {one.promise for one in judge.ended(job)} == {Promise.DOUBLED}
    kills.play(field, job, field.draw("origin"), left, first_act=False)
    assert left.phases.total() > 0
    assert field.played.broken == []


def test_a_last_copy_at_an_origin_outlives_the_reaper(field: Field) -> None:
    job = field.job("origin", real=True, origin=True, runs=1, subruns=2)
    assert job.run().code == 0
    with field.watched(job):
        origin.lost_before_the_reaper(field, job)
    assert field.played.broken == []


def test_lost_answers_errors_and_expired_tokens(field: Field) -> None:
    network.suffer_and_prove(field, ROUGH, real=True)
    assert field.played.faults > 0
    assert field.played.broken == []


def test_three_commands_at_once(field: Field) -> None:
    local.crowd(field, real=True, rounds=1)
    assert field.played.broken == []


def test_the_judge_sees_what_is_lost_doubled_or_freed_early(field: Field) -> None:
    job = field.job("judged", real=True, runs=1, subruns=1)
    assert job.run().code == 0
    assert list(judge.kept(job)) == []
    (name,) = job.names
    stored = job.lake.stored(PROMISED[0], job.scope)[name]
    stored.write_bytes(b"other bytes")
    assert {one.promise for one in judge.kept(job)} == {Promise.LOST}
    double = stored.rename(stored.with_name("a second one"))
    assert {one.promise for one in judge.kept(job)} == {Promise.LOST, Promise.DOUBLED}
    double.unlink()

    early = field.job("early", real=True, runs=1, subruns=1)
    with field.watched(early):
        (early.sources / early.names[0]).unlink()
    assert {one.promise for one in field.played.broken} == {Promise.FREED}
