"""How sure a model is: the PCC to expect of every gene on a new slide, and intervals around its predictions.

Fitted on what the inner folds held out, and on nothing else. Knows no method.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from st_predict.core.errors import InputError
from st_predict.core.room import give_back, room_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Shares of spots that intervals are made to cover."""
BY_CHANCE = 0.02
"""Share of genes that may be called predictable on shuffled images, on average over shuffles."""
_AIMED = BY_CHANCE / 2  # chance is a little skewed, and the shuffles that set the limit had luck too
_QUANTILES = 128  # that stand for the residuals of a section, so that all sections weigh the same
_LEAST_SPREAD = 0.3  # of the mean absolute residual
_WIDEST, _STEP = 4.0, 0.02
_KEPT_VALUES, _KEPT_SPOTS = 200_000, 20
_PART_SPOTS = 4096
ALIKE = 1.3
"""Shift up to which a slide counts as like training: held-out sections of the public data sets lie within it."""
_UNLIKE, _LEFT = 1.6, 0.36
_OF_ANOTHER = 0.5  # of what sections of one subject reach, where a slide of another looks like them


def sampled_rows(n_spots: int, n_genes: int, n_sections: int) -> Tensor:
    """Rows of a held-out section that are kept to set intervals by: evenly spread, all where they are few.

    What is kept of a fold does not grow with its sections: 200,000 values, or 20 spots of every section.
    """
    kept = min(n_spots, max(_KEPT_SPOTS, _KEPT_VALUES // (n_genes * max(n_sections, 1))))
    return torch.linspace(0, n_spots - 1, kept, dtype=torch.double).round().long()


class HeldOut(NamedTuple):
    """A training section while it was held out. ``k`` spots of it, ``G`` genes."""

    group: int
    """The inner fold; sections of one are of the same subjects, or were predicted by the same fit."""
    pcc: Tensor
    """Over all its spots ``(G,)``."""
    predicted: Tensor
    """``(k, G)``, log1p of counts per 10,000."""
    measured: Tensor
    """``(k, G)``."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """What to expect of every gene on a slide that was not trained on.

    Intervals are conformal ones with residuals scaled by how large they are at a prediction (Lei et al. 2018, locally
    weighted), from sections that were held out whole. Sections weigh the same (Dunn et al. 2023, pooled CDFs).

    A few sections say little about how much a new one may differ. So all intervals are widened by one factor for all
    genes. Each of the g groups of sections is left out in turn, and f is the factor at which intervals that were set
    without a group cover the right share of it, on average over groups. The final intervals are set by one group more,
    so the part of f squared beyond 1 counts (g - 1) / g times. The share is one over all genes: genes whose level
    differs more between sections than that of others are covered less.

    Parameters
    ----------
    expected_pcc
        Mean over held-out sections of the PCC over their spots ``(G,)``.
    pcc_sd
        Standard deviation of that between sections ``(G,)``; NaN with one.
    ceiling
        Estimate of the PCC that a predictor of the true rates would reach, mean over training sections ``(G,)``.
    spread
        Size of residuals at a prediction: intercept, slope and least ``(3, G)``.
    lower, upper
        Ends of the intervals about a prediction, in units of that size, one row a level of :data:`LEVELS`
        ``(L, G)``.
    n_groups
        Groups of sections that were held out ``()``; with one nothing is widened.
    chance
        Expected PCC that shuffled images pass in no more than :data:`BY_CHANCE` of genes, on average over shuffles
        ``(G,)``; ``None`` where nothing was shuffled.
    """

    expected_pcc: Tensor
    pcc_sd: Tensor
    ceiling: Tensor
    spread: Tensor
    lower: Tensor
    upper: Tensor
    n_groups: Tensor
    chance: Tensor | None = None

    @classmethod
    def fit(cls, sections: Sequence[HeldOut], ceiling: Tensor, shuffled: Tensor | None = None) -> Reliability:
        """From all sections while they were held out.

        Parameters
        ----------
        sections
            What was made of each.
        ceiling
            Kept as it is ``(G,)``.
        shuffled
            Mean over the same sections of the PCC that shuffled images reach, a row a shuffle ``(S, G)``.
        """
        pcc = torch.stack([section.pcc for section in sections])
        spread = _spread(sections)
        quantiles = torch.stack([_quantiles(section, spread) for section in sections])
        groups = torch.tensor([section.group for section in sections])
        ends = [_widened(sections, groups, quantiles, spread, level) for level in LEVELS]
        return cls(
            expected_pcc=pcc.mean(dim=0).float(),
            pcc_sd=pcc.std(dim=0).float() if len(pcc) > 1 else torch.full(ceiling.shape, torch.nan),
            ceiling=ceiling.float(),
            spread=spread.float(),
            lower=torch.stack([lower for lower, _ in ends]).float(),
            upper=torch.stack([upper for _, upper in ends]).float(),
            n_groups=torch.tensor(len(groups.unique())),
            chance=None if shuffled is None else _chance(shuffled).float(),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Everything fitted, by name."""
        return {name: values for name, values in vars(self).items() if values is not None}

    @property
    def predictable(self) -> Tensor | None:
        """Genes of which more than chance is to be expected ``(G,)``; ``None`` where chance is not known."""
        return None if self.chance is None else self.expected_pcc > self.chance

    def on_slide(self, shift: float, *, of_another: bool = False) -> Reliability:
        """The same for a slide that lies so far off training, of which less is expected; see :func:`kept_share`."""
        kept = kept_share(shift, of_another=of_another)
        lowered = self.expected_pcc.clamp(min=0) * kept + self.expected_pcc.clamp(max=0)
        return replace(self, expected_pcc=lowered)

    def only(self, genes: Tensor | NDArray[Any]) -> Reliability:
        """Of some genes, by mask or number."""
        genes = torch.as_tensor(genes)
        found = {name: values[..., genes] if values.dim() else values for name, values in self.tensors().items()}
        return Reliability(**found)

    def interval(self, predicted: NDArray[np.float32], level: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Both ends of the intervals that cover a share ``level`` of spots, on average over genes and new slides.

        Not of every slide: one whose values all lie off together is covered less, and others more.

        Parameters
        ----------
        predicted
            ``(n, G)``, log1p of counts per 10,000.
        level
            One of :data:`LEVELS`.

        Returns
        -------
        Lower and upper ends ``(n, G)``; in temporary files where they are many.
        """
        number = LEVELS.index(check_level(level))
        found = tuple(room_for("intervals", predicted.shape) for _ in range(2))
        for start in range(0, len(predicted), _PART_SPOTS):
            part = slice(start, start + _PART_SPOTS)
            values = torch.from_numpy(np.ascontiguousarray(predicted[part]))
            size = _size(values, self.spread)
            for into, end in zip(found, (self.lower, self.upper), strict=True):
                # What was measured is never below 0.
                into[part] = torch.addcmul(values, size, end[number]).clamp_(min=0).numpy()
                give_back(into)
        return found[0], found[1]


def kept_share(shift: float, *, of_another: bool = False) -> float:
    """How much of an expected PCC is left on a slide as a whole unlike training, or of another subject, 0 to 1.

    Fitted on subjects that were held out, and tried on others, see ``benchmarks/honesty.py``: on drawn
    patients, models of one other patient keep a third of the PCC that they reach on sections of their own patient,
    whatever the distance; on mice of one strain they keep two thirds. Held-out sections of the public data sets lie up to
    1.31 off, and reach what was expected.

    Parameters
    ----------
    shift
        See :meth:`~st_predict.core.model.domain.Domain.shift`; NaN where it is not known.
    of_another
        Whether the slide is known to be of another subject than the one that all expectations are of.
    """
    most = _OF_ANOTHER if of_another else 1.0
    if shift != shift:
        return most
    lost = min(max((shift - ALIKE) / (_UNLIKE - ALIKE), 0.0), 1.0)
    return most - (most - _LEFT) * lost


def check_level(level: float) -> float:
    """A level that intervals were made for.

    Raises
    ------
    InputError
        If it is not one of :data:`LEVELS`.
    """
    if level not in LEVELS:
        raise InputError(
            f"interval is {level!r}",
            where="interval",
            expected=f"the share of spots that intervals are to cover: {', '.join(map(str, LEVELS))}",
            remedy="choose one of these, or leave interval out",
        )
    return level


def _chance(shuffled: Tensor) -> Tensor:
    """PCC that a further shuffle exceeds in no more than :data:`BY_CHANCE` of genes ``(S, G)`` -> ``(G,)``.

    It is set for each gene alone. Expression has few programs, so the genes of one shuffle are all high or all low, and
    a quantile over genes cannot be trusted. A mean of PCC is nearly normal: this is the limit for one more draw after few.
    """
    from scipy.stats import t

    n = len(shuffled)
    return shuffled.mean(dim=0) + float(t.ppf(1 - _AIMED, n - 1)) * np.sqrt(1 + 1 / n) * shuffled.std(dim=0)


def _spread(sections: Sequence[HeldOut]) -> Tensor:
    """Absolute residuals as a line over predictions, by least squares: intercept, slope, least value ``(3, G)``."""
    predicted = torch.cat([section.predicted for section in sections]).double()
    size = torch.cat([(section.measured - section.predicted) for section in sections]).double().abs()
    about, mean = predicted.mean(dim=0), size.mean(dim=0)
    apart = predicted - about
    slope = (apart * size).sum(dim=0) / apart.square().sum(dim=0).clamp(min=1e-9)
    return torch.stack([mean - slope * about, slope, (_LEAST_SPREAD * mean).clamp(min=1e-6)])


def _size(predicted: Tensor, spread: Tensor) -> Tensor:
    """Size of residuals at some predictions ``(n, G)``."""
    intercept, slope, least = spread
    return torch.maximum(torch.addcmul(intercept, slope, predicted), least)


def _quantiles(section: HeldOut, spread: Tensor) -> Tensor:
    """Evenly spaced quantiles of a section's scaled residuals ``(Q, G)``."""
    predicted = section.predicted.double()
    levels = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    return _quantile((section.measured - predicted) / _size(predicted, spread), levels).float()


def _widened(
    sections: Sequence[HeldOut], groups: Tensor, quantiles: Tensor, spread: Tensor, level: float
) -> tuple[Tensor, Tensor]:
    """Both ends ``(G,)`` of the interval of a level, widened until groups of sections cover one another."""
    lower, median, upper = _ends(quantiles, level)
    if len(groups.unique()) == 1:
        return lower, upper
    without = {int(group): _ends(quantiles[groups != group], level) for group in groups.unique()}

    def covered(factor: float) -> float:
        found: dict[int, list[float]] = {}
        for section in sections:
            lower, median, upper = without[section.group]
            predicted = section.predicted.double()
            scaled = (section.measured - predicted) / _size(predicted, spread)
            inside = (scaled >= median + factor * (lower - median)) & (scaled <= median + factor * (upper - median))
            found.setdefault(section.group, []).append(float(inside.double().mean()))
        return float(np.mean([np.mean(shares) for shares in found.values()]))

    factors = np.arange(1, _WIDEST + _STEP / 2, _STEP)
    low, high = 0, len(factors) - 1  # coverage grows with the factor
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if covered(factors[middle]) >= level else (middle + 1, high)
    factor = float(np.sqrt(1 + (factors[low] ** 2 - 1) * (len(without) - 1) / len(without)))
    return median + factor * (lower - median), median + factor * (upper - median)


def _ends(quantiles: Tensor, level: float) -> tuple[Tensor, Tensor, Tensor]:
    """Lower end, median and upper end over all sections ``(G,)`` each; ``quantiles`` ``(sections, Q, G)``."""
    lower, median, upper = _quantile(quantiles.flatten(0, 1), np.array([(1 - level) / 2, 0.5, (1 + level) / 2]))
    return lower, median, upper


def _quantile(values: Tensor, levels: NDArray[np.float64]) -> Tensor:
    """Quantiles of every column ``(n, G)`` -> ``(L, G)``; torch's own takes no more than 16 million values."""
    return torch.from_numpy(np.quantile(values.numpy(), levels, axis=0))
