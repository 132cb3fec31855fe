"""The scale a Visium array tells."""

from __future__ import annotations

import numpy as np
import pytest

from st_predict.core.scale import visium_um_per_px

ROW, COL = (v.astype(float) for v in np.array([(r, c) for r in range(10) for c in range(r % 2, 20, 2)]).T)


def centers(um_per_px: float, degrees: float = 0.0) -> np.ndarray:
    """The array's centers in px: 100 um between neighbors, turned by some degrees."""
    um = np.column_stack([COL * 50.0, ROW * 50.0 * np.sqrt(3)])
    turn = np.deg2rad(degrees)
    return um @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) / um_per_px + (30, 70)


@pytest.mark.parametrize("degrees", [0, 3, 90, 180])
@pytest.mark.parametrize("um_per_px", [0.35, 2.6])
def test_scale_of_the_hexagons(um_per_px: float, degrees: float) -> None:
    assert visium_um_per_px(ROW, COL, centers(um_per_px, degrees)) == pytest.approx(um_per_px, rel=1e-9)


def test_scale_through_noise_of_a_pixel() -> None:
    noisy = centers(0.5) + np.random.default_rng(0).normal(0, 1, (len(ROW), 2))
    assert visium_um_per_px(ROW, COL, noisy) == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize(
    ("row", "col", "px"),
    [
        (ROW, COL + 1, centers(0.5)),  # row + column odd: not a Visium array
        (ROW + 100, COL, centers(0.5)),  # more rows than a slide has
        (ROW, COL, np.random.default_rng(0).uniform(0, 900, (len(ROW), 2))),  # centers that do not follow the array
        (ROW[:2], COL[:2], centers(0.5)[:2]),
        (ROW[:5], COL[:5], centers(0.5)[:5]),  # one line
    ],
    ids=["odd", "large", "unrelated", "two spots", "one row"],
)
def test_no_scale_where_it_is_no_visium_array(row: np.ndarray, col: np.ndarray, px: np.ndarray) -> None:
    assert visium_um_per_px(row, col, px) is None
