"""Frozen features as users ask for them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from spatialdata import SpatialData

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


def test_slide_without_table(make_section: Make) -> None:
    with pytest.raises(InputError, match="the section has no table to keep features in"):
        embed(make_section("H", table=False), encoder="tiny")


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
