"""Arrays that cover an image."""

from __future__ import annotations

import numpy as np
import pytest

from st_predict.core import grid as grid_module
from st_predict.core.grid import array_layout, grid_points, sublattices


def everywhere(points: np.ndarray) -> np.ndarray:
    return np.ones(len(points), bool)


@pytest.mark.parametrize("layout", ["hex", "square"])
@pytest.mark.parametrize("size", [(1000.0, 700.0), (37.0, 900.0), (3.0, 3.0)])
def test_every_place_of_the_image_is_near_a_spot(layout: str, size: tuple[float, float]) -> None:
    points, rows, cols = grid_points(size, 20.0, layout, everywhere)
    assert ((points > 0) & (points < size)).all() or len(points) == 0
    assert len(points) == len(rows) == len(cols)
    if min(size) < 20:
        return
    probe = np.random.default_rng(0).uniform((0, 0), size, (200, 2))
    apart = np.linalg.norm(probe[:, None] - points, axis=2).min(axis=1)
    assert apart.max() <= 20 * (1 if layout == "hex" else np.sqrt(0.5)) * 1.5


def test_hexagons_are_numbered_as_on_visium() -> None:
    points, rows, cols = grid_points((100.0, 100.0), 20.0, "hex", everywhere)
    assert points[:2].tolist() == [[10, 10], [30, 10]] and cols[:2].tolist() == [0, 2]
    first = np.flatnonzero(rows == 1)[0]
    assert cols[first] == 1 and points[first].tolist() == pytest.approx([20, 10 + 20 * np.sqrt(3) / 2])


def test_places_are_kept_a_band_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def disk(points: np.ndarray) -> np.ndarray:
        return np.linalg.norm(points - 200, axis=1) < 150

    whole = grid_points((400.0, 500.0), 20.0, "hex", everywhere)
    kept = disk(whole[0])
    monkeypatch.setattr(grid_module, "_BAND_POINTS", 50)
    for found, expected in zip(grid_points((400.0, 500.0), 20.0, "hex", disk), whole, strict=True):
        np.testing.assert_array_equal(found, expected[kept])


@pytest.mark.parametrize("layout", ["hex", "square"])
@pytest.mark.parametrize("step", [2, 3])
def test_sublattices_are_arrays_of_the_wider_pitch(layout: str, step: int) -> None:
    points, rows, cols = grid_points((400.0, 400.0), 20.0, layout, everywhere)
    arrays = sublattices(rows, cols, layout, step)
    assert sorted(set(arrays.tolist())) == list(range(step**2))
    n_nearest = 6 if layout == "hex" else 4
    for array in range(step**2):
        mine = points[arrays == array]
        apart = np.sort(np.linalg.norm(mine[:, None] - mine, axis=2), axis=1)[:, 1:]
        inner = np.flatnonzero((np.abs(mine - 200) < 100).all(axis=1))
        np.testing.assert_allclose(apart[inner, :n_nearest], 20 * step)
        assert (apart[inner, n_nearest] > 20 * step * 1.3).all()


@pytest.mark.parametrize("angle", [0.0, 0.5, np.pi / 2])
@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("scatter", [0.0, 2.0])
@pytest.mark.parametrize("layout", ["hex", "square"])
def test_layout_is_told_from_places(layout: str, scatter: float, missing: float, angle: float) -> None:
    """Whole or with holes, turned, and with spots a tenth of the pitch off their place."""
    rng = np.random.default_rng(0)
    points = grid_points((300.0, 280.0), 20.0, layout, lambda points: rng.random(len(points)) >= missing)[0]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert array_layout((points + rng.normal(0, scatter, points.shape)) @ turn) == layout


@pytest.mark.parametrize(
    "centers",
    [
        np.random.default_rng(0).uniform(0, 1000, (400, 2)),
        np.column_stack([np.arange(40.0), np.zeros(40)]),
        grid_points((50.0, 30.0), 20.0, "hex", everywhere)[0],
        np.zeros((30, 2)),
        np.zeros((1, 2)),
    ],
    ids=["random", "a line", "few", "one place", "one"],
)
def test_no_layout_where_there_is_none(centers: np.ndarray) -> None:
    assert array_layout(centers) is None
