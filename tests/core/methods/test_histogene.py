"""HisToGene: a section is a set of spots that know their place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from st_predict.core.errors import InputError
from st_predict.core.fitting.hardware import Hardware
from st_predict.core.fitting.network import Run, fit_network
from st_predict.core.inputs.kinds import FeatureInputs
from st_predict.core.inputs.spots import SpotSet
from st_predict.core.methods.histogene import PRESETS, HisToGene, HisToGeneConfig
from st_predict.core.methods.interface import Batch
from st_predict.core.methods.recipe import FitConfig, InputConfig
from st_predict.core.methods.registry import build_method, find_recipe
from st_predict.core.model.predict import predict_spots

SMALL = HisToGeneConfig(width=16, heads=2, n_places=8, dropout=0.0, head_dropout=0.0)
N_FEATURES, N_GENES = 6, 5


def make_method(config: HisToGeneConfig = SMALL) -> HisToGene:
    """Untrained, in evaluation mode, its places and its head no longer at zero."""
    torch.manual_seed(0)
    method: Any = build_method("histogene", config, N_FEATURES, N_GENES).eval()
    for part in (method.place_embedding.columns, method.place_embedding.rows, method.head[-1]):
        torch.nn.init.normal_(part.weight)
    return method


@pytest.fixture
def batch(section_spots: Callable[..., SpotSet]) -> Batch:
    return section_spots(((4, 5),), k=0).batch(torch.arange(20))


def test_equals_its_parts(batch: Batch) -> None:
    method = make_method()
    tiles = method.tile_embedding(batch.tiles)
    columns, rows = (
        torch.stack([table.weight[int(p)] for p in batch.places[:, axis]])
        for axis, table in enumerate((method.place_embedding.columns, method.place_embedding.rows))
    )
    tokens = (tiles + columns + rows)[None]
    for layer in method.encoder.layers:
        normed = layer.norm1(tokens)
        tokens = tokens + layer.self_attn(normed, normed, normed)[0]
        tokens = tokens + layer.linear2(torch.nn.functional.gelu(layer.linear1(layer.norm2(tokens))))
    norm, _, linear = method.head
    assert torch.allclose(method.predict(batch), linear(norm(tokens[0])), atol=1e-5)


def test_loss_is_the_mean_squared_error(batch: Batch) -> None:
    method = make_method()
    (term,) = method.loss(batch).values()
    assert term.item() == pytest.approx((method.predict(batch) - batch.expression).square().mean().item(), rel=1e-5)


def test_order_of_spots_does_not_matter(batch: Batch) -> None:
    method, order = make_method(), torch.randperm(20, generator=torch.Generator().manual_seed(1))
    shuffled = batch._replace(tiles=batch.tiles[order], places=batch.places[order])
    assert torch.allclose(method.predict(shuffled), method.predict(batch)[order], atol=1e-5)
    reordered = batch._replace(targets=order)
    assert torch.allclose(method.predict(reordered), method.predict(batch)[order], atol=1e-6)


def test_image_place_and_the_other_spots_all_count(batch: Batch) -> None:
    method = make_method()
    plain = method.predict(batch)
    changed = batch.tiles.clone()
    changed[7] = 0
    for other in (
        batch._replace(tiles=batch.tiles * 0),
        batch._replace(places=batch.places.flip(1)),  # columns and rows are told apart
        batch._replace(tiles=changed),  # a spot is read by all others
    ):
        assert ((method.predict(other) - plain).abs().amax(dim=1) > 1e-4).all()


def test_places_start_at_nothing_and_beyond_the_last_share_it(batch: Batch) -> None:
    torch.manual_seed(0)
    fresh = build_method("histogene", SMALL, N_FEATURES, N_GENES).eval()
    assert not fresh.predict(batch).any(), "zero, the mean of centered targets, before the first step"
    torch.nn.init.normal_(fresh.head[-1].weight)
    assert torch.equal(fresh.predict(batch), fresh.predict(batch._replace(places=batch.places + 2)))
    method = make_method()
    far, farther = batch._replace(places=batch.places + 100), batch._replace(places=batch.places + 1000)
    assert torch.equal(method.predict(far), method.predict(farther))


def test_training_lowers_the_loss_and_repeats_itself(section_spots: Callable[..., SpotSet]) -> None:
    spots = section_spots(k=0)
    predictions = []
    for _ in range(2):
        torch.manual_seed(0)
        method = build_method("histogene", dataclasses.replace(SMALL, dropout=0.1), N_FEATURES, N_GENES)
        records = fit_network(
            method, FeatureInputs(InputConfig(), []), spots, FitConfig(learning_rate=1e-2), epochs=30, held_out={}, seed=0,
            run=Run(Hardware("cpu", 1)),
        )  # fmt: skip
        predictions.append(predict_spots(method, spots))
    assert records[-1].losses["mse"] < 0.5 * records[0].losses["mse"]
    assert torch.equal(*predictions)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"width": 0}, "must be at least 1"),
        ({"heads": 0}, "must be at least 1"),
        ({"n_places": 0}, "must be at least 1"),
        ({"width": 100, "heads": 8}, "heads must divide width"),
        ({"dropout": 1.0}, r"dropouts must be in \[0, 1\)"),
        ({"head_dropout": -0.1}, r"dropouts must be in \[0, 1\)"),
    ],
)
def test_settings_that_make_no_sense(change: dict[str, Any], rule: str) -> None:
    with pytest.raises(InputError, match=rule) as error:
        find_recipe("histogene", "default", change)
    assert error.value.where == "params of histogene"


def test_the_papers_sizes() -> None:
    config, fit = PRESETS["paper"].settings, PRESETS["paper"].fit
    assert (config.width, config.layers, config.heads, config.n_places, config.dropout) == (1024, 8, 16, 64, 0.1)
    assert (fit.learning_rate, fit.max_epochs, fit.decay, fit.inner_folds) == (1e-5, 100, 1.0, 0)
