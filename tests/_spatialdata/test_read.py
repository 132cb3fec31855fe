"""A SpatialData to a Section: rows, names and places as they are meant, whatever the order or the frame."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
import spatialdata
from shapely.geometry import Polygon, box
from spatialdata import SpatialData
from spatialdata.models import ShapesModel
from spatialdata.transformations import Affine, Identity, MapAxis, Scale, Sequence, Translation, set_transformation

import st_predict as stp
from st_predict._spatialdata.keys import Elements
from st_predict._spatialdata.read import read_section, spot_diameter_px
from st_predict.core.errors import InputError

Make = Callable[..., SpatialData]


def truth() -> np.ndarray:
    row, col = (v.ravel() for v in np.mgrid[:6, :7])
    return np.column_stack([col * 24 + 22.0, row * 24 + 17.0])


def read(sdata: SpatialData, **choice: Any) -> Any:
    return read_section(sdata, Elements(**choice), need_counts=True)[0]


def test_plain_section(make_section: Make) -> None:
    section = read(make_section("A", subject="P1"))
    assert (section.name, section.subject, section.um_per_px) == ("A", "P1", 4.0)
    assert np.array_equal(section.centers_px, truth())
    assert section.counts.shape == (42, 24) and section.gene_names.tolist() == [f"g{i}" for i in range(24)]


@pytest.mark.parametrize(
    ("radius", "says"),
    [
        (-1.0, "has the radius"),
        (0.0, "has the radius"),
        (np.nan, "has the radius"),
        (1e9, "is 2e[+]09 px wide, on an image of 198 x 164 px"),
    ],
)
@pytest.mark.parametrize("spots", [slice(None), slice(3, 4)], ids=["all", "one"])
def test_circles_that_are_none_are_refused(make_section: Make, radius: float, says: str, spots: slice) -> None:
    sdata = make_section("A")
    sdata.shapes["A"].iloc[spots, list(sdata.shapes["A"]).index("radius")] = radius
    with pytest.raises(InputError, match=f"a circle of shapes 'A' {says}"):
        read(sdata)


def test_shapes_in_another_order_than_the_table(make_section: Make) -> None:
    sdata = make_section("A")
    order = np.random.default_rng(0).permutation(42)
    sdata.shapes["A"] = sdata.shapes["A"].iloc[order]
    assert np.array_equal(read(sdata).centers_px, truth())


def test_table_with_fewer_rows_in_another_order(make_section: Make) -> None:
    sdata = make_section("A")
    chosen = [30, 2, 17, 5]
    table = sdata.tables["table"][chosen].copy()
    counts = sdata.tables["table"].X.toarray()[chosen]
    del sdata.tables["table"]
    sdata.tables["table"] = table
    section = read(sdata)
    assert np.array_equal(section.centers_px, truth()[chosen]) and np.array_equal(section.counts.toarray(), counts)


@pytest.mark.parametrize("kind", ["images", "shapes"])
@pytest.mark.parametrize("x", [[0.0, 0.0, 3.0], [2.0, 2.0, 0.0], [np.nan, 0.0, 0.0]])
def test_a_singular_transformation_is_refused(make_section: Make, kind: str, x: list[float]) -> None:
    sdata = make_section("A")
    key = {"images": "A_image", "shapes": "A"}[kind]
    flat = Affine([x, [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], input_axes=("x", "y"), output_axes=("x", "y"))
    set_transformation(getattr(sdata, kind)[key], flat, "global")
    with pytest.raises(InputError, match=f"the transformation of '{key}' to 'global' is singular") as error:
        read(sdata)
    assert error.value.where == f"sdata.{kind}['{key}']" and "to_coordinate_system='global'" in error.value.remedy


@pytest.mark.parametrize(
    ("dtype", "said"),
    [(bool, "counts are True or False"), (object, "counts are of type object, which are not real numbers")],
)
@pytest.mark.parametrize("layer", [None, "raw"])
@pytest.mark.parametrize("dense", [True, False])
def test_detection_is_no_count(make_section: Make, dense: bool, layer: str | None, dtype: type, said: str) -> None:
    sdata = make_section("A")
    table = sdata.tables["table"]
    found = table.X > 0
    if dense or dtype is object:  # no sparse matrix is of objects
        found = found.toarray().astype(dtype)
    if layer is None:
        table.X = found
    else:
        table.layers[layer] = found
    with pytest.raises(InputError, match=said):
        read(sdata, layer=layer)


SWAP = Affine([[0, 1, 0], [1, 0, 0], [0, 0, 1]], input_axes=("x", "y"), output_axes=("x", "y"))
SHEAR = Affine([[1.2, 0.3, 5], [-0.1, 0.8, -7], [0, 0, 1]], input_axes=("x", "y"), output_axes=("x", "y"))


@pytest.mark.parametrize(
    ("forward", "matrix"),
    [
        (Translation([5.0, -3.0], axes=("x", "y")), [[1, 0, 5], [0, 1, -3]]),
        (Scale([2.0, 0.5], axes=("x", "y")), [[2, 0, 0], [0, 0.5, 0]]),
        (SWAP, [[0, 1, 0], [1, 0, 0]]),
        (MapAxis({"x": "y", "y": "x"}), [[0, 1, 0], [1, 0, 0]]),
        (SHEAR, [[1.2, 0.3, 5], [-0.1, 0.8, -7]]),
        (
            Sequence([Scale([2.0, 4.0], axes=("x", "y")), Translation([1.0, 2.0], axes=("x", "y"))]),
            [[2, 0, 1], [0, 4, 2]],
        ),
    ],
    ids=["translation", "scale", "swap", "map axes", "affine", "sequence"],
)
@pytest.mark.parametrize("multiscale", [False, True])
def test_spots_placed_through_a_transformation(
    make_section: Make, forward: Any, matrix: list[list[float]], multiscale: bool
) -> None:
    """Shapes stored in a frame of their own: ``forward`` takes them to the image's pixels."""
    sdata = make_section("A", multiscale=multiscale)
    linear, offset = np.array(matrix, float)[:, :2], np.array(matrix, float)[:, 2]
    own = (truth() - offset) @ np.linalg.inv(linear).T
    sdata.shapes["A"] = ShapesModel.parse(own, geometry=0, radius=8.0, transformations={"global": forward})
    assert np.allclose(read(sdata).centers_px, truth())


def test_image_and_shapes_both_placed(make_section: Make) -> None:
    """Image and spots each go to a common frame, and spots come back to pixels."""
    sdata = make_section("A")
    to_um = Sequence([Scale([4.0, 4.0], axes=("x", "y")), Translation([1000.0, -50.0], axes=("x", "y"))])
    for element in (sdata.images["A_image"], sdata.shapes["A"]):
        set_transformation(element, {"um": to_um}, set_all=True)
    assert np.allclose(read(sdata).centers_px, truth())
    own = truth() * 4 + (1000, -50)
    sdata.shapes["A"] = ShapesModel.parse(own, geometry=0, radius=32.0, transformations={"um": Identity()})
    assert np.allclose(read(sdata).centers_px, truth())
    keys = read_section(sdata, need_counts=True)[1]
    assert spot_diameter_px(sdata, keys) == pytest.approx(16)
    sdata.shapes["A"] = ShapesModel.parse(own[:, ::-1].copy(), geometry=0, radius=32.0, transformations={"um": SWAP})
    assert np.allclose(read(sdata).centers_px, truth())


def test_global_goes_before_other_systems(make_section: Make) -> None:
    sdata = make_section("A")
    set_transformation(sdata.shapes["A"], Translation([0.5, 0.5], axes=("x", "y")), "aligned")
    set_transformation(sdata.images["A_image"], Identity(), "aligned")
    assert np.allclose(read(sdata).centers_px, truth())


def test_no_common_system(make_section: Make) -> None:
    sdata = make_section("A")
    set_transformation(sdata.shapes["A"], {"elsewhere": Identity()}, set_all=True)
    with pytest.raises(InputError, match="shapes 'A' and image 'A_image' share no coordinate system") as error:
        read(sdata)
    assert "elsewhere against global" in error.value.what
    exec(error.value.remedy.split(": ", 1)[1], {"sdata": sdata, "spatialdata": spatialdata})
    np.testing.assert_array_equal(read(sdata).centers_px, truth())


def test_polygons_count_by_their_centroid(make_section: Make) -> None:
    sdata = make_section("A")
    squares = [box(x - 4, y - 6, x + 4, y + 6) for x, y in truth()]
    x, y = truth()[0]
    squares[0] = Polygon([(x - 6, y - 3), (x + 6, y - 3), (x, y + 6)])
    sdata.shapes["A"] = ShapesModel.parse(geopandas.GeoDataFrame(geometry=squares))
    assert np.allclose(read(sdata).centers_px, truth())
    with pytest.raises(InputError, match="shapes 'A' are not circles") as error:
        spot_diameter_px(sdata, read_section(sdata, need_counts=True)[1])
    assert "give um_per_px or pitch_um instead" in error.value.remedy


def test_a_shape_for_each_row(make_section: Make) -> None:
    sdata = make_section("A")
    instances = sdata.tables["table"].obs["instance_id"].to_numpy().copy()
    instances[:3] = instances[3:6]
    sdata.tables["table"].obs["instance_id"] = instances
    with pytest.raises(InputError, match="3 of 42 table rows name the same shape in 'A' as another row, for example 3"):
        read_section(sdata, need_counts=False)


@pytest.mark.parametrize("table", [True, False])
def test_an_index_for_each_shape(make_section: Make, table: bool) -> None:
    sdata = make_section("A", table=table)
    sdata.shapes["A"].index = [1, 1, *range(2, 42)]
    with pytest.raises(InputError, match="1 of 42 shapes 'A' have the same index as another, for example 1"):
        read_section(sdata, need_counts=table)


def test_rows_without_a_shape(make_section: Make) -> None:
    sdata = make_section("A")
    sdata.shapes["A"] = sdata.shapes["A"].iloc[2:]
    with pytest.raises(InputError, match="2 of 42 table rows name no shape in 'A', for example"):
        read(sdata)


def test_tables_of_two_regions(make_section: Make) -> None:
    sdata = make_section("A")
    table = sdata.tables["table"]
    table.obs["region"] = pd.Categorical(["A"] * 40 + ["B"] * 2)
    with pytest.raises(
        InputError, match="^2 of 42 rows of table 'table' annotate other shapes than 'A', for example 'B'"
    ) as error:
        read(sdata)
    assert "keep the rows of one region" in error.value.remedy


@pytest.mark.parametrize(("axis", "kind"), [("obs_names", "spot ids"), ("var_names", "genes")])
@pytest.mark.filterwarnings("ignore:.*names are not unique:UserWarning")
def test_names_that_occur_twice(make_section: Make, axis: str, kind: str) -> None:
    sdata = make_section("A")
    table = sdata.tables["table"]
    names = list(getattr(table, axis))
    setattr(table, axis, ["same", "same", *names[2:]])
    with pytest.raises(InputError, match=f"1 {kind} occur twice, for example 'same'") as error:
        read(sdata)
    assert axis in error.value.where


@pytest.mark.parametrize(("axis", "kind", "n"), [("obs_names", "spot ids", 42), ("var_names", "genes", 24)])
@pytest.mark.parametrize("name", [np.nan, None, "", " ", ("a", "b"), b"a", "g\udcff", "a\0b"])
@pytest.mark.parametrize("need_counts", [True, False])
@pytest.mark.filterwarnings(r"ignore:\s*AnnData expects:UserWarning")
def test_names_that_are_none(make_section: Make, axis: str, kind: str, n: int, name: Any, need_counts: bool) -> None:
    sdata = make_section("A")
    table = sdata.tables["table"]
    names = list(getattr(table, axis))
    of_all = isinstance(name, tuple)
    levels = pd.MultiIndex.from_tuples([(one, "b") for one in names])
    setattr(table, axis, levels if of_all else pd.Index([*names[:-1], name], dtype=object))
    n_lost, first = (n, 1) if of_all else (1, n)
    with pytest.raises(InputError) as error:
        read_section(sdata, need_counts=True) if need_counts else stp.to_anndata(sdata)
    assert str(error.value) == (
        f"{n_lost} of {n} {kind} have no name, for example number {first}\n"
        f"  where:    sdata.tables['table'].{axis}\n  expected: a name for each, as text that files can hold\n"
        f"  remedy:   name them, sdata.tables['table'].{axis} = [...], or leave them out"
    )


def test_a_table_without_genes_serves_prediction_alone(make_section: Make) -> None:
    sdata = make_section("A")
    sdata.tables["table"] = sdata.tables["table"][:, :0].copy()
    assert read_section(sdata, need_counts=False)[0].n_spots == 42
    with pytest.raises(InputError, match="^the table has no genes\n  where:    var\n"):
        read(sdata)


@pytest.mark.parametrize("column", ["section", "subject", "in_tissue", "feature_types", "array_row", "instance_id"])
@pytest.mark.parametrize("value", [["a"], {"a": 1}, np.array([1, 2])])
def test_columns_of_lists(make_section: Make, column: str, value: Any) -> None:
    sdata = make_section("A")
    table = sdata.tables["table"]
    frame = table.var if column == "feature_types" else table.obs
    frame[column] = pd.Series([value] * len(frame), index=frame.index, dtype=object)
    table.obs["array_col"] = table.obs["array_row"] if column == "array_row" else 1
    said = {
        "in_tissue": rf"^obs\['in_tissue'\] holds {re.escape(repr(str(value)))}\n  where:    obs\['in_tissue'\]\n",
        "instance_id": "^42 of 42 table rows name no shape in 'A', for example ",
    }
    if column in ("feature_types", "array_row"):
        assert read(sdata).n_spots == 42, "nothing of it is needed"
        return
    with pytest.raises(
        InputError, match=said.get(column, rf"^a value of obs\['{column}'\] is .*\n  where:    obs\['{column}'\]\n")
    ):
        read(sdata)


def test_lists_in_a_column_of_the_shapes(make_section: Make) -> None:
    sdata = make_section("A", table=False)
    sdata.shapes["A"]["in_tissue"] = [["yes"]] * 42
    with pytest.raises(InputError, match=r"^sdata.shapes\['A'\]\['in_tissue'\] holds \"\['yes'\]\""):
        read_section(sdata, need_counts=False)


@pytest.mark.parametrize("kind", ["X", "layer"])
def test_counts_behind_a_mask_are_missing(make_section: Make, kind: str) -> None:
    sdata = make_section("A")
    table = sdata.tables["table"]
    counts = table.X.toarray()
    masked = np.ma.masked_array(counts, np.arange(counts.size).reshape(counts.shape) == 5)
    if kind == "X":
        table.X = masked
    else:
        table.layers["counts"] = masked
    with pytest.raises(InputError, match="^1 counts are missing, NaN or infinite\n"):
        read(sdata, layer=None if kind == "X" else "counts")


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (1e300, r"^1 of 42 spots have no usable position, for example \[1e\+300, 17.0\]\n"),
        (-1e12, r"^1 of 42 spots have no usable position, for example \[-1000000000000.0, 17.0\]\n"),
        (1e5, "^1 of 42 spots lie off the image: spots span x 22 to 100000 and y 17 to 137, the image is 198 x 164 px"),
    ],
)
def test_a_spot_far_off(make_section: Make, x: float, said: str) -> None:
    sdata = make_section("A")
    sdata.shapes["A"].geometry = shapely.points([[x, 17.0], *truth()[1:]])
    with pytest.raises(InputError, match=said):
        read(sdata)


@pytest.mark.parametrize("outline", [shapely.Point(), Polygon(), shapely.MultiPolygon()], ids=str)
def test_a_spot_whose_shape_is_empty(make_section: Make, outline: Any) -> None:
    sdata = make_section("A")
    sdata.shapes["A"].geometry = [outline, *sdata.shapes["A"].geometry[1:]]
    with pytest.raises(InputError) as error:
        read(sdata)
    assert str(error.value) == (
        "1 of 42 spots have no usable position, for example [nan, nan]\n"
        "  where:    sdata.shapes['A']\n"
        "  expected: finite coordinates, in px of the image\n"
        "  remedy:   leave these spots out, or correct their places"
    )


def test_spots_at_one_place(make_section: Make, caplog: pytest.LogCaptureFixture) -> None:
    sdata = make_section("A")
    sdata.shapes["A"].geometry = shapely.points([truth()[1], *truth()[1:]])
    assert read(sdata).n_spots == 42, "two may share one: places are rounded"
    sdata.shapes["A"].geometry = shapely.points([truth()[0]] * 42)
    with pytest.raises(
        InputError, match=r"^most spots lie on top of one another \(42 of 42\)\n  where:    sdata.shapes\['A'\]"
    ):
        read(sdata)


@pytest.mark.parametrize("column", ["section", "subject"])
def test_a_name_that_no_file_can_hold(make_section: Make, column: str) -> None:
    sdata = make_section("A")
    obs = sdata.tables["table"].obs
    obs[column] = pd.Series("P\udcff", index=obs.index, dtype=object)  # text of Arrow holds none
    with pytest.raises(InputError) as error:
        read(sdata)
    assert str(error.value) == (
        f"obs[{column!r}] is 'P\\udcff'\n"
        f"  where:    obs[{column!r}]\n"
        f"  expected: the name of a {column}, as text that files can hold\n"
        "  remedy:   correct it, or drop the column"
    )


@pytest.mark.parametrize("column", ["section", "subject"])
def test_blanks_around_a_name_are_taken_off(make_section: Make, column: str) -> None:
    sdata = make_section("A")
    sdata.tables["table"].obs[column] = " P 1 "
    section = read(sdata)
    assert (section.name if column == "section" else section.subject) == "P 1"


@pytest.mark.parametrize(
    ("value", "text"),
    [(-1.0, "counts are negative"), (np.nan, "1 counts are missing"), (0.69, "log-transformed already")],
)
@pytest.mark.parametrize("dense", [False, True])
def test_values_that_are_no_counts(make_section: Make, value: float, text: str, dense: bool) -> None:
    sdata = make_section("A")
    table = sdata.tables["table"]
    values = table.X.toarray()
    values[3, 4] = value
    table.X = values if dense else type(table.X)(values)
    with pytest.raises(InputError, match=text) as error:
        read(sdata)
    assert error.value.where == "sdata.tables['table'].X"
    section, _ = read_section(sdata, need_counts=False)
    assert section.counts is None, "where counts are not used they are not checked"


def test_counts_of_a_layer(make_section: Make) -> None:
    sdata = make_section("A")
    table = sdata.tables["table"]
    raw = table.X.toarray()
    table.layers["counts"] = table.X.copy()
    table.X = np.log1p(raw)
    assert np.array_equal(read(sdata, layer="counts").counts.toarray(), raw)
    with pytest.raises(InputError, match="log-transformed already"):
        read(sdata)
    with pytest.raises(InputError, match="table 'table' has no layer 'raw'") as error:
        read(sdata, layer="raw")
    assert error.value.expected == "one of counts, or None for X"


@pytest.mark.parametrize("convert", [lambda x: x.toarray(), lambda x: x.tocsc(), lambda x: x.astype(np.int64)])
def test_counts_in_any_form(make_section: Make, convert: Any) -> None:
    sdata = make_section("A")
    expected = sdata.tables["table"].X.toarray()
    sdata.tables["table"].X = convert(sdata.tables["table"].X)
    counts = read(sdata).counts
    assert np.array_equal(counts.toarray() if hasattr(counts, "toarray") else counts, expected)


def test_several_subjects_in_one_section(make_section: Make) -> None:
    sdata = make_section("A", subject="P1")
    sdata.tables["table"].obs["subject"] = pd.Categorical(["P1"] * 40 + ["P2"] * 2)
    with pytest.raises(InputError, match="obs\\['subject'\\] has several values: P1, P2") as error:
        read(sdata)
    assert "one SpatialData for each section" in error.value.remedy


@pytest.mark.parametrize("column", ["subject", "section"])
def test_spots_without_a_subject_are_said(make_section: Make, column: str, caplog: Any) -> None:
    sdata = make_section("A", subject="P1")
    table = sdata.tables["table"]
    table.obs[column] = pd.Categorical(["P1"] * 22 + [None] * 20)
    assert getattr(read(sdata), "name" if column == "section" else column) == "P1"
    said = f"obs[{column!r}] has no value in 20 of 42 spots: they are taken to be of {column} 'P1', as the others are"
    assert said in caplog.text
    caplog.clear()
    table.obs["in_tissue"] = [1] * 22 + [0] * 20  # which take part in nothing
    read(sdata)
    assert "has no value" not in caplog.text


def test_name_without_a_section_column_is_that_of_the_shapes(make_section: Make) -> None:
    sdata = make_section("A")
    del sdata.tables["table"].obs["section"]
    assert read(sdata).name == "A" and read(sdata).subject is None


def test_spots_with_x_and_y_exchanged(make_section: Make) -> None:
    sdata = make_section("A", grid=(3, 12))
    own = np.column_stack([sdata.shapes["A"].geometry.y, sdata.shapes["A"].geometry.x])
    sdata.shapes["A"] = ShapesModel.parse(own, geometry=0, radius=8.0)
    with pytest.raises(InputError, match="axes look swapped") as error:
        read(sdata)
    assert error.value.where == "sdata.shapes['A'] on sdata.images['A_image']"


def test_spots_of_another_image(make_section: Make) -> None:
    sdata = make_section("A")
    sdata.shapes["A"] = ShapesModel.parse(truth() * 5, geometry=0, radius=8.0)
    with pytest.raises(InputError, match="of 42 spots lie off the image"):
        read(sdata)


def test_a_spot_over_the_edge_is_kept(make_section: Make, caplog: pytest.LogCaptureFixture) -> None:
    sdata = make_section("A")
    centers = truth()
    centers[0, 0] = -3
    sdata.shapes["A"] = ShapesModel.parse(centers, geometry=0, radius=8.0)
    with caplog.at_level(logging.WARNING, "st_predict"):
        assert read(sdata).centers_px[0, 0] == -3
    assert "1 of 42 spots lie off the image" in caplog.text


def test_slide_without_table(make_section: Make) -> None:
    section, keys = read_section(make_section("H", table=False), need_counts=False)
    assert keys.table is None and section.counts is None and len(section.gene_names) == 0
    assert np.array_equal(section.centers_px, truth())


def test_no_spots(make_section: Make) -> None:
    sdata = make_section("A")
    table = sdata.tables["table"]
    sdata.tables.data["table"] = table[[]].copy()  # as filtering leaves it; spatialdata itself refuses to add it
    with pytest.raises(InputError, match="there are no spots in 'A'"):
        read(sdata)


def backed(table: Any, folder: Path, *, dense: bool) -> Any:
    if dense:
        table.X = table.X.toarray()
    table.write_h5ad(folder / "table.h5ad")
    return anndata.read_h5ad(folder / "table.h5ad", backed="r")


@pytest.mark.parametrize("dense", [False, True])
def test_counts_of_a_table_that_is_backed(dense: bool, make_section: Make, tmp_path: Path) -> None:
    sdata = make_section("A")
    raw = sdata.tables["table"].X.toarray()
    sdata.tables["table"] = backed(sdata.tables["table"], tmp_path, dense=dense)
    counts = read(sdata).counts
    assert np.array_equal(counts if dense else counts.toarray(), raw)


def no_x(table: Any) -> None:
    table.X = None


def log_x(table: Any) -> None:
    table.X = table.X.log1p()


@pytest.mark.parametrize(
    ("spoil", "said"), [(no_x, "table 'table' has no X"), (log_x, "counts are not whole numbers (e.g. ")]
)
@pytest.mark.parametrize("kept", ["layer", "raw", "raw with fewer genes", None])
def test_the_place_that_holds_counts_is_named(
    spoil: Callable[[Any], None], said: str, kept: str | None, make_section: Make
) -> None:
    """What the remedy says is done, word for word."""
    sdata = make_section("A")
    table = sdata.tables["table"]
    expected = table.X.toarray()
    if kept == "layer":
        table.layers["my umis"] = table.X.copy()
        table.layers["scaled"] = table.X / 3
    elif kept == "raw":
        table.raw = table.copy()
    elif kept is not None:
        table.raw = table[:, 1:].copy()
    spoil(table)
    with pytest.raises(InputError, match=f"^{re.escape(said)}") as error:
        read(sdata)
    remedy = error.value.remedy
    if kept is None:
        assert remedy in ("put the raw counts into X", "give the raw UMI counts; normalization and log1p happen later")
        return
    given: dict[str, str] = {}
    if kept == "layer":
        assert remedy == "layer='my umis', which holds counts"
        given["layer"] = "my umis"
    else:
        exec(remedy.split(": ", 1)[1].split(";")[0], {"sdata": sdata})
        if kept == "raw":
            assert remedy.endswith("; and layer='counts'")
            given["layer"] = "counts"
    found = read(sdata, **given).counts
    assert np.array_equal(found.toarray(), expected[:, 1:] if kept == "raw with fewer genes" else expected)


def test_a_layer_that_holds_no_counts_points_at_x(make_section: Make) -> None:
    sdata = make_section("A")
    sdata.tables["table"].layers["scaled"] = sdata.tables["table"].X / 3
    with pytest.raises(InputError, match="^counts are not whole numbers") as error:
        read(sdata, layer="scaled")
    assert error.value.remedy == "leave layer out: X holds counts"


def test_rows_of_one_region_are_kept_as_the_remedy_says(make_section: Make) -> None:
    both = spatialdata.concatenate(
        [make_section("A", 0), make_section("B", 1)], concatenate_tables=True, attrs_merge="first"
    )
    with pytest.raises(InputError, match="^42 of 84 rows of table 'table' annotate other shapes than 'A'") as error:
        read(both, image_key="A_image", shapes_key="A")
    exec(error.value.remedy.split(": ", 1)[1], {"sdata": both, "spatialdata": spatialdata})
    section = read(both, image_key="A_image", shapes_key="A")
    assert np.array_equal(section.counts.toarray(), make_section("A", 0).tables["table"].X.toarray())


@pytest.mark.parametrize("n_lost", [1, 42])
@pytest.mark.parametrize("missing", [None, np.nan])
@pytest.mark.filterwarnings("ignore:Converting `region_key. region` to categorical:UserWarning")
def test_rows_that_say_of_no_shapes_that_they_annotate_them(make_section: Make, missing: Any, n_lost: int) -> None:
    sdata = make_section("A")
    table = sdata.tables["table"]
    table.obs["region"] = pd.Series([missing] * n_lost + ["A"] * (42 - n_lost), index=table.obs_names, dtype=object)
    said = f"^{n_lost} of 42 rows of table 'table' annotate other shapes than 'A', for example {missing}"
    with pytest.raises(InputError, match=said):
        stp.to_anndata(sdata)
    with pytest.raises(InputError, match=said) as error:
        read(sdata)
    exec(error.value.remedy.split(": ", 1)[1], {"sdata": sdata, "spatialdata": spatialdata, "pandas": pd})
    assert read(sdata).n_spots == (42 if n_lost == 42 else 41), "what the remedy says helps"


@pytest.mark.parametrize("key", ["region_key", "instance_key"])
@pytest.mark.parametrize("held", [["region"], np.array(["region"]), np.nan, None])
def test_a_link_that_names_no_column(make_section: Make, key: str, held: Any) -> None:
    sdata = make_section("A")
    sdata.tables["table"].uns["spatialdata_attrs"][key] = held
    with pytest.raises(InputError, match="^table 'table' is not linked to shapes"):
        read(sdata)


@pytest.mark.parametrize("axis", ["obs", "var"])
def test_columns_of_one_name(make_section: Make, axis: str) -> None:
    sdata = make_section("A")
    table = sdata.tables["table"]
    frame = getattr(table, axis).assign(subject="P1")
    setattr(table, axis, pd.concat([frame, frame[["subject"]]], axis=1))
    said = rf"^several columns of sdata\.tables\['table'\]\.{axis} are called 'subject'"
    with pytest.raises(InputError, match=said):
        stp.to_anndata(sdata)
    with pytest.raises(InputError, match=said) as error:
        read(sdata)
    exec(error.value.remedy.split(": ", 1)[1], {"sdata": sdata})
    assert read(sdata).n_spots == 42, "what the remedy says helps"


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series, pd.Index, pd.Categorical])
def test_a_region_in_any_container(kind: Any, make_section: Make) -> None:
    sdata = make_section("A")
    sdata.tables["table"].uns["spatialdata_attrs"]["region"] = kind(["A"])
    assert read(sdata).n_spots == 42


@pytest.mark.parametrize(("rows", "shapes"), [(str, int), (float, str), (int, str), (lambda i: f"{i}.0", int)])
def test_ids_are_compared_as_numbers_where_they_are(rows: Any, shapes: Any, make_section: Make) -> None:
    sdata = make_section("A")
    expected = read(sdata).centers_px
    table = sdata.tables["table"]
    table.obs["instance_id"] = [rows(i) for i in table.obs["instance_id"]]
    sdata.shapes["A"].index = [shapes(i) for i in sdata.shapes["A"].index]
    sdata.shapes["A"] = sdata.shapes["A"].iloc[::-1]
    np.testing.assert_array_equal(read(sdata).centers_px, expected)


def test_ids_that_are_no_numbers_are_not_guessed(make_section: Make) -> None:
    sdata = make_section("A")
    sdata.tables["table"].obs["instance_id"] = [f"spot {i}" for i in range(42)]
    said = r"^42 of 42 table rows name no shape in 'A', for example 'spot 0'\n"
    with pytest.raises(InputError, match=said) as error:
        read(sdata)
    assert error.value.expected.endswith("such as [0]")


@pytest.mark.parametrize("attrs", [5, {"region": 5}])
def test_a_table_whose_link_is_no_link_is_not_linked(make_section: Callable[..., SpatialData], attrs: Any) -> None:
    sdata = make_section("A", 0)
    sdata.tables["table"].uns["spatialdata_attrs"] = attrs
    with pytest.raises(InputError):
        read_section(sdata, Elements(), need_counts=True)


@pytest.mark.parametrize("radius", [0.0, -1.0, np.nan, np.inf, "a"])
def test_circles_without_a_radius_are_refused(make_section: Callable[..., SpatialData], radius: Any) -> None:
    sdata = make_section("A", 0)
    (name,) = sdata.shapes
    sdata.shapes[name]["radius"] = radius
    with pytest.raises(InputError, match=f"^a circle of shapes '{name}' has the radius"):
        stp.pp.set_scale(sdata, spot_diameter_um=55)
    with pytest.raises(InputError, match=f"^a circle of shapes '{name}' has the radius"):
        stp.pl.alignment(sdata, show=False)
