"""Trying again what the world could not do now, and nothing else."""

from __future__ import annotations

import pytest

from rucio_inject.domain.errors import (
    CatalogueUnavailable,
    InjectError,
    Interrupted,
    NotFound,
    ReplicaMissing,
    StorageUnavailable,
)
from rucio_inject.domain.facts import CallRetried, Fact
from rucio_inject.patience import Patience, patient
from rucio_inject.testing.fake_clock import FakeClock


class World:
    """A port that fails so many times before each answer."""

    name = "the world"

    def __init__(self, failures: int, error: InjectError) -> None:
        self.failures = failures
        self.error = error
        self.calls = 0

    def ask(self, rse: str = "A", *, times: int = 1) -> str:
        """An answer, or the failure."""
        self.calls += 1
        if rse == "A" and self.calls <= self.failures:
            raise self.error
        return rse * times


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.mark.parametrize("error", [CatalogueUnavailable("away"), StorageUnavailable("away")])
def test_what_cannot_answer_now_is_asked_again(clock: FakeClock, error: InjectError) -> None:
    world = World(3, error)
    told: list[Fact] = []
    asked = patient(world, Patience(attempts=4, first=1, longest=60), clock, told.append)
    assert asked.ask("A", times=2) == "AA"
    assert world.calls == 4
    pauses = [fact.pause for fact in told if isinstance(fact, CallRetried)]
    assert len(pauses) == 3
    for pause, least in zip(pauses, (1, 2, 4), strict=True):
        assert least <= pause <= least + 1
    # Pauses are told rounded.
    assert clock.monotonic() == pytest.approx(sum(pauses), abs=0.2)
    assert [(fact.call, fact.reason) for fact in told if isinstance(fact, CallRetried)] == [
        ("ask", f"away (try {number} of 4)") for number in (1, 2, 3)
    ]


@pytest.mark.parametrize("error", [NotFound("no"), ReplicaMissing("no")])
def test_a_refusal_is_not_asked_again(clock: FakeClock, error: InjectError) -> None:
    world = World(1, error)
    with pytest.raises(type(error)):
        patient(world, Patience(), clock, lambda fact: None).ask()
    assert (world.calls, clock.monotonic()) == (1, 0)


def test_pauses_have_a_longest(clock: FakeClock) -> None:
    world = World(20, CatalogueUnavailable("away"))
    with pytest.raises(CatalogueUnavailable):
        patient(world, Patience(attempts=9, first=1, longest=5), clock, lambda fact: None).ask()
    assert world.calls == 9
    assert clock.monotonic() <= 8 * (5 + 1)


def test_after_all_tries_in_vain_there_is_one_each_until_one_succeeds(clock: FakeClock) -> None:
    world = World(5, CatalogueUnavailable("away"))
    asked = patient(world, Patience(attempts=3), clock, lambda fact: None)
    for calls in (3, 4, 5):
        with pytest.raises(CatalogueUnavailable):
            asked.ask()
        assert world.calls == calls
    assert asked.ask() == "A"
    world.calls, world.failures = 0, 2
    assert asked.ask() == "A"


def test_one_rse_that_is_away_costs_another_nothing(clock: FakeClock) -> None:
    world = World(10**6, StorageUnavailable("away"))
    asked = patient(world, Patience(attempts=3), clock, lambda fact: None, by_rse=True)
    with pytest.raises(StorageUnavailable):
        asked.ask("A")
    waited = clock.monotonic()
    assert asked.ask("B") == "B"
    with pytest.raises(StorageUnavailable):
        asked.ask("A")
    assert clock.monotonic() == waited


def test_a_wish_to_stop_ends_a_pause(clock: FakeClock) -> None:
    world = World(10, CatalogueUnavailable("away"))
    asked = patient(world, Patience(), clock, lambda fact: clock.stop())
    with pytest.raises(Interrupted):
        asked.ask()
    assert world.calls == 1


def test_what_is_no_call_is_as_it_was(clock: FakeClock) -> None:
    asked = patient(World(0, NotFound("no")), Patience(), clock, lambda fact: None)
    assert asked.name == "the world"
