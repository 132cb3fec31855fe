"""The settings that a preset trains with, by the names that the tables of presets use.

They are read from the code that trains: the recipe from :func:`~st_predict.core.methods.settle.settle_method`, the optimizer from a
fit, the rest from the defaults of :func:`st_predict.tl.train`. This file knows nothing of publications.
"""

from __future__ import annotations

import dataclasses
import inspect
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import st_predict as stp
from st_predict.core.fitting.module import FitModule
from st_predict.core.inputs.kinds import FeatureInputs, PixelInputs
from st_predict.core.methods.interface import SECTION_SPOTS
from st_predict.core.methods.recipe import InputConfig
from st_predict.core.methods.settle import settle_method
from st_predict.core.tiles.geometry import tile_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from st_predict.core.methods.interface import Needs
    from st_predict.core.methods.recipe import FitConfig, InputConfig, Recipe


class Settled(NamedTuple):
    """All that a fit of a preset is made from."""

    recipe: Recipe
    defaults: dict[str, Any]
    """Of ``train``."""

    @property
    def fit(self) -> FitConfig:
        """How it is fitted."""
        return self.recipe.fit

    @property
    def needs(self) -> Needs:
        """What the method must be given."""
        return self.recipe.needs

    @property
    def inputs(self) -> InputConfig:
        """What is made of the features before."""
        return self.recipe.inputs


@lru_cache
def settle(method: str, preset: str) -> Settled:
    """What ``train`` uses if a preset is given and nothing else is asked for."""
    recipe = settle_method(method, preset=preset)
    signature = inspect.signature(stp.tl.train).parameters
    return Settled(recipe, {name: one.default for name, one in signature.items()})


def look_up(settled: Settled, setting: str) -> Any:
    """What a preset trains with."""
    if setting in FACTS:
        return FACTS[setting](settled)
    return getattr(settled.recipe.settings, setting)


def told(value: Any) -> str:
    """A value as it is written, the same for both sides."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple | list):
        return listed([told(one) for one in value]) or "none"
    return str(value)


def listed(words: Sequence[str]) -> str:
    """Words with commas between, and the last behind ``and``."""
    return " and ".join([*([", ".join(words[:-1])] if words[1:] else []), *words[-1:]])


def _encoder(s: Settled) -> str:
    return f"{s.defaults['encoder']}, {'trained' if s.fit.trainable_encoder else 'frozen'}"


def _tiles(s: Settled) -> str:
    spec = tile_spec(s.defaults["tile_um"], s.defaults["tile_px"], trainable=s.fit.trainable_encoder)
    return f"{listed([f'{width:g}' for width in spec.widths_um])} um"


def _inputs(s: Settled) -> str:
    scored = {"slide": ["z-scored within each slide"], "training": ["z-scored by the training spots"], "none": []}
    parts = [
        *scored[s.inputs.standardize],
        *([f"means over {told(s.inputs.context)} neighbors beside them"] if s.inputs.context else []),
        *([f"{s.inputs.components} principal components"] if s.inputs.components else []),
    ]
    return "features, " + ", ".join(parts) if parts else "features as they are"


def _targets(s: Settled) -> str:
    return "log1p of counts per 10,000 over all genes" + (", centered by section" if s.inputs.center_targets else "")


def _genes(s: Settled) -> str:
    of = {"heg": "of highest mean count", "hvg": "most variable"}[s.defaults["gene_ranking"]]
    return f"{s.defaults['genes']} {of} in training"


def _batch(s: Settled) -> str:
    size, trained = s.fit.batch_size, s.fit.trainable_encoder
    if s.needs.section:
        return f"{size} neighboring spots of a section" if trained else f"a section, {SECTION_SPOTS} spots at most"
    block = max(1, min(s.fit.block_size, size // 2)) if trained else 1
    return f"{size} random spots" if block == 1 else f"{size} spots, in blocks of {block} neighbors"


def _seen_together(s: Settled, *, training: bool) -> str:
    """What a method of whole sections attends over."""
    if not s.needs.section:
        around = s.needs.neighbors and (training or not s.needs.predicts_alone)
        return "each spot with its neighbors" if around else "each spot alone"
    if training and s.fit.trainable_encoder:
        return f"{s.fit.batch_size} neighboring spots of a section"
    return f"a section, {SECTION_SPOTS} spots at most"


@lru_cache
def _optimizer(fit: FitConfig) -> Any:
    """Optimizer and schedule of a fit, over one weight."""
    from torch import nn

    weight: Any = nn.Linear(1, 1)
    encoder: Any = nn.Linear(1, 1)
    inputs: Any = PixelInputs(InputConfig(), encoder, []) if fit.trainable_encoder else FeatureInputs(InputConfig(), [])
    return FitModule(weight, inputs, fit, None).configure_optimizers()  # type: ignore[arg-type]


def _optimizer_told(s: Settled) -> str:
    optimizer = _optimizer(s.fit)["optimizer"]
    decay = optimizer.defaults["weight_decay"]
    return f"{type(optimizer).__name__}, " + (f"weight decay {decay:g}" if decay else "no weight decay")


def _rate(s: Settled, group: int) -> Any:
    groups = _optimizer(s.fit)["optimizer"].param_groups
    return groups[group]["initial_lr"] if group < len(groups) else "none, it is frozen"


def _schedule(s: Settled) -> str:
    schedule = _optimizer(s.fit)["lr_scheduler"]
    if type(schedule).__name__ == "CosineAnnealingLR":
        return f"cosine to {schedule.eta_min:g}"
    return "constant" if schedule.gamma == 1 else f"times {schedule.gamma:g} every {schedule.step_size} epochs"


def _epochs(s: Settled) -> Any:
    if not s.fit.inner_folds:
        return s.fit.max_epochs
    folds = f"{s.fit.inner_folds} inner fold{'s' if s.fit.inner_folds > 1 else ''}"
    return f"at most {s.fit.max_epochs}, stopped by {folds} with patience {s.fit.patience}"


def _augmentation(s: Settled) -> str:
    if not s.fit.trainable_encoder:
        return "none"
    jitter = [f"stain jitter {s.fit.stain_jitter:g}"] if s.fit.stain_jitter else []
    return listed([*(["turns and flips"] if s.fit.augment else []), *jitter]) or "none"


FACTS: dict[str, Callable[[Settled], Any]] = {
    "encoder": _encoder,
    "tiles": _tiles,
    "inputs": _inputs,
    "targets": _targets,
    "genes": _genes,
    "batch": _batch,
    "seen together in training": lambda s: _seen_together(s, training=True),
    "seen together in prediction": lambda s: _seen_together(s, training=False),
    "optimizer": _optimizer_told,
    "learning rate": lambda s: _rate(s, 0),
    "encoder learning rate": lambda s: _rate(s, 1),
    "learning rate schedule": _schedule,
    "epochs": _epochs,
    "networks": lambda s: s.fit.members,
    "slides unlike training": lambda s: "drawn toward ridge" if s.fit.anchor else "predicted as any other",
    "augmentation": _augmentation,
    "batch norm of the encoder": lambda _: "kept as pretrained (evaluation mode)",
}
"""What a fit is made from beyond the method's own settings, by name."""
OF_SOME = ("seen together in training", "seen together in prediction", "batch norm of the encoder")
"""Facts that say nothing of some methods; every other must be in the table of a method trained by gradient."""


def own_settings(method: str) -> list[str]:
    """Settings of the method itself, all of which its table must show."""
    return [field.name for field in dataclasses.fields(settle(method, "default").recipe.settings)]
