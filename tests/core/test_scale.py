"""The scale a Visium array tells."""

from __future__ import annotations

import numpy as np
import pytest

from st_predict.core.scale import bins_um_per_px, visium_um_per_px

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
        (ROW, COL + (COL > 4), centers(0.5)),  # row + column odd for some: not a Visium array
        (ROW + 200, COL + 200, centers(0.5)),  # more rows than a slide has
        (ROW, COL, np.random.default_rng(0).uniform(0, 900, (len(ROW), 2))),  # centers that do not follow the array
        (ROW[:2], COL[:2], centers(0.5)[:2]),
        (ROW[:5], COL[:5], centers(0.5)[:5]),  # one line
        (ROW, COL, centers(0.5) * (1, 1.2)),  # of an image that was stretched
        (ROW, COL, centers(0.5) @ [[1, 0.2], [0, 1]]),  # or skewed
        (ROW, np.where(COL == 4, np.nan, COL), centers(0.5)),
    ],
    ids=["odd", "large", "unrelated", "two spots", "one row", "stretched", "skewed", "missing"],
)
def test_no_scale_where_it_is_no_visium_array(row: np.ndarray, col: np.ndarray, px: np.ndarray) -> None:
    assert visium_um_per_px(row, col, px) is None


@pytest.mark.parametrize(("row", "col"), [(ROW + 1, COL), (ROW, COL + 1), (ROW + 1, COL + 1)])
def test_scale_of_an_array_that_is_counted_from_1(row: np.ndarray, col: np.ndarray) -> None:
    assert visium_um_per_px(row, col, centers(0.5)) == pytest.approx(0.5, rel=1e-9)


@pytest.mark.parametrize("degrees", [0, 90, 183])
def test_exchanged_axes_are_told_by_their_steps(degrees: float, caplog: pytest.LogCaptureFixture) -> None:
    """Taken as they are, the columns of an array of 0.5 um a px would give 0.289."""
    assert visium_um_per_px(COL, ROW, centers(0.5, degrees)) == pytest.approx(0.5, rel=1e-9)
    assert "array_row and array_col are exchanged: a step of array_row is 0.58 times one of array_col" in caplog.text
    caplog.clear()
    assert visium_um_per_px(ROW, COL, centers(0.5, degrees)) == pytest.approx(0.5, rel=1e-9)
    assert not caplog.text


@pytest.mark.parametrize("degrees", [0, 3, 180])
def test_exchanged_pixels_are_said_though_the_scale_is_right(degrees: float, caplog: pytest.LogCaptureFixture) -> None:
    assert visium_um_per_px(ROW, COL, centers(0.5, degrees)[:, ::-1], say=False) == pytest.approx(0.5, rel=1e-9)
    assert "x and y of the spots look exchanged" in caplog.text


@pytest.mark.parametrize("degrees", [0, 3, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_an_image_that_is_turned_or_mirrored_is_not_exchanged(
    degrees: float, mirrored: bool, caplog: pytest.LogCaptureFixture
) -> None:
    px = centers(0.5, degrees)
    if mirrored and degrees % 180 < 90:
        px[:, 0] *= -1
    assert visium_um_per_px(ROW, COL, px) == pytest.approx(0.5, rel=1e-9) and not caplog.text


@pytest.mark.parametrize("exchanged", [False, True])
def test_areas_of_11_mm(exchanged: bool) -> None:
    row, col = (v.astype(float) for v in np.array([(r, c) for r in range(128) for c in range(r % 2, 224, 2)]).T)
    px = np.column_stack([col * 50.0, row * 50.0 * np.sqrt(3)]) / 0.27
    assert visium_um_per_px(*((col, row) if exchanged else (row, col)), px) == pytest.approx(0.27, rel=1e-9)


def test_an_array_that_is_no_hexagon_says_so(caplog: pytest.LogCaptureFixture) -> None:
    assert visium_um_per_px(ROW, COL, np.column_stack([COL, ROW]) * 50) is None
    assert "a step of array_row is 1.00 times one of array_col, but 1.73 times in a Visium array" in caplog.text


@pytest.mark.parametrize("bin_um", [2, 8, 16])
def test_bins_of_known_size(bin_um: float, caplog: pytest.LogCaptureFixture) -> None:
    row, col = (v.ravel().astype(float) for v in np.mgrid[100:130, 7:45])
    turn = np.deg2rad(2)
    turned = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    px = np.column_stack([col, row]) * bin_um @ turned / 0.27 + 500
    known = {"bin_um": bin_um, "side_px": bin_um / 0.27}
    assert bins_um_per_px(row, col, px, **known) == pytest.approx(0.27, rel=1e-9)
    assert bins_um_per_px(row, np.full_like(col, np.nan), px, **known) is None
    assert not caplog.text
    for other in (px @ [[1, 0], [0, 1.3]], 2 * px):  # stretched; of a coarser array
        assert bins_um_per_px(row, col, other, **known) is None
        assert f"bins are {bin_um / 0.27:.1f} px wide and lie" in caplog.text
