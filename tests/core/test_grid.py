"""Arrays that cover an image."""

from __future__ import annotations

import numpy as np
import pytest

from st_predict.core.grid import grid_points


@pytest.mark.parametrize("layout", ["hex", "square"])
@pytest.mark.parametrize("size", [(1000.0, 700.0), (37.0, 900.0), (3.0, 3.0)])
def test_every_place_of_the_image_is_near_a_spot(layout: str, size: tuple[float, float]) -> None:
    points, rows, cols = grid_points(size, 20.0, layout)
    assert ((points > 0) & (points < size)).all() or len(points) == 0
    assert len(points) == len(rows) == len(cols)
    if min(size) < 20:
        return
    probe = np.random.default_rng(0).uniform((0, 0), size, (200, 2))
    apart = np.linalg.norm(probe[:, None] - points, axis=2).min(axis=1)
    assert apart.max() <= 20 * (1 if layout == "hex" else np.sqrt(0.5)) * 1.5


def test_hexagons_are_numbered_as_on_visium() -> None:
    points, rows, cols = grid_points((100.0, 100.0), 20.0, "hex")
    assert points[:2].tolist() == [[10, 10], [30, 10]] and cols[:2].tolist() == [0, 2]
    first = np.flatnonzero(rows == 1)[0]
    assert cols[first] == 1 and points[first].tolist() == pytest.approx([20, 10 + 20 * np.sqrt(3) / 2])
