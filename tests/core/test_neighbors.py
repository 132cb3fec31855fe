"""Nearest spots against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from st_predict.core.neighbors import nearest_spots


def brute_force(centers: np.ndarray, k: int) -> np.ndarray:
    """By distance, then by place (y, x), then by index; a spot is never its own neighbor."""
    distance = np.linalg.norm(centers[:, None] - centers[None], axis=-1).round(6)
    np.fill_diagonal(distance, np.inf)
    return np.stack([np.lexsort((np.arange(len(row)), *centers.T.round(6), row))[:k] for row in distance])


def square(rows: int, cols: int) -> np.ndarray:
    y, x = (v.ravel() for v in np.mgrid[:rows, :cols])
    return np.column_stack([x * 200.0, y * 200.0])


def hexagons(rows: int, cols: int) -> np.ndarray:
    y, x = (v.ravel() for v in np.mgrid[:rows, :cols])
    return np.column_stack([(2 * x + y % 2) * 50.0, y * 50.0 * np.sqrt(3)])


@pytest.mark.parametrize("k", [1, 4, 8, 24])
@pytest.mark.parametrize(
    "centers",
    [np.random.default_rng(0).uniform(0, 1000, (80, 2)), square(7, 8), hexagons(8, 7)],
    ids=["random", "square with ties", "hexagonal with ties"],
)
def test_equals_brute_force(centers: np.ndarray, k: int) -> None:
    assert (nearest_spots(centers, k) == brute_force(centers, k)).all()


@pytest.mark.parametrize("k", [3, 8, 24])
@pytest.mark.parametrize("centers", [square(9, 9), hexagons(9, 8)], ids=["square", "hexagonal"])
def test_order_of_rows_does_not_change_who_is_near(centers: np.ndarray, k: int) -> None:
    order = np.random.default_rng(2).permutation(len(centers))
    assert (order[nearest_spots(centers[order], k)] == nearest_spots(centers, k)[order]).all()


def test_duplicates_are_neighbors_of_each_other_but_never_of_themselves() -> None:
    centers = np.repeat(square(2, 3), 3, axis=0)
    found = nearest_spots(centers, 4)
    assert (found == brute_force(centers, 4)).all()
    assert not (found == np.arange(len(centers))[:, None]).any()
    assert (found[:, :2] // 3 == np.arange(len(centers))[:, None] // 3).all()


def test_many_spots_at_one_place_are_never_their_own_neighbor() -> None:
    found = nearest_spots(np.zeros((60, 2)), 5)
    assert found.shape == (60, 5)
    assert not (found == np.arange(60)[:, None]).any()
    assert all(len(set(row)) == 5 for row in found.tolist())


def test_all_others_of_a_small_section() -> None:
    centers = np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    assert nearest_spots(centers, 2).tolist() == [[1, 2], [0, 2], [1, 0]]
    assert nearest_spots(centers, 0).shape == (3, 0)


def test_too_few_spots() -> None:
    with pytest.raises(ValueError, match="3 neighbors asked of 3 spots"):
        nearest_spots(np.zeros((3, 2)), 3)
