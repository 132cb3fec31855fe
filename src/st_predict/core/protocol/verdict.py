"""Whether a method differs from another by more than chance: one rule, for tables and for the simulation that rates it."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVEL = 0.95
"""How often an interval covers the difference, where folds differ by chance alone."""
SAME = 0.01
"""Differences of the mean PCC up to this do not matter."""
LEAST_FOLDS, LEAST_SEEDS = 3, 2
"""Fewer tell nothing."""


class Difference(NamedTuple):
    """Of one method to another."""

    mean: float
    """Over folds."""
    margin: float
    """Half the width of its interval; NaN with one fold."""
    verdict: str
    """``better``, ``worse``, ``same`` or ``unclear``."""


def judge(values: NDArray[np.float64], reference: NDArray[np.float64], *, drawn: bool) -> Difference:
    """Compare a method with another over the folds that both have.

    The folds' differences, each averaged over seeds, are taken as draws (Student's t, one degree of freedom less than
    folds). Three or four folds can lie close together by chance: they are never believed to be closer than their seeds
    are.

    Parameters
    ----------
    values
        Scores of the method ``(n_folds, n_seeds)``; NaN where there is none.
    reference
        Scores of the other, averaged over its seeds ``(n_folds,)``.
    drawn
        Whether the method depends on its seed; it then needs two of them.

    Returns
    -------
    ``better`` or ``worse`` where the interval of the difference excludes 0; ``same`` where all of it lies within
    :data:`SAME` of 0, even if 0 is outside; ``unclear`` otherwise, and with fewer than three folds.
    """
    values = values[:, ~np.isnan(values).all(axis=0)]  # a method in closed form has one seed where others have several
    known = np.isfinite(values).all(axis=1) & np.isfinite(reference)
    n, n_seeds = int(known.sum()), values.shape[1]
    if not n or not n_seeds:
        return Difference(math.nan, math.nan, "unclear")
    apart = values[known].mean(axis=1) - reference[known]
    mean = float(apart.mean())
    if n < 2:
        return Difference(mean, math.nan, "unclear")
    variance = apart.var(ddof=1)
    if n_seeds > 1:
        variance = max(variance, values[known].var(axis=1, ddof=1).mean() / n_seeds)
    margin = _quantile(n - 1) * math.sqrt(variance / n)
    if n < LEAST_FOLDS or (drawn and n_seeds < LEAST_SEEDS):
        return Difference(mean, margin, "unclear")
    return Difference(mean, margin, _word(mean, margin))


def _word(mean: float, margin: float) -> str:
    if abs(mean) + margin <= SAME:
        return "same"
    if abs(mean) > margin:
        return "better" if mean > 0 else "worse"
    return "unclear"


@lru_cache
def _quantile(freedom: int) -> float:
    """How many standard errors an interval reaches to either side."""
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, freedom))
