"""What every method of the registry keeps to, whatever it is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from st_predict.core.encoders.frozen import EncoderIdentity
from st_predict.core.encoders.registry import build_encoder
from st_predict.core.fitting.fit import train_model
from st_predict.core.fitting.hardware import Hardware
from st_predict.core.fitting.network import Run
from st_predict.core.fitting.plan import Plan, check_plan
from st_predict.core.fitting.selection import Fitting
from st_predict.core.inputs.encoded import EncodedTiles
from st_predict.core.inputs.kinds import FeatureInputs
from st_predict.core.inputs.spots import SpotSet
from st_predict.core.methods.recipe import PLAIN_INPUTS, FitConfig, InputConfig, Recipe
from st_predict.core.methods.registry import METHODS, build_method, find_recipe
from st_predict.core.model.load import load_model
from st_predict.core.model.model import Model
from st_predict.core.model.predict import predict_spots
from st_predict.core.section import Section
from st_predict.core.tiles.geometry import TileSpec
from st_predict.core.tiles.sources import ArraySource

Spots = Callable[..., SpotSet]
CPU = Hardware("cpu", 1)
N_GENES = 5
SMALL = {"width": 16, "hidden": 16, "heads": 2, "neighbors": 6, "retrieved": 9}
"""Values of settings that many methods have."""
BY_GRADIENT = [
    name
    for name, entry in METHODS.items()
    if build_method(name, entry.presets["default"].settings, 1, 1).needs.gradient
]
every_method = pytest.mark.parametrize("name", METHODS)
every_trained_method = pytest.mark.parametrize("name", BY_GRADIENT)


def small_recipe(name: str, **fit: Any) -> Recipe:
    """The default preset with few and narrow layers, and a short training."""
    known = {field.name for field in dataclasses.fields(METHODS[name].presets["default"].settings)}
    recipe = find_recipe(name, "default", {key: value for key, value in SMALL.items() if key in known})
    return dataclasses.replace(
        recipe, fit=FitConfig(**{"batch_size": 8, "max_epochs": 2, "inner_folds": 0, "members": 1, **fit})
    )


def fitted(name: str, spots: SpotSet, *, seed: int = 0) -> Any:
    return Fitting(small_recipe(name), seed, Run(CPU)).fit(spots, FeatureInputs(InputConfig(), []), 2, {}, "fit")[0]


def weights(network: Any) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in network.state_dict().values()])


@pytest.fixture(scope="module")
def spots(section_spots: Spots) -> SpotSet:
    return section_spots(((5, 6), (4, 5)), k=6)


@every_trained_method
def test_loss_is_finite_and_reaches_the_network(name: str, spots: SpotSet) -> None:
    method: Any = build_method(name, small_recipe(name).settings, 6, N_GENES).train()
    method.before_fit(spots.reference())
    folds = spots.folds()[:30]
    terms = method.loss(spots.batch(torch.arange(30))._replace(folds=folds))  # a whole section: all rows are its own
    assert terms and all(term.ndim == 0 and torch.isfinite(term) for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    gradients = [p.grad for p in method.parameters() if p.grad is not None]
    assert gradients and all(torch.isfinite(gradient).all() for gradient in gradients)
    assert any(gradient.abs().max() > 0 for gradient in gradients)


@every_method
def test_prediction_is_finite_and_knows_images_alone(name: str, spots: SpotSet) -> None:
    """What a batch brings of expression, counts and folds changes nothing."""
    network = fitted(name, spots)
    whole = torch.arange(30)
    with torch.inference_mode():
        plain = network.predict(spots.images(whole))
        measured = network.predict(spots.batch(whole)._replace(folds=spots.folds()[whole]))
    assert plain.shape == (30, N_GENES) and torch.isfinite(plain).all()
    assert torch.equal(plain, measured)


@every_method
def test_same_seed_same_fit(name: str, spots: SpotSet) -> None:
    found = []
    for disturbance in (1, 2):
        torch.manual_seed(disturbance)
        found.append(weights(fitted(name, spots, seed=3)))
    assert torch.equal(*found)
    if name in BY_GRADIENT:
        assert not torch.equal(found[0], weights(fitted(name, spots, seed=4)))


@every_method
def test_other_sections_do_not_matter(name: str, spots: SpotSet) -> None:
    network = fitted(name, spots)
    together = predict_spots(network, spots)
    for section in (0, 1):
        alone = predict_spots(network, spots.of_sections([section]))
        assert torch.allclose(alone, together[spots.sections == section], atol=1e-5), section


@every_method
def test_order_of_spots_does_not_matter(name: str, spots: SpotSet) -> None:
    network = fitted(name, spots)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    shuffled = spots.each(lambda values: values[order])
    shuffled = shuffled._replace(neighbors=order.argsort()[shuffled.neighbors])
    assert torch.allclose(predict_spots(network, shuffled), predict_spots(network, spots)[order], atol=1e-5)


@every_method
def test_sections_smaller_than_a_neighborhood(name: str, section_spots: Spots, spots: SpotSet) -> None:
    """At prediction K is at most what the section has: a pair of spots, or one alone."""
    network = fitted(name, spots)
    pair = predict_spots(network, section_spots(((1, 2),), k=1))
    assert pair.shape == (2, N_GENES) and torch.isfinite(pair).all()
    alone = section_spots(((1, 1),), k=0)
    assert torch.isfinite(predict_spots(network, alone)).all()


@every_method
def test_one_input_feature(name: str, spots: SpotSet) -> None:
    narrow = spots.with_tiles(spots.tiles[:, :1].contiguous())
    assert torch.isfinite(predict_spots(fitted(name, narrow), narrow)).all()


def shaded_sections() -> tuple[list[Section], list[np.ndarray]]:
    """Two sections whose tiles are of one shade, which counts follow; the tiles ``(n, 1, 32, 32, 3)``."""
    rng = np.random.default_rng(0)
    sections, tiles = [], []
    row, column = (v.ravel() for v in np.mgrid[:5, :6])
    for name in "AB":
        shade = rng.uniform(0, 1, (30, 1))
        rate = np.concatenate([shade, 1 - shade, shade**2, np.ones_like(shade), 1.5 - shade], axis=1) * 200 + 5
        genes = np.array([f"g{i}" for i in range(N_GENES)])
        source = ArraySource(np.zeros((4, 4, 3), np.uint8))
        centers = np.column_stack([column, row]) * 20.0
        counts = rng.poisson(rate).astype(np.float32)
        sections.append(Section(name, source, centers, 1.0, None, counts, genes))
        tiles.append(np.broadcast_to((255 * shade).astype(np.uint8)[:, None, None, None], (30, 1, 32, 32, 3)).copy())
    return sections, tiles


def trained_end_to_end(name: str) -> tuple[Model, list[np.ndarray]]:
    sections, tiles = shaded_sections()
    recipe = dataclasses.replace(small_recipe(name, trainable_encoder=True, inner_folds=1), inputs=PLAIN_INPUTS)
    plan = Plan(recipe, N_GENES, "heg", 1, 0)
    encoded = EncodedTiles(tiles, TileSpec((100.0,)), EncoderIdentity("tiny", None, "x"), build_encoder("tiny"))
    model = train_model(sections, encoded, check_plan(sections, plan), Run(CPU))
    return model, tiles


@pytest.mark.one_python
@every_trained_method
def test_trains_an_encoder_end_to_end(name: str, tmp_path: Any) -> None:
    """Also that the model comes back from disk with all a prediction takes."""
    model, tiles = trained_end_to_end(name)
    assert model.encoder is not None and model.encoder.fingerprint() != build_encoder("tiny").fingerprint()
    assert model.held_out.columns.tolist() == [(s, m) for s in ("pcc", "mse") for m in ("mean", "ridge", name)]
    assert np.isfinite(model.held_out.to_numpy()).all() and np.isfinite(model.history["loss"]).all()
    centers = shaded_sections()[0][0].centers_px
    loaded = load_model(model.save(tmp_path / "model"))
    found = []
    for one in (model, loaded):
        with torch.inference_mode():
            rows = one.encoder(torch.from_numpy(tiles[0][:, 0])).numpy()[:, None]
        found.append(one.predict_features(rows, centers))
    assert found[0].shape == (30, N_GENES) and np.isfinite(found[0]).all()
    assert np.array_equal(*found)


@pytest.mark.parametrize(("name", "preset"), [(name, p) for name, entry in METHODS.items() for p in entry.presets])
def test_presets_build(name: str, preset: str) -> None:
    recipe = find_recipe(name, preset, None)
    method = build_method(name, recipe.settings, 24, N_GENES)
    assert method.needs.gradient is (sum(p.numel() for p in method.parameters()) > 0)
    if preset == "paper":  # publications do not tune when to stop, nor reduce their inputs
        assert recipe.fit.inner_folds == 0 and recipe.inputs == PLAIN_INPUTS
