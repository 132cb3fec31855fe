"""Points in spots: each counted once, by squares and by disks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from st_predict.core.grid import grid_points
from st_predict.core.pooling import Lattice, count_points, sum_rows

PITCH_PX, SIZE_PX = 17.0, (400.0, 300.0)


def laid(layout: str, diameter_px: float = PITCH_PX, *, pitch_px: float = PITCH_PX) -> tuple[np.ndarray, Lattice]:
    """An array over an image, less the places near its middle."""
    points, rows, cols = grid_points(SIZE_PX, pitch_px, layout, lambda at: np.hypot(*(at - (200, 150)).T) > 60)
    return points, Lattice.of(rows, cols, pitch_px=pitch_px, diameter_px=diameter_px, layout=layout)


@pytest.fixture(scope="module")
def somewhere() -> np.ndarray:
    """Points on the image and around it."""
    return np.random.default_rng(0).uniform((-50, -50), (450, 350), (20_000, 2))


@pytest.mark.parametrize("diameter_px", [PITCH_PX, 9.0])
def test_a_disk_holds_what_is_as_near(somewhere: np.ndarray, diameter_px: float) -> None:
    centers, lattice = laid("hex", diameter_px)
    distance, nearest = cKDTree(centers).query(somewhere)
    expected = np.where(distance <= diameter_px / 2, nearest, -1)
    np.testing.assert_array_equal(lattice.spots_of(somewhere), expected)
    assert 1000 < (expected >= 0).sum() < len(somewhere)


@pytest.mark.parametrize("diameter_px", [PITCH_PX, 9.0])
def test_a_square_holds_what_lies_between_its_sides(somewhere: np.ndarray, diameter_px: float) -> None:
    centers, lattice = laid("square", diameter_px)
    within = np.abs(somewhere[:, None] - centers).max(axis=2) < diameter_px / 2
    expected = np.where(within.any(axis=1), within.argmax(axis=1), -1)
    assert within.sum(axis=1).max() == 1
    np.testing.assert_array_equal(lattice.spots_of(somewhere), expected)


def test_squares_without_gaps_hold_every_point_once() -> None:
    """Points on sides and corners too, and a hundred times the pitch does not matter."""
    points, rows, cols = grid_points((40.0, 40.0), 4.0, "square", lambda at: np.ones(len(at), bool))
    lattice = Lattice.of(rows, cols, pitch_px=4.0, diameter_px=4.0, layout="square")
    x, y = (values.ravel() for values in np.meshgrid(np.arange(40.0), np.arange(40.0)))
    assert np.bincount(lattice.spots_of(np.column_stack([x, y])), minlength=len(points)).tolist() == [16] * 100


def test_points_that_lie_nowhere_are_in_no_spot() -> None:
    _, lattice = laid("hex")
    assert lattice.spots_of(np.array([[np.nan, 5], [np.inf, 5], [1e300, -1e300]])).tolist() == [-1, -1, -1]


def test_counts_are_those_added_up_one_by_one() -> None:
    rng = np.random.default_rng(1)
    spots, features = rng.integers(-1, 7, 5000), rng.integers(-1, 4, 5000)
    expected = np.zeros((7, 4), int)
    for spot, feature in zip(spots, features, strict=True):
        if spot >= 0 and feature >= 0:
            expected[spot, feature] += 1
    np.testing.assert_array_equal(count_points(spots, features, n_spots=7, n_features=4).toarray(), expected)


def test_rows_are_added_up_by_spot() -> None:
    rng = np.random.default_rng(2)
    counts, spots = rng.poisson(1.0, (300, 5)), rng.integers(-1, 9, 300)
    expected = np.array([counts[spots == number].sum(axis=0) for number in range(9)])
    np.testing.assert_array_equal(sum_rows(csr_matrix(counts), spots, n_spots=9).toarray(), expected)
