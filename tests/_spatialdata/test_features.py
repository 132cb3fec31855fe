"""Frozen features in obsm: reused where they are the ones asked for, made again where not, never over the user's."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import dask.array as da
import numpy as np
import pytest
from spatialdata import SpatialData
from spatialdata.models import ShapesModel

from st_predict._spatialdata.features import cached_features, features_key
from st_predict._spatialdata.read import read_section
from st_predict.core.encoders.frozen import FrozenEncoder
from st_predict.core.errors import InputError
from st_predict.core.tiles.geometry import TileSpec

Make = Callable[..., SpatialData]
SPEC = TileSpec((100.0, 200.0))


def features(sdata: SpatialData, spec: TileSpec = SPEC, **choice: Any) -> np.ndarray:
    section, keys = read_section(sdata, need_counts=False)
    return cached_features(sdata, section, keys, FrozenEncoder("tiny", None), spec, **choice)[1]


def test_kept_and_read_back(make_section: Make, tile_count: SimpleNamespace) -> None:
    sdata = make_section("A")
    first = features(sdata)
    assert first.shape == (42, 2, 24) and tile_count.tiles == 84
    table = sdata.tables["table"]
    assert table.obsm["X_tiny"].shape == (42, 48) and table.uns["X_tiny"]["encoder"] == "tiny"
    assert np.array_equal(features(sdata), first) and tile_count.tiles == 84


def test_read_back_from_disk(make_section: Make, tile_count: SimpleNamespace, tmp_path: Any) -> None:
    import spatialdata

    sdata = make_section("A")
    first = features(sdata)
    sdata.write(tmp_path / "a.zarr")
    assert np.array_equal(features(spatialdata.read_zarr(tmp_path / "a.zarr")), first)
    assert tile_count.tiles == 84


def move_spots(sdata: SpatialData) -> None:
    shapes = sdata.shapes["A"]
    centers = np.column_stack([shapes.geometry.x + 3, shapes.geometry.y])
    sdata.shapes["A"] = ShapesModel.parse(centers, geometry=0, radius=8.0)


def change_scale(sdata: SpatialData) -> None:
    sdata.attrs["st_predict"] = {"um_per_px": {"A_image": 5.0}}


def rename_image(sdata: SpatialData) -> None:
    sdata.images["other"] = sdata.images["A_image"]
    del sdata.images["A_image"]
    sdata.attrs["st_predict"] = {"um_per_px": {"other": 4.0}}


def restain(sdata: SpatialData) -> None:
    image = sdata.images["A_image"]
    sdata.images["A_image"] = image.copy(data=(image.data // 2).astype("uint8"))


def paint(sdata: SpatialData) -> None:
    """A spot at the corner, as an annotation would."""
    image = sdata.images["A_image"]
    pixels = image.data.compute()
    pixels[:, 10:24, 15:29] = 0
    sdata.images["A_image"] = image.copy(data=da.from_array(pixels, chunks=image.data.chunks))


def paint_between(sdata: SpatialData) -> None:
    """What no tile of those compared need lie on shows in the smaller copy."""
    from spatialdata.models import Image2DModel

    pixels = np.asarray(sdata.images["A_image"]["scale0"]["image"].data).copy()
    pixels[:, -6:, -6:] = 0
    sdata.images["A_image"] = Image2DModel.parse(pixels, dims=("c", "y", "x"), scale_factors=[2], chunks=64)


def fewer_rows(sdata: SpatialData) -> None:
    table = sdata.tables["table"][:30].copy()
    del sdata.tables["table"]
    sdata.tables["table"] = table


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (move_spots, "spots"),
        (change_scale, "tile_px"),
        (rename_image, "image"),
        (restain, "pixels"),
        (paint, "pixels"),
        (fewer_rows, "spots"),
    ],
)
def test_made_again_where_something_changed(
    make_section: Make, tile_count: SimpleNamespace, caplog: pytest.LogCaptureFixture, change: Any, named: str
) -> None:
    sdata = make_section("A")
    features(sdata)
    change(sdata)
    tile_count.tiles = 0
    with caplog.at_level(logging.INFO, "st_predict"):
        again = features(sdata)
    assert tile_count.tiles == 2 * sdata.tables["table"].n_obs == 2 * len(again)
    assert "were made with other" in caplog.text and named in caplog.text


def test_paint_shows_in_the_smaller_copy(
    make_section: Make, tile_count: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    sdata = make_section("A", multiscale=True)
    features(sdata)
    features(sdata)
    assert tile_count.tiles == 84
    paint_between(sdata)
    with caplog.at_level(logging.INFO, "st_predict"):
        features(sdata)
    assert tile_count.tiles == 168 and "were made with other pixels" in caplog.text


@pytest.mark.parametrize("spec", [TileSpec((100.0, 208.0)), TileSpec((200.0, 100.0)), TileSpec((), (25.0, 50.0))])
def test_made_again_for_other_widths(make_section: Make, tile_count: SimpleNamespace, spec: TileSpec) -> None:
    sdata = make_section("A")
    features(sdata)
    found = features(sdata, spec)
    assert tile_count.tiles == 168
    assert np.array_equal(found, features(make_section("A"), spec))


def test_made_again_for_other_weights(make_section: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from st_predict.core.encoders.encoder import Encoder

    sdata = make_section("A")
    features(sdata)
    monkeypatch.setattr(Encoder, "fingerprint", lambda self: "others")
    features(sdata)
    assert sdata.tables["table"].uns["X_tiny"]["weights"] == "others"


@pytest.mark.parametrize("record", [None, {"neighbors": 5}, {"st_predict_kind": "prediction"}, "text"])
def test_the_users_key_is_refused_before_work(make_section: Make, tile_count: SimpleNamespace, record: Any) -> None:
    sdata = make_section("A")
    table = sdata.tables["table"]
    table.obsm["X_tiny"] = np.ones((42, 3))
    if record is not None:
        table.uns["X_tiny"] = record
    with pytest.raises(
        InputError, match="obsm\\['X_tiny'\\] is there already and was not written by st_predict"
    ) as error:
        features(sdata)
    assert "rename yours" in error.value.remedy
    assert tile_count.tiles == 0 and (table.obsm["X_tiny"] == 1).all()
    features(sdata, key_added="X_other")
    assert table.obsm["X_other"].shape == (42, 48)


def test_the_users_record_is_refused_too(make_section: Make) -> None:
    sdata = make_section("A")
    sdata.tables["table"].uns["X_tiny"] = {"mine": 1}
    with pytest.raises(InputError, match="uns\\['X_tiny'\\] is there already"):
        features(sdata)
    assert sdata.tables["table"].uns["X_tiny"] == {"mine": 1}


def test_without_table_nothing_is_kept(make_section: Make, tile_count: SimpleNamespace) -> None:
    sdata = make_section("A", table=False)
    assert np.array_equal(features(sdata), features(make_section("A")))
    features(sdata)
    assert tile_count.tiles == 3 * 84


def test_keys_are_names_that_zarr_takes() -> None:
    assert features_key("hf-hub:MahmoodLab/UNI2-h") == "X_hf_hub_MahmoodLab_UNI2_h"
