"""A method as it is asked for: a preset with what the user set, and nothing left unset."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from st_predict.core.errors import InputError
from st_predict.core.methods.recipe import InputConfig
from st_predict.core.methods.registry import AUTO, CHOSEN_AMONG, build_method, find_recipe

if TYPE_CHECKING:
    from st_predict.core.methods.recipe import Recipe

_INPUT_SETTINGS = ("context", "standardize")
_FIT_SETTINGS = (
    "trainable_encoder", "max_epochs", "batch_size", "learning_rate", "encoder_learning_rate", "inner_folds",
    "stain_jitter", "members", "anchor",
)  # fmt: skip
RECIPE_SETTINGS = ("preset", "params", *_INPUT_SETTINGS, *_FIT_SETTINGS)
"""Arguments of ``train`` that make the recipe."""


def settle_method(
    method: str, *, preset: str = "default", params: Mapping[str, Any] | None = None, **changes: Any
) -> tuple[str, Recipe]:
    """A method's name, and a preset of it with what the user set (what is not ``None``), nothing left unset.

    Raises
    ------
    InputError
        If a name is unknown, or a setting makes no sense.
    """
    given = {name: tuple(v) if name == "context" else v for name, v in changes.items() if v is not None}
    recipe = _with_changes(
        find_recipe(method, preset, params),
        {name: value for name, value in given.items() if name in _INPUT_SETTINGS},
        {name: value for name, value in given.items() if name in _FIT_SETTINGS},
    )
    gradient = build_method(method, recipe.method, 1, 1).needs.gradient
    return method, dataclasses.replace(recipe, fit=recipe.fit.settled(gradient=gradient))


def settle_candidates(method: str, **settings: Any) -> list[tuple[str, Recipe]]:
    """The method that is meant, as :func:`settle_method` gives it; of ``"auto"`` all that it is chosen among.

    Raises
    ------
    InputError
        As there; or if ``"auto"`` is given what belongs to one method.
    """
    if method != AUTO:
        return [settle_method(method, **settings)]
    own = [name for name in ("preset", "params") if settings.get(name) not in (None, "default", {})]
    own += ["trainable_encoder"] if settings.get("trainable_encoder") else []
    if own:
        raise InputError(
            f"{own[0]} is given, and method {AUTO!r} chooses among {', '.join(CHOSEN_AMONG)} on features that are final",
            where=own[0],
            expected="the defaults of all of them, or a method by name",
            remedy=f"leave {own[0]} out, or name the method",
        )
    found = []
    for name in CHOSEN_AMONG:
        gradient = build_method(name, find_recipe(name, "default", None).method, 1, 1).needs.gradient
        found.append(settle_method(name, **{**settings, **({} if gradient else {"members": None})}))
    return found


def _with_changes(recipe: Recipe, inputs: dict[str, Any], fit: dict[str, Any]) -> Recipe:
    """The recipe with what the user set; a trained encoder's tiles cannot be reduced or scored by their slide beforehand."""
    recipe = dataclasses.replace(
        recipe, inputs=dataclasses.replace(recipe.inputs, **inputs), fit=dataclasses.replace(recipe.fit, **fit)
    )
    if not recipe.fit.trainable_encoder:
        return recipe
    if inputs.get("context") or inputs.get("standardize") == "slide":
        raise InputError(
            f"{', '.join(inputs)} cannot be set where the encoder is trained",
            where="context, standardize",
            expected="frozen features, or standardize='training' or 'none' and no context",
            remedy="leave them out, or trainable_encoder=False",
        )
    asked = inputs.get("standardize", recipe.inputs.standardize)
    plain = InputConfig((), "none" if asked == "none" else "training", None, recipe.inputs.center_targets)
    return dataclasses.replace(recipe, inputs=plain)
