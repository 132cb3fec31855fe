"""Everything that is set before a fit: the method's own settings, its inputs, and how it is trained."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal

from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from st_predict.core.methods.interface import Needs


_KINDS = {"bool": "True or False", "int": "a whole number", "float": "a number", "str": "a name"}


def require(config: Any, method: str, rules: Mapping[str, bool]) -> None:
    """Refuse settings of a method that break a rule.

    Raises
    ------
    InputError
        The message gives the first rule that does not hold.
    """
    for rule, holds in rules.items():
        if not holds:
            raise InputError(str(config), where=f"params of {method}", expected=rule, remedy="correct the setting")


def is_like(value: Any, default: Any) -> bool:
    """Whether a value is of the type of a default: 128.0 is not a whole number, "no" is not False.

    None is checked elsewhere. Numbers must be finite, and entries of a tuple must be like those of the default.
    """
    if isinstance(default, tuple):
        known = [one for one in default if one is not None]
        return isinstance(value, tuple) and all(is_like(one, known[0]) for one in value if known)
    whole, switch = isinstance(value, Integral), isinstance(value, bool)
    number = isinstance(value, Real) and not switch and (whole or math.isfinite(value))
    fits = {bool: switch, int: whole and not switch, float: number}.get(type(default))
    return value is None or fits is not False


def _check(config: Any, **rules: tuple[bool, str]) -> None:
    for name, (holds, expected) in rules.items():
        if not holds:
            raise InputError(
                f"{name} is {getattr(config, name)!r}", where=name, expected=expected, remedy=f"correct {name}"
            )


@dataclass(frozen=True)
class InputConfig:
    """How encoded tiles become a method's input.

    Parameters
    ----------
    context
        Means of the features of this many nearest spots are appended, one block a number.
    standardize
        z-score every feature within its own slide (``"slide"``, no labels used, also at prediction), by the
        training spots (``"training"``), or not at all. Slide-wise scoring takes a slide's own stain out, which is worth
        little with the default encoder (``benchmarks/stains.py``). Where the encoder is trained, ``"training"`` scales what it gives once, before the first step.
    components
        Principal components of the training inputs that are kept; ``None`` keeps the features themselves.
    center_targets
        Fit the difference to each training section's own mean; predictions add the mean over training sections.
    """

    context: tuple[int, ...] = ()
    standardize: Literal["slide", "training", "none"] = "slide"
    components: int | None = 256
    center_targets: bool = True

    def __post_init__(self) -> None:
        _check(
            self,
            context=(all(k >= 1 for k in self.context), "numbers of neighbors, at least 1"),
            standardize=(self.standardize in {"slide", "training", "none"}, "'slide', 'training' or 'none'"),
            components=(self.components is None or self.components >= 1, "at least 1, or None"),
        )


@dataclass(frozen=True)
class FitConfig:
    """How a method is trained by gradient.

    Parameters
    ----------
    max_epochs, learning_rate, weight_decay
        AdamW (Adam where the decay is 0).
    batch_size
        Targets a step. Not set (``None``): 64, or two blocks where an encoder is trained.
    encoder_learning_rate
        Learning rate of an encoder in training. It is low, so that the encoder keeps what it has learned before.
    block_size
        With an encoder in training, batches are made of blocks of so many neighboring spots, which share tiles; of two
        blocks at least, drawn from all sections, so that contrast has far negatives too.
    schedule, decay_every, decay, final_learning_rate
        ``"step"``: the learning rate is multiplied by ``decay`` every so many epochs. ``"cosine"``: it falls to
        ``final_learning_rate`` over ``max_epochs``.
    inner_folds
        How often a group of training sections (by subject, where there are several) is held out to find when to
        stop; the network is then trained on all of them for that many epochs. 0: train for ``max_epochs``. Not set: 5, or
        1 where an encoder is trained.
    patience
        Epochs without a better PCC on the held-out sections before an inner fold stops.
    members
        Networks that are trained side by side; the prediction is their mean. They differ by their initial weights. Not
        set: 3 for every method; 1 where an encoder is trained, or nothing is trained by gradient.
    anchor
        Move predictions toward those of tuned ridge on slides that look unlike training (see
        :mod:`~st_predict.core.model.anchor`). Not set: wherever a network is trained on frozen features.
    trainable_encoder
        Train the image encoder end to end.
    augment
        Turn and flip tiles at random where the encoder is trained.
    stain_jitter
        Change the stain of each spot's tiles at random where the encoder is trained: hematoxylin, eosin and the rest
        are scaled and shifted by at most this much (0.05 is little, 0.2 much); 0: not at all.
    """

    max_epochs: int = 25
    batch_size: int = None  # type: ignore[assignment]  # not set, until it is settled
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    encoder_learning_rate: float = 1e-4
    block_size: int = 80
    schedule: Literal["step", "cosine"] = "step"
    decay_every: int = 50
    decay: float = 0.9
    final_learning_rate: float = 0.0
    inner_folds: int = None  # type: ignore[assignment]
    patience: int = 10
    members: int = None  # type: ignore[assignment]
    anchor: bool = None  # type: ignore[assignment]
    trainable_encoder: bool = False
    augment: bool = True
    stain_jitter: float = 0.0

    def __post_init__(self) -> None:
        for setting in fields(self):
            value, unset = getattr(self, setting.name), setting.default is None
            like = setting.default if not unset else True if setting.name == "anchor" else 1
            kind = type(like).__name__
            fits = is_like(value, like) and (unset or value is not None)
            _check(self, **{setting.name: (fits, _KINDS.get(kind, kind))})
        rates = self.learning_rate, self.encoder_learning_rate
        _check(
            self,
            max_epochs=(self.max_epochs >= 1, "at least 1"),
            batch_size=(
                self.batch_size is None or self.batch_size >= 2,
                "at least 2 (contrast needs another spot in the batch)",
            ),
            learning_rate=(self.learning_rate > 0, "a positive number"),
            encoder_learning_rate=(self.encoder_learning_rate > 0, "a positive number"),
            block_size=(self.block_size >= 1, "at least 1"),
            weight_decay=(self.weight_decay >= 0, "0 or more"),
            schedule=(self.schedule in {"step", "cosine"}, "'step' or 'cosine'"),
            final_learning_rate=(
                0 <= self.final_learning_rate <= (min(rates) if self.trainable_encoder else self.learning_rate),
                "between 0 and every learning rate in use",
            ),
            decay_every=(self.decay_every >= 1, "at least 1"),
            decay=(0 < self.decay <= 1, "in (0, 1]"),
            inner_folds=(self.inner_folds is None or self.inner_folds >= 0, "0 or more"),
            members=(self.members is None or self.members >= 1, "at least 1"),
            patience=(self.patience >= 1, "at least 1"),
            stain_jitter=(0 <= self.stain_jitter < 1, "at least 0, under 1"),
        )

    def settled(self, *, gradient: bool) -> FitConfig:
        """With a value for everything that was not set, as it is trained; ``gradient``: whether the method has a loss."""
        trained = self.trainable_encoder
        left: dict[str, Any] = {
            "batch_size": 2 * self.block_size if trained else 64,
            "inner_folds": 1 if trained else 5,  # each trains the encoder anew
            "members": 3 if gradient and not trained else 1,
            "anchor": gradient and not trained,
        }
        return replace(self, **{name: value for name, value in left.items() if getattr(self, name) is None})


@dataclass(frozen=True)
class Recipe:
    """A method and all settings of one fit.

    Parameters
    ----------
    method
        Its name.
    settings
        Its own settings.
    inputs, fit
        What it is fed, and how it is trained.
    """

    method: str
    settings: Any  # a MethodConfig
    inputs: InputConfig = field(default_factory=InputConfig)
    fit: FitConfig = field(default_factory=FitConfig)

    @property
    def needs(self) -> Needs:
        """What the method must be given."""
        return self.settings.needs

    def changed(self, **changes: Any) -> Recipe:
        """With other settings of inputs and fit, each where it belongs; ``None`` is not set, and changes nothing."""
        given = {name: value for name, value in changes.items() if value is not None}
        parts = {}
        for name in ("inputs", "fit"):
            part = getattr(self, name)
            own = {setting.name for setting in fields(part)} & given.keys()
            parts[name] = replace(part, **{setting: given.pop(setting) for setting in own})
        if given:
            raise TypeError(f"a recipe has no {', '.join(given)}")
        return replace(self, **parts)

    def to_dict(self) -> dict[str, Any]:
        """As it is kept in config.json, where the method's name stands beside it."""
        return {"method": asdict(self.settings), "inputs": asdict(self.inputs), "fit": asdict(self.fit)}


PLAIN_INPUTS = InputConfig(context=(), standardize="none", components=None, center_targets=False)
"""The tile's features as they are and the targets as they are: what the publications feed their methods."""
