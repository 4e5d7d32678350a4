"""Li & Ma's significance, against values worked out by hand and its limits."""

from __future__ import annotations

import math

import pytest

from rucio_inject.science.statistics import li_ma_significance


@pytest.mark.parametrize(
    ("n_on", "n_off", "alpha", "expected"),
    [
        # 2 (5 ln(2 · 5/6) + ln(2 · 1/6)) = 2.91103
        (5, 1, 1.0, 1.70618),
        # 2 (10 ln(1.3/0.3 · 10/15) + 5 ln(1.3 · 5/15)) = 12.85495
        (10, 5, 0.3, 3.58538),
        # 2 · 10 ln(11): nothing in the off region
        (10, 0, 0.1, 6.92515),
        # -(2 · 10 ln(1.1)) ** 0.5: nothing in the on region
        (0, 10, 0.1, -1.38065),
        # the other way round, the same size and the other sign
        (1, 5, 1.0, -1.70618),
    ],
)
def test_values_worked_out_by_hand(n_on: int, n_off: int, alpha: float, expected: float) -> None:
    assert li_ma_significance(n_on, n_off, alpha) == pytest.approx(expected, abs=2e-5)


def test_no_excess_and_no_counts_are_no_significance() -> None:
    assert li_ma_significance(10, 100, 0.1) == pytest.approx(0.0, abs=1e-6)
    assert li_ma_significance(0, 0, 0.1) == 0.0


def test_with_a_background_known_well_it_is_that_of_a_poisson_likelihood_ratio() -> None:
    on, background = 130, 100.0
    expected = math.sqrt(2 * (on * math.log(on / background) - (on - background)))
    assert li_ma_significance(on, 100_000_000, 1e-6) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("n_on", "n_off", "alpha"), [(-1, 0, 1.0), (0, -1, 1.0), (1, 1, 0.0)])
def test_impossible_counts_are_refused(n_on: int, n_off: int, alpha: float) -> None:
    with pytest.raises(ValueError, match="no significance"):
        li_ma_significance(n_on, n_off, alpha)


def test_an_alpha_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="alpha=nan"):
        li_ma_significance(1, 1, math.nan)
