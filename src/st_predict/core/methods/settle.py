"""A method as it is asked for: a preset with what the user set, and nothing left unset."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from st_predict.core.errors import InputError
from st_predict.core.methods.recipe import InputConfig
from st_predict.core.methods.registry import AUTO, CHOSEN_AMONG, find_recipe

if TYPE_CHECKING:
    from st_predict.core.methods.recipe import Recipe


logger = logging.getLogger("st_predict")
_OF_GRADIENT = ("max_epochs", "batch_size", "learning_rate", "anchor")
_OF_ENCODERS = ("encoder_learning_rate", "stain_jitter")


def settle_method(
    method: str, *, preset: str = "default", params: Mapping[str, Any] | None = None, **changes: Any
) -> Recipe:
    """A preset of a method with what the user set (what is not ``None``), and nothing left unset.

    Raises
    ------
    InputError
        If a name is unknown, or a setting makes no sense.
    """
    if changes.get("context") is not None:
        changes["context"] = tuple(changes["context"])
    recipe = find_recipe(method, preset, params).changed(**changes)
    if recipe.fit.trainable_encoder:
        recipe = dataclasses.replace(recipe, inputs=_inputs_of_pixels(recipe.inputs, changes))
    return dataclasses.replace(recipe, fit=recipe.fit.settled(gradient=recipe.needs.gradient))


def settle_candidates(method: str, **settings: Any) -> list[Recipe]:
    """The method that is asked for, as :func:`settle_method` gives it; for ``"auto"``, all that it chooses among.

    Raises
    ------
    InputError
        As there; or if ``"auto"`` is given what belongs to one method.
    """
    if method != AUTO:
        recipe = settle_method(method, **settings)
        _say_vain(recipe, [name for name, value in settings.items() if value])
        return [recipe]
    own = [name for name in ("preset", "params") if settings.get(name) not in (None, "default", {})]
    own += ["trainable_encoder"] if settings.get("trainable_encoder") else []
    if own:
        raise InputError(
            f"{own[0]} cannot be set with method {AUTO!r}, which chooses among {', '.join(CHOSEN_AMONG)} on frozen features",
            where=own[0],
            expected="the defaults of all of them, or a method by name",
            remedy=f"leave {own[0]} out, or name the method",
        )
    found = []
    for name in CHOSEN_AMONG:
        gradient = find_recipe(name, "default", None).needs.gradient
        found.append(settle_method(name, **{**settings, **({} if gradient else {"members": None})}))
    return found


def _say_vain(recipe: Recipe, asked: Sequence[str]) -> None:
    """Say which settings change nothing with this method."""
    vain = [] if recipe.fit.trainable_encoder else [name for name in _OF_ENCODERS if name in asked]
    why = "no encoder is trained"
    if not recipe.needs.gradient:
        vain, why = [name for name in (*_OF_GRADIENT, *_OF_ENCODERS) if name in asked], "it is not trained by gradient"
    if vain:
        logger.warning("%s: %s change%s nothing: %s", recipe.method, ", ".join(vain), "s" * (len(vain) == 1), why)


def _inputs_of_pixels(inputs: InputConfig, asked: Mapping[str, Any]) -> InputConfig:
    """What a trained encoder is fed: its tiles cannot be reduced or scored by their slide beforehand."""
    if asked.get("context") or asked.get("standardize") == "slide":
        given = [name for name in ("context", "standardize") if asked.get(name) is not None]
        raise InputError(
            f"{', '.join(given)} cannot be set where the encoder is trained",
            where="context, standardize",
            expected="frozen features, or standardize='training' or 'none' and no context",
            remedy="leave them out, or trainable_encoder=False",
        )
    wanted = asked.get("standardize") or inputs.standardize
    return InputConfig((), "none" if wanted == "none" else "training", None, inputs.center_targets)
