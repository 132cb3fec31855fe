"""Which elements are meant: found where there is one, asked where there are several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import spatialdata
from shapely.geometry import box
from spatialdata import SpatialData
from spatialdata.models import Image2DModel, ShapesModel

from st_predict._spatialdata.keys import Elements, place
from st_predict.core.errors import InputError

Make = Callable[..., SpatialData]


def blank(side: int = 40) -> Any:
    return Image2DModel.parse(np.zeros((3, side, side), np.uint8), dims=("c", "y", "x"), c_coords=["r", "g", "b"])


def test_one_of_each_is_found(make_section: Make) -> None:
    assert place(make_section("A"), need_table=True) == ("A_image", "A", "table", None)


def test_without_table(make_section: Make) -> None:
    bare = make_section("A", table=False)
    assert place(bare, need_table=False) == ("A_image", "A", None, None)
    with pytest.raises(InputError, match="the SpatialData has no table"):
        place(bare, need_table=True)


@pytest.mark.parametrize("given", ["a path", None, 3, {"A": 1}])
def test_not_a_spatialdata(given: Any) -> None:
    with pytest.raises(InputError, match=f"a {type(given).__name__} was given") as error:
        place(given, need_table=False)
    assert "spatialdata.read_zarr(path)" in error.value.remedy


def test_several_images_are_asked_for_by_name(make_section: Make) -> None:
    sdata = make_section("A")
    sdata.images["IF"] = blank()
    with pytest.raises(InputError, match="there are 2 candidates for the image: A_image, IF") as error:
        place(sdata, need_table=True)
    assert error.value.where == "image_key" and "pass image_key='A_image' (or another)" in error.value.remedy
    assert place(sdata, Elements(image_key="IF"), need_table=True).image == "IF"
    with pytest.raises(InputError, match="there is no image 'HE'") as error:
        place(sdata, Elements(image_key="HE"), need_table=True)
    assert error.value.expected == "one of A_image, IF"


def test_no_image(make_section: Make) -> None:
    sdata = make_section("A")
    del sdata.images["A_image"]
    with pytest.raises(InputError, match="the SpatialData has no image"):
        place(sdata, need_table=True)


def test_reduced_copies_step_back_where_the_full_image_is(make_section: Make) -> None:
    sdata = make_section("A")
    del sdata.images["A_image"]
    for name in ("A_hires_image", "A_lowres_image"):
        sdata.images[name] = blank()
    with pytest.raises(InputError, match="there are 2 candidates for the image"):
        place(sdata, need_table=True)
    sdata.images["A_full_image"] = blank()
    assert place(sdata, need_table=True).image == "A_full_image"
    sdata.images["B_hires_image"] = blank()
    with pytest.raises(InputError, match="A_full_image, B_hires_image|B_hires_image, A_full_image"):
        place(sdata, need_table=True)


def test_several_tables_are_asked_for_by_name(make_section: Make) -> None:
    sdata = make_section("A")
    sdata.tables["bins"] = sdata.tables["table"].copy()
    with pytest.raises(InputError, match="there are 2 candidates for the table") as error:
        place(sdata, need_table=True)
    assert error.value.where == "table_key"
    assert place(sdata, Elements(table_key="bins"), need_table=True).table == "bins"
    with pytest.raises(InputError, match="there is no table 'cells'"):
        place(sdata, Elements(table_key="cells"), need_table=True)


def test_tables_that_annotate_nothing_step_back(make_section: Make) -> None:
    sdata = make_section("A")
    free = sdata.tables["table"].copy()
    del free.uns["spatialdata_attrs"]
    sdata.tables["reference"] = free
    assert place(sdata, need_table=True).table == "table"


def test_table_that_is_not_linked(make_section: Make) -> None:
    sdata = make_section("A")
    table = sdata.tables["table"].copy()
    del table.uns["spatialdata_attrs"]
    del sdata.tables["table"]
    sdata.tables["table"] = table
    with pytest.raises(InputError, match="table 'table' is not linked to shapes") as error:
        place(sdata, need_table=True)
    exec(error.value.remedy.split(": ", 1)[1], {"sdata": sdata, "pandas": pd, "spatialdata": spatialdata})
    assert place(sdata, need_table=True) == ("A_image", "A", "table", None)


def test_a_table_is_linked_to_shapes_that_are_there_as_the_remedy_says(make_section: Make) -> None:
    sdata = make_section("A")
    sdata.shapes["renamed"] = sdata.shapes["A"]
    del sdata.shapes["A"]
    with pytest.raises(InputError, match="^table 'table' annotates 'A', which is not among the shapes") as error:
        place(sdata, need_table=True)
    exec(error.value.remedy.split(": ", 1)[1], {"sdata": sdata, "pandas": pd})
    assert place(sdata, need_table=True).shapes == "renamed"


def test_table_of_shapes_that_are_not_there(make_section: Make) -> None:
    sdata = make_section("A")
    del sdata.shapes["A"]
    with pytest.raises(InputError, match="table 'table' annotates 'A', which is not among the shapes \\(none\\)"):
        place(sdata, need_table=True)


def test_slides_take_circles_and_leave_outlines(make_section: Make) -> None:
    sdata = make_section("A", table=False)
    sdata.shapes["tissue"] = ShapesModel.parse(geopandas.GeoDataFrame(geometry=[box(0, 0, 20, 20)]))
    assert place(sdata, need_table=False).shapes == "A"
    assert place(sdata, Elements(shapes_key="tissue"), need_table=False).shapes == "tissue"
    sdata.shapes["B"] = sdata.shapes["A"].copy()
    with pytest.raises(InputError, match="there are 2 candidates for the shapes: A, B"):
        place(sdata, need_table=False)


def test_bins_without_circles_are_found(make_section: Make) -> None:
    sdata = make_section("A", table=False)
    del sdata.shapes["A"]
    sdata.shapes["bins"] = ShapesModel.parse(geopandas.GeoDataFrame(geometry=[box(0, 0, 20, 20)]))
    assert place(sdata, need_table=False).shapes == "bins"
