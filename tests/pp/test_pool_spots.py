"""Transcripts, cells and bins pooled to spots: exact, wherever the image lies, and whatever the table of points is like."""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import spatialdata
from shapely import box
from spatialdata import SpatialData
from spatialdata.models import PointsModel, ShapesModel
from spatialdata.transformations import Affine, Identity, set_transformation

import st_predict as stp
from st_predict._spatialdata.transcript_columns import find_columns
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

UM_PER_PX = 0.75
DRAWN = {"n_sections": 1, "n_genes": 30, "size_um": 700, "um_per_px": UM_PER_PX}


@pytest.fixture(scope="module")
def drawn_xenium() -> SpatialData:
    sdata = stp.datasets.synthetic_tissue(**DRAWN, technology="xenium")["S1"]
    stp.pp.find_tissue(sdata, image_key="he_image")
    return sdata


@pytest.fixture
def xenium(drawn_xenium: SpatialData) -> SpatialData:
    """A section whose elements may be replaced."""
    copied: SpatialData = spatialdata.deepcopy(drawn_xenium)
    return copied


def as_dict(table: AnnData) -> dict[tuple[int, int], dict[str, int]]:
    """Counts above 0 by the place on the array and by gene."""
    values = pd.DataFrame(table.X.toarray(), columns=table.var_names)
    places = zip(table.obs["array_row"], table.obs["array_col"], strict=True)
    return {place: row[row > 0].to_dict() for place, (_, row) in zip(places, values.iterrows(), strict=True)}


def transcripts_px(sdata: SpatialData) -> pd.DataFrame:
    """Transcripts with their places in px of the image, by spatialdata's own means."""
    from spatialdata import get_extent, transform  # noqa: F401
    from spatialdata.transformations import get_transformation_between_coordinate_systems

    there = get_transformation_between_coordinate_systems(
        sdata, sdata.points["transcripts"], sdata.images["he_image"]
    ).to_affine_matrix(("x", "y"), ("x", "y"))
    frame = sdata.points["transcripts"].compute()
    frame[["x", "y"]] = frame[["x", "y"]].to_numpy() @ there[:2, :2].T + there[:2, 2]
    return frame


@pytest.mark.parametrize(("layout", "diameter_um"), [("square", 100.0), ("square", 60.0), ("hex", 55.0)])
def test_every_transcript_is_counted_once(xenium: SpatialData, layout: Any, diameter_um: float) -> None:
    """Against spots and transcripts joined one by one in geopandas, through the shapes as they were written."""
    import geopandas

    stp.pp.pool_spots(xenium, layout=layout, diameter_um=diameter_um)
    spots, table = xenium.shapes["spots"], xenium.tables["spots_counts"]
    outlines = spots.geometry if layout == "square" else spots.geometry.buffer(spots["radius"], quad_segs=90)
    frame = transcripts_px(xenium)
    frame = frame[(frame["qv"] >= 20) & ~frame["feature_name"].str.match("Neg|Unassigned")]
    at = geopandas.GeoDataFrame(frame, geometry=geopandas.points_from_xy(frame["x"], frame["y"]))
    joined = at.sjoin(geopandas.GeoDataFrame(geometry=outlines), predicate="within")
    expected = pd.crosstab(joined["index_right"], joined["feature_name"].astype(str))
    found = pd.DataFrame(table.X.toarray(), index=table.obs["instance_id"], columns=table.var_names)
    off = (found.reindex_like(expected) - expected).abs().to_numpy().sum()
    assert found.to_numpy().sum() > 5000
    assert off <= (0 if layout == "square" else found.to_numpy().sum() / 5000)  # a circle of 360 corners


def test_a_training_and_a_prediction_on_cells(
    xenium: SpatialData, quick: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Without a word of how many counts a cell holds."""
    model = stp.tl.train(xenium, tile_um=(32, 64), **quick | {"method": "ridge"})
    cells = xenium.tables["table"]
    least = np.asarray(cells.X.sum(axis=1)).ravel() >= 20
    assert f"{least.sum()} of {len(least)} spots with at least 20 counts" in caplog.text
    stp.tl.predict(xenium, model)
    assert np.isfinite(cells.obsm["predicted"].to_numpy()).all()
    assert stp.tl.evaluate(xenium).attrs["n_spots"] == least.sum()


def test_a_training_and_a_prediction_on_pooled_spots(xenium: SpatialData, quick: dict[str, Any]) -> None:
    stp.pp.pool_spots(xenium)
    assert xenium.tables["spots_counts"].obs[["section", "subject"]].drop_duplicates().to_numpy().tolist() == [
        ["S1", "P1"]
    ]
    model = stp.tl.train(xenium, table_key="spots_counts", **quick | {"min_counts": 1})
    stp.tl.predict(xenium, model, table_key="spots_counts")
    assert np.isfinite(xenium.tables["spots_counts"].obsm["predicted"].to_numpy()).all()


@pytest.mark.parametrize(
    "turned",
    [
        [[0.0, -1.0, 900.0], [1.0, 0.0, 30.0], [0, 0, 1]],
        [[-2.0, 0.0, 5000.0], [0.0, 2.0, 10.0], [0, 0, 1]],  # mirrored
        [[0.5, 0.2, -700.0], [0.1, 0.6, 3.0], [0, 0, 1]],  # sheared
    ],
)
def test_counts_do_not_depend_on_where_both_lie(xenium: SpatialData, turned: list[list[float]]) -> None:
    stp.pp.pool_spots(xenium, key_added="before")
    moved = Affine(np.array(turned), input_axes=("x", "y"), output_axes=("x", "y"))
    from spatialdata.transformations import Sequence, get_transformation

    for element in (xenium.points["transcripts"], xenium.images["he_image"], xenium.shapes["tissue"]):
        set_transformation(element, Sequence([get_transformation(element), moved]))
    stp.pp.pool_spots(xenium, key_added="after")
    assert as_dict(xenium.tables["after_counts"]) == as_dict(xenium.tables["before_counts"])


def test_counts_do_not_depend_on_parts_nor_on_how_features_are_kept(xenium: SpatialData) -> None:
    """Several parts whose categories differ, plain text, bytes, and a block that does not hold all."""
    stp.pp.pool_spots(xenium, key_added="before")
    expected = as_dict(xenium.tables["before_counts"])
    frame = (
        xenium.points["transcripts"]
        .compute()
        .sort_values("feature_name", key=lambda names: names.astype(str))
        .reset_index(drop=True)
    )
    system = xenium.points["transcripts"].attrs["transform"]
    text, raw = frame.copy(), frame.copy()
    text["feature_name"] = frame["feature_name"].astype(str)
    raw["feature_name"] = frame["feature_name"].astype(str).str.encode("ascii")
    parts = [
        part.assign(feature_name=part["feature_name"].cat.remove_unused_categories())
        for part in (frame.iloc[rows] for rows in np.array_split(np.arange(len(frame)), 5))
    ]
    for number, points in enumerate([text, raw, parts]):
        if isinstance(points, list):
            table = dd.concat([dd.from_pandas(part, npartitions=1) for part in points])
            assert table.npartitions == 5
        else:
            table = dd.from_pandas(points, npartitions=3, sort=False)
        xenium.points[f"points_{number}"] = PointsModel.parse(
            table, coordinates={"x": "x", "y": "y"}, transformations=system
        )
        stp.pp.pool_spots(xenium, key_added=f"after_{number}", points_key=f"points_{number}")
        assert as_dict(xenium.tables[f"after_{number}_counts"]) == expected


def test_bins_are_added_up(caplog: pytest.LogCaptureFixture) -> None:
    """By the middle of each; genes keep their columns, and the bins tell the scale."""
    sdata = stp.datasets.synthetic_tissue(**DRAWN, technology="visium_hd")["S1"]
    table = sdata.tables["square_008um"]
    table.var["gene_ids"] = [f"ENSG{number:011d}" for number in range(table.n_vars)]
    caplog.set_level(logging.INFO, "st_predict")
    stp.pp.pool_spots(sdata, table_key="square_008um", pitch_um=80, diameter_um=80)
    pooled = sdata.tables["spots_counts"]
    assert sdata.attrs["st_predict"]["um_per_px"]["S1_full_image"] == pytest.approx(UM_PER_PX, rel=0.01)
    assert pooled.var["gene_ids"].tolist() == table.var["gene_ids"].tolist()
    rows, cols = (((table.obs[f"array_{axis}"] + 0.5) * 8 // 80).astype(int) for axis in ("row", "col"))
    values = pd.DataFrame(table.X.toarray(), columns=table.var_names).groupby([rows.to_numpy(), cols.to_numpy()]).sum()
    for row, col, counts in zip(pooled.obs["array_row"], pooled.obs["array_col"], pooled.X.toarray(), strict=True):
        np.testing.assert_array_equal(counts, values.loc[(row, col)])
    assert pooled.n_obs > 20


def test_cells_are_counted_where_their_centers_lie(xenium: SpatialData) -> None:
    stp.pp.pool_spots(xenium, table_key="table", shapes_key="cell_circles")
    pooled, cells = xenium.tables["spots_counts"], xenium.tables["table"]
    assert 0.7 * cells.X.sum() < pooled.X.sum() <= cells.X.sum()
    assert pooled.X.dtype == np.int32


def test_what_is_left_out_is_said(xenium: SpatialData, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "st_predict")
    stp.pp.pool_spots(xenium)
    said = caplog.text
    assert "transcripts are left out: qv < 20" in said
    assert "4 of 34 features are not genes and are left out: NegControlCodeword_0500, NegControlProbe_00001, " in said
    assert "transcripts lie in spots: " in said
    assert not xenium.tables["spots_counts"].var_names.str.startswith(("Neg", "Unassigned")).any()


@pytest.mark.parametrize(("least", "more"), [({}, True), ({"qv": 20}, False), ({"qv": 35.0}, None)])
def test_quality(xenium: SpatialData, least: dict[str, float], more: bool | None) -> None:
    stp.pp.pool_spots(xenium, key_added="usual")
    stp.pp.pool_spots(xenium, min_quality=least)
    usual, found = (xenium.tables[name].X.sum() for name in ("usual_counts", "spots_counts"))
    assert (found > usual) if more else (found == usual) if more is False else (0 < found < usual)


def without(sdata: SpatialData, kind: str, *names: str) -> SpatialData:
    for name in names or list(getattr(sdata, kind)):
        del getattr(sdata, kind)[name]
    return sdata


def far(sdata: SpatialData) -> SpatialData:
    set_transformation(sdata.points["transcripts"], Identity())
    return sdata


def no_scale(sdata: SpatialData) -> SpatialData:
    del sdata.attrs["st_predict"]["um_per_px"]
    return sdata


def other_systems(sdata: SpatialData) -> SpatialData:
    set_transformation(sdata.points["transcripts"], {"own": Identity()}, set_all=True)
    return sdata


def taken(sdata: SpatialData) -> SpatialData:
    sdata.shapes["spots"] = ShapesModel.parse(__import__("geopandas").GeoDataFrame(geometry=[box(0, 0, 9, 9)]))
    return sdata


def two_points(sdata: SpatialData) -> SpatialData:
    sdata.points["more"] = sdata.points["transcripts"]
    return sdata


def only_controls(sdata: SpatialData) -> SpatialData:
    frame = sdata.points["transcripts"].compute()
    frame = frame[frame["feature_name"].astype(str).str.startswith("Neg")]
    sdata.points["transcripts"] = PointsModel.parse(
        frame, coordinates={"x": "x", "y": "y"}, feature_key="feature_name",
        transformations=sdata.points["transcripts"].attrs["transform"],
    )  # fmt: skip
    return sdata


@pytest.mark.parametrize(
    ("change", "arguments", "found"),
    [
        (None, {"diameter_um": 101}, "spots of 101 um would overlap at a pitch of 100 um"),
        (None, {"points_key": "cells"}, "there are no points 'cells'"),
        (None, {"points_key": "transcripts", "table_key": "table"}, "points 'transcripts' and table 'table' are both to be pooled"),
        (None, {"feature_key": "gene"}, "points 'transcripts' have no column 'gene'"),
        (None, {"min_quality": {"score": 3}}, "points 'transcripts' have no column 'score'"),
        (None, {"min_quality": {"cell_id": 3}}, "column 'cell_id' of points 'transcripts' holds no numbers"),
        (None, {"min_quality": {"qv": 99}}, "points 'transcripts' hold "),
        (None, {"min_quality": {"qv": "high"}}, "min_quality['qv'] is 'high' (text)"),
        (None, {"pitch_um": 1e5}, "a grid of 100000 um has no place on this slide, which is 700 x 700 um wide"),
        (None, {"pitch_um": 1e-9, "diameter_um": 1e-9}, "diameter_um is 1e-09"),
        (None, {"pitch_um": 1350}, "no place of a grid of 1350 um lies on tissue"),
        (None, {"diameter_um": 0.5}, "diameter_um is 0.5"),
        (None, {"tissue_key": "cell_circles"}, "shapes 'cell_circles' are circles, and no outlines of tissue"),
        (None, {"feature_key": "cell_id"}, "column 'cell_id' of points 'transcripts' names no genes: it names cells or transcripts"),
        (None, {"feature_key": "x"}, "column 'x' of points 'transcripts' names no genes: it holds numbers"),
        (None, {"feature_key": "qv"}, "column 'qv' of points 'transcripts' names no genes: it holds numbers"),
        (None, {"layer": "counts"}, "layer is of a table, and points 'transcripts' would be pooled"),
        (None, {"table_key": "table", "min_quality": {}}, "min_quality is of points, and a table would be pooled"),
        (None, {"table_key": "none"}, "there is no table 'none'"),
        (copy.deepcopy, {}, "points 'transcripts' are in no coordinate system"),
        (two_points, {}, "there are 2 elements of points: transcripts, more"),
        (lambda sdata: without(without(sdata, "points"), "tables"), {}, "the SpatialData has neither points nor a table of counts"),
        (far, {}, "transcripts lie off the image of 933 x 933 px"),
        (no_scale, {}, "the scale of image 'he_image' is unknown, and the grid is in um"),
        (other_systems, {}, "points 'transcripts' and image 'he_image' share no coordinate system (own against global)"),
        (taken, {}, "sdata['spots'] is there already"),
        (only_controls, {}, "none of the 3 features of points 'transcripts' is a gene"),
    ],
)  # fmt: skip
def test_what_cannot_be_pooled_is_refused_and_changes_nothing(
    xenium: SpatialData, change: Any, arguments: dict[str, Any], found: str
) -> None:
    refused(change(xenium) if change else xenium, arguments, found)


def refused(sdata: SpatialData, arguments: dict[str, Any], found: str) -> None:
    """Whether the call says what it should, and the section stays as it was, also one whose tissue was not found yet."""
    for bare in (False, True):
        if bare and "tissue" in sdata.shapes:
            del sdata.shapes["tissue"]
            sdata.attrs["st_predict"].pop("tissue")
        before = sorted(name for _, name, _ in sdata.gen_elements()), copy.deepcopy(sdata.attrs)
        with pytest.raises(InputError) as error:
            stp.pp.pool_spots(sdata, **arguments)
        assert found in error.value.what, error.value
        assert (sorted(name for _, name, _ in sdata.gen_elements()), sdata.attrs) == before


def changed(sdata: SpatialData, **columns: Any) -> SpatialData:
    """Columns of the transcripts replaced: a function of the table for each."""
    points = sdata.points["transcripts"]
    frame = points.compute().assign(**columns)
    sdata.points["transcripts"] = PointsModel.parse(
        frame, coordinates={"x": "x", "y": "y"}, transformations=points.attrs["transform"]
    )
    return sdata


def names(frame: pd.DataFrame) -> pd.Series:
    return frame["feature_name"].astype(str)


@pytest.mark.parametrize(
    ("feature", "found"),
    [
        (lambda frame: names(frame).factorize()[0], "names no genes: it holds numbers"),
        (lambda frame: pd.Categorical(names(frame).factorize()[0] / 2), "names no genes: it holds numbers"),
        (lambda frame: [f"t{row}" for row in range(len(frame))], "it names each of "),
        (lambda frame: names(frame).where(names(frame) != names(frame).iloc[0], ""), "a transcript is of the gene ''"),
        (lambda frame: names(frame).where(names(frame) != names(frame).iloc[0], "  "), "a transcript is of the gene '  '"),
    ],
    ids=["numbers", "categories of numbers", "ids", "empty", "blank"],
)  # fmt: skip
def test_a_column_that_names_no_genes_is_refused(xenium: SpatialData, feature: Any, found: str) -> None:
    refused(changed(xenium, feature_name=feature), {}, found)


def test_quality_that_is_text_is_refused(xenium: SpatialData) -> None:
    refused(
        changed(xenium, qv=lambda frame: frame["qv"].astype(str)),
        {},
        "column 'qv' of points 'transcripts' holds no numbers",
    )


def test_transcripts_that_are_there_twice_are_refused(xenium: SpatialData) -> None:
    points = xenium.points["transcripts"]
    frame = points.compute()
    for times in (2, 3):
        more = pd.concat([frame] * times, ignore_index=True).sample(frac=1, random_state=0)
        xenium.points["transcripts"] = PointsModel.parse(
            dd.from_pandas(more.reset_index(drop=True), npartitions=3), coordinates={"x": "x", "y": "y"},
            transformations=points.attrs["transform"],
        )  # fmt: skip
        refused(xenium, {}, f"each transcript of points 'transcripts' is there {times} times")


def test_spots_that_leave_the_tissue_out_are_named(xenium: SpatialData) -> None:
    few = changed(xenium)
    points = few.points["transcripts"]
    lone = points.compute().iloc[:1]
    few.points["transcripts"] = PointsModel.parse(
        lone, coordinates={"x": "x", "y": "y"}, transformations=points.attrs["transform"]
    )
    with pytest.raises(InputError, match="none of the .* spots .* holds a count") as error:
        stp.pp.pool_spots(few, diameter_um=1)
    assert error.value.remedy == "lay wider spots: 1 um of 100 leave most of the tissue out"


def test_genes_that_differ_by_case_and_transcripts_of_none_are_said(
    xenium: SpatialData, caplog: pytest.LogCaptureFixture
) -> None:
    def feature(frame: pd.DataFrame) -> pd.Series:
        odd = np.arange(len(frame)) % 2 == 1
        lower = names(frame).where(~odd, names(frame).str.lower())
        return lower.where(np.arange(len(frame)) % 50 > 0)

    stp.pp.pool_spots(changed(xenium, feature_name=feature))
    assert "genes have names that differ from others by upper and lower case only, and are counted apart" in caplog.text
    assert "transcripts name no feature and are left out" in caplog.text


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA], ids=str)
def test_transcripts_whose_missing_name_was_made_text_are_left_out(
    xenium: SpatialData, caplog: pytest.LogCaptureFixture, missing: Any
) -> None:
    """Where the gene column is named, spatialdata makes it text, and what is missing one of three words."""
    points = xenium.points["transcripts"]
    frame = points.compute().assign(feature_name=names).astype({"feature_name": object})
    frame.loc[frame.index[:50], "feature_name"] = missing
    xenium.points["transcripts"] = PointsModel.parse(
        frame, coordinates={"x": "x", "y": "y"}, feature_key="feature_name", transformations=points.attrs["transform"]
    )
    stp.pp.pool_spots(xenium, min_quality={})
    assert set(xenium.tables["spots_counts"].var_names) == set(xenium.tables["table"].var_names)
    assert (
        f"50 of {len(frame):,} transcripts name no feature and are left out: the name is missing, or one of the texts "
        "<NA>, None, nan"
    ) in caplog.text


def of_first(yes: object, no: object) -> Any:
    """A column that says no of all transcripts of the first gene, and yes of the others."""
    return lambda frame: pd.Series(np.where(names(frame) == names(frame).min(), no, yes), frame.index)


MARKS = [
    ("is_gene", "True", "False"),
    ("isGene", "1", "0"),
    ("is_gene", b"yes", b"no"),
    ("codeword_category", "predesigned_gene", "unassigned_codeword"),
    ("codeword_category", "custom_gene", "genomic_control_probe"),
]


@pytest.mark.parametrize(("column", "yes", "no"), MARKS, ids=str)
def test_features_that_a_column_says_are_no_genes_are_left_out(
    xenium: SpatialData, column: str, yes: object, no: object
) -> None:
    """However it says so."""
    first = min(xenium.tables["table"].var_names)
    stp.pp.pool_spots(changed(xenium, **{column: of_first(yes, no)}), min_quality={})
    assert set(xenium.tables["spots_counts"].var_names) == set(xenium.tables["table"].var_names) - {first}
    with pytest.raises(InputError, match="^none of the 34 features of points 'transcripts' is a gene, for example "):
        stp.pp.pool_spots(changed(xenium, **{column: no}), min_quality={}, key_added="none")


def test_marks_of_genes_that_say_neither_yes_nor_no_are_refused(xenium: SpatialData) -> None:
    with pytest.raises(InputError) as error:
        stp.pp.pool_spots(changed(xenium, is_gene=of_first("yes", "perhaps")))
    assert str(error.value) == (
        "sdata.points['transcripts']['is_gene'] holds 'perhaps'\n"
        "  where:    sdata.points['transcripts']['is_gene']\n"
        "  expected: 1 or True for transcripts of genes, 0 or False for the others\n"
        "  remedy:   correct the column, or rename it if it means something else than is_gene of 10x"
    )


def test_numbers_are_no_types_of_transcripts(xenium: SpatialData) -> None:
    """They may be as many as there are transcripts; a column of words beside them is found."""
    points = changed(xenium, gene_class=lambda frame: frame["x"], type="predesigned_gene").points["transcripts"]
    assert find_columns(points, "transcripts", None, None).type == "type"
