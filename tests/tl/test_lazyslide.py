"""A trained model run by LazySlide itself, on its own tiles."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lazyslide as zs
import numpy as np
import pytest
import tifffile
import torch
import wsidata
from lazyslide_models.base import ImageModelProtocol, TilePredictionModelProtocol
from PIL import Image
from spatialdata import SpatialData

import st_predict as stp
from st_predict.core.errors import InputError
from st_predict.core.model.lone_tiles import TileCutter
from st_predict.core.model.model import Model

UM, TILE_UM = 0.5, 112.0
Make = Callable[..., SpatialData]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide of smoothly changing stain, 0.5 um a px."""
    y, x = np.mgrid[:1400, :1600].astype(float)
    stain = 0.5 + 0.25 * np.sin(x / 190) + 0.25 * np.cos(y / 140)
    tissue = np.stack([225 - 90 * stain, 150 - 80 * stain, 190 - 40 * stain], axis=-1)
    inside = ((x - 800) ** 2 + (y - 700) ** 2 < 600**2)[..., None]
    pixels = np.clip(np.where(inside, tissue, 244), 0, 255).astype(np.uint8)
    found = tmp_path_factory.mktemp("lazyslide") / "slide.tif"
    resolution = {"resolution": (1e4 / UM, 1e4 / UM), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(found, pixels, tile=(256, 256), compression="zlib", photometric="rgb", **resolution)
    return found


@pytest.fixture
def wsi(path: Path) -> wsidata.WSIData:
    found = wsidata.open_wsi(path, store=None)
    zs.pp.find_tissues(found)
    return found


def trained(make_section: Make, quick: dict[str, Any], **changes: Any) -> Model:
    return stp.tl.train([make_section(name, i) for i, name in enumerate("ABC")], **{**quick, **changes})


@pytest.fixture(scope="module")
def alone(make_section: Make, quick: dict[str, Any]) -> Model:
    """A model that sees a spot's own tile and nothing of its slide."""
    return trained(make_section, quick, method="ridge", context=(), standardize="training", tile_um=TILE_UM)


def test_models_follow_the_protocol(alone: Model) -> None:
    assert isinstance(alone, TilePredictionModelProtocol) and isinstance(alone, ImageModelProtocol)
    assert alone.name == "st_predict_ridge" and alone.columns == tuple(alone.panel)


def test_tile_predictions_are_those_of_predict(wsi: wsidata.WSIData, alone: Model, caplog: Any) -> None:
    zs.pp.tile_tissues(wsi, round(TILE_UM / UM), mpp=UM)
    zs.tl.tile_prediction(wsi, alone, batch_size=5, pbar=False)
    assert "one by one" not in caplog.text, "nothing is lost on this model"
    found = wsi.shapes["tiles"][list(alone.panel)].to_numpy()
    stp.tl.predict(wsi, alone)
    expected = wsi.tables["predicted"].X
    assert len(found) > 10 and expected.std(axis=0).max() > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_tiles_at_half_the_resolution(wsi: wsidata.WSIData, alone: Model) -> None:
    zs.pp.tile_tissues(wsi, round(TILE_UM / (2 * UM)), mpp=2 * UM)
    zs.tl.tile_prediction(wsi, alone, pbar=False)
    found = wsi.shapes["tiles"][list(alone.panel)].to_numpy()
    stp.tl.predict(wsi, alone)
    expected = wsi.tables["predicted"].X
    assert np.abs(found - expected).mean() < 0.1 * expected.std()


@pytest.mark.parametrize("method", ["nh2st", "histogene"])
def test_models_that_see_the_slide_say_what_is_lost(
    wsi: wsidata.WSIData, make_section: Make, quick: dict[str, Any], method: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = trained(make_section, quick, method=method, tile_um=(112, 308))
    zs.pp.tile_tissues(wsi, round(max(model.tiles.widths_um) / UM), mpp=UM, stride_px=100)
    zs.tl.tile_prediction(wsi, model, pbar=False)
    assert caplog.text.count("tiles are predicted one by one") == 1
    found = wsi.shapes["tiles"][list(model.panel)]
    assert np.isfinite(found.to_numpy()).all() and found.std().max() > 0
    again = wsi.shapes["tiles"].copy()
    zs.tl.tile_prediction(wsi, model, batch_size=1, pbar=False)
    np.testing.assert_allclose(wsi.shapes["tiles"][list(model.panel)], again[list(model.panel)], atol=1e-4)


def test_a_trained_encoder_and_a_model_from_disk(
    wsi: wsidata.WSIData, make_section: Make, quick: dict[str, Any], tmp_path: Path
) -> None:
    model = trained(make_section, quick, trainable_encoder=True, inner_folds=0)
    loaded = stp.load_model(model.save(tmp_path / "model"))
    zs.pp.tile_tissues(wsi, round(TILE_UM / UM), mpp=UM)
    found = []
    for each in (model, loaded):
        zs.tl.tile_prediction(wsi, each, pbar=False)
        found.append(wsi.shapes["tiles"][list(model.panel)].to_numpy())
    np.testing.assert_array_equal(*found)


def test_features_for_lazyslide(wsi: wsidata.WSIData, alone: Model) -> None:
    zs.pp.tile_tissues(wsi, round(TILE_UM / UM), mpp=UM)
    zs.tl.feature_extraction(wsi, alone, pbar=False)
    features = wsi.tables["st_predict_ridge_tiles"].X
    assert features.shape == (len(wsi.shapes["tiles"]), alone.domain.mean.shape[0])
    stp.tl.predict(wsi, alone)
    assert "predicted" in wsi.tables, "features of tiles are not taken for expression"


def test_narrow_tiles_are_cut_from_the_middle() -> None:
    tile = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    wide, narrow = TileCutter([1.0, 0.5], 32)(tile).numpy()
    image = Image.fromarray(tile)
    np.testing.assert_array_equal(wide, np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR)))
    np.testing.assert_array_equal(narrow, tile[16:48, 16:48])


@pytest.mark.parametrize(
    "tile",
    [np.zeros((8, 9, 3), np.uint8), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3))],
)
def test_tiles_that_are_none(tile: np.ndarray) -> None:
    with pytest.raises(InputError, match="a tile has shape"):
        TileCutter([1.0], 8)(tile)


def test_moving_and_compiling_leave_the_model_as_it_was(alone: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    model = dataclasses.replace(alone)
    weights = {name: value.clone() for name, value in model.network.state_dict().items()}
    with pytest.raises(InputError, match="device is 'quux', which cannot be used here"):
        model.to("quux")
    with pytest.raises(InputError, match="the image is torch.float32 of shape"):
        model.predict(torch.zeros(3, 4))
    monkeypatch.setattr("st_predict.core.model.lone_tiles.torch_device", str)  # nothing can be read back from meta
    assert model.to("meta") is model
    assert all(torch.equal(value, weights[name]) for name, value in model.network.state_dict().items())
    compiled: list[dict[str, Any]] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **settings: compiled.append(settings))
    model.try_compile(mode="reduce-overhead")
    assert compiled == [{"mode": "reduce-overhead"}]


def test_half_a_model_is_refused(alone: Model) -> None:
    with pytest.raises(ValueError, match="only a whole model"):
        dataclasses.replace(alone, domain=None).get_transform()
