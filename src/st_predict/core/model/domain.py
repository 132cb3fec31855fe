"""What the training tiles look like, and how far from them others are: features alone, no expression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from st_predict.core.inputs.transform import principal_axes
from st_predict.core.room import give_back

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_AXES = 32
_MOST_TILES = 20_000  # that axes are fitted on, taken evenly from all sections
_PART_SPOTS = 4096
_BEYOND = 0.01  # share of tiles of a training section that lie beyond the limit the others set
_MOST = 0.5
_FARTHER = 1.5  # how much farther off than the farthest training section a slide as a whole may lie


@dataclass(frozen=True, eq=False)
class Domain:
    """The features of training tiles as a Gaussian: a few principal axes, and the same spread in all others.

    Distances are those of probabilistic principal components (Tipping and Bishop 1999), the part within the axes and
    the rest weighing the same; for features of a network see Lee et al. 2018 (Mahalanobis distances, unlike inputs).

    Parameters
    ----------
    mean
        Of the features of all training spots ``(S * d,)``, not scored within slides.
    scale
        Standard deviation within a training section, pooled over sections ``(S * d,)``.
    axes
        Principal axes ``(S * d, k)``, orthonormal.
    variance
        Along the axes ``(k,)``.
    rest
        Mean squared length of what lies outside the axes ``()``.
    limit
        Distance that one in a hundred tiles of a training section exceeds where the axes are fitted without it ``()``.
    slide_limit
        How far the mean over a slide may lie off: half as far again as that of any training section where the axes are
        fitted without it ``()``.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    axes: torch.Tensor
    variance: torch.Tensor
    rest: torch.Tensor
    limit: torch.Tensor
    slide_limit: torch.Tensor

    @classmethod
    def fit(
        cls,
        sections: Sequence[torch.Tensor],
        folds: Sequence[tuple[list[int], list[int]]],
        used: Sequence[torch.Tensor] | None = None,
    ) -> Domain:
        """Fit on the features of training sections.

        Parameters
        ----------
        sections
            Features of each section's spots ``(n, S, d)``.
        folds
            Which sections the axes are fitted on and which are then measured, in turn, to set the limit; where there
            are none, quarters of consecutive spots.
        used
            Rows of each section's spots that count ``(n_used,)``. ``None``: all.
        """
        used = [torch.arange(len(section)) for section in sections] if used is None else used
        step = -(-sum(map(len, used)) // _MOST_TILES)
        rows = [section[mine[::step]].flatten(1) for section, mine in zip(sections, used, strict=True)]
        if not folds:
            rows = list(torch.cat(rows).tensor_split(4))
            folds = [([i for i in range(4) if i != held], [held]) for held in range(4)]
        within = torch.stack([(section - section.mean(dim=0)).square_().sum(dim=0) for section in rows]).sum(dim=0)
        scale, unit = (within / sum(map(len, rows))).sqrt(), torch.ones(())
        apart, shifts = [], []
        for fitted, held in folds:
            part = cls(**_gaussian(torch.cat([rows[i] for i in fitted])), scale=scale, limit=unit, slide_limit=unit)
            apart += [part._distance(rows[i]) for i in held]
            shifts += [part._shift(rows[i].mean(dim=0), len(rows[i])) for i in held]
        limits = torch.cat(apart).quantile(1 - _BEYOND), _FARTHER * torch.stack(shifts).max()
        limit, slide_limit = (found.clamp(min=torch.finfo(found.dtype).tiny) for found in limits)
        return cls(**_gaussian(torch.cat(rows)), scale=scale, limit=limit, slide_limit=slide_limit)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything fitted, by name."""
        return dict(vars(self))

    def distance(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """How unlike the training tiles some are, ``(n, S, d)`` -> ``(n,)``; 1 is the limit."""
        found = []
        for start in range(0, len(features), _PART_SPOTS):
            part = np.ascontiguousarray(features[start : start + _PART_SPOTS])
            found.append(self._distance(torch.from_numpy(part).flatten(1)))
            give_back(features)
        distance: NDArray[np.float32] = (torch.cat(found) / self.limit).numpy()
        return distance

    def shift(self, features: NDArray[np.float32]) -> float:
        """How far the mean over a slide's tiles ``(n, S, d)`` lies off that of training; 1 is the limit.

        Tiles beyond their own limit, such as folds and ink, are left out, unless most are.
        """
        used = self.distance(features) <= 1
        if used.mean() <= _MOST:
            used[:] = True
        total = np.zeros(features.shape[1:])
        for start in range(0, len(features), _PART_SPOTS):
            part = slice(start, start + _PART_SPOTS)
            total += features[part][used[part]].sum(axis=0, dtype=np.float64)
            give_back(features)
        mean = torch.from_numpy((total / used.sum()).astype(np.float32)).flatten()
        return float(self._shift(mean, int(used.sum())) / self.slide_limit)

    def _shift(self, mean: torch.Tensor, n: int) -> torch.Tensor:
        """Distance of the mean of ``n`` tiles, less what is expected of ``n`` training tiles drawn at random."""
        return (self._distance(mean[None])[0].square() - 1 / n).clamp(min=0).sqrt()

    def _distance(self, rows: torch.Tensor) -> torch.Tensor:
        rows = rows - self.mean
        scores = rows @ self.axes
        outside = (rows.square().sum(dim=1) - scores.square().sum(dim=1)).clamp(min=0)
        return (((scores.square() / self.variance).mean(dim=1) + outside / self.rest) / 2).sqrt()


def _gaussian(rows: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mean, axes and spread of rows ``(n, D)``, which are centered in place."""
    mean, (n, width) = rows.mean(dim=0), rows.shape
    centered = rows.sub_(mean)
    kept = max(1, min(_AXES, width // 2, n // 2))
    values, axes = principal_axes(centered.__matmul__, centered.T.__matmul__, (n, width), kept)
    variance = values.square() / n
    rest = sum(part.square().sum() for part in centered.split(_PART_SPOTS)) / n - variance.sum()
    least = torch.finfo(rows.dtype).eps * variance[0].clamp(min=torch.finfo(rows.dtype).tiny)
    return {
        "mean": mean,
        "axes": axes.contiguous(),
        "variance": variance.clamp(min=least),
        "rest": rest.clamp(min=least),
    }
