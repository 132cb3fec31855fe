"""Methods and recipes by name."""

from __future__ import annotations

import numpy as np
import pytest

from st_predict.core.errors import InputError
from st_predict.core.methods.interface import Method
from st_predict.core.methods.recipe import FitConfig, InputConfig
from st_predict.core.methods.registry import METHODS, build_method, find_recipe
from st_predict.core.methods.settle import settle_method


def test_every_method_has_a_default_and_builds() -> None:
    for name, entry in METHODS.items():
        method = build_method(name, find_recipe(name, "default", None).settings, 300, 7)
        assert isinstance(method, entry.method) and isinstance(method, Method)


def test_params_change_the_methods_own_settings_only() -> None:
    recipe = find_recipe("nh2st", "default", {"width": 64, "rank": None})
    default = find_recipe("nh2st", "default", None)
    assert (recipe.settings.width, recipe.settings.rank) == (64, None)
    assert recipe.settings.neighbors == default.settings.neighbors
    assert (recipe.inputs, recipe.fit) == (default.inputs, default.fit)


def test_lists_become_tuples() -> None:
    assert find_recipe("ridge", "default", {"penalties": [1.0, 2.0]}).settings.penalties == (1.0, 2.0)


@pytest.mark.parametrize(
    ("arguments", "where", "near"),
    [
        (("nhst", "default", None), "method", "nh2st"),
        (("nh2st", "papre", None), "preset of nh2st", "paper"),
        (("nh2st", "default", {"neighbours": 4}), "params of nh2st", "neighbors"),
        (("ridge", "default", {"penalty": 4}), "params of ridge", "penalties"),
    ],
)
def test_unknown_names_suggest_near_ones(arguments: tuple, where: str, near: str) -> None:
    with pytest.raises(InputError, match="there is no") as error:
        find_recipe(*arguments)
    assert error.value.where == where
    assert "did you mean" in error.value.remedy and near in error.value.remedy


@pytest.mark.parametrize(
    ("name", "value"),
    [*(("width", value) for value in ("64", None, [4], 128.0, True)), ("symmetric", "no"), ("temperature", "hot")],
)
def test_values_of_the_wrong_type(name: str, value: object) -> None:
    with pytest.raises(InputError, match="hold a value of the wrong type") as error:
        find_recipe("nh2st", "default", {name: value})
    assert "width: int" in error.value.expected


@pytest.mark.parametrize("name", ["width", "attention", "temperature"])
def test_none_is_for_settings_that_may_be_left_out(name: str) -> None:
    with pytest.raises(InputError, match=f"wrong type \\({name} is None\\)"):
        find_recipe("nh2st", "default", {name: None})


def test_values_of_a_fitting_type() -> None:
    changes = {"width": np.int64(64), "temperature": 1, "rank": None, "symmetric": True}
    config = find_recipe("nh2st", "default", changes).settings
    assert (config.width, config.temperature, config.rank, config.symmetric) == (64, 1, None, True)


def test_the_mean_has_no_settings() -> None:
    with pytest.raises(InputError, match="there is no 'width'") as error:
        find_recipe("mean", "default", {"width": 4})
    assert error.value.expected == "nothing (it has no settings)"


@pytest.mark.parametrize(
    "change",
    [
        {"max_epochs": 0},
        {"batch_size": 1},
        {"learning_rate": 0.0},
        {"weight_decay": -1.0},
        {"decay_every": 0},
        {"decay": 1.5},
        {"inner_folds": -1},
        {"patience": 0},
    ],
)
def test_fit_settings_that_make_no_sense(change: dict) -> None:
    (name,) = change
    with pytest.raises(InputError, match=f"{name} is ") as error:
        FitConfig(**change)
    assert error.value.where == name and error.value.remedy == f"correct {name}"


@pytest.mark.parametrize("change", [{"context": (8, 0)}, {"standardize": "slides"}, {"components": 0}])
def test_input_settings_that_make_no_sense(change: dict) -> None:
    (name,) = change
    with pytest.raises(InputError, match=f"{name} is "):
        InputConfig(**change)


PAPERS = {
    # batch, epochs, learning rate, weight decay: what the publications or their code state, see each method's file
    "nh2st": (8, 20, 1e-4, 0.0),
    "cmrcnet": (64, 60, 1e-4, 1e-3),
    "stnet": (32, 50, 1e-4, 0.0),
    "bleep": (32, 150, 1e-3, 1e-3),
    "hist2st": (128, 350, 1e-5, 0.0),
    "mclstexp": (128, 90, 1e-4, 1e-3),
    "egn": (32, 50, 5e-4, 1e-4),
    "triplex": (128, 200, 1e-4, 0.0),
}


@pytest.mark.parametrize("name", PAPERS)
def test_a_preset_trains_with_what_it_states(name: str) -> None:
    """By the way that train takes: a value that happens to be the general default is no value left unset."""
    fit = settle_method(name, preset="paper").fit
    assert (fit.batch_size, fit.max_epochs, fit.learning_rate, fit.weight_decay) == PAPERS[name]
    assert (fit.members, fit.inner_folds) == (1, 0)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("preset", ["default", "paper"])
def test_nothing_is_left_unset(name: str, preset: str) -> None:
    if preset not in METHODS[name].presets:
        assert name in ("mean", "shuffled", "ridge"), "controls have no publication"
        return
    fit = settle_method(name, preset=preset).fit
    assert None not in (fit.batch_size, fit.members, fit.inner_folds)


def test_methods_have_the_same_networks_inputs_and_stopping() -> None:
    """What is compared by default is compared on equal terms."""
    recipes = {name: settle_method(name) for name in METHODS}
    gradient = {name for name in METHODS if recipes[name].needs.gradient}
    assert len(gradient) == 9
    assert {recipes[name].fit.members for name in gradient} == {3}
    assert {recipes[name].fit.members for name in set(METHODS) - gradient} == {1}
    assert {recipe.inputs for recipe in recipes.values()} == {InputConfig()}
    assert {(recipe.fit.inner_folds, recipe.fit.patience) for recipe in recipes.values()} == {(5, 10)}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (160, 1, 1)),
        ({"batch_size": 64}, (64, 1, 1)),
        ({"members": 5, "inner_folds": 5}, (160, 5, 5)),
    ],
)
def test_an_encoder_in_training_changes_what_was_left_unset_alone(given: dict, expected: tuple) -> None:
    fit = settle_method("nh2st", trainable_encoder=True, **given).fit
    assert (fit.batch_size, fit.members, fit.inner_folds) == expected
