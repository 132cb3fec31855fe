"""Methods by name: the class, its settings and its presets."""

from __future__ import annotations

import dataclasses
import difflib
from typing import TYPE_CHECKING, Any, NamedTuple

from st_predict.core.errors import InputError
from st_predict.core.methods import (
    bleep,
    cmrcnet,
    egn,
    hist2st,
    histogene,
    mclstexp,
    mean,
    nh2st,
    ridge,
    shuffled,
    stnet,
    triplex,
)
from st_predict.core.methods.ensemble import Ensemble
from st_predict.core.methods.recipe import is_like

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from st_predict.core.methods.interface import Method
    from st_predict.core.methods.published import Published
    from st_predict.core.methods.recipe import Recipe


class Entry(NamedTuple):
    """One method."""

    method: type[Method]
    """Built as ``method(n_inputs, n_genes, config)``."""
    presets: Mapping[str, Recipe]
    """Recipes by name; ``"default"`` is always there."""
    published: Sequence[Published] = ()
    """What its publication states of the same settings; nothing where there is none."""


AUTO = "auto"
"""Asks for the most accurate of :data:`CHOSEN_AMONG` on training sections that are held out."""
CHOSEN_AMONG = ("nh2st", "hist2st", "ridge")
"""Two networks that do well on different tissue, and what every network has to beat."""
METHODS = {
    "mean": Entry(mean.Mean, mean.PRESETS),
    "shuffled": Entry(shuffled.Shuffled, shuffled.PRESETS),
    "ridge": Entry(ridge.Ridge, ridge.PRESETS, ridge.PUBLISHED),
    "nh2st": Entry(nh2st.NH2ST, nh2st.PRESETS, nh2st.PUBLISHED),
    "cmrcnet": Entry(cmrcnet.CMRCNet, cmrcnet.PRESETS, cmrcnet.PUBLISHED),
    "stnet": Entry(stnet.STNet, stnet.PRESETS, stnet.PUBLISHED),
    "bleep": Entry(bleep.BLEEP, bleep.PRESETS, bleep.PUBLISHED),
    "histogene": Entry(histogene.HisToGene, histogene.PRESETS, histogene.PUBLISHED),
    "hist2st": Entry(hist2st.Hist2ST, hist2st.PRESETS, hist2st.PUBLISHED),
    "mclstexp": Entry(mclstexp.MclSTExp, mclstexp.PRESETS, mclstexp.PUBLISHED),
    "egn": Entry(egn.EGN, egn.PRESETS, egn.PUBLISHED),
    "triplex": Entry(triplex.TRIPLEX, triplex.PRESETS, triplex.PUBLISHED),
}


def find_recipe(method: str, preset: str, params: Mapping[str, Any] | None) -> Recipe:
    """The settings of a method: a preset with the user's changes to the method's own settings.

    Raises
    ------
    InputError
        If the method, the preset or a setting is unknown.
    """
    entry = METHODS.get(method)
    if entry is None:
        raise _unknown("method", method, [*METHODS, AUTO])
    recipe = entry.presets.get(preset)
    if recipe is None:
        raise _unknown(f"preset of {method}", preset, list(entry.presets))
    changes = dict(params or {})
    types = {field.name: str(field.type) for field in dataclasses.fields(recipe.settings)}
    known = list(types)
    for name in changes:
        if name not in known:
            raise _unknown(f"params of {method}", name, known)
    changes = {k: tuple(v) if isinstance(v, list) else v for k, v in changes.items()}
    try:
        for name, value in changes.items():
            if not is_like(value, getattr(recipe.settings, name)) or (value is None and "None" not in types[name]):
                raise TypeError(f"{name} is {value!r}")
        return dataclasses.replace(recipe, settings=dataclasses.replace(recipe.settings, **changes))
    except TypeError as error:
        raise InputError(
            f"params {changes} hold a value of the wrong type ({error})",
            where=f"params of {method}",
            expected=", ".join(f"{field.name}: {field.type}" for field in dataclasses.fields(recipe.settings)),
            remedy="correct the value",
        ) from error


def build_method(name: str, config: Any, n_inputs: int, n_genes: int) -> Method:
    """A fresh, unfitted method."""
    build: Any = METHODS[name].method
    method: Method = build(n_inputs, n_genes, config)
    return method


def build_network(recipe: Recipe, n_inputs: int, n_genes: int) -> Method:
    """A fresh, unfitted method as its recipe wants it: one, or several side by side."""

    def one() -> Method:
        return build_method(recipe.method, recipe.settings, n_inputs, n_genes)

    return one() if recipe.fit.members == 1 else Ensemble([one() for _ in range(recipe.fit.members)])


def _unknown(what: str, name: str, known: list[str]) -> InputError:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return InputError(
        f"there is no {name!r}",
        where=what,
        expected=", ".join(known) or "nothing (it has no settings)",
        remedy=f"did you mean {', '.join(near)}?" if near else "choose one of these",
    )
