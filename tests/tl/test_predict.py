"""``predict``: from the image alone, into the right place, with the right model."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import spatialdata
import torch
from safetensors.torch import save_file
from spatialdata import SpatialData
from spatialdata.models import Image2DModel

from st_predict.core.encoders.frozen import EncoderIdentity
from st_predict.core.errors import InputError
from st_predict.core.model.model import Model
from st_predict.tl import evaluate, load_model, predict, train

pytestmark = pytest.mark.one_python  # numbers; every verb runs on the newer Python in tests/test_examples.py

Make = Callable[..., SpatialData]
Quick = dict[str, Any]


def prediction(sdata: SpatialData, model: Model) -> np.ndarray:
    predict(sdata, model)
    return sdata.tables["table"].obsm["predicted"].to_numpy()


def test_where_it_is_written(make_section: Make, quick_model: Model) -> None:
    sdata = make_section("C", 2)
    assert predict(sdata, quick_model) is None
    table = sdata.tables["table"]
    layer, frame = table.layers["predicted"], table.obsm["predicted"]
    assert layer.shape == table.shape and layer.dtype == np.float32
    assert list(frame.columns) == quick_model.panel
    outside = ~table.var_names.isin(quick_model.panel)
    assert np.isnan(layer[:, outside]).all() and np.isfinite(layer[:, ~outside]).all()
    assert np.array_equal(table[:, quick_model.panel].layers["predicted"], frame.to_numpy())
    record = table.uns["predicted"]
    assert record["model"] == quick_model.id and record["target"] == "log1p of counts per 10,000"
    assert 0 < frame.to_numpy().mean() < np.log(1e4)


def test_expression_cannot_reach_a_prediction(make_section: Make, quick_model: Model) -> None:
    """Measured expression shuffled, zeroed or taken away: the same prediction to the bit."""
    expected = prediction(make_section("C", 2), quick_model)
    shuffled = make_section("C", 2)
    table = shuffled.tables["table"]
    table.X = table.X[np.random.default_rng(0).permutation(42)][:, np.random.default_rng(1).permutation(24)]
    assert np.array_equal(prediction(shuffled, quick_model), expected)
    empty = make_section("C", 2)
    empty.tables["table"].X = empty.tables["table"].X * 0
    assert np.array_equal(prediction(empty, quick_model), expected)
    slide = make_section("C", 2, table=False)
    predict(slide, quick_model)
    assert np.array_equal(slide.tables["predicted"].X, expected)


def test_genes_in_another_order_or_number(make_section: Make, quick_model: Model) -> None:
    expected = prediction(make_section("C", 2), quick_model)
    sdata = make_section("C", 2)
    table = sdata.tables["table"][:, ["g7", quick_model.panel[2], quick_model.panel[0]]].copy()
    del sdata.tables["table"]
    sdata.tables["table"] = table
    assert np.array_equal(prediction(sdata, quick_model), expected), "obsm holds the whole panel"
    assert np.array_equal(sdata.tables["table"].layers["predicted"][:, 1:], expected[:, [2, 0]])


def test_none_of_the_genes(make_section: Make, quick_model: Model, caplog: pytest.LogCaptureFixture) -> None:
    sdata = make_section("C", 2, gene_names=[f"ENSG{i}" for i in range(24)])
    with caplog.at_level(logging.WARNING, "st_predict"):
        found = prediction(sdata, quick_model)
    assert "the table has none of the 10 predicted genes" in caplog.text
    assert np.isnan(sdata.tables["table"].layers["predicted"]).all()
    assert np.array_equal(found, prediction(make_section("C", 2), quick_model))


def test_provenance_tells_the_scale(make_section: Make, quick_model: Model) -> None:
    sdata = make_section("C", 2)
    predict(sdata, quick_model)
    assert sdata.tables["table"].uns["predicted"]["um_per_px"] == 4.0


def with_image(sdata: SpatialData, change: Callable[[Any], Any]) -> SpatialData:
    (key,) = sdata.images
    image = sdata.images[key]
    sdata.images[key] = image.copy(data=change(image.data))
    return sdata


def test_the_image_makes_the_prediction(make_section: Make, quick_model: Model) -> None:
    expected = prediction(make_section("C", 2), quick_model)
    blank = prediction(with_image(make_section("C", 2), lambda pixels: pixels * 0 + 255), quick_model)
    assert np.ptp(blank, axis=0).max() < 1e-3 < 0.05 < expected.std(axis=0).min(), "white glass is the same everywhere"
    turned = prediction(with_image(make_section("C", 2), lambda pixels: pixels[:, ::-1]), quick_model)
    assert not np.allclose(turned, expected)


def test_another_image_of_the_same_name_is_seen(make_section: Make, quick_model: Model) -> None:
    """Features kept from before do not outlive the pixels they were made from."""
    sdata = make_section("C", 2)
    before = prediction(sdata, quick_model)
    with_image(sdata, lambda pixels: 255 - pixels)
    assert not np.allclose(prediction(sdata, quick_model), before)


def test_rows_follow_the_table(make_section: Make, quick_model: Model) -> None:
    """The order of rows means nothing, not even where spots of a grid are equally far."""
    expected = prediction(make_section("C", 2), quick_model)
    sdata = make_section("C", 2)
    order = np.random.default_rng(0).permutation(42)
    table = sdata.tables["table"][order].copy()
    del sdata.tables["table"]
    sdata.tables["table"] = table
    assert np.allclose(prediction(sdata, quick_model), expected[order], atol=1e-4)


def test_slide_without_table(make_section: Make, quick_model: Model, tmp_path: Path) -> None:
    sdata = make_section("H", 2, table=False)
    predict(sdata, quick_model, key_added="made")
    table = sdata.tables["made"]
    assert table.var_names.tolist() == quick_model.panel and table.n_obs == 42
    spots = np.column_stack([sdata.shapes["H"].geometry.x, sdata.shapes["H"].geometry.y])
    assert np.array_equal(table.obsm["spatial"], spots)
    predict(sdata, quick_model, key_added="made")
    sdata.write(tmp_path / "h.zarr")
    back = spatialdata.read_zarr(tmp_path / "h.zarr")
    assert np.array_equal(back.tables["made"].X, table.X)
    assert spatialdata.get_element_instances(back["H"]).tolist() == back.tables["made"].obs["instance_id"].tolist()
    predict(back, quick_model)
    assert set(back.tables) == {"made", "predicted"}


def test_spots_of_a_slide_in_any_index(make_section: Make, quick_model: Model) -> None:
    plain, odd = (make_section("H", 2, table=False) for _ in range(2))
    odd.shapes["H"] = odd.shapes["H"].set_index(np.arange(42)[::-1] * 3 + 5)
    for sdata in (plain, odd):
        predict(sdata, quick_model)
    assert np.array_equal(plain.tables["predicted"].X, odd.tables["predicted"].X)
    assert odd.tables["predicted"].obs["instance_id"].tolist() == odd.shapes["H"].index.tolist()


@pytest.mark.parametrize("grid", [(1, 1), (1, 2), (2, 3)])
def test_slides_of_a_few_spots(make_section: Make, quick_model: Model, grid: tuple[int, int]) -> None:
    """Fewer spots than neighbors were trained with."""
    sdata = make_section("H", grid=grid, table=False)
    predict(sdata, quick_model)
    assert np.isfinite(sdata.tables["predicted"].X).all()


def test_without_a_model_says_which(
    make_section: Make, quick: Quick, forget_models: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sdata = make_section("C", 2)
    with pytest.raises(InputError, match="no model was given, and none was trained or loaded in this session") as error:
        predict(sdata)
    assert "st_predict.load_model(path)" in error.value.remedy
    first = train(make_section("A"), **quick)
    with caplog.at_level(logging.INFO, "st_predict"):
        predict(sdata)
    assert f"no model was given; using this session's last: {first!r}" in caplog.text
    second = train(make_section("B", 1), **quick)
    predict(sdata)
    assert sdata.tables["table"].uns["predicted"]["model"] == second.id
    load_model(first.save(tmp_path / "first"))
    predict(sdata)
    assert sdata.tables["table"].uns["predicted"]["model"] == first.id


def test_a_given_model_is_not_announced(
    make_section: Make, quick_model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "st_predict"):
        predict(make_section("C"), quick_model)
    assert "no model was given" not in caplog.text


def test_earlier_prediction_is_replaced_and_others_stay(make_section: Make, quick_model: Model, quick: Quick) -> None:
    sdata = make_section("C", 2)
    predict(sdata, quick_model, key_added="one")
    other = train(make_section("B", 1), **quick)
    predict(sdata, other, key_added="two")
    predict(sdata, other, key_added="one")
    table = sdata.tables["table"]
    assert np.array_equal(table.obsm["one"].to_numpy(), table.obsm["two"].to_numpy())
    assert table.uns["one"]["model"] == other.id


@pytest.mark.parametrize("slot", ["layers", "obsm"])
def test_users_key_is_refused_before_work(
    make_section: Make, quick_model: Model, tile_count: SimpleNamespace, slot: str
) -> None:
    sdata = make_section("C", 2)
    getattr(sdata.tables["table"], slot)["predicted"] = np.ones((42, 24))
    with pytest.raises(InputError, match=f"{slot}\\['predicted'\\] is there already"):
        predict(sdata, quick_model)
    assert tile_count.tiles == 0


def test_features_are_no_place_for_a_prediction(make_section: Make, quick_model: Model) -> None:
    sdata = make_section("C", 2)
    predict(sdata, quick_model)
    with pytest.raises(InputError, match="obsm\\['X_tiny'\\], uns\\['X_tiny'\\] is there already"):
        predict(sdata, quick_model, key_added="X_tiny")


def test_unknown_scale(make_section: Make, quick_model: Model) -> None:
    with pytest.raises(InputError, match="the scale of section 'C' is unknown") as error:
        predict(make_section("C", um_per_px=None), quick_model)
    assert "st_predict.pp.set_scale" in error.value.remedy


def test_scale_is_allowed_for(make_section: Make, quick_model: Model) -> None:
    """The same tissue scanned at half the resolution gives about the same prediction."""
    fine, coarse = make_section("C", 2), make_section("C", 2)
    image = coarse.images["C_image"].to_numpy()
    halved = image[:, : image.shape[1] // 2 * 2, : image.shape[2] // 2 * 2].reshape(3, image.shape[1] // 2, 2, -1, 2)
    from spatialdata.models import Image2DModel, ShapesModel

    centers = np.column_stack([coarse.shapes["C"].geometry.x, coarse.shapes["C"].geometry.y]) / 2
    coarse.images["C_image"] = Image2DModel.parse(halved.mean(axis=(2, 4)).astype(np.uint8), dims=("c", "y", "x"))
    coarse.shapes["C"] = ShapesModel.parse(centers, geometry=0, radius=4.0)
    coarse.attrs["st_predict"] = {"um_per_px": {"C_image": 8.0}}
    found, expected = prediction(coarse, quick_model), prediction(fine, quick_model)
    same = [np.corrcoef(found[:, i], expected[:, i])[0, 1] for i in range(10)]
    assert min(same) > 0.9


@pytest.fixture(scope="module")
def pixel_model(make_section: Make, quick: Quick) -> Model:
    return train([make_section("A", 0), make_section("B", 1)], **quick, tile_px=(32, 64))


def test_pixel_model_refuses_another_scale(make_section: Make, pixel_model: Model) -> None:
    with pytest.raises(InputError, match="has 2 um/px; the model was trained in pixels at 4 um/px"):
        predict(make_section("C", um_per_px=2.0), pixel_model)


@pytest.mark.parametrize(("scale", "warned"), [(4.0, False), (4.05, False), (None, True)])
def test_pixel_model_warns_where_a_scale_is_unknown(
    make_section: Make, pixel_model: Model, scale: float | None, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "st_predict"):
        predict(make_section("C", um_per_px=scale), pixel_model)
    assert ("nobody can tell whether the scales agree" in caplog.text) == warned


def test_other_encoder_weights(make_section: Make, quick_model: Model) -> None:
    other = dataclasses.replace(quick_model, encoder_identity=EncoderIdentity("tiny", None, "0123456789abcdef"))
    with pytest.raises(InputError, match="are not those the model was trained with \\(0123456789abcdef\\)"):
        predict(make_section("C"), other)


def test_weights_file_that_was_moved(make_section: Make, quick: Quick, tmp_path: Path) -> None:
    first, second, third = (
        tmp_path / name for name in ("first.safetensors", "second.safetensors", "third.safetensors")
    )
    torch.manual_seed(0)
    save_file({"2.weight": torch.randn(24, 48), "2.bias": torch.zeros(24)}, first)
    model = train(make_section("A"), **quick, encoder_weights=str(first))
    expected = prediction(make_section("C", 2), model)
    first.rename(second)
    sdata = make_section("C", 2)
    with pytest.raises(InputError, match="there is no weights file"):
        predict(sdata, model)
    predict(sdata, model, encoder_weights=str(second))
    assert np.array_equal(sdata.tables["table"].obsm["predicted"].to_numpy(), expected)
    save_file({"2.weight": torch.randn(24, 48), "2.bias": torch.zeros(24)}, third)
    with pytest.raises(InputError, match="are not those the model was trained with"):
        predict(make_section("C", 2), model, encoder_weights=str(third))


def test_not_a_spatialdata(quick_model: Model) -> None:
    with pytest.raises(InputError, match=r"sdata is of type list|sdata is \["):
        predict([1], quick_model)


def test_prediction_is_scored_the_same_after_disk(make_section: Make, quick_model: Model, tmp_path: Path) -> None:
    sdata = make_section("C", 2)
    predict(sdata, quick_model)
    sdata.write(tmp_path / "c.zarr")
    back = spatialdata.read_zarr(tmp_path / "c.zarr")
    assert evaluate(back).equals(evaluate(sdata))
    predict(back, quick_model)
    assert evaluate(back).equals(evaluate(sdata))


def _painted(sdata: SpatialData, columns: slice, color: tuple[int, int, int]) -> SpatialData:
    """The same section with a strip of its image in one color."""
    pixels = np.asarray(sdata.images["C_image"].data).copy()
    pixels[:, :, columns] = np.array(color, np.uint8)[:, None, None]
    sdata.images["C_image"] = Image2DModel.parse(pixels, dims=("c", "y", "x"), c_coords=["r", "g", "b"])
    return sdata


@pytest.fixture(scope="module")
def of_four(make_section: Make) -> Model:
    """A model of larger sections, so that the limits are of more than a few spots."""
    sections = [make_section(name, i, grid=(10, 12)) for i, name in enumerate("ABDE")]
    return train(sections, encoder="tiny", genes=10, max_epochs=2, batch_size=16, tile_um=112)


def test_spots_like_those_of_training_are_said_to_be(
    make_section: Make, of_four: Model, caplog: pytest.LogCaptureFixture
) -> None:
    sdata = make_section("C", 9, grid=(10, 12))
    predict(sdata, of_four)
    table = sdata.tables["table"]
    assert (table.obs["predicted_distance"] > 1).mean() < 0.05
    assert table.uns["predicted"]["unlike_training"] == (table.obs["predicted_distance"] > 1).mean()
    assert 0 <= table.uns["predicted"]["slide_shift"] < 1
    assert "% of the 120 spots of C look unlike the training tiles" in caplog.text
    # One spot of the drawn section lies beside its tissue, which is told of as well.
    assert [r.message[:30] for r in caplog.records if r.levelname == "WARNING"] == ["1 of the 120 spots of C lie on"]


def test_parts_unlike_training_are_said(make_section: Make, of_four: Model, caplog: pytest.LogCaptureFixture) -> None:
    sdata = _painted(make_section("C", 9, grid=(10, 12)), slice(0, 36), (0, 0, 0))
    predict(sdata, of_four)
    table = sdata.tables["table"]
    strange = (table.obs["predicted_distance"] > 1).to_numpy()
    black = table.obsm["spatial"][:, 0] < 36 + 14  # half a tile
    assert (strange == black).mean() > 0.97
    assert "% of the 120 spots of C look unlike the training tiles (1 % is usual)" in caplog.text


def test_a_slide_unlike_training_is_said(make_section: Make, of_four: Model, caplog: pytest.LogCaptureFixture) -> None:
    sdata = _painted(make_section("C", 9, grid=(10, 12)), slice(0, 1000), (90, 200, 90))
    predict(sdata, of_four)
    assert sdata.tables["table"].uns["predicted"]["slide_shift"] > 1
    assert "C as a whole looks unlike the training sections" in caplog.text


def test_an_image_coarser_than_those_of_training_is_said(
    make_section: Make, of_four: Model, caplog: pytest.LogCaptureFixture
) -> None:
    predict(make_section("C", 2, um_per_px=7.0), of_four)
    assert "the image has 7 um/px, training had 4" in caplog.text
    caplog.clear()
    predict(make_section("C", 2, um_per_px=2.0), of_four)
    assert "um/px, training" not in caplog.text


def test_a_slide_of_few_spots_is_predicted_and_said(
    make_section: Make, quick_model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    """One spot of a slide, scored by itself, would have no features at all; 42 are enough."""
    whole = make_section("C", 2)
    expected = prediction(whole, quick_model)
    assert "too few" not in caplog.text
    found = {}
    for n in (1, 12):
        part = make_section("C", 2)
        part.tables["table"] = part.tables["table"][:n].copy()
        (name,) = part.shapes
        part.shapes[name] = part.shapes[name].iloc[:n]
        with caplog.at_level(logging.WARNING, "st_predict"):
            found[n] = prediction(part, quick_model)
        assert f"{n} spots are too few to measure the stain of a slide" in caplog.text
    mean = quick_model.center.numpy()
    assert np.isfinite(found[1]).all() and np.abs(found[1][0] - mean).max() > 0.01
    assert np.isfinite(found[12]).all() and expected.shape[0] == 42


def test_sections_with_predictions_are_concatenated(make_section: Make, quick_model: Model, tmp_path: Path) -> None:
    """Predictions go along, under the names of their genes."""
    sections = [make_section(name, seed) for seed, name in enumerate("AB")]
    for sdata in sections:
        predict(sdata, quick_model)
    expected = np.concatenate([sdata.tables["table"].obsm["predicted"] for sdata in sections])
    spatialdata.concatenate(sections, concatenate_tables=True, attrs_merge="first").write(tmp_path / "both.zarr")
    found = spatialdata.read_zarr(tmp_path / "both.zarr").tables["table"].obsm["predicted"]
    assert list(found.columns) == quick_model.panel
    np.testing.assert_array_equal(found.to_numpy(), expected)
