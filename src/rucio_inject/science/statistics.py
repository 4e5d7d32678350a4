"""How sure one may be of a source: counts on it and beside it."""

from __future__ import annotations

from math import copysign, log, sqrt


def li_ma_significance(n_on: int, n_off: int, alpha: float) -> float:
    """Significance, in standard deviations, of `n_on` counts given `n_off` where none is expected.

    Equation 17 of Li & Ma, ApJ 272 (1983) 317; `alpha` is the exposure of the on region over that
    of the off region. Negative when there are fewer counts than the background predicts; 0 without
    counts. ValueError for negative counts or an alpha that is not positive.
    """
    if n_on < 0 or n_off < 0 or not alpha > 0:
        raise ValueError(f"no significance for n_on={n_on}, n_off={n_off}, alpha={alpha}")
    total = n_on + n_off
    if not total:
        return 0.0
    # A region without counts adds nothing: x log x goes to 0 with x.
    on = n_on * log((1 + alpha) / alpha * n_on / total) if n_on else 0.0
    off = n_off * log((1 + alpha) * n_off / total) if n_off else 0.0
    # Rounding can bring a sum that is 0 a little below it.
    return copysign(sqrt(2 * max(on + off, 0.0)), n_on - alpha * n_off)
