"""mclSTExp: the contrast, the bank made of whole sections, and retrieval by images alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from st_predict.core.errors import InputError
from st_predict.core.fitting.hardware import Hardware
from st_predict.core.fitting.network import Run, fit_network
from st_predict.core.inputs.kinds import FeatureInputs
from st_predict.core.inputs.spots import SpotSet
from st_predict.core.methods.interface import Batch
from st_predict.core.methods.mclstexp import PRESETS, MclSTExp, MclSTExpConfig
from st_predict.core.methods.recipe import FitConfig, InputConfig
from st_predict.core.methods.registry import build_method, find_recipe
from st_predict.core.model.load import load_model
from st_predict.core.model.predict import predict_spots

SMALL = MclSTExpConfig(width=16, heads=2, n_places=8, dropout=0.0, temperature=1.0, retrieved=4)
N_FEATURES, N_GENES = 6, 5


def make_method(config: MclSTExpConfig = SMALL) -> MclSTExp:
    """Untrained, in evaluation mode, its places no longer at zero."""
    torch.manual_seed(0)
    method: Any = build_method("mclstexp", config, N_FEATURES, N_GENES).eval()
    for table in (method.place_embedding.columns, method.place_embedding.rows):
        torch.nn.init.normal_(table.weight)
    return method


@pytest.fixture
def spots(section_spots: Callable[..., SpotSet]) -> SpotSet:
    return section_spots(k=0)


@pytest.fixture
def batch(spots: SpotSet) -> Batch:
    return spots.batch(torch.arange(30))


def test_contrast_equals_a_loop_over_pairs(batch: Batch) -> None:
    method = make_method(dataclasses.replace(SMALL, temperature=3.0))
    images = method.image_head(batch.tiles).tolist()
    genes = method._embed_genes(batch.expression, batch.places).tolist()
    n, total = len(images), 0.0
    for i in range(n):
        for own, others in ((images[i], genes), (genes[i], images)):
            logits = [sum(a * b for a, b in zip(own, other, strict=True)) / 3.0 for other in others]
            total -= logits[i] - max(logits) - math.log(sum(math.exp(logit - max(logits)) for logit in logits))
    assert method.loss(batch)["contrast"].item() == pytest.approx(total / (2 * n), rel=1e-4)


def test_expression_is_embedded_with_its_place_and_its_section(batch: Batch) -> None:
    method = make_method()
    plain = method._embed_genes(batch.expression, batch.places)
    moved = method._embed_genes(batch.expression, batch.places.flip(1))
    assert ((moved - plain).abs().amax(dim=1) > 1e-3)[(batch.places[:, 0] != batch.places[:, 1])].all()
    changed = batch.expression.clone()
    changed[3] += 5
    assert ((method._embed_genes(changed, batch.places) - plain).abs().amax(dim=1) > 1e-5).all()


def test_scale_and_offset_of_expression_leave_the_scale_to_the_fit(spots: SpotSet) -> None:
    scales = []
    for factor, offset in ((1.0, 0.0), (10.0, 0.0), (1.0, 7.0)):
        method = make_method()
        method.before_fit(spots.with_expression(spots.expression * factor + offset).reference())
        scales.append(method.expression_scale.item())
    assert scales[1] == pytest.approx(10 * scales[0], rel=1e-5) and scales[2] == pytest.approx(scales[0], rel=1e-4)


def test_bank_is_embedded_a_section_at_a_time(spots: SpotSet) -> None:
    method = make_method()
    method.after_fit(spots.reference())
    for number in (0, 1):
        rows = spots.sections == number
        alone = method._embed_genes(spots.expression[rows], spots.places[rows])
        assert torch.allclose(method.bank.keys[rows], torch.nn.functional.normalize(alone, dim=1), atol=1e-5)
    assert torch.equal(method.bank.values, spots.expression) and not method.bank.keys.requires_grad


def test_prediction_is_the_nearest_weighed_by_inverse_square_distance(spots: SpotSet) -> None:
    method = make_method()
    method.after_fit(spots.reference())
    images = torch.nn.functional.normalize(method.image_head(spots.tiles), dim=1)
    predicted = predict_spots(method, spots)
    for spot in (0, 17, 42):
        distance = (images[spot] - method.bank.keys).norm(dim=1)
        nearest = distance.argsort()[:4]
        weight = 1 / distance[nearest] ** 2
        expected = (weight[:, None] * spots.expression[nearest]).sum(dim=0) / weight.sum()
        assert torch.allclose(predicted[spot], expected, atol=1e-4)


def test_predicts_from_its_image_alone(spots: SpotSet) -> None:
    method = make_method()
    method.after_fit(spots.reference())
    plain = spots.images(torch.arange(30))
    assert plain.expression is None
    predicted = method.predict(plain)
    assert not torch.allclose(method.predict(plain._replace(tiles=plain.tiles * 0)), predicted, atol=1e-3)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    shuffled = plain._replace(tiles=plain.tiles[order], places=plain.places[order] + 3)
    assert torch.allclose(method.predict(shuffled), predicted[order], atol=1e-5)


def test_training_finds_pairs_and_predicts_and_repeats_itself(spots: SpotSet) -> None:
    predictions = []
    for _ in range(2):
        torch.manual_seed(0)
        method: Any = build_method("mclstexp", dataclasses.replace(SMALL, dropout=0.1), N_FEATURES, N_GENES)
        method.before_fit(spots.reference())
        records = fit_network(
            method, FeatureInputs(InputConfig(), []), spots, FitConfig(learning_rate=5e-3), epochs=60, held_out={}, seed=0,
            run=Run(Hardware("cpu", 1)),
        )  # fmt: skip
        method.after_fit(spots.reference())
        predictions.append(predict_spots(method, spots))
    assert records[-1].losses["contrast"] < 0.5 * records[0].losses["contrast"]
    assert torch.corrcoef(torch.stack([predictions[0].flatten(), spots.expression.flatten()]))[0, 1] > 0.5
    assert torch.equal(*predictions)


def test_loaded_model_predicts_the_same_to_the_bit(
    make_section: Callable[..., Any], quick: dict[str, Any], tmp_path: Path
) -> None:
    from st_predict.tl import predict, train

    model = train([make_section("A", 0), make_section("B", 1)], **quick, method="mclstexp", members=1)
    loaded = load_model(model.save(tmp_path / "model"))
    predictions = []
    for one in (model, loaded):
        sdata = make_section("new", 7)
        predict(sdata, one)
        predictions.append(sdata.tables["table"].obsm["predicted"].to_numpy())
    assert np.array_equal(*predictions) and np.ptp(predictions[0], axis=0).min() > 0
    assert len(loaded.network.bank.keys) == 84 and loaded.id == model.id


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"retrieved": 0}, "must be at least 1"),
        ({"layers": 0}, "must be at least 1"),
        ({"width": 100, "heads": 8}, "heads must divide width"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"temperature": 0.0}, "temperature must be positive"),
    ],
)
def test_settings_that_make_no_sense(change: dict[str, Any], rule: str) -> None:
    with pytest.raises(InputError, match=rule) as error:
        find_recipe("mclstexp", "default", change)
    assert error.value.where == "params of mclstexp"


def test_the_papers_numbers() -> None:
    config, fit = PRESETS["paper"].settings, PRESETS["paper"].fit
    assert (config.width, config.layers, config.heads, config.temperature) == (256, 2, 8, 1.0)
    assert (config.retrieved, config.dropout) == (200, 0.0)
    assert (fit.learning_rate, fit.weight_decay, fit.max_epochs, fit.batch_size) == (1e-4, 1e-3, 90, 128)
    assert fit.trainable_encoder and fit.decay == 1.0 and fit.inner_folds == 0
