"""The rule behind better, worse and same: against tables whose truth is known, and against Student's t by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_rel

from st_predict.core.protocol.verdict import LEVEL, judge

RNG = np.random.default_rng(0)


def drawn(repeats: int, shape: tuple[int, int], fold_sd: float, seed_sd: float, difference: float) -> np.ndarray:
    """Scores ``(repeats, n_folds, n_seeds)`` of a method beside a ridge that reaches 0.3 in every fold."""
    folds = RNG.normal(0.3 + difference, fold_sd, (repeats, shape[0], 1))
    return folds + RNG.normal(0, seed_sd, (repeats, *shape))


def verdicts(tables: np.ndarray) -> list[str]:
    return [judge(table, np.full(len(table), 0.3), drawn=True).verdict for table in tables]


@pytest.mark.parametrize("n_folds", [3, 4, 8])
@pytest.mark.parametrize(("fold_sd", "seed_sd"), [(0.005, 0.01), (0.02, 0.001), (0.02, 0.01)])
def test_chance_alone_is_called_a_difference_one_time_in_twenty(n_folds: int, fold_sd: float, seed_sd: float) -> None:
    """Of 600 tables 30 are expected at most; 45 would be three standard errors more."""
    words = verdicts(drawn(600, (n_folds, 3), fold_sd, seed_sd, 0.0))
    assert words.count("better") + words.count("worse") <= 45


@pytest.mark.parametrize(("difference", "word"), [(0.05, "better"), (-0.05, "worse")])
def test_a_large_difference_is_found(difference: float, word: str) -> None:
    assert verdicts(drawn(50, (4, 3), 0.005, 0.003, difference)).count(word) >= 49


def test_the_interval_is_that_of_a_paired_t_test() -> None:
    values, ridge = drawn(1, (5, 2), 0.02, 0.001, 0.02)[0], RNG.normal(0.3, 0.02, 5)
    found, expected = judge(values, ridge, drawn=True), ttest_rel(values.mean(axis=1), ridge).confidence_interval(LEVEL)
    assert (found.mean - found.margin, found.mean + found.margin) == pytest.approx((expected.low, expected.high))


def test_folds_are_not_believed_to_be_closer_than_their_seeds() -> None:
    """Three folds that agree to a thousandth by chance, while seeds move each of them by .02."""
    values = np.array([[0.30, 0.34], [0.301, 0.341], [0.299, 0.339]])
    found = judge(values, np.full(3, 0.3), drawn=True)
    assert found.mean == pytest.approx(0.02) and found.margin > 0.03 and found.verdict == "unclear"
    assert judge(values.mean(axis=1, keepdims=True), np.full(3, 0.3), drawn=False).verdict == "better"


def test_what_nobody_need_care_about_is_the_same() -> None:
    values = np.array([[0.303, 0.303], [0.304, 0.304], [0.3035, 0.3035], [0.303, 0.304]])
    found = judge(values, np.full(4, 0.3), drawn=True)
    assert found.verdict == "same" and found.mean > found.margin, (
        "above ridge in every fold, and by too little to matter"
    )


@pytest.mark.parametrize(
    ("values", "is_drawn"),
    [
        (np.full((4, 1), 0.9), True),  # one seed
        (np.array([[0.9, 0.91], [0.9, 0.91]]), True),  # two folds
        (np.array([[0.9, 0.91], [0.9, 0.91], [np.nan, np.nan]]), True),  # two that were done
        (np.full((3, 2), np.nan), True),
    ],
)
def test_too_little_to_tell(values: np.ndarray, is_drawn: bool) -> None:
    assert judge(values, np.full(len(values), 0.3), drawn=is_drawn).verdict == "unclear"


def test_without_chance_one_seed_is_enough() -> None:
    values = np.array([[0.40], [0.41], [0.39]])
    assert judge(values, np.full(3, 0.3), drawn=False).verdict == "better"
