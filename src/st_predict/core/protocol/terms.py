"""What a candidate has to work with, in words: rows of one table are on equal terms, or the table says which are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from st_predict.core.splits import held_out_groups, inner_folds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from st_predict.core.inputs.encoded import EncodedTiles
    from st_predict.core.methods.recipe import Recipe
    from st_predict.core.protocol.study import Candidate
    from st_predict.core.section import Section

_STANDARDIZED = {"slide": "z-scored within each slide", "training": "z-scored by training spots", "none": "not scaled"}
_TUNED = {"ridge": "penalty and rank", "shuffled": "penalty and rank"}  # of methods in closed form


def inputs_in_words(recipe: Recipe, tiles: EncodedTiles) -> str:
    """Encoder, tile widths, context, scaling, components and targets, with commas between."""
    config, spec = recipe.inputs, tiles.spec
    unit = "um" if spec.widths_um else "px"
    widths = "/".join(f"{width:g}" for width in (*spec.widths_um, *spec.widths_px))
    return ", ".join(
        [
            f"{tiles.identity.name}{' trained' if recipe.fit.trainable_encoder else ''}",
            f"tiles of {widths} {unit}",
            f"means over {' and '.join(map(str, config.context))} neighbors" if config.context else "no context",
            _STANDARDIZED[config.standardize],
            f"{config.components} components" if config.components else "all features",
            f"targets{'' if config.center_targets else ' not'} centered by section",
        ]
    )


def stopping_in_words(candidate: Candidate, training: Sequence[Section]) -> str:
    """What is chosen on training sections held out in turn, and what is held out together."""
    recipe, method = candidate.plan.recipe, candidate.plan.recipe.method
    what = held_out_groups(training)[0]
    if candidate.among:
        return f"{', '.join(one.label for one in candidate.among)}: the best by {what} held out of training"
    if not recipe.needs.gradient:
        parts = what if len(training) > 1 else "quarters of the section"
        return f"{_TUNED[method]} by {parts}" if method in _TUNED else ""
    folds = len(inner_folds(training, recipe.fit.inner_folds))
    if not folds:
        return f"{recipe.fit.max_epochs} epochs, nothing held out"
    return f"epochs by {what} in {folds} inner fold{'s' * (folds > 1)}"
