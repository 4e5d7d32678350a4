"""Many things a call, and fewer when one is refused."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rucio_inject.batches import batches, divided
from rucio_inject.domain.errors import CatalogueRefused, CatalogueUnavailable, InjectError


def test_batches_have_their_size() -> None:
    assert list(batches(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(batches([], 2)) == []


@pytest.mark.parametrize("bad", [set(), {0}, {99}, {3, 4, 50}, set(range(100))])
def test_what_is_refused_is_alone_in_the_end(bad: set[int]) -> None:
    done: list[int] = []
    refused: dict[int, str] = {}

    def work(items: Sequence[int]) -> None:
        if found := bad.intersection(items):
            raise CatalogueRefused(f"not {min(found)}")
        done.extend(items)

    def alone(item: int, error: InjectError) -> None:
        refused[item] = error.message

    divided(range(100), work, alone)
    assert sorted(done) == sorted(set(range(100)) - bad)
    assert refused == {item: f"not {item}" for item in bad}


def test_one_bad_item_of_many_costs_few_calls() -> None:
    calls = 0

    def work(items: Sequence[int]) -> None:
        nonlocal calls
        calls += 1
        if 123 in items:
            raise CatalogueRefused("no")

    divided(range(500), work, lambda item, error: None)
    assert calls < 20


def test_a_lake_that_is_away_is_no_refusal() -> None:
    def work(items: Sequence[int]) -> None:
        raise CatalogueUnavailable("no answer")

    with pytest.raises(CatalogueUnavailable):
        divided([1, 2], work, lambda item, error: pytest.fail("nothing was refused"))


def test_nothing_is_no_call() -> None:
    divided([], lambda items: pytest.fail("nothing to do"), lambda item, error: None)
