"""Several networks side by side: each as if alone, together their mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from st_predict.core.fitting.hardware import Hardware
from st_predict.core.fitting.network import Run, fit_network, new_network
from st_predict.core.inputs.kinds import FeatureInputs
from st_predict.core.inputs.spots import SpotSet
from st_predict.core.methods.ensemble import Ensemble
from st_predict.core.methods.nh2st import NH2STConfig
from st_predict.core.methods.recipe import FitConfig, InputConfig, Recipe
from st_predict.core.methods.registry import build_method, build_network, find_recipe
from st_predict.core.methods.settle import settle_method

STILL = NH2STConfig(
    width=16,
    hidden=16,
    neighbors=4,
    programs=4,
    dropout=0.0,
    gene_dropout=0.0,
    input_noise=0.0,
    hypergraphs="none",  # which nodes are joined would hang on the last digit
)  # what is not random once it is built


def fitted(method: Any, spots: SpotSet) -> Any:
    method.before_fit(spots.reference())
    fit_network(
        method,
        FeatureInputs(InputConfig(), []),
        spots,
        FitConfig(batch_size=8),
        epochs=4,
        held_out={},
        seed=0,
        run=Run(Hardware("cpu", 1)),
    )
    return method


def test_each_is_trained_as_if_alone(spot_set: Callable[..., SpotSet]) -> None:
    spots = spot_set()
    shape = spots.tiles.shape[1], spots.expression.shape[1]
    together = new_network(lambda: build_network(Recipe("nh2st", STILL, fit=FitConfig(members=3)), *shape), 0)
    alone = new_network(lambda: [build_method("nh2st", STILL, *shape) for _ in range(3)], 0)  # the same first weights
    fitted(together, spots)
    for member, other in zip(together.members, alone, strict=True):
        fitted(other, spots)
        for name, value in other.state_dict().items():
            torch.testing.assert_close(member.state_dict()[name], value, atol=1e-3, rtol=1e-3, msg=name)
    weights = [member.translator[0].weight for member in together.members]
    assert not torch.allclose(weights[0], weights[1])


def test_predicts_the_mean_and_reports_mean_losses(spot_set: Callable[..., SpotSet]) -> None:
    spots = spot_set()
    shape = spots.tiles.shape[1], spots.expression.shape[1]
    members = [build_method("nh2st", STILL, *shape).eval() for _ in range(3)]
    ensemble = Ensemble(members)
    ensemble.before_fit(spots.reference())
    batch = spots.batch(torch.arange(6))
    torch.testing.assert_close(ensemble.predict(batch), torch.stack([m.predict(batch) for m in members]).mean(dim=0))
    terms = ensemble.loss(batch)
    assert list(terms) == ["mse", "query", "neighbor"]
    torch.testing.assert_close(terms["mse"], torch.stack([m.loss(batch)["mse"] for m in members]).mean())
    assert ensemble.needs == members[0].needs and not ensemble.is_fitted_after


def test_what_retrieval_keeps_every_member_keeps(spot_set: Callable[..., SpotSet]) -> None:
    spots = spot_set()
    recipe = find_recipe("bleep", "default", {})
    recipe = Recipe("bleep", recipe.settings, recipe.inputs, FitConfig(members=2))
    ensemble = build_network(recipe, spots.tiles.shape[1], spots.expression.shape[1])
    assert ensemble.is_fitted_after
    fitted(ensemble, spots).eval().after_fit(spots.reference())
    predicted = ensemble.predict(spots.images(torch.arange(5)))
    assert predicted.shape == (5, spots.expression.shape[1]) and predicted.std() > 0


def test_one_member_is_the_method_itself() -> None:
    recipe = settle_method("stnet", members=1)
    assert type(build_network(recipe, 4, 3)) is type(build_method("stnet", recipe.settings, 4, 3))
