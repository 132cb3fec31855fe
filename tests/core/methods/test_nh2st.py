"""NH2ST: what its losses are made of, where expression can and cannot get to, and the paper's numbers."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import pytest
import torch

from st_predict.core.errors import InputError
from st_predict.core.methods.contrast import info_nce
from st_predict.core.methods.interface import Batch, Reference
from st_predict.core.methods.nh2st import NH2ST, NH2STConfig
from st_predict.core.methods.registry import build_method, find_recipe
from st_predict.core.methods.settle import settle_method

N_INPUTS, N_GENES, N_TILES, N_TARGETS, K = 12, 20, 40, 16, 8
PLAIN = NH2STConfig(width=16, hidden=16, dropout=0.0, gene_dropout=0.0, input_noise=0.0)


def make_batch(seed: int = 0) -> Batch:
    """Sixteen targets among forty tiles; expression follows the image, with noise."""
    torch.manual_seed(seed)
    tiles = torch.randn(N_TILES, N_INPUTS)
    expression = tiles @ torch.randn(N_INPUTS, N_GENES) + 0.3 * torch.randn(N_TILES, N_GENES)
    targets = torch.randperm(N_TILES)[:N_TARGETS]
    neighbors = torch.stack([torch.randperm(N_TILES)[:K] for _ in range(N_TARGETS)])
    return Batch(tiles, targets, neighbors, torch.zeros(len(tiles), 2), expression)


def make_method(config: NH2STConfig, seed: int = 0) -> NH2ST:
    torch.manual_seed(seed)
    method = build_method("nh2st", config, N_INPUTS, N_GENES)
    batch = make_batch()
    method.before_fit(Reference(batch.tiles, batch.expression, torch.zeros(N_TILES), [], batch.places))
    return method


def test_loss_is_mse_and_the_two_weighted_contrasts() -> None:
    config = dataclasses.replace(PLAIN, query_weight=0.3, neighbor_weight=0.7)
    method, batch = make_method(config), make_batch()
    terms = method.loss(batch)
    assert list(terms) == ["mse", "query", "neighbor"]
    error = method.predict(batch) - batch.expression[batch.targets]
    assert terms["mse"].item() == pytest.approx((error**2).mean().item(), rel=1e-5)
    images = method.image_encoder(batch.tiles)
    genes = method.expression_encoder(batch.expression / method.expression_scale)
    for name, weight, branch in (("query", 0.3, method._query_branch), ("neighbor", 0.7, method._neighbor_branch)):
        contrast = info_nce(*branch(images, genes, batch), temperature=0.1, symmetric=False)
        assert terms[name].item() == pytest.approx(weight * contrast.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("query", "neighbor", "names"),
    [(0.0, 0.0, ["mse"]), (1.0, 0.0, ["mse", "query"]), (0.0, 1.0, ["mse", "neighbor"])],
)
def test_a_weight_of_zero_turns_the_branch_off(query: float, neighbor: float, names: list[str]) -> None:
    method = make_method(dataclasses.replace(PLAIN, query_weight=query, neighbor_weight=neighbor))
    assert list(method.loss(make_batch())) == names


@pytest.mark.parametrize("attention", ["tokens", "single", "none"])
@pytest.mark.parametrize("hypergraphs", ["both", "image"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_every_variant_trains_every_part_it_uses(attention: str, hypergraphs: str, symmetric: bool) -> None:
    method = make_method(
        dataclasses.replace(PLAIN, attention=attention, hypergraphs=hypergraphs, symmetric=symmetric)
    ).double()  # a gradient that is zero in theory is 1e-17 here, and any other is far above
    batch = make_batch()
    batch = batch._replace(tiles=batch.tiles.double(), expression=batch.expression.double())
    torch.stack(list(method.loss(batch).values())).sum().backward()
    idle = {name for name, p in method.named_parameters() if p.grad is None or float(p.grad.abs().max()) < 1e-13}
    without_use = {"tokens": [], "single": ["query", "key"], "none": ["query", "key", "value"]}[attention]
    # One token: queries and keys have nothing to choose between, only values learn.
    assert idle == {
        f"{branch}_attention.to_genes.{part}.weight" for branch in ("query", "neighbor") for part in without_use
    }


def swapped(batch: Batch) -> Batch:
    """The same batch with each target's tile exchanged for its nearest neighbor's; the others of its neighborhood stay."""
    order = torch.arange(N_TILES)
    target, neighbor = batch.targets[0], batch.neighbors[0, 0]
    order[target], order[neighbor] = neighbor, target
    return batch._replace(tiles=batch.tiles[order])


@pytest.mark.parametrize("attention", ["tokens", "single", "none"])
def test_the_query_branch_is_about_its_target(attention: Literal["tokens", "single", "none"]) -> None:
    """A target and a neighbor that exchange tiles are the same neighborhood, and another target."""
    method = make_method(dataclasses.replace(PLAIN, attention=attention))
    batch = make_batch()
    batch = batch._replace(neighbors=torch.where(batch.neighbors == batch.targets[:, None], 0, batch.neighbors))
    genes = method.expression_encoder(batch.measured())

    def query(one: Batch) -> torch.Tensor:
        return torch.cat(method._query_branch(method.image_encoder(one.tiles), genes, one), dim=1)[0]

    moved = (query(batch) - query(swapped(batch))).norm() / query(batch).norm()
    assert moved > 0.05
    tiles = batch.tiles.clone().requires_grad_()
    query(batch._replace(tiles=tiles)).square().sum().backward()
    assert tiles.grad is not None
    reached = tiles.grad.norm(dim=1)
    assert reached[batch.targets[0]] > 2 * reached[batch.neighbors[0]].max(), "the gradient is the target's"


def test_the_paper_has_one_attention_function_a_branch() -> None:
    """One W_q, W_k and W_v for both directions (Eq. 1 and 4); the default has one for each direction."""
    names = {
        attention: {
            name.rsplit(".", 2)[0]
            for name in make_method(dataclasses.replace(PLAIN, attention=attention)).state_dict()
            if "attention" in name
        }
        for attention in ("single", "tokens")
    }
    assert names["single"] == {"query_attention.to_genes", "neighbor_attention.to_genes"}
    assert names["tokens"] == names["single"] | {"query_attention.to_images", "neighbor_attention.to_images"}
    method, batch = make_method(dataclasses.replace(PLAIN, attention="single")), make_batch()
    images, genes = method.image_encoder(batch.tiles), method.expression_encoder(batch.measured())
    of_genes, of_images = method._query_branch(images, genes, batch)
    value = method.query_attention.to_genes.value
    assert torch.allclose(of_genes, value(genes[batch.targets]), atol=1e-6)
    assert torch.allclose(of_images, value(images[batch.targets]), atol=1e-6)


def test_shared_hypergraph_is_the_images() -> None:
    batch = make_batch()
    both, image = (make_method(dataclasses.replace(PLAIN, hypergraphs=kind)) for kind in ("both", "image"))
    assert both.loss(batch)["mse"].item() == image.loss(batch)["mse"].item()
    assert both.loss(batch)["neighbor"].item() != image.loss(batch)["neighbor"].item()


def test_single_token_contrast_holds_expression_only_on_its_image_side() -> None:
    """The paper's Eq. 1 as it stands: other images leave the "image" side of the query contrast as it was."""
    method, batch = make_method(dataclasses.replace(PLAIN, attention="single")), make_batch()
    genes = method.expression_encoder(batch.expression)
    sides = [
        method._query_branch(method.image_encoder(tiles), genes, batch) for tiles in (batch.tiles, batch.tiles * 0)
    ]
    assert torch.allclose(sides[0][0], sides[1][0], atol=1e-6)
    assert torch.allclose(sides[0][0], method.query_attention.to_genes.value(genes[batch.targets]), atol=1e-6)
    assert not torch.allclose(sides[0][1], sides[1][1], atol=1e-3)


def contrast_after_training(method: NH2ST, batches: list[Batch], steps: int) -> dict[str, float]:
    """Mean query and neighbor contrast, unweighted, once they alone have been trained on."""
    optimizer = torch.optim.Adam(method.parameters(), lr=3e-3)
    for _ in range(steps):
        for batch in batches:
            terms = method.loss(batch)
            optimizer.zero_grad()
            (terms["query"] + terms["neighbor"]).backward()
            optimizer.step()
    found = [method.loss(batch) for batch in batches]
    return {name: sum(terms[name].item() for terms in found) / len(found) for name in ("query", "neighbor")}


CONTRAST_ONLY = dataclasses.replace(PLAIN, query_weight=1.0, neighbor_weight=1.0)


@pytest.mark.parametrize("symmetric", [False, True])
def test_constant_images_cannot_meet_the_default_contrasts(symmetric: bool) -> None:
    """Image sides hold image content alone: where all tiles are alike, all that is left is a guess among B."""
    blank = [batch._replace(tiles=torch.ones(N_TILES, N_INPUTS)) for batch in (make_batch(0), make_batch(1))]
    method = make_method(dataclasses.replace(CONTRAST_ONLY, symmetric=symmetric))
    before = {name: value.item() for name, value in method.loss(blank[0]).items()}
    after = contrast_after_training(method, blank, 30)
    for name in ("query", "neighbor"):
        assert before[name] >= math.log(N_TARGETS) - 1e-4
        assert after[name] >= math.log(N_TARGETS) - 1e-4
        if not symmetric:
            assert after[name] == pytest.approx(math.log(N_TARGETS), abs=0.35)


@pytest.mark.parametrize(("attention", "side"), [("single", 1), ("none", 0), ("tokens", 0)])  # Eq. 1 swaps them
def test_image_side_is_the_same_for_all_constant_tiles(attention: str, side: int) -> None:
    method, batch = make_method(dataclasses.replace(PLAIN, attention=attention)), make_batch()
    images = method.image_encoder(torch.ones(N_TILES, N_INPUTS))
    genes = method.expression_encoder(batch.expression)
    for branch in (method._query_branch, method._neighbor_branch):
        image_side = branch(images, genes, batch)[side]
        assert torch.allclose(image_side, image_side[:1].expand_as(image_side), atol=1e-5)


def test_real_images_can_be_trained_below_a_guess() -> None:
    method = make_method(CONTRAST_ONLY)
    after = contrast_after_training(method, [make_batch(0), make_batch(1)], 60)
    assert after["query"] < 0.5 * math.log(N_TARGETS)
    assert after["neighbor"] < 0.5 * math.log(N_TARGETS)


def test_constant_images_meet_the_single_token_contrast() -> None:
    """The fault the default is built to avoid, shown on the literal variant."""
    blank = [batch._replace(tiles=torch.ones(N_TILES, N_INPUTS)) for batch in (make_batch(0), make_batch(1))]
    method = make_method(dataclasses.replace(CONTRAST_ONLY, attention="single", symmetric=False))
    genes = method.expression_encoder(blank[0].expression)
    image_side = method._query_branch(method.image_encoder(blank[0].tiles), genes, blank[0])[0]
    assert (image_side - image_side[:1]).detach().abs().max() > 0.01


def test_prediction_sees_the_tile_and_no_expression() -> None:
    method, batch = make_method(PLAIN).eval(), make_batch()
    predicted = method.predict(batch)
    assert predicted.shape == (N_TARGETS, N_GENES)
    assert torch.equal(predicted, method.predict(batch._replace(expression=None)))
    assert torch.equal(predicted, method.predict(batch._replace(expression=torch.randn(N_TILES, N_GENES))))
    assert not torch.allclose(predicted, method.predict(batch._replace(tiles=batch.tiles * 0)))


def test_rank_keeps_predictions_in_the_leading_components_of_expression() -> None:
    method, batch = make_method(dataclasses.replace(PLAIN, rank=3)).eval(), make_batch()
    centered = (batch.expression - batch.expression.mean(dim=0)).double()
    values, vectors = torch.linalg.eigh(centered.T @ centered / N_TILES)
    leading = vectors[:, -3:].flip(1)
    basis = method.basis.double()
    assert basis.shape == (3, N_GENES)
    assert torch.allclose((basis @ leading).abs(), torch.diag(values[-3:].flip(0).sqrt()), atol=1e-4)
    assert torch.allclose(method.expression_mean, batch.expression.mean(dim=0)), "of targets that are not centered"
    predicted = (method.predict(batch) - method.expression_mean).double()
    assert torch.allclose(predicted @ leading @ leading.T, predicted, atol=1e-5)
    assert torch.linalg.matrix_rank(predicted, rtol=1e-5) == 3


def test_no_rank_predicts_genes_freely() -> None:
    method, batch = make_method(dataclasses.replace(PLAIN, rank=None)).eval(), make_batch()
    assert torch.linalg.matrix_rank(method.predict(batch).double(), rtol=1e-4) > 10
    assert method.translator[-1].out_features == N_GENES


def test_rank_beyond_the_genes_is_all_of_them() -> None:
    assert build_method("nh2st", NH2STConfig(rank=50), 4, 6).basis.shape == (6, 6)


def test_constant_expression_does_not_divide_by_zero() -> None:
    method = build_method("nh2st", PLAIN, N_INPUTS, N_GENES)
    flat = make_batch()._replace(expression=torch.full((N_TILES, N_GENES), 2.0))
    method.before_fit(Reference(flat.tiles, flat.expression, torch.zeros(N_TILES), [], flat.places))
    assert all(torch.isfinite(term) for term in method.loss(flat).values())


def test_training_batches_carry_expression() -> None:
    with pytest.raises(ValueError, match="a training batch carries expression"):
        make_method(PLAIN).loss(make_batch()._replace(expression=None))


def test_paper_preset_has_the_papers_numbers() -> None:
    recipe = settle_method("nh2st", preset="paper")
    method, fit = recipe.settings, recipe.fit
    assert (method.neighbors, method.layers, method.degree) == (8, 2, 4)
    assert (method.query_weight, method.neighbor_weight, method.temperature) == (1.0, 0.5, 0.05)
    assert (method.attention, method.hypergraphs, method.symmetric, method.rank) == ("single", "both", False, None)
    assert (fit.learning_rate, fit.batch_size, fit.max_epochs) == (1e-4, 8, 20)
    assert (fit.decay_every, fit.decay, fit.weight_decay) == (50, 0.9, 0.0)
    assert fit.trainable_encoder and fit.inner_folds == 0 and fit.members == 1
    assert fit.block_size == 1, "a batch is of random spots"
    assert (recipe.inputs.context, recipe.inputs.standardize, recipe.inputs.components) == ((), "none", None)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"width": 0}, "must be at least 1"),
        ({"width": 30, "programs": 4}, "programs must divide width"),
        ({"attention": "both"}, "attention must be 'tokens', 'single' or 'none'"),
        ({"hypergraphs": "genes"}, "hypergraphs must be 'both', 'image', 'graph' or 'none'"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"query_weight": -1.0}, "weights must not be negative"),
        ({"rank": 0}, "rank must be at least 1, or None"),
        ({"dropout": 1.0}, "dropouts must be in \\[0, 1\\)"),
    ],
)
def test_settings_that_make_no_sense(change: dict, text: str) -> None:
    with pytest.raises(InputError, match=text) as error:
        find_recipe("nh2st", "default", change)
    assert error.value.where == "params of nh2st"


def test_input_noise_is_of_training_alone() -> None:
    method, batch = make_method(dataclasses.replace(PLAIN, input_noise=1.0)), make_batch()
    quiet = make_method(PLAIN)
    assert torch.equal(method.eval().predict(batch), quiet.eval().predict(batch))
    losses = [method.train().loss(batch)["mse"].item() for _ in range(2)]
    assert losses[0] != losses[1] and quiet.loss(batch)["mse"].item() == method.eval().loss(batch)["mse"].item()


@pytest.mark.parametrize("kind", ["mean", "attention"])
def test_surroundings_start_from_nothing_and_are_learned(kind: Literal["mean", "attention"]) -> None:
    """At first a network that does not see its neighbors; what they tell of the target is found in training."""
    torch.manual_seed(0)
    config = dataclasses.replace(PLAIN, surroundings=kind, query_weight=0.0, neighbor_weight=0.0, rank=None)
    batch = make_batch()
    around = batch.tiles[batch.neighbors].mean(dim=1)
    expression = batch.measured().clone()
    expression[batch.targets] = around @ torch.randn(N_INPUTS, N_GENES)
    batch = batch._replace(expression=expression)
    other = batch._replace(neighbors=batch.neighbors.flip(0))
    method = make_method(config)
    assert torch.equal(method.predict(batch), method.predict(other))
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-2)
    losses = []
    for _ in range(300):
        loss = method.loss(batch)["mse"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    assert not torch.allclose(method.predict(batch), method.predict(other), atol=0.1)


def test_a_lone_tile_is_its_own_surroundings() -> None:
    method = make_method(dataclasses.replace(PLAIN, surroundings="mean"))
    torch.nn.init.eye_(method.surroundings.out.weight)
    batch = make_batch()
    lone = batch._replace(neighbors=batch.neighbors[:, :0])
    itself = batch._replace(neighbors=batch.targets[:, None])
    torch.testing.assert_close(method.predict(lone), method.predict(itself))


def with_ties(batch: Batch) -> Batch:
    """Two more columns: the last three neighbors share two places, or one, and some targets have fewer columns."""
    torch.manual_seed(5)
    own = batch.targets[:, None]
    more = torch.stack([torch.tensor([i for i in range(N_TILES) if i not in row])[:2] for row in taken(batch)])
    weights = torch.ones(N_TARGETS, K + 2)
    weights[:, -3:] = 1 / 3
    neighbors = torch.cat([batch.neighbors, more], dim=1)
    filled = torch.arange(N_TARGETS) % 3 == 0
    neighbors[filled, -2:], weights[filled] = own[filled], torch.tensor([1.0] * K + [0.0] * 2)
    return batch._replace(neighbors=neighbors, neighbor_weights=weights)


def taken(batch: Batch) -> list[list[int]]:
    return torch.cat([batch.targets[:, None], batch.neighbors], dim=1).tolist()


BRANCHES = pytest.mark.parametrize(
    "config",
    [
        dataclasses.replace(PLAIN, attention=attention, hypergraphs=hypergraphs, surroundings=surroundings)
        for attention, hypergraphs, surroundings in (
            ("tokens", "both", "attention"), ("tokens", "image", "mean"), ("tokens", "graph", "none"),
            ("single", "both", "none"), ("none", "none", "mean"),
        )
    ],
    ids=lambda config: f"{config.attention}-{config.hypergraphs}-{config.surroundings}",
)  # fmt: skip


def neighborhoods(method: NH2ST, batch: Batch) -> list[torch.Tensor]:
    """What depends on the neighbors: the neighbor branch's pair, and the prediction."""
    if method.config.surroundings != "none":
        torch.nn.init.eye_(method.surroundings.out.weight)
    images = method.image_encoder(batch.tiles)
    genes = method.expression_encoder(batch.measured() / method.expression_scale)
    return [*method._neighbor_branch(images, genes, batch), method.predict(batch)]


@BRANCHES
def test_neither_order_of_neighbors_nor_what_fills_up_matters(config: NH2STConfig) -> None:
    method, batch = make_method(config).eval(), with_ties(make_batch())
    expected = neighborhoods(method, batch)
    order = torch.randperm(K + 2)
    turned = batch._replace(neighbors=batch.neighbors[:, order], neighbor_weights=batch.neighbor_weights[:, order])
    more = batch._replace(
        neighbors=torch.cat([batch.targets[:, None], batch.neighbors, batch.targets[:, None]], dim=1),
        neighbor_weights=torch.nn.functional.pad(batch.neighbor_weights, (1, 1)),
    )
    for other in (turned, more):
        for found, wanted in zip(neighborhoods(method, other), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@BRANCHES
def test_weights_of_one_are_none(config: NH2STConfig) -> None:
    method, batch = make_method(config).eval(), make_batch()
    weighed = batch._replace(neighbor_weights=torch.ones_like(batch.neighbors, dtype=torch.float32))
    for found, wanted in zip(neighborhoods(method, weighed), neighborhoods(method, batch), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@BRANCHES
def test_weighed_neighbors_give_finite_gradients(config: NH2STConfig) -> None:
    method, batch = make_method(config), with_ties(make_batch())
    batch = batch._replace(tiles=batch.tiles.requires_grad_())
    torch.stack(list(method.loss(batch).values())).sum().backward()
    gradients = [batch.tiles.grad, *(p.grad for p in method.parameters() if p.grad is not None)]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
