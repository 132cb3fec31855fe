"""Encoded tiles of a section to a method's input rows: standardized, with spatial context, reduced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from st_predict.core.neighbors import nearest_spots
from st_predict.core.room import give_back

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from st_predict.core.methods.recipe import InputConfig

_EPSILON = 1e-6
_PART_SPOTS = 1024


class InputTransform:
    """What turns features into input rows, fitted on training sections, without labels.

    Parameters
    ----------
    config
        Settings.
    arrays
        ``mean`` and ``scale`` ``(D',)``, and ``components`` ``(D', D)`` where inputs are reduced.
    """

    def __init__(self, config: InputConfig, arrays: dict[str, torch.Tensor]) -> None:
        self.config = config
        self.arrays = arrays

    @classmethod
    def fit(cls, config: InputConfig, rows: torch.Tensor) -> InputTransform:
        """Fit on the expanded rows of training spots ``(N, D')``, see :func:`expand`."""
        if config.standardize == "none" and config.components is None:
            return cls(config, {})
        mean, scale = rows.mean(dim=0), rows.std(dim=0, correction=0)
        if config.standardize == "none":
            scale = torch.ones_like(scale)
        scale = torch.where(scale > _EPSILON, scale, 1.0)  # a constant feature stays near 0
        arrays = {"mean": mean, "scale": scale}
        if config.components is not None:
            rows = (rows - mean) / scale
            kept = max(1, min(config.components, rows.shape[1], len(rows) - 1))
            values, axes = principal_axes(rows, kept)
            # One common factor brings the inputs to unit mean square and leaves the axes their relative weight.
            axes = axes / (values.square().mean() / len(rows)).sqrt().clamp(min=_EPSILON)
            arrays["components"] = axes.contiguous()
        return cls(config, arrays)

    def reduce(self, rows: torch.Tensor) -> torch.Tensor:
        """Expanded rows ``(n, D')`` to input rows ``(n, D)``."""
        if "mean" in self.arrays:
            rows = (rows - self.arrays["mean"]).div_(self.arrays["scale"])
        return rows @ self.arrays["components"] if "components" in self.arrays else rows

    def __call__(
        self,
        features: NDArray[np.float32],
        centers_px: NDArray[np.float64],
        arrays: NDArray[np.int64] | None = None,
    ) -> torch.Tensor:
        """Input rows of one section: ``(n, S, d)`` features -> ``(n, D)``.

        A part at a time: context is wide, and all features scored would be a second copy of what is largest in memory.
        """
        rows, nearest = _flat(features), _context(self.config, centers_px, arrays)
        scores = _scores(self.config, rows, features)
        reduced = rows.new_empty(0)
        for part in torch.arange(len(rows)).split(_PART_SPOTS):
            used, place = torch.unique(torch.cat([part, nearest[part].flatten()]), return_inverse=True)
            spots, around = place[: len(part)], place[len(part) :].view(len(part), nearest.shape[1])
            found = self.reduce(_expanded(self.config, _scored(rows[used], scores), spots, around))
            if not len(reduced):  # at once: what is kept of each part would lie between its large temporaries
                reduced = found.new_empty(len(rows), found.shape[1])
            reduced[part] = found
            give_back(features)
        return reduced

    def of_lone_tiles(self, rows: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """Input rows of tiles without their slide ``(n, S * d)`` -> ``(n, D)``: each its own surroundings.

        Parameters
        ----------
        rows
            Features of the tiles.
        mean, scale
            What a typical slide has ``(S * d,)``, by which they are scored where that is done within the slide.
        """
        if self.config.standardize == "slide":
            rows = (rows - mean) / (scale + _EPSILON)
        return self.reduce(torch.cat([rows] * (1 + len(self.config.context)), dim=1))


def expand(config: InputConfig, features: NDArray[np.float32], centers_px: NDArray[np.float64]) -> torch.Tensor:
    """Standardize within the slide and add context; nothing is fitted.

    Parameters
    ----------
    config
        Settings.
    features
        Encoded tiles of all spots of a section ``(n, S, d)``.
    centers_px
        Spot centers ``(n, 2)``.

    Returns
    -------
    ``(n, S * d * (1 + len(context)))``.
    """
    rows = _flat(features)
    rows = _scored(rows.clone(), _scores(config, rows, features))
    return _expanded(config, rows, torch.arange(len(rows)), _context(config, centers_px))


def principal_axes(rows: torch.Tensor, kept: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest singular values ``(kept,)`` of centered rows ``(n, D)`` and their axes ``(D, kept)``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the decomposition is randomized; the same rows always give the same axes
        _, values, axes = torch.svd_lowrank(rows, q=min(kept + 16, *rows.shape), niter=4)
    return values[:kept], axes[:, :kept]


def _flat(features: NDArray[np.float32]) -> torch.Tensor:
    """``(n, S, d)`` as ``(n, S * d)``, not copied."""
    return torch.from_numpy(np.ascontiguousarray(features)).flatten(1)


def _scores(
    config: InputConfig, rows: torch.Tensor, features: NDArray[np.float32]
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """What the features of a slide are scored by, where that is asked for: mean and scale ``(S * d,)``."""
    if config.standardize != "slide":
        return None
    if len(rows) <= _PART_SPOTS:
        return rows.mean(dim=0), rows.std(dim=0, correction=0) + _EPSILON
    total, squares = (torch.zeros(rows.shape[1], dtype=torch.double) for _ in range(2))
    for part in rows.split(_PART_SPOTS):
        total += part.sum(dim=0, dtype=torch.double)
        give_back(features)
    mean = (total / len(rows)).float()
    for part in rows.split(_PART_SPOTS):
        squares += (part - mean).square_().sum(dim=0, dtype=torch.double)
        give_back(features)
    return mean, (squares / len(rows)).sqrt().float() + _EPSILON


def _scored(rows: torch.Tensor, scores: tuple[torch.Tensor, torch.Tensor] | None) -> torch.Tensor:
    """Rows scored in place."""
    return rows if scores is None else rows.sub_(scores[0]).div_(scores[1])


def _context(
    config: InputConfig, centers_px: NDArray[np.float64], arrays: NDArray[np.int64] | None = None
) -> torch.Tensor:
    """Neighbors of every spot, as many as the widest context needs ``(n, k)``, nearest first."""
    widest = min(max(config.context, default=0), len(centers_px) - 1)
    return torch.from_numpy(nearest_spots(centers_px, widest, arrays))


def _expanded(config: InputConfig, rows: torch.Tensor, spots: torch.Tensor, around: torch.Tensor) -> torch.Tensor:
    """Some spots with the means of those around them ``(b, k)``: ``(b, S * d * (1 + len(context)))``."""
    return torch.cat([rows[spots], *(_mean_of(rows, spots, around[:, :k]) for k in config.context)], dim=1)


def _mean_of(rows: torch.Tensor, spots: torch.Tensor, nearest: torch.Tensor) -> torch.Tensor:
    """Mean over each spot's neighbors; the spot itself where there are none. Sums in place of a (b, k, d) copy."""
    if nearest.shape[1] == 0:
        return rows[spots]
    total = rows.new_zeros(len(spots), rows.shape[1])
    for column in nearest.T:
        total += rows[column]
    return total / nearest.shape[1]
