"""The scale: as written down, else from a Visium array, else unknown."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import spatialdata
from spatialdata import SpatialData
from spatialdata.models import ShapesModel, TableModel

from st_predict._spatialdata.read import read_section
from st_predict._spatialdata.scale import store_scale, stored_scale
from st_predict.core.errors import InputError
from st_predict.pp import set_scale

Make = Callable[..., SpatialData]


def scale_of(sdata: SpatialData) -> float | None:
    return read_section(sdata, need_counts=False)[0].um_per_px


def as_visium(sdata: SpatialData, um_per_px: float) -> SpatialData:
    """Put the 6 x 7 spots where a Visium array of this scale has them."""
    row, col = (v.ravel() for v in np.mgrid[:6, :7])
    array_col = 2 * col + row % 2
    obs = sdata.tables["table"].obs
    obs["array_row"], obs["array_col"] = row, array_col
    centers = np.column_stack([array_col * 50.0, row * 50.0 * np.sqrt(3)]) / um_per_px + 8
    sdata.shapes["A"] = ShapesModel.parse(centers, geometry=0, radius=8.0)
    return sdata


def test_as_written_down(make_section: Make) -> None:
    assert scale_of(make_section("A", um_per_px=0.37)) == 0.37


def test_unknown_is_never_guessed(make_section: Make) -> None:
    assert scale_of(make_section("A", um_per_px=None)) is None


def test_from_the_hexagons_of_a_visium_array(make_section: Make) -> None:
    assert scale_of(as_visium(make_section("A", um_per_px=None), 4.6)) == pytest.approx(4.6)


@pytest.mark.parametrize("kind", [int, str, float])
def test_from_an_array_whose_axes_are_exchanged(make_section: Make, kind: type) -> None:
    sdata = as_visium(make_section("A", um_per_px=None), 4.6)
    obs = sdata.tables["table"].obs
    obs["array_row"], obs["array_col"] = obs["array_col"].astype(kind), obs["array_row"].astype(kind)
    assert scale_of(sdata) == pytest.approx(4.6)


@pytest.mark.parametrize(
    "names",
    [
        ("table", "A_square_016um"),
        ("square_016um", "A_square_016um"),
        ("square_016um", "A"),
        ("table", "Square_016um"),
        ("square_016um_filtered", "sp_square_16um"),
    ],
)
def test_from_the_bins_of_visium_hd(make_section: Make, names: tuple[str, str]) -> None:
    """As spatialdata-io names them; the scale is written nowhere in what it reads."""
    made = make_section("A", um_per_px=None)
    table = made.tables["table"]
    table.obs["array_row"], table.obs["array_col"] = (v.ravel() + 30 for v in np.mgrid[:6, :7])
    table.obs["region"] = pd.Categorical([names[1]] * table.n_obs)
    del table.uns["spatialdata_attrs"]
    table = TableModel.parse(table, region=names[1], region_key="region", instance_key="instance_id")
    bins = made.shapes["A"].assign(radius=12.0)  # as wide as they lie apart
    sdata = SpatialData(images=dict(made.images), shapes={names[1]: bins}, tables={names[0]: table})
    assert scale_of(sdata) == pytest.approx(16 / 24)  # bins of 16 um lie 24 px apart
    sdata.shapes[names[1]] = ShapesModel.parse(
        bins.assign(geometry=bins.buffer(12, cap_style="square")).drop(columns="radius")
    )
    assert scale_of(sdata) == pytest.approx(16 / 24)


def test_bins_of_two_sides_tell_no_scale(make_section: Make, caplog: pytest.LogCaptureFixture) -> None:
    made = make_section("A_square_016um", um_per_px=None)
    table = made.tables["table"]
    table.obs["array_row"], table.obs["array_col"] = (v.ravel() for v in np.mgrid[:6, :7])
    shapes = {"A_square_016um": made.shapes["A_square_016um"].assign(radius=12.0)}
    assert scale_of(SpatialData(images=dict(made.images), shapes=shapes, tables={"square_008um": table})) is None
    assert "table 'square_008um' and shapes 'A_square_016um' name bins of different sizes" in caplog.text


def test_what_is_written_down_goes_before_the_array(make_section: Make, caplog: pytest.LogCaptureFixture) -> None:
    assert scale_of(as_visium(make_section("A", um_per_px=4.5), 4.6)) == 4.5
    assert not caplog.text, "so much comes from how it was measured"
    assert scale_of(as_visium(make_section("A", um_per_px=2.3), 4.6)) == 2.3
    assert "image 'A_image' is stored with 2.3 um a pixel, but the distances between its spots give 4.6" in caplog.text
    assert "st_predict.pp.set_scale(sdata, um_per_px=4.6)" in caplog.text


@pytest.mark.parametrize("value", ["0.5", True, -1, 500, float("nan"), 0])
def test_a_scale_that_is_none_is_refused(make_section: Make, value: Any) -> None:
    sdata = make_section("A", um_per_px=value)
    with pytest.raises(InputError, match=re.escape("sdata.attrs['st_predict']['um_per_px']['A_image'] is ")):
        read_section(sdata, need_counts=False)
    set_scale(sdata, um_per_px=0.5)
    assert scale_of(sdata) == 0.5


@pytest.mark.parametrize("value", ["mine", None, {"um_per_px": 0.5}])
def test_notes_of_others_under_our_name(make_section: Make, value: Any) -> None:
    sdata = make_section("A")
    sdata.attrs["st_predict"] = value
    for run in (lambda: read_section(sdata, need_counts=False), lambda: set_scale(sdata, um_per_px=0.5)):
        with pytest.raises(
            InputError, match="sdata.attrs\\['st_predict'\\] holds .* not written by st_predict"
        ) as error:
            run()
        assert "sdata.attrs.pop('st_predict')" in error.value.remedy
    assert sdata.attrs["st_predict"] == value, "it stays as it is"


@pytest.mark.parametrize("change", ["a gap", "rows from 1", "Array_Row"])
def test_arrays_as_they_come(make_section: Make, change: str) -> None:
    sdata = as_visium(make_section("A", um_per_px=None), 4.6)
    table = sdata.tables["table"]
    obs = table.obs
    if change == "a gap":
        obs["array_row"] = obs["array_row"].where(np.arange(42) != 3)
    elif change == "rows from 1":
        obs["array_row"] += 1
    else:
        table.obs = obs.rename(columns={"array_row": "Array_Row", "array_col": "Array_Col"})
    assert scale_of(sdata) == pytest.approx(4.6)


def test_columns_of_that_name_on_another_array(make_section: Make) -> None:
    sdata = make_section("A", um_per_px=None)
    row, col = (v.ravel() for v in np.mgrid[:6, :7])
    obs = sdata.tables["table"].obs
    obs["array_row"], obs["array_col"] = row, col
    assert scale_of(sdata) is None


def test_images_keep_a_scale_each(make_section: Make) -> None:
    sdata = make_section("A", um_per_px=None)
    sdata.attrs["mine"] = 1
    store_scale(sdata, "A_image", 0.5)
    store_scale(sdata, "other", 2)
    assert sdata.attrs == {"mine": 1, "st_predict": {"um_per_px": {"A_image": 0.5, "other": 2.0}}}
    assert stored_scale(sdata, "A_image") == 0.5 and stored_scale(sdata, "third") is None


def test_scale_is_kept_on_disk(make_section: Make, tmp_path: Path) -> None:
    make_section("A", um_per_px=0.37).write(tmp_path / "a.zarr")
    assert scale_of(spatialdata.read_zarr(tmp_path / "a.zarr")) == 0.37
