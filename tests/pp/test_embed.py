"""Frozen features as users ask for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from anndata import AnnData
from spatialdata import SpatialData, read_zarr

from st_predict.core.errors import InputError
from st_predict.pp import embed
from st_predict.tl import predict, train

Make = Callable[..., SpatialData]


def test_returns_the_key_it_wrote(make_section: Make) -> None:
    sdata = make_section("A")
    assert embed(sdata, encoder="tiny") == "X_tiny"
    table = sdata.tables["table"]
    assert table.obsm["X_tiny"].shape == (42, 4 * 24) and table.obsm["X_tiny"].dtype == np.float32
    assert embed(sdata, encoder="tiny", tile_um=100, key_added="X_narrow") == "X_narrow"
    assert table.obsm["X_narrow"].shape == (42, 24)


def test_widths_in_the_order_given(make_section: Make) -> None:
    one, other = make_section("A"), make_section("A")
    embed(one, encoder="tiny", tile_um=(100, 300))
    embed(other, encoder="tiny", tile_um=(300, 100))
    found, swapped = (s.tables["table"].obsm["X_tiny"] for s in (one, other))
    assert np.allclose(found[:, :24], swapped[:, 24:], atol=1e-5) and not np.allclose(found, swapped)


def test_pixels_equal_the_same_um(make_section: Make) -> None:
    one, other = make_section("A", um_per_px=4.0), make_section("A", um_per_px=None)
    embed(one, encoder="tiny", tile_um=100)
    embed(other, encoder="tiny", tile_px=25)
    assert np.array_equal(one.tables["table"].obsm["X_tiny"], other.tables["table"].obsm["X_tiny"])


def test_frozen_encoder_sees_each_tile_once_over_embed_train_predict_and_train_again(
    make_section: Make, tile_count: SimpleNamespace, quick: dict[str, Any]
) -> None:
    sections = [make_section("A", 0), make_section("B", 1)]
    embed(sections[0], encoder="tiny")
    assert tile_count.tiles == 42 * 4
    model = train(sections, **quick)
    assert tile_count.tiles == 2 * 42 * 4
    for sdata in sections:
        predict(sdata, model)
    train(sections, **quick, method="ridge")
    assert tile_count.tiles == 2 * 42 * 4
    train(sections, **quick, method="ridge", tile_um=(112, 160))
    assert tile_count.tiles == 2 * 42 * 4 + 2 * 42 * 2


def test_spots_without_a_table_get_one_for_their_features(
    make_section: Make, tile_count: SimpleNamespace, quick: dict[str, Any], tmp_path: Path
) -> None:
    """It is kept on disk, no measurement, and what a prediction reads instead of encoding the tiles again."""
    bare, measured = make_section("H", 3, table=False), make_section("H", 3)
    assert embed(bare, encoder="tiny") == embed(measured, encoder="tiny") == "X_tiny"
    table = bare.tables["H_features"]
    assert table.shape == (42, 0) and np.array_equal(table.obsm["X_tiny"], measured.tables["table"].obsm["X_tiny"])
    model = train(make_section("A"), **quick)
    bare.write(tmp_path / "H.zarr")
    back = read_zarr(tmp_path / "H.zarr")
    encoded = tile_count.tiles
    embed(back, encoder="tiny")
    predict(back, model)
    assert tile_count.tiles == encoded, "each tile once"
    predict(measured, model)
    assert np.array_equal(back.tables["predicted"].X, measured.tables["table"].obsm["predicted"].to_numpy())
    assert set(back.tables) == {"H_features", "predicted"}
    with pytest.raises(InputError, match="has no table"):
        train([back, make_section("A")], **quick)


def test_a_table_of_that_name_is_the_users(make_section: Make) -> None:
    sdata = make_section("H", table=False)
    theirs = make_section("H").tables["table"]
    sdata.tables["H_features"] = theirs
    assert embed(sdata, encoder="tiny") == "X_tiny" and "X_tiny" in theirs.obsm, "a table of the spots' own is taken"
    alone = make_section("H", table=False)
    alone.tables["H_features"] = AnnData(np.ones((2, 2), np.float32))
    with pytest.raises(InputError, match="H_features"):
        embed(alone, encoder="tiny")


def test_other_spots_of_that_name_get_a_table_anew(make_section: Make) -> None:
    sdata = make_section("H", table=False)
    embed(sdata, encoder="tiny")
    sdata.shapes["H"] = sdata.shapes["H"].iloc[:30]
    embed(sdata, encoder="tiny")
    assert sdata.tables["H_features"].shape == (30, 0)


def test_unknown_scale_before_any_encoder(make_section: Make) -> None:
    with pytest.raises(InputError, match="the scale of section 'A' is unknown") as error:
        embed(make_section("A", um_per_px=None), encoder="no such encoder")
    assert "st_predict.pp.set_scale" in error.value.remedy


def test_counts_are_neither_read_nor_checked(make_section: Make) -> None:
    sdata = make_section("A")
    sdata.tables["table"].X = -sdata.tables["table"].X
    assert embed(sdata, encoder="tiny") == "X_tiny"


def test_unknown_encoder(make_section: Make) -> None:
    with pytest.raises(InputError, match="there is no encoder 'tinny'"):
        embed(make_section("A"), encoder="tinny")
