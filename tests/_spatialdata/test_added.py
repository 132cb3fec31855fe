"""What a user added to something of ours is neither dropped nor moved to other places."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import spatialdata
from anndata import AnnData
from shapely import box
from spatialdata import SpatialData
from spatialdata.models import Image2DModel, ShapesModel, TableModel

import st_predict as stp
from st_predict._spatialdata.features import FEATURES, feature_table
from st_predict._spatialdata.keys import PROVENANCE_KIND, place
from st_predict._spatialdata.prediction import Prediction
from st_predict._spatialdata.slide import grid_record
from st_predict._spatialdata.write import check_free, write_prediction
from st_predict.core.errors import InputError

Make = Callable[..., SpatialData]
PANEL = ["g0", "a/b"]


def write(sdata: SpatialData, key: str = "predicted", *, interval: bool = False) -> None:
    placed = place(sdata, need_table=False)
    check_free(sdata, placed, key, interval=interval)
    n = len(sdata.shapes[placed.shapes])
    values = np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32)
    columns = ["expected_pcc", "pcc_sd", "ceiling", "chance", "predictable", "expected_for"]
    record: dict[str, Any] = {"panel": PANEL, **({"interval": 0.9} if interval else {})}
    predicted = Prediction(values, values[:, 0], (values, values) if interval else None, record)
    write_prediction(sdata, placed, key, predicted, pd.DataFrame(np.nan, PANEL, columns), np.zeros((n, 2)))


ADDED: dict[str, Callable[[AnnData], Any]] = {
    "obs['mine']": lambda table: table.obs.insert(0, "mine", "tumor"),
    "var['mine']": lambda table: table.var.insert(0, "mine", 1),
    "layers['mine']": lambda table: table.layers.update(mine=table.X * 0),
    "obsm['X_umap']": lambda table: table.obsm.update(X_umap=np.ones((table.n_obs, 2))),
    "varm['mine']": lambda table: table.varm.update(mine=np.ones((table.n_vars, 2))),
    "obsp['mine']": lambda table: table.obsp.update(mine=scipy.sparse.eye_array(table.n_obs, format="csr")),
    "uns['note']": lambda table: table.uns.update(note="mine"),
    "raw": lambda table: setattr(table, "raw", table.copy()),
    "X": lambda table: table.X.__iadd__(1),
}


@pytest.mark.parametrize("what", ADDED)
def test_what_was_added_to_a_prediction_table_is_not_dropped(make_section: Make, what: str) -> None:
    sdata = make_section("H", table=False)
    write(sdata)
    ADDED[what](sdata["predicted"])
    with pytest.raises(InputError) as error:
        write(sdata)
    assert str(error.value).startswith(f"the earlier prediction 'predicted' holds what you added or changed: {what}")
    assert "key_added='predicted_2', or delete it: del sdata.tables['predicted']" in error.value.remedy
    write(sdata, "predicted_2")
    del sdata.tables["predicted"]
    write(sdata)


@pytest.mark.parametrize("name", ["predicted", "predicted_upper"])
def test_a_column_beside_the_predicted_ones_is_not_dropped(make_section: Make, name: str) -> None:
    sdata = make_section("A")
    write(sdata, interval=True)
    write(sdata, interval=True)
    sdata["table"].obsm[name]["mine"] = 1.0
    with pytest.raises(InputError, match=f"holds what you added or changed: obsm\\['{name}'\\]\\['mine'\\]") as error:
        write(sdata)
    assert "remove what you added" in error.value.remedy
    del sdata["table"].obsm[name]["mine"]
    write(sdata)


@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("interval", [True, False])
def test_what_came_back_from_disk_holds_nothing_else(
    make_section: Make, tmp_path: Path, *, table: bool, interval: bool
) -> None:
    sdata = make_section("A", table=table)
    write(sdata, interval=interval)
    sdata.write(tmp_path / "a.zarr")
    back = spatialdata.read_zarr(tmp_path / "a.zarr")
    write(back)
    assert set(back.tables) == set(sdata.tables), "it is replaced, and nothing is refused"


@pytest.fixture
def slide() -> SpatialData:
    """A square piece of tissue on glass, at 4 um a px."""
    pixels = np.clip(np.random.default_rng(0).normal(243, 2, (600, 700, 3)), 0, 255)
    pixels[100:450, 150:550] = (200, 120, 170)
    image = Image2DModel.parse(pixels.astype(np.uint8).transpose(2, 0, 1), dims=("c", "y", "x"), c_coords=list("rgb"))
    sdata = SpatialData(images={"slide": image}, attrs={"st_predict": {"um_per_px": {"slide": 4.0}}})
    stp.pp.spot_grid(sdata)
    return sdata


def add_column(shapes: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    return shapes.assign(mine="tumor")


def leave_some_out(shapes: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    return shapes.iloc[1:]


def move(shapes: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    return shapes.set_geometry(shapes.geometry.translate(1))


def change_column(shapes: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    return shapes.assign(**{str(shapes.columns.drop("geometry")[0]): 1.0})


def put_own(shapes: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    return geopandas.GeoDataFrame({"who": ["pathologist"]}, geometry=[box(300, 300, 700, 700)])


CALLS = {"tissue": stp.pp.find_tissue, "spots": stp.pp.spot_grid}


@pytest.mark.parametrize("change", [add_column, leave_some_out, move, change_column, put_own])
@pytest.mark.parametrize("key", CALLS)
def test_shapes_changed_or_put_in_place_of_ours_are_the_users(slide: SpatialData, key: str, change: Any) -> None:
    if key == "tissue" and change is leave_some_out:
        slide.shapes[key] = ShapesModel.parse(pd.concat([slide.shapes[key]] * 2, ignore_index=True))
    else:
        slide.shapes[key] = ShapesModel.parse(change(slide.shapes[key].copy()))
    theirs = slide.shapes[key].copy()
    with pytest.raises(InputError, match=f"sdata\\['{key}'\\] is there already and was changed or replaced") as error:
        CALLS[key](slide)
    assert f"key_added='{key}_2'" in error.value.remedy
    assert slide.shapes[key].equals(theirs)
    CALLS[key](slide, key_added=f"{key}_2")
    assert (grid_record(slide, "spots") is None) == (key == "spots" and change is put_own)


@pytest.mark.parametrize("key", CALLS)
def test_shapes_of_ours_are_replaced(slide: SpatialData, tmp_path: Path, key: str) -> None:
    """Those that came back from disk too, and those noted without a digest."""
    slide.write(tmp_path / "slide.zarr")
    back = spatialdata.read_zarr(tmp_path / "slide.zarr")
    CALLS[key](back)
    for kind in ("tissue", "grids"):
        for record in back.attrs["st_predict"][kind].values():
            del record["digest"]
    back.shapes[key]["mine"] = 1
    CALLS[key](back)
    assert "mine" not in back.shapes[key]


def annotate(sdata: SpatialData, shapes: str, **more: Any) -> AnnData:
    index = sdata.shapes[shapes].index
    obs = pd.DataFrame({"region": pd.Categorical([shapes] * len(index)), "instance_id": index}, index=index.astype(str))
    table = AnnData(np.ones((len(index), 2), np.float32), obs=obs, **more)
    return TableModel.parse(table, region=shapes, region_key="region", instance_key="instance_id")


@pytest.mark.parametrize("key", CALLS)
@pytest.mark.parametrize("there", [True, False])
def test_shapes_under_a_table_of_the_users_stay(slide: SpatialData, key: str, *, there: bool) -> None:
    slide.tables["mine"] = annotate(slide, key)
    shapes = slide.shapes[key]
    if not there:
        del slide.shapes[key]
    with pytest.raises(InputError, match=f"table 'mine' annotates '{key}'; with new shapes its rows would") as error:
        CALLS[key](slide)
    assert error.value.where == "sdata.tables['mine']" and f"key_added='{key}_2'" in error.value.remedy
    assert not there or slide.shapes[key] is shapes
    CALLS[key](slide, key_added=f"{key}_2")
    assert "mine" in slide.tables


def test_our_tables_go_with_the_shapes_they_are_of(slide: SpatialData, caplog: pytest.LogCaptureFixture) -> None:
    write(slide)
    feature_table(slide, place(slide, need_table=False), make=True)
    with caplog.at_level(logging.WARNING, "st_predict"):
        stp.pp.find_tissue(slide)
    assert set(slide.tables) == {"predicted", "spots_features"} and not caplog.records
    stp.pp.spot_grid(slide, pitch_um=130)
    assert not slide.tables
    for name in ("predicted", "spots_features"):
        assert (
            f"table '{name}' is removed: it belonged to the earlier shapes 'spots', which are replaced" in caplog.text
        )


@pytest.mark.parametrize("name", ["predicted", "spots_features"])
def test_our_tables_stay_where_something_was_added(slide: SpatialData, name: str) -> None:
    write(slide)
    feature_table(slide, place(slide, need_table=False), make=True)
    slide.tables[name].obs["mine"] = "tumor"
    with pytest.raises(InputError, match=f"table '{name}' annotates 'spots', and holds .*: obs\\['mine'\\]"):
        stp.pp.spot_grid(slide, pitch_um=130)
    assert set(slide.tables) == {"predicted", "spots_features"}


def test_a_copy_of_a_prediction_under_another_name_is_the_users(slide: SpatialData) -> None:
    write(slide)
    slide.tables["kept"] = slide.tables["predicted"].copy()
    with pytest.raises(InputError, match="table 'kept' annotates 'spots'; with new shapes"):
        stp.pp.spot_grid(slide, pitch_um=130)


def test_what_was_added_to_a_table_of_features_is_not_dropped(make_section: Make) -> None:
    sdata = make_section("H", table=False)
    placed = feature_table(sdata, place(sdata, need_table=False), make=True)
    table = sdata.tables[str(placed.table)]
    table.obsm["X_tiny"], table.uns["X_tiny"] = np.ones((42, 3)), {PROVENANCE_KIND: FEATURES}
    sdata.shapes["H"] = sdata.shapes["H"].iloc[:30]
    feature_table(sdata, placed._replace(table=None), make=True)
    sdata.tables["H_features"].obsm["X_umap"] = np.ones((30, 2))
    sdata.shapes["H"] = sdata.shapes["H"].iloc[:20]
    with pytest.raises(
        InputError, match="belongs to other spots than 'H', and holds what you added: obsm\\['X_umap'\\]"
    ):
        feature_table(sdata, placed._replace(table=None), make=True)
