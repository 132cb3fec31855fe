"""What every preset trains with, beside what its publication has: a table a preset.

What is trained is asked of those that train: the recipe of :func:`~st_predict._setup.settle_method`, the optimizer of
the fit, the defaults of :func:`st_predict.tl.train`. Only what is published is written down, beside each method.
"""

from __future__ import annotations

import dataclasses
import inspect
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from st_predict.core.methods.interface import Needs
    from st_predict.core.methods.recipe import FitConfig, InputConfig, Recipe

COLUMNS = ("setting", "published", "here", "why different")


class Row(NamedTuple):
    """One setting of one preset."""

    setting: str
    published: str
    source: str
    here: str
    why: str

    @property
    def differs(self) -> bool:
        """Whether it is not as published; never so where nothing was published."""
        from st_predict.core.methods.published import NOT_STATED

        return self.published not in (self.here, NOT_STATED)


class Settled(NamedTuple):
    """All that a fit of a preset is made from."""

    recipe: Recipe
    needs: Needs
    defaults: dict[str, Any]
    """Of ``train``."""

    @property
    def fit(self) -> FitConfig:
        return self.recipe.fit

    @property
    def inputs(self) -> InputConfig:
        return self.recipe.inputs


def documented_methods() -> list[str]:
    """Methods that have a publication to be held against."""
    from st_predict.core.methods.registry import METHODS

    return [name for name, entry in METHODS.items() if entry.published]


def preset_names(method: str) -> list[str]:
    """Presets of a method that has a publication to be held against.

    Raises
    ------
    InputError
        If there is no such method, or nothing is published of it.
    """
    from st_predict.core.methods.registry import METHODS

    documented = documented_methods()
    if method not in documented:
        raise InputError(
            f"there is no publication of {method!r} to compare with"
            if method in METHODS
            else f"there is no {method!r}",
            where="METHOD",
            expected=", ".join(documented),
            remedy="choose one of these",
        )
    return list(METHODS[method].presets)


def preset_table(method: str, preset: str) -> list[Row]:
    """Every published setting beside what the preset trains with, in the order of the method's ``PUBLISHED``."""
    from st_predict.core.methods.registry import METHODS

    settled = _settle(method, preset)
    rows = []
    for one in METHODS[method].published:
        here = one.built if one.built is not None else _here(settled, one.setting)
        rows.append(Row(one.setting, _told(one.value), one.source, _told(here), one.why_in(preset)))
    return rows


def render(methods: Sequence[str], *, markdown: bool = False) -> str:
    """Tables of all presets of methods, as text."""
    from st_predict.core.methods.registry import METHODS

    parts = []
    for method in methods:
        names = preset_names(method)
        citation = str(METHODS[method].method.__doc__).splitlines()[0]
        parts.append(f"### `{method}`\n\n{citation}" if markdown else f"{method}: {citation}")
        for preset in names:
            rows = preset_table(method, preset)
            count = f"{sum(row.differs for row in rows)} of {len(rows)} differ"
            if markdown:
                parts.append(f'`preset="{preset}"`: {count}.\n\n{_markdown(rows)}')
            else:
                parts.append(f"preset {preset}, {count}\n{_plain(rows)}")
    return "\n\n".join(parts)


def _cells(row: Row) -> tuple[str, str, str, str]:
    return row.setting, row.published + (f" ({row.source})" if row.source else ""), row.here, row.why


def _markdown(rows: Sequence[Row]) -> str:
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *map(_cells, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _plain(rows: Sequence[Row]) -> str:
    lines = [COLUMNS, *map(_cells, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip()
        for line in lines
    )


def _told(value: Any) -> str:
    """A value as it is written, the same for both sides."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple | list):
        return _listed([_told(one) for one in value]) or "none"
    return str(value)


def _listed(words: Sequence[str]) -> str:
    return " and ".join([*([", ".join(words[:-1])] if words[1:] else []), *words[-1:]])


@lru_cache
def _settle(method: str, preset: str) -> Settled:
    """What ``train`` would use of a preset, and nothing asked for beside it."""
    import torch

    import st_predict as stp
    from st_predict._setup import settle_method
    from st_predict.core.methods.registry import build_method

    name, recipe = settle_method(method, preset=preset)
    with torch.device("meta"):  # what a method needs does not ask for its weights
        needs = build_method(name, recipe.method, 1, 1).needs
    signature = inspect.signature(stp.tl.train).parameters
    return Settled(recipe, needs, {name: one.default for name, one in signature.items()})


def _here(settled: Settled, setting: str) -> Any:
    """What a preset trains with."""
    if setting in FACTS:
        return FACTS[setting](settled)
    return getattr(settled.recipe.method, setting)


def _encoder(s: Settled) -> str:
    return f"{s.defaults['encoder']}, {'trained' if s.fit.trainable_encoder else 'frozen'}"


def _tiles(s: Settled) -> str:
    from st_predict._setup import tile_spec

    spec = tile_spec(s.defaults["tile_um"], s.defaults["tile_px"], trainable=s.fit.trainable_encoder)
    return f"{_listed([f'{width:g}' for width in spec.widths_um])} um"


def _inputs(s: Settled) -> str:
    scored = {"slide": ["z-scored within each slide"], "training": ["z-scored by the training spots"], "none": []}
    parts = [
        *scored[s.inputs.standardize],
        *([f"means over {_told(s.inputs.context)} neighbors beside them"] if s.inputs.context else []),
        *([f"{s.inputs.components} principal components"] if s.inputs.components else []),
    ]
    return "features, " + ", ".join(parts) if parts else "features as they are"


def _targets(s: Settled) -> str:
    return "log1p of counts per 10,000 over all genes" + (", centered by section" if s.inputs.center_targets else "")


def _genes(s: Settled) -> str:
    of = {"heg": "of highest mean count", "hvg": "most variable"}[s.defaults["gene_ranking"]]
    return f"{s.defaults['genes']} {of} in training"


def _batch(s: Settled) -> str:
    from st_predict.core.methods.interface import SECTION_SPOTS

    size, trained = s.fit.batch_size, s.fit.trainable_encoder
    if s.needs.section:
        return f"{size} neighboring spots of a section" if trained else f"a section, {SECTION_SPOTS} spots at most"
    block = max(1, min(s.fit.block_size, size // 2)) if trained else 1
    return f"{size} random spots" if block == 1 else f"{size} spots, in blocks of {block} neighbors"


def _seen_together(s: Settled, *, training: bool) -> str:
    """What a method of whole sections attends over."""
    from st_predict.core.methods.interface import SECTION_SPOTS

    if not s.needs.section:
        return "each spot with its neighbors" if s.needs.neighbors else "each spot alone"
    if training and s.fit.trainable_encoder:
        return f"{s.fit.batch_size} neighboring spots of a section"
    return f"a section, {SECTION_SPOTS} spots at most"


@lru_cache
def _optimizer(fit: FitConfig) -> Any:
    """Optimizer and schedule of a fit, over one weight."""
    from torch import nn

    from st_predict.core.training.module import FitModule

    weight: Any = nn.Linear(1, 1)
    encoder: Any = nn.Linear(1, 1) if fit.trainable_encoder else None
    return FitModule(weight, encoder, fit, None).configure_optimizers()  # type: ignore[arg-type]


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
    return _listed([*(["turns and flips"] if s.fit.augment else []), *jitter]) or "none"


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
    "augmentation": _augmentation,
    "batch norm of the encoder": lambda _: "kept as pretrained (evaluation mode)",
}
"""What a fit is made from beyond the method's own settings, by name."""
OF_SOME = ("seen together in training", "seen together in prediction", "batch norm of the encoder")
"""Facts that say nothing of some methods; every other must be in the table of a method trained by gradient."""


def own_settings(method: str) -> list[str]:
    """Settings of the method itself, all of which its table must show."""
    return [field.name for field in dataclasses.fields(_settle(method, "default").recipe.method)]
