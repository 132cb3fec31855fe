"""TRIPLEX: what each branch sees, how they are fused and distilled, and what the order of spots means (nothing)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from st_predict.core.errors import InputError
from st_predict.core.fitting.hardware import Hardware
from st_predict.core.fitting.network import Run, fit_network
from st_predict.core.inputs.kinds import FeatureInputs
from st_predict.core.inputs.spots import SpotSet
from st_predict.core.methods.blocks import CrossAttentionLayer
from st_predict.core.methods.interface import Batch, Needs
from st_predict.core.methods.recipe import FitConfig, InputConfig
from st_predict.core.methods.registry import find_recipe
from st_predict.core.methods.triplex import TRIPLEX, TRIPLEXConfig
from st_predict.core.model.predict import predict_spots

Spots = Callable[..., SpotSet]
SMALL = TRIPLEXConfig(width=16, neighbors=6, heads=2, dropout=0.0, n_places=8)
D, G = 6, 5


def method_of(config: TRIPLEXConfig = SMALL) -> TRIPLEX:
    """A network whose places are told apart (they start out alike)."""
    torch.manual_seed(0)
    method = TRIPLEX(D, G, config).eval()
    for places in (method.offsets, method.places):
        for table in (places.columns, places.rows):
            torch.nn.init.normal_(table.weight)
    return method


def section_batch(section_spots: Spots, targets: torch.Tensor | None = None) -> Batch:
    spots = section_spots(((5, 6),), k=6)
    return spots.batch(torch.arange(30) if targets is None else targets)


def test_needs_a_whole_section_and_its_neighbors() -> None:
    assert method_of().needs == Needs(neighbors=6, section=True)
    assert TRIPLEX(D, G, find_recipe("triplex", "paper", None).settings).needs == Needs(neighbors=24, section=True)


def test_loss_is_errors_and_distillation(section_spots: Spots) -> None:
    batch = section_batch(section_spots)
    method = method_of(dataclasses.replace(SMALL, distillation=0.2))
    terms = method.loss(batch)
    assert list(terms) == ["mse", "target", "neighbor", "section"]
    fused, *branches = method._predictions(batch)
    truth = batch.expression[batch.targets]
    assert terms["mse"].item() == pytest.approx(((fused - truth) ** 2).mean().item(), rel=1e-5)
    for name, own in zip(["target", "neighbor", "section"], branches, strict=True):
        expected = 0.8 * ((own - truth) ** 2).mean() + 0.2 * ((own - fused) ** 2).mean()
        assert terms[name].item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.equal(method.predict(batch), fused)


def test_distillation_pulls_the_fused_prediction_too(section_spots: Spots) -> None:
    batch = section_batch(section_spots)
    for weight, pulls in ((0.0, False), (0.5, True)):
        method = method_of(dataclasses.replace(SMALL, distillation=weight))
        terms = method.loss(batch)
        (terms["target"] + terms["neighbor"] + terms["section"]).backward()
        gradient = method.fusion_head[1].weight.grad
        assert (gradient is not None and bool(gradient.abs().max() > 0)) is pulls


def test_every_part_learns(section_spots: Spots) -> None:
    method = method_of().double()
    spots = section_spots(((5, 6),), k=6)
    batch = spots._replace(tiles=spots.tiles.double(), expression=spots.expression.double()).batch(torch.arange(30))
    torch.stack(list(method.loss(batch).values())).sum().backward()
    idle = {name for name, p in method.named_parameters() if p.grad is None or float(p.grad.abs().max()) < 1e-13}
    assert idle == set()


def changed(method: TRIPLEX, batch: Batch, tile: int) -> list[list[bool]]:
    """Per branch (fused, target, neighbors, section), which targets another image at ``tile`` changes."""
    tiles = batch.tiles.clone()
    tiles[tile] += 1
    pairs = zip(method._predictions(batch), method._predictions(batch._replace(tiles=tiles)), strict=True)
    return [(before - after).abs().amax(dim=1).gt(1e-6).tolist() for before, after in pairs]


def test_who_sees_which_tile(section_spots: Spots) -> None:
    """The target branch its own, the neighbor branch its nearest, the section branch and the fusion all."""
    batch = section_batch(section_spots)
    fused, target, neighbor, section = changed(method_of(), batch, tile=7)
    assert target == [i == 7 for i in range(30)]
    assert neighbor == [i == 7 or 7 in batch.neighbors[i].tolist() for i in range(30)]
    assert all(section) and all(fused)


def test_order_of_neighbors_does_not_matter(section_spots: Spots) -> None:
    batch, method = section_batch(section_spots), method_of()
    expected = method.predict(batch)
    turned = method.predict(
        batch._replace(neighbors=batch.neighbors.flip(1), neighbor_weights=batch.neighbor_weights.flip(1))
    )
    assert torch.allclose(turned, expected, atol=1e-5)
    others = method.predict(batch._replace(neighbors=(batch.neighbors + 3) % 30))
    assert not torch.allclose(others, expected, atol=1e-3)


def test_neighbors_are_known_by_their_distance_in_columns_and_rows(section_spots: Spots) -> None:
    """Moving the section leaves the neighbor branch as it is, stretching it does not."""
    batch, method = section_batch(section_spots), method_of()
    neighbor = method._predictions(batch)[2]
    moved = method._predictions(batch._replace(places=batch.places + 2))
    assert torch.allclose(moved[2], neighbor, atol=1e-6) and not torch.allclose(moved[3], method._predictions(batch)[3])
    mirrored = method._predictions(batch._replace(places=-batch.places))[2]
    assert torch.allclose(mirrored, neighbor, atol=1e-6)
    stretched = method._predictions(batch._replace(places=batch.places * torch.tensor([2.0, 1.0])))[2]
    assert not torch.allclose(stretched, neighbor, atol=1e-3)


def test_order_of_spots_permutes_the_prediction(section_spots: Spots) -> None:
    batch, method = section_batch(section_spots), method_of()
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    new_row = order.argsort()
    shuffled = batch._replace(
        tiles=batch.tiles[order], places=batch.places[order], neighbors=new_row[batch.neighbors[order]],
        neighbor_weights=batch.neighbor_weights[order],
    )  # fmt: skip
    assert torch.allclose(method.predict(shuffled), method.predict(batch)[order], atol=1e-5)


def test_tiles_that_are_no_targets_are_part_of_the_section(section_spots: Spots) -> None:
    """A piece of a section comes with its neighbors: U > B."""
    targets = torch.tensor([3, 4, 9, 10])
    batch = section_batch(section_spots, targets)
    assert len(batch.tiles) > len(targets) and method_of().predict(batch).shape == (4, G)
    beyond = next(i for i in range(len(batch.tiles)) if i not in batch.targets.tolist())
    assert all(changed(method_of(), batch, tile=beyond)[3])


def test_targets_find_their_own_section_token(section_spots: Spots) -> None:
    batch, method = section_batch(section_spots, torch.tensor([3, 4, 9, 10])), method_of()
    turned = batch._replace(
        targets=batch.targets.flip(0), neighbors=batch.neighbors.flip(0),
        neighbor_weights=batch.neighbor_weights.flip(0),
    )  # fmt: skip
    for found, expected in zip(method._predictions(turned), method._predictions(batch), strict=True):
        assert torch.allclose(found, expected.flip(0), atol=1e-5)


def test_fused_prediction_sums_what_the_shared_stack_finds_in_the_target_and_in_its_neighborhood(
    section_spots: Spots, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, method = section_batch(section_spots), method_of()
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(method, "_fuse", lambda section, tokens, *_: seen.append(tokens) or tokens.sum(dim=1))
    fused = method.predict(batch)
    target, neighborhood = seen
    assert target.shape == (30, 1, 16) and neighborhood.shape == (30, 1 + batch.neighbors.shape[1], 16)
    assert torch.allclose(target[:, 0], method.target_input(batch.tiles)[batch.targets])
    assert torch.allclose(fused, method.fusion_head(target.sum(dim=1) + neighborhood.sum(dim=1)), atol=1e-6)


def test_cross_attention_layer_is_attention_and_mlp_both_residual() -> None:
    torch.manual_seed(0)
    layer = CrossAttentionLayer(8, heads=1, dropout=0.0).eval()
    query, tokens = torch.randn(3, 2, 8), torch.randn(3, 5, 8)
    w_q, w_k, w_v = layer.attention.in_proj_weight.chunk(3)
    normed, asked = layer.others_norm(tokens), layer.norm(query)
    weights = ((asked @ w_q.T) @ (normed @ w_k.T).transpose(1, 2) / 8**0.5).softmax(dim=-1)
    attended = query + functional.linear(weights @ (normed @ w_v.T), layer.attention.out_proj.weight)
    expected = attended + layer.mlp(layer.mlp_norm(attended))
    assert torch.allclose(layer(query, tokens), expected, atol=1e-6)


def test_only_the_target_branch_trains_an_encoder(section_spots: Spots) -> None:
    batch = section_batch(section_spots, torch.tensor([0, 1, 2]))
    tiles = batch.tiles.clone().requires_grad_()
    torch.stack(list(method_of().loss(batch._replace(tiles=tiles)).values())).sum().backward()
    assert tiles.grad is not None
    trained = tiles.grad.abs().sum(dim=1) > 0
    assert trained.nonzero()[:, 0].tolist() == sorted(batch.targets.tolist()) and not trained.all()


def test_image_decides(section_spots: Spots) -> None:
    batch, method = section_batch(section_spots), method_of()
    assert not torch.allclose(method.predict(batch), method.predict(batch._replace(tiles=0 * batch.tiles)), atol=1e-2)


def test_one_spot_alone_and_two(section_spots: Spots) -> None:
    """No neighbor, or fewer than asked for, at prediction."""
    none = torch.empty(1, 0, dtype=torch.long)
    alone = Batch(torch.randn(1, D), torch.zeros(1, dtype=torch.long), none, torch.zeros(1, 2))
    assert torch.isfinite(method_of().predict(alone)).all()
    two = section_spots(((1, 2),), k=1)
    assert torch.isfinite(predict_spots(method_of(), two)).all()


def test_loss_falls(section_spots: Spots) -> None:
    spots = section_spots(((6, 7), (5, 7)), k=6)
    records = fit_network(
        method_of(), FeatureInputs(InputConfig(), []), spots, FitConfig(learning_rate=5e-3), epochs=40, held_out={}, seed=0,
        run=Run(Hardware("cpu", 1)),
    )  # fmt: skip
    for name in ("mse", "target", "neighbor", "section"):
        assert records[-1].losses[name] < 0.6 * records[0].losses[name], name
    assert records[-1].losses["mse"] < 0.2 * records[0].losses["mse"]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"neighbors": 0}, "width, neighbors, layers, heads and n_places must be at least 1"),
        ({"section_layers": 0}, "width, neighbors, layers, heads and n_places must be at least 1"),
        ({"heads": 3}, "heads must divide width"),
        ({"dropout": -0.1}, "dropout must be in [0, 1)"),
        ({"distillation": 1.5}, "distillation must be in [0, 1]"),
    ],
)
def test_settings_that_make_no_sense(change: dict[str, float], rule: str) -> None:
    with pytest.raises(InputError, match="TRIPLEXConfig") as error:
        dataclasses.replace(SMALL, **change)
    assert error.value.where == "params of triplex" and error.value.expected == rule


def test_published_values() -> None:
    recipe = find_recipe("triplex", "paper", None)
    config = recipe.settings
    assert (config.width, config.fusion_layers, config.section_layers, config.neighbor_layers) == (512, 1, 5, 4)
    assert (config.neighbors, config.distillation) == (24, 0.3)
    assert recipe.fit.trainable_encoder and (recipe.fit.max_epochs, recipe.fit.learning_rate) == (200, 1e-4)


def test_weights_are_how_often_a_neighbor_counts(section_spots: Spots) -> None:
    """A neighbor of weight 2 is two, one of weight 0 is none; as trained and as evaluated."""
    batch = section_batch(section_spots)
    twice = batch._replace(neighbors=batch.neighbors[:, [0, 0, 1, 2]], neighbor_weights=None)
    weighed = batch._replace(
        neighbors=batch.neighbors[:, [3, 2, 0, 1]], neighbor_weights=torch.tensor([[0.0, 1, 2, 1]]).expand(30, -1)
    )
    for method in (method_of(), method_of().eval()):
        for found, expected in zip(method._predictions(weighed), method._predictions(twice), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        with torch.inference_mode():
            torch.testing.assert_close(method.predict(weighed), method.predict(twice), rtol=1e-4, atol=1e-5)
