"""Nearest spots against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from st_predict.core.neighbors import Nearest, nearest_spots


def brute_force(centers: np.ndarray, k: int) -> np.ndarray:
    """How much every spot counts to every other ``(n, n)``: those at the last distance share what the nearer leave."""
    distance = np.linalg.norm(centers[:, None] - centers[None], axis=-1).round(6)
    np.fill_diagonal(distance, np.inf)
    last = np.sort(distance, axis=1)[:, k - 1 : k]
    nearer, tied = distance < last, distance == last
    return nearer + tied * (k - nearer.sum(axis=1, keepdims=True)) / tied.sum(axis=1, keepdims=True)


def as_matrix(found: Nearest) -> np.ndarray:
    """The same of what was found, each spot named once, and the first K of them nearest first."""
    n = len(found.rows)
    matrix, weights = np.zeros((n, n)), np.ones(found.rows.shape) if found.weights is None else found.weights
    for i, (row, weight) in enumerate(zip(found.rows, weights, strict=True)):
        named = row[weight > 0]
        assert len(set(named)) == len(named) and i not in named and (row[weight == 0] == i).all()
        matrix[i, named] = weight[weight > 0]
    return matrix


def square(rows: int, cols: int) -> np.ndarray:
    y, x = (v.ravel() for v in np.mgrid[:rows, :cols])
    return np.column_stack([x * 200.0, y * 200.0])


def hexagons(rows: int, cols: int) -> np.ndarray:
    y, x = (v.ravel() for v in np.mgrid[:rows, :cols])
    return np.column_stack([(2 * x + y % 2) * 50.0, y * 50.0 * np.sqrt(3)])


SECTIONS = {
    "random": np.random.default_rng(0).uniform(0, 1000, (80, 2)),
    "square": square(7, 8),
    "hexagonal": hexagons(8, 7),
    "places shared by three": np.repeat(square(4, 5), 3, axis=0),
}


@pytest.mark.parametrize("k", [1, 4, 8, 24])
@pytest.mark.parametrize("centers", SECTIONS.values(), ids=SECTIONS)
def test_equals_brute_force(centers: np.ndarray, k: int) -> None:
    found = nearest_spots(centers, k)
    np.testing.assert_allclose(as_matrix(found), brute_force(centers, k), atol=1e-6)
    distance = np.linalg.norm(centers[found.rows[:, :k]] - centers[:, None], axis=2)
    assert (np.diff(distance, axis=1) > -1e-6).all(), "nearest first"


@pytest.mark.parametrize("far_px", [0.0, 20_000.0, 100_000.0])
@pytest.mark.parametrize("k", [4, 8])
def test_ties_among_places_kept_in_single_precision(far_px: float, k: int) -> None:
    """Far from the corner they are rounded by more than turning changes them, and are as far as they were all the same."""
    own = nearest_spots(hexagons(9, 9), k)
    single = (hexagons(9, 9) + far_px + 0.1).astype(np.float32)
    turned = (2 * far_px + 1000 - single).astype(np.float32)
    for centers in (single, turned):
        np.testing.assert_allclose(as_matrix(nearest_spots(centers.astype(np.float64), k)), as_matrix(own), atol=1e-6)


def test_whole_pixels_are_as_far_as_they_say() -> None:
    """Places that a scanner gives in whole px, far from the corner: 200.0 and 200.0025 px are not the same."""
    centers = np.array([[0, 0], [200, 0], [0, 200], [-200, 1], [500, 500]]) + 100_000.0
    assert nearest_spots(centers, 2).weights is None


def test_shells_of_a_hexagonal_array() -> None:
    """The nearest 8: six at the pitch, and a third of each of the six at the next distance."""
    centers = hexagons(9, 9)
    found = nearest_spots(centers, 8)
    middle = np.linalg.norm(centers - centers.mean(axis=0), axis=1).argmin()
    assert found.weights is not None
    np.testing.assert_allclose(found.weights[middle], [1] * 6 + [1 / 3] * 6)
    np.testing.assert_allclose(found.weights.sum(axis=1), 8, rtol=1e-6)


def test_nothing_to_weigh_where_nothing_ties() -> None:
    centers = SECTIONS["random"]
    found = nearest_spots(centers, 8)
    distance = np.linalg.norm(centers[:, None] - centers, axis=2)
    assert found.weights is None and np.array_equal(found.rows, distance.argsort(axis=1)[:, 1:9])


@pytest.mark.parametrize("k", [3, 8, 24])
@pytest.mark.parametrize("centers", [square(9, 9), hexagons(9, 8)], ids=["square", "hexagonal"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_neither_order_nor_turn_changes_who_is_near(centers: np.ndarray, k: int, dtype: type) -> None:
    """Also turned by an angle of which no place comes out whole, and kept in single precision, in units of the pitch."""
    expected = as_matrix(nearest_spots(centers, k))
    order = np.random.default_rng(2).permutation(len(centers))
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / 100
    found = as_matrix(nearest_spots((centers @ turn)[order].astype(dtype).astype(np.float64), k))
    np.testing.assert_allclose(found, expected[np.ix_(order, order)], atol=1e-6)


def test_arrays_keep_to_themselves() -> None:
    """Two interleaved, of which one ties and the other does not."""
    ties, none = square(5, 6), np.random.default_rng(1).uniform(0, 1000, (40, 2))
    order = np.random.default_rng(3).permutation(70)
    arrays = np.repeat([0, 1], [30, 40])[order]
    found = as_matrix(nearest_spots(np.concatenate([ties, none])[order], 6, arrays))
    expected = np.zeros((70, 70))
    expected[:30, :30], expected[30:, 30:] = brute_force(ties, 6), brute_force(none, 6)
    np.testing.assert_allclose(found, expected[np.ix_(order, order)], atol=1e-6)
    assert nearest_spots(np.concatenate([none, none + 1]), 6, np.repeat([0, 1], 40)).weights is None


def test_many_spots_at_one_place_are_never_their_own_neighbor() -> None:
    """As many of them count as an array has at one distance, not all."""
    found = nearest_spots(np.zeros((500, 2)), 5)
    assert found.weights is not None and found.rows.shape == (500, 29)
    np.testing.assert_allclose(as_matrix(found).sum(axis=1), 5, rtol=1e-6)


def test_all_others_of_a_small_section() -> None:
    centers = np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    assert nearest_spots(centers, 2).rows.tolist() == [[1, 2], [0, 2], [1, 0]]
    assert nearest_spots(centers, 0).rows.shape == (3, 0)


def test_too_few_spots() -> None:
    with pytest.raises(ValueError, match="3 neighbors asked of 3 spots"):
        nearest_spots(np.zeros((3, 2)), 3)
