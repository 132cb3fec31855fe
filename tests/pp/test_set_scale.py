"""The three ways to state a scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import geopandas
import numpy as np
import pytest
from shapely.geometry import box
from spatialdata import SpatialData
from spatialdata.models import Image2DModel, ShapesModel

from st_predict.core.errors import InputError
from st_predict.pp import set_scale

Make = Callable[..., SpatialData]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"um_per_px": 0.5}, 0.5),
        ({"spot_diameter_um": 55.0}, 55 / 16),  # radius 8 px
        ({"pitch_um": 100.0}, 100 / 24),  # 24 px between neighbors
    ],
)
@pytest.mark.parametrize("table", [True, False])
def test_three_ways(make_section: Make, given: dict[str, float], expected: float, table: bool) -> None:
    sdata = make_section("A", um_per_px=None, table=table)
    assert set_scale(sdata, **given) == pytest.approx(expected)
    assert sdata.attrs["st_predict"]["um_per_px"] == {"A_image": pytest.approx(expected)}


def test_an_earlier_scale_is_replaced_and_others_stay(make_section: Make) -> None:
    sdata = make_section("A", um_per_px=4.0)
    sdata.images["B_image"] = sdata.images["A_image"]
    set_scale(sdata, um_per_px=0.25, image_key="B_image")
    set_scale(sdata, um_per_px=0.5, image_key="A_image")
    assert sdata.attrs["st_predict"]["um_per_px"] == {"A_image": 0.5, "B_image": 0.25}


def test_pitch_is_the_median_so_gaps_do_not_count(make_section: Make) -> None:
    sdata = make_section("A", um_per_px=None, table=False)
    sdata.shapes["A"] = sdata.shapes["A"].drop(index=[1, 7])  # the corner spot is left alone, 34 px from the next
    assert set_scale(sdata, pitch_um=100.0) == pytest.approx(100 / 24)


def test_lengths_are_measured_in_pixels_of_the_image(make_section: Make) -> None:
    from spatialdata.transformations import Scale

    sdata = make_section("A", um_per_px=None)
    halves = {"global": Scale([2.0, 2.0], axes=("x", "y"))}
    shapes = sdata.shapes["A"]
    centers = np.column_stack([shapes.geometry.x, shapes.geometry.y]) / 2
    sdata.shapes["A"] = ShapesModel.parse(centers, geometry=0, radius=4.0, transformations=halves)
    assert set_scale(sdata, spot_diameter_um=55.0) == pytest.approx(55 / 16)
    assert set_scale(sdata, pitch_um=100.0) == pytest.approx(100 / 24)


@pytest.mark.parametrize("given", [{}, {"um_per_px": 0.5, "pitch_um": 100.0}])
def test_exactly_one(make_section: Make, given: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"{len(given)} of um_per_px, spot_diameter_um, pitch_um are given"):
        set_scale(make_section("A"), **given)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"um_per_px": 0.0}, "um_per_px is 0"),
        ({"um_per_px": float("nan")}, "um_per_px is nan"),
        ({"um_per_px": 250.0}, "um_per_px is 250.0"),
        ({"spot_diameter_um": -55.0}, "spot_diameter_um is -55"),
        ({"pitch_um": 1e5}, "pitch_um is 4166.67 um per pixel"),
    ],
)
def test_absurd_lengths_leave_the_scale_alone(make_section: Make, given: dict[str, float], text: str) -> None:
    sdata = make_section("A", um_per_px=4.0)
    with pytest.raises(InputError, match=text):
        set_scale(sdata, **given)
    assert sdata.attrs["st_predict"]["um_per_px"] == {"A_image": 4.0}


@pytest.mark.parametrize(
    ("grid", "said", "remedy"),
    [
        ((1, 1), "^1 spots at one place have no pitch\n", "give um_per_px instead"),
        (
            (2, 2),
            r"^most spots lie on top of one another \(4 of 4\)\n",
            "check the positions against those of the section",
        ),
    ],
)
def test_pitch_of_spots_at_one_place(make_section: Make, grid: tuple[int, int], said: str, remedy: str) -> None:
    sdata = make_section("A", grid=grid, um_per_px=None)
    sdata.shapes["A"] = ShapesModel.parse(np.full((grid[0] * grid[1], 2), 20.0), geometry=0, radius=8.0)
    with pytest.raises(InputError, match=said) as error:
        set_scale(sdata, pitch_um=100.0)
    assert error.value.remedy == remedy


def test_diameter_of_bins(make_section: Make) -> None:
    sdata = make_section("A", table=False)
    squares = [box(x, 5, x + 10, 15) for x in (5, 25, 45)]
    sdata.shapes["A"] = ShapesModel.parse(geopandas.GeoDataFrame(geometry=squares))
    with pytest.raises(InputError, match="shapes 'A' are not circles"):
        set_scale(sdata, spot_diameter_um=55.0)


def test_several_images(make_section: Make) -> None:
    sdata = make_section("A")
    blank: Any = Image2DModel.parse(np.zeros((3, 200, 200), np.uint8), dims=("c", "y", "x"))
    sdata.images["other"] = blank
    with pytest.raises(InputError, match="2 candidates for the image"):
        set_scale(sdata, um_per_px=0.5)
