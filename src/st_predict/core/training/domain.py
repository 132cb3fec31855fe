"""What the training tiles look like, and how far from them others are: features alone, no expression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from st_predict.core.training.inputs import principal_axes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_AXES = 32
_MOST_TILES = 20_000  # that axes are fitted on, taken evenly from all sections
_PART_SPOTS = 4096
_BEYOND = 0.01  # share of tiles of a training section that lie beyond the limit the others set


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
    """

    mean: torch.Tensor
    scale: torch.Tensor
    axes: torch.Tensor
    variance: torch.Tensor
    rest: torch.Tensor
    limit: torch.Tensor

    @classmethod
    def fit(cls, sections: Sequence[torch.Tensor], folds: Sequence[tuple[list[int], list[int]]]) -> Domain:
        """Fit on the features of training sections.

        Parameters
        ----------
        sections
            Features of each section's spots ``(n, S, d)``.
        folds
            Which sections the axes are fitted on and which are then measured, in turn, to set the limit; where there
            are none, quarters of consecutive spots.
        """
        rows = [section.flatten(1) for section in sections]
        step = -(-sum(map(len, rows)) // _MOST_TILES)
        rows = [section[::step] for section in rows]
        if not folds:
            rows = list(torch.cat(rows).tensor_split(4))
            folds = [([i for i in range(4) if i != held], [held]) for held in range(4)]
        within = torch.cat([section - section.mean(dim=0) for section in rows])
        scale, unit = within.square().mean(dim=0).sqrt(), torch.ones(())
        apart = []
        for fitted, held in folds:
            part = cls(**_gaussian(torch.cat([rows[i] for i in fitted])), scale=scale, limit=unit)
            apart.append(part._distance(torch.cat([rows[i] for i in held])))
        limit = torch.cat(apart).quantile(1 - _BEYOND)
        return cls(**_gaussian(torch.cat(rows)), scale=scale, limit=limit.clamp(min=torch.finfo(limit.dtype).tiny))

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything fitted, by name."""
        return dict(vars(self))

    def distance(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """How unlike the training tiles some are, ``(n, S, d)`` -> ``(n,)``; 1 is the limit."""
        parts = np.array_split(features, max(1, -(-len(features) // _PART_SPOTS)))
        found = [self._distance(torch.from_numpy(np.ascontiguousarray(part)).flatten(1)) for part in parts]
        distance: NDArray[np.float32] = (torch.cat(found) / self.limit).numpy()
        return distance

    def _distance(self, rows: torch.Tensor) -> torch.Tensor:
        rows = rows - self.mean
        scores = rows @ self.axes
        outside = (rows.square().sum(dim=1) - scores.square().sum(dim=1)).clamp(min=0)
        return (((scores.square() / self.variance).mean(dim=1) + outside / self.rest) / 2).sqrt()


def _gaussian(rows: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mean, axes and spread of rows ``(n, D)``."""
    mean = rows.mean(dim=0)
    centered = rows - mean
    values, axes = principal_axes(centered, max(1, min(_AXES, rows.shape[1] // 2, len(rows) // 2)))
    variance = values.square() / len(rows)
    rest = centered.square().sum() / len(rows) - variance.sum()
    least = torch.finfo(rows.dtype).eps * variance[0].clamp(min=torch.finfo(rows.dtype).tiny)
    return {
        "mean": mean,
        "axes": axes.contiguous(),
        "variance": variance.clamp(min=least),
        "rest": rest.clamp(min=least),
    }
