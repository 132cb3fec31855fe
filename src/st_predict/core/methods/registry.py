"""Methods by name: the class, its settings and its presets."""

from __future__ import annotations

import dataclasses
import difflib
from typing import TYPE_CHECKING, Any, NamedTuple

from st_predict.core.errors import InputError
from st_predict.core.methods.mean import Mean, MeanConfig
from st_predict.core.methods.nh2st import NH2ST, NH2STConfig
from st_predict.core.methods.recipe import FitConfig, InputConfig, Recipe
from st_predict.core.methods.ridge import Ridge, RidgeConfig

if TYPE_CHECKING:
    from collections.abc import Mapping


class Entry(NamedTuple):
    """One method."""

    method: Any
    """Class with ``build(config, n_inputs, n_genes)``."""
    presets: dict[str, Recipe]
    """Recipes by name; ``"default"`` is always there."""


METHODS: dict[str, Entry] = {
    "mean": Entry(Mean, {"default": Recipe(MeanConfig())}),
    "ridge": Entry(Ridge, {"default": Recipe(RidgeConfig())}),
    "nh2st": Entry(
        NH2ST,
        {
            "default": Recipe(NH2STConfig()),
            # Section 3 of the paper; heads, hidden width and dropout are not stated there. N = 512 as in its code.
            "paper": Recipe(
                NH2STConfig(
                    width=512, hidden=512, attention="single", temperature=0.05, query_weight=1.0, neighbor_weight=0.5,
                    rank=None, dropout=0.0, gene_dropout=0.0,
                ),
                InputConfig(context=(), standardize="none", components=None, center_targets=False),
                FitConfig(
                    max_epochs=20, batch_size=8, learning_rate=1e-4, weight_decay=0.0, decay_every=50, decay=0.9,
                    block_size=4,
                    inner_folds=0, trainable_encoder=True,
                ),
            ),
        },
    ),
}  # fmt: skip


def find_recipe(method: str, preset: str, params: Mapping[str, Any] | None) -> Recipe:
    """The settings of a method: a preset with the user's changes to the method's own settings.

    Raises
    ------
    InputError
        If the method, the preset or a setting is unknown.
    """
    entry = METHODS.get(method)
    if entry is None:
        raise _unknown("method", method, list(METHODS))
    recipe = entry.presets.get(preset)
    if recipe is None:
        raise _unknown(f"preset of {method}", preset, list(entry.presets))
    changes = dict(params or {})
    known = [field.name for field in dataclasses.fields(recipe.method)]
    for name in changes:
        if name not in known:
            raise _unknown(f"params of {method}", name, known)
    changes = {k: tuple(v) if isinstance(v, list) else v for k, v in changes.items()}
    try:
        return dataclasses.replace(recipe, method=dataclasses.replace(recipe.method, **changes))
    except TypeError as error:
        raise InputError(
            f"params {changes} hold a value of the wrong type ({error})",
            where=f"params of {method}",
            expected=", ".join(f"{field.name}: {field.type}" for field in dataclasses.fields(recipe.method)),
            remedy="correct the value",
        ) from error


def build_method(name: str, config: Any, n_inputs: int, n_genes: int) -> Any:
    """A fresh, unfitted :class:`~st_predict.core.methods.interface.Method`."""
    return METHODS[name].method.build(config, n_inputs, n_genes)


def _unknown(what: str, name: str, known: list[str]) -> InputError:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    return InputError(
        f"there is no {name!r}",
        where=what,
        expected=", ".join(known) or "nothing (it has no settings)",
        remedy=f"did you mean {', '.join(near)}?" if near else "choose one of these",
    )
