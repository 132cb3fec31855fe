"""EGN: whose expression a target may borrow, how it is bridged, and what the loss is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from st_predict.core.errors import InputError
from st_predict.core.fitting.hardware import Hardware
from st_predict.core.fitting.network import Run, fit_network
from st_predict.core.inputs.kinds import FeatureInputs
from st_predict.core.inputs.spots import SpotSet
from st_predict.core.methods.bridge import ExemplarBridge
from st_predict.core.methods.egn import EGN, EGNConfig
from st_predict.core.methods.interface import Batch, Reference
from st_predict.core.methods.recipe import FitConfig, InputConfig
from st_predict.core.methods.registry import find_recipe
from st_predict.core.model.load import load_model

D, G, N, K = 7, 5, 60, 4
SMALL = EGNConfig(width=8, exemplars=K, bridges=2, dropout=0.0)


def reference(seed: int = 0, *, folds: int = 3) -> Reference:
    generator = torch.Generator().manual_seed(seed)
    tiles = torch.randn(N, D, generator=generator)
    weight = torch.randn(D, G, generator=torch.Generator().manual_seed(77))
    return Reference(tiles, tiles @ weight, torch.arange(N) % folds, [torch.arange(N)], torch.zeros(N, 2))


def batch_of(data: Reference, targets: torch.Tensor) -> Batch:
    """Targets among all spots; neighbors play no part."""
    none = targets[:, None][:, :0]
    return Batch(data.tiles, targets, none, data.places, data.expression, folds=data.folds)


def method_of(data: Reference, config: EGNConfig = SMALL) -> EGN:
    torch.manual_seed(0)
    method = EGN(D, G, config)
    method.before_fit(data)
    return method


def borrowed_in_loss(method: EGN, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Similarity and rows of the exemplars that a training step asks for."""
    seen: list[Any] = []
    nearest = method.bank.nearest
    monkeypatch.setattr(
        method.bank, "nearest", lambda *args, **kwargs: seen.append(nearest(*args, **kwargs)) or seen[0]
    )
    method.loss(batch)
    return seen[0]


def test_exemplars_of_training_are_the_nearest_of_other_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain loop over targets and kept spots."""
    data = reference()
    targets = torch.tensor([5, 3, 17, 40, 59])
    _, rows = borrowed_in_loss(method_of(data), batch_of(data, targets), monkeypatch)
    for target, found in zip(targets.tolist(), rows.tolist(), strict=True):
        others = [i for i in range(N) if data.folds[i] != data.folds[target]]
        alike = {i: float(functional.cosine_similarity(data.tiles[target], data.tiles[i], dim=0)) for i in others}
        assert found == sorted(others, key=lambda i: -alike[i])[:K]


def test_expression_of_the_own_section_never_reaches_a_training_prediction() -> None:
    data = reference()
    targets = torch.arange(0, N, 3)  # all of fold 0
    truth = batch_of(data, targets)
    before = method_of(data).loss(truth)["mse"]
    for fold, reaches in ((0, False), (1, True)):
        changed = data.expression + 9.0 * (data.folds == fold)[:, None]
        after = method_of(data._replace(expression=changed)).loss(truth)["mse"]
        assert bool(after != before) is reaches


def test_prediction_borrows_from_all_sections_and_its_own_copy_first() -> None:
    data = reference()
    method = method_of(data)
    assert torch.equal(method.bank.nearest(data.tiles, K)[1][:, 0], torch.arange(N))
    batch = batch_of(data, torch.tensor([2]))._replace(expression=None, folds=None)
    before = method.predict(batch)
    (nearest,) = method.bank.nearest(data.tiles[2:3], K)[1].tolist()
    for row in range(N):
        changed = data.expression.clone()
        changed[row] += 5
        other = method_of(data._replace(expression=changed)).predict(batch)
        assert torch.equal(other, before) is (row not in nearest)


def test_bridge_equals_its_formula() -> None:
    torch.manual_seed(0)
    bridge = ExemplarBridge(8)
    image, query = torch.randn(3, 8), torch.randn(3, 8)
    exemplars, expression = torch.randn(3, K, 8), torch.randn(3, K, 8)
    found = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]]).float()[..., None]
    got = bridge(image, query, exemplars, expression, found)
    for b in range(3):
        added, count = torch.zeros(8), int(found[b].sum())
        for k in range(K):
            compared = bridge.compare(torch.cat([query[b] - exemplars[b, k], exemplars[b, k]]))
            value = bridge.value(expression[b, k])
            if k < count:
                added += torch.sigmoid(compared[:8]) * value / count
            own = bridge.exemplar_norm(exemplars[b, k] + torch.sigmoid(compared[8:]) * value)
            assert torch.allclose(got[2][b, k], own, atol=1e-6)
        asked = query[b] + added
        gated = bridge.content(bridge.image_norm(image[b])) * torch.sigmoid(bridge.gate(bridge.query_norm(asked)))
        assert torch.allclose(got[0][b], image[b] + bridge.to_image(gated), atol=1e-6)
        assert torch.allclose(got[1][b], asked + bridge.to_query(gated), atol=1e-6)


def test_fewer_exemplars_than_asked_for_are_averaged_over_those_there_are() -> None:
    """Two spots may be borrowed from: asking for four changes nothing."""
    data = reference()
    allowed = torch.zeros(1, N, dtype=torch.bool)
    allowed[0, [7, 30]] = True
    two = method_of(data, dataclasses.replace(SMALL, exemplars=2))._predict(data.tiles[:1], allowed)
    four = method_of(data)._predict(data.tiles[:1], allowed)
    assert torch.allclose(two, four, atol=1e-6)


def test_no_exemplar_at_all_is_finite() -> None:
    data = reference(folds=1)
    terms = method_of(data).loss(batch_of(data, torch.arange(8)))
    torch.stack(list(terms.values())).sum().backward()
    assert all(torch.isfinite(term) for term in terms.values())


def test_loss_is_the_squared_error_and_the_correlation_over_the_batch() -> None:
    data = reference()
    batch = batch_of(data, torch.arange(20))
    method = method_of(data, dataclasses.replace(SMALL, correlation_weight=0.7))
    terms = method.loss(batch)
    others = data.folds[:20, None] != data.folds
    predicted = method._predict(data.tiles[:20], others).detach()
    pcc = [torch.corrcoef(torch.stack([predicted[:, g], data.expression[:20, g]]))[0, 1] for g in range(G)]
    assert terms["mse"].item() == pytest.approx(float(((predicted - data.expression[:20]) ** 2).mean()), rel=1e-5)
    assert terms["correlation"].item() == pytest.approx(0.7 * (1 - float(sum(pcc)) / G), rel=1e-4)
    assert list(method_of(data, dataclasses.replace(SMALL, correlation_weight=0.0)).loss(batch)) == ["mse"]


def test_every_part_learns() -> None:
    data = reference()
    method = method_of(data).double()
    batch = batch_of(data, torch.arange(20))
    batch = batch._replace(tiles=batch.tiles.double(), expression=batch.expression.double())
    torch.stack(list(method.loss(batch).values())).sum().backward()
    idle = {name for name, p in method.named_parameters() if p.grad is None or float(p.grad.abs().max()) < 1e-13}
    # What the last bridge does to the exemplars is not asked for any more.
    assert idle == {"bridges.1.exemplar_norm.weight", "bridges.1.exemplar_norm.bias"}


def test_image_decides() -> None:
    data = reference()
    method = method_of(data).eval()
    batch = batch_of(data, torch.arange(6))
    assert not torch.allclose(method.predict(batch), method.predict(batch._replace(tiles=0 * batch.tiles)), atol=1e-2)


def test_order_of_targets_and_parts_do_not_matter() -> None:
    data = reference()
    method = method_of(data).eval()
    many = torch.arange(N).repeat(40)  # more than are predicted at once
    together = method.predict(batch_of(data, many))
    assert together.shape == (40 * N, G)
    assert torch.allclose(together[-N:], method.predict(batch_of(data, torch.arange(N))), atol=1e-5)
    shuffled = torch.randperm(N)
    assert torch.allclose(method.predict(batch_of(data, shuffled)), together[:N][shuffled], atol=1e-5)


def test_after_fit_keeps_the_new_tiles() -> None:
    data, moved = reference(0), reference(1)
    method = method_of(data)
    method.after_fit(moved)
    assert torch.allclose(method.bank.keys, functional.normalize(moved.tiles, dim=1))
    assert torch.equal(method.bank.values, torch.cat([moved.tiles, moved.expression], dim=1))
    assert not any(buffer.requires_grad for buffer in method.buffers())


def test_loss_falls() -> None:
    data = reference()
    spots = SpotSet(data.tiles, data.expression, data.folds, torch.empty(N, 0, dtype=torch.long), torch.rand(N, 2))
    config = FitConfig(batch_size=20, learning_rate=1e-2)
    records = fit_network(
        method_of(data),
        FeatureInputs(InputConfig(), []),
        spots,
        config,
        epochs=25,
        held_out={},
        seed=0,
        run=Run(Hardware("cpu", 1)),
    )
    assert records[-1].losses["mse"] < 0.3 * records[0].losses["mse"]
    assert records[-1].losses["correlation"] < 0.3 * records[0].losses["correlation"]


@pytest.mark.parametrize("trainable_encoder", [False, True])
def test_saved_and_loaded_it_predicts_the_same_to_the_bit(
    trainable_encoder: bool, make_section: Callable[..., Any], quick: dict[str, Any], tmp_path: Path
) -> None:
    """The bank comes back with it."""
    from st_predict.tl import predict, train

    sections = [make_section("A", 0), make_section("B", 1)]
    model = train(sections, **quick, method="egn", members=1, params={"width": 8}, trainable_encoder=trainable_encoder)
    loaded = load_model(model.save(tmp_path / "model"))
    assert loaded.id == model.id and len(loaded.network.bank.keys) == 84
    found = []
    for one in (model, loaded):
        new = make_section("new", 7)
        predict(new, one)
        found.append(new.tables["table"].obsm["predicted"].to_numpy())
    assert np.array_equal(*found) and np.isfinite(found[0]).all()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"width": 0}, "width, exemplars and bridges must be at least 1"),
        ({"exemplars": 0}, "width, exemplars and bridges must be at least 1"),
        ({"bridges": 0}, "width, exemplars and bridges must be at least 1"),
        ({"dropout": 1.0}, "dropout must be in [0, 1)"),
        ({"correlation_weight": -0.1}, "correlation_weight must not be negative"),
    ],
)
def test_settings_that_make_no_sense(change: dict[str, float], rule: str) -> None:
    with pytest.raises(InputError, match="EGNConfig") as error:
        EGNConfig(**change)
    assert error.value.where == "params of egn" and error.value.expected == rule


def test_published_values() -> None:
    recipe = find_recipe("egn", "paper", None)
    assert (recipe.settings.width, recipe.settings.exemplars, recipe.settings.bridges) == (1024, 6, 4)
    assert recipe.settings.correlation_weight == 0.5 and recipe.fit.trainable_encoder and recipe.fit.inner_folds == 0
    assert (recipe.fit.max_epochs, recipe.fit.batch_size, recipe.fit.learning_rate) == (50, 32, 5e-4)
