"""Each tile once a step: losses and gradients are those of the naive form, which encodes all of them for every target."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from st_predict.core.encoders.registry import build_encoder
from st_predict.core.fitting.module import FitModule
from st_predict.core.inputs.kinds import PixelInputs
from st_predict.core.inputs.spots import SpotSet
from st_predict.core.methods.interface import Batch
from st_predict.core.methods.recipe import FitConfig, InputConfig
from st_predict.core.methods.registry import build_method, find_recipe

SETTINGS: dict[str, dict[str, Any]] = {
    "nh2st": {"width": 16, "hidden": 16, "neighbors": 8, "dropout": 0.0, "gene_dropout": 0.0, "input_noise": 0.0},
    "stnet": {},
}


def naive_batch(spots: SpotSet, targets: torch.Tensor) -> Batch:
    """For every target its own tile, and again its neighbors', each with what was measured there."""
    rows = torch.cat([targets[:, None], spots.neighbors[targets]], dim=1)
    places = torch.arange(rows.numel()).view_as(rows)
    flat = rows.flatten()
    return Batch(
        spots.tiles[flat], places[:, 0], places[:, 1:], spots.places[flat], spots.expression[flat],
        neighbor_weights=spots.neighbor_weights[targets],
    )  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_losses_and_gradients_are_those_of_the_naive_form(name: str, spot_set: Callable[..., SpotSet]) -> None:
    config = find_recipe(name, "default", SETTINGS[name]).settings
    spots = spot_set(((9, 9), (8, 8)), k=8)
    generator = torch.Generator().manual_seed(0)
    shape = (len(spots.tiles), 1, 32, 32, 3)
    spots = spots.with_tiles(torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator))
    torch.manual_seed(0)
    method: Any = build_method(name, config, 24, spots.expression.shape[1])
    method.before_fit(spots.reference())
    encoder = build_encoder("tiny")
    targets = torch.cat([torch.from_numpy(rows) for rows in spots.blocks(20)[:2]])
    found = []
    for batch in (spots.batch(targets), naive_batch(spots, targets)):
        module = FitModule(
            copy.deepcopy(method),
            PixelInputs(InputConfig(), copy.deepcopy(encoder), []),
            FitConfig(augment=False),
            spots,
        )
        loss = module.training_step(batch, 0)
        loss.backward()
        gradients = {key: p.grad for key, p in module.named_parameters() if p.grad is not None}
        found.append((loss.item(), gradients, len(batch.tiles)))
    (ours, our_gradients, few), (naive, naive_gradients, many) = found
    assert few < 0.3 * many == 0.3 * (1 + spots.neighbors.shape[1]) * len(targets)
    assert ours == pytest.approx(naive, rel=1e-6)
    assert our_gradients.keys() == naive_gradients.keys() and any(key.startswith("encoder") for key in our_gradients)
    for parameter, gradient in our_gradients.items():
        torch.testing.assert_close(gradient, naive_gradients[parameter], rtol=1e-3, atol=1e-6, msg=parameter)
