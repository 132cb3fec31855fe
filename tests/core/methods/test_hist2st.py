"""Hist2ST: its three losses, what each spot hears of, and batches that hold more than targets."""

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
from st_predict.core.methods.hist2st import PRESETS, Hist2ST, Hist2STConfig
from st_predict.core.methods.interface import Batch
from st_predict.core.methods.recipe import FitConfig, InputConfig
from st_predict.core.methods.registry import build_method, find_recipe
from st_predict.core.model.predict import predict_spots

SMALL = Hist2STConfig(width=16, heads=2, n_places=8, dropout=0.0)
N_FEATURES, N_GENES = 6, 5


def make_method(config: Hist2STConfig = SMALL) -> Hist2ST:
    """Untrained, in evaluation mode, its places and its head no longer at zero."""
    torch.manual_seed(0)
    method: Any = build_method("hist2st", config, N_FEATURES, N_GENES).eval()
    for part in (method.place_embedding.columns, method.place_embedding.rows, method.head[-1]):
        torch.nn.init.normal_(part.weight)
    return method


@pytest.fixture
def batch(section_spots: Callable[..., SpotSet]) -> Batch:
    return section_spots(((4, 5),)).batch(torch.arange(20))


def test_needs_the_section_and_the_neighbors_it_is_set_to() -> None:
    needs = make_method(dataclasses.replace(SMALL, neighbors=3)).needs
    assert needs.section and needs.neighbors == 3


def test_loss_is_mse_likelihood_and_distillation(batch: Batch) -> None:
    method = make_method(dataclasses.replace(SMALL, zinb_weight=0.3, distillation_weight=0.7))
    terms = {name: term.item() for name, term in method.loss(batch).items()}
    predicted, spots = method.predict(batch), method._embed(batch)
    assert list(terms) == ["mse", "zinb", "distillation"]
    assert terms["mse"] == pytest.approx((predicted - batch.expression).square().mean().item(), rel=1e-5)
    assert terms["zinb"] == pytest.approx(0.3 * method.counts.loss(spots, batch).item(), rel=1e-5)


def test_teacher_is_the_scored_mean_of_passes_that_lose_features(batch: Batch) -> None:
    method = make_method(dataclasses.replace(SMALL, passes=3, feature_dropout=0.4, distillation_weight=0.7))
    torch.manual_seed(5)
    loss = method.loss(batch)["distillation"].item()
    torch.manual_seed(5)
    passes = []
    for _ in range(3):
        tiles = torch.nn.functional.dropout(batch.tiles, 0.4)
        assert (tiles == 0).any() and not (tiles == 0).all()
        passes.append(method._embed(batch._replace(tiles=tiles)))
    weights = torch.stack([method.pass_score(spots) for spots in passes]).exp()
    taught = sum(w / weights.sum(dim=0) * method.head(spots) for w, spots in zip(weights, passes, strict=True))
    assert loss == pytest.approx(0.7 * (taught - method.predict(batch)).square().mean().item(), rel=1e-4)


@pytest.mark.parametrize(
    ("weights", "names"),
    [((0.0, 0.0), ["mse"]), ((1.0, 0.0), ["mse", "zinb"]), ((0.0, 1.0), ["mse", "distillation"])],
)
def test_a_weight_of_zero_turns_a_term_off(batch: Batch, weights: tuple[float, float], names: list[str]) -> None:
    config = dataclasses.replace(SMALL, zinb_weight=weights[0], distillation_weight=weights[1])
    assert list(make_method(config).loss(batch)) == names


def test_without_the_likelihood_no_counts_are_asked_for(batch: Batch) -> None:
    without = batch._replace(counts=None, totals=None)
    make_method(dataclasses.replace(SMALL, zinb_weight=0.0)).loss(without)
    with pytest.raises(ValueError, match="carries counts"):
        make_method().loss(without)


def test_every_part_is_trained(batch: Batch) -> None:
    method = make_method()
    torch.stack(list(method.loss(batch).values())).sum().backward()
    assert [name for name, p in method.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_order_of_spots_does_not_matter(batch: Batch) -> None:
    method, order = make_method(), torch.randperm(20, generator=torch.Generator().manual_seed(1))
    new_row = order.argsort()
    shuffled = batch._replace(
        tiles=batch.tiles[order], places=batch.places[order], neighbors=new_row[batch.neighbors[order]],
        neighbor_weights=batch.neighbor_weights[order],
    )  # fmt: skip
    assert torch.allclose(method.predict(shuffled), method.predict(batch)[order], atol=1e-5)


def test_image_place_and_neighbors_all_count(batch: Batch) -> None:
    method = make_method()
    plain = method.predict(batch)
    for other in (
        batch._replace(tiles=batch.tiles * 0),
        batch._replace(places=batch.places.flip(1)),
        batch._replace(neighbors=(batch.neighbors + 7) % 20),
    ):
        assert ((method.predict(other) - plain).abs().amax(dim=1) > 1e-5).all()


def test_a_piece_of_a_section_with_the_neighbors_around_it(section_spots: Callable[..., SpotSet]) -> None:
    """More tiles than targets: tiles that are no targets are read, and only targets are predicted."""
    spots = section_spots(((4, 5),))
    piece = spots.images(torch.tensor([3, 9, 4]))
    assert len(piece.tiles) > 3 and piece.counts is None
    method = make_method()
    predicted = method.predict(piece)
    assert predicted.shape == (3, N_GENES)
    around = next(i for i in piece.neighbors[0].tolist() if i not in piece.targets.tolist())
    tiles = piece.tiles.clone()
    tiles[around] += 5
    changed = method.predict(piece._replace(tiles=tiles))
    assert ((changed - predicted).abs().amax(dim=1) > 1e-5).all()
    method.eval().loss(spots.batch(torch.tensor([3, 9, 4])))["mse"].backward()


def test_training_lowers_the_losses_and_repeats_itself(section_spots: Callable[..., SpotSet]) -> None:
    spots = section_spots()
    predictions = []
    for _ in range(2):
        torch.manual_seed(0)
        method = build_method("hist2st", dataclasses.replace(SMALL, dropout=0.1), N_FEATURES, N_GENES)
        records = fit_network(
            method, FeatureInputs(InputConfig(), []), spots, FitConfig(learning_rate=1e-2), epochs=40, held_out={}, seed=0,
            run=Run(Hardware("cpu", 1)),
        )  # fmt: skip
        predictions.append(predict_spots(method, spots))
    assert records[-1].losses["mse"] < 0.5 * records[0].losses["mse"]
    assert records[-1].losses["zinb"] < records[0].losses["zinb"]
    assert torch.equal(*predictions)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"graph_layers": 0}, "must be at least 1"),
        ({"neighbors": 0}, "must be at least 1"),
        ({"passes": 0}, "must be at least 1"),
        ({"width": 100, "heads": 8}, "heads must divide width"),
        ({"zinb_weight": -0.1}, "weights must not be negative"),
        ({"distillation_weight": -0.1}, "weights must not be negative"),
        ({"feature_dropout": 1.0}, r"dropouts must be in \[0, 1\)"),
        ({"dropout": -0.1}, r"dropouts must be in \[0, 1\)"),
    ],
)
def test_settings_that_make_no_sense(change: dict[str, Any], rule: str) -> None:
    with pytest.raises(InputError, match=rule) as error:
        find_recipe("hist2st", "default", change)
    assert error.value.where == "params of hist2st"


def test_the_papers_numbers() -> None:
    config, fit = PRESETS["paper"].settings, PRESETS["paper"].fit
    assert (config.width, config.layers, config.heads, config.neighbors, config.graph_layers) == (1024, 8, 16, 4, 4)
    assert (config.zinb_weight, config.distillation_weight, config.passes, config.own_tile) == (0.25, 0.5, 5, False)
    assert (fit.learning_rate, fit.max_epochs, fit.decay_every, fit.decay) == (1e-5, 350, 50, 0.9)
    assert fit.trainable_encoder and not fit.augment and fit.inner_folds == 0


def test_weights_are_how_often_a_neighbor_counts(batch: Batch) -> None:
    """A neighbor of weight 2 is two, one of weight 0 is none."""
    method = make_method()
    twice = batch._replace(neighbors=batch.neighbors[:, [0, 0, 1, 2]], neighbor_weights=None)
    weights = torch.tensor([[0.0, 1, 2, 1]]).expand(len(batch.targets), -1)
    weighed = batch._replace(neighbors=batch.neighbors[:, [3, 2, 0, 1]], neighbor_weights=weights)
    torch.testing.assert_close(method.predict(weighed), method.predict(twice), rtol=1e-4, atol=1e-5)
