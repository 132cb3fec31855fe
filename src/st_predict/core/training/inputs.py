"""Encoded tiles of a section to a method's input rows: standardized, with spatial context, reduced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from st_predict.core.neighbors import nearest_spots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from st_predict.core.methods.recipe import InputConfig

_EPSILON = 1e-6


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
    def fit(
        cls,
        config: InputConfig,
        features: Sequence[NDArray[np.float32]],
        centers_px: Sequence[NDArray[np.float64]],
        used: Sequence[NDArray[np.bool_]],
    ) -> InputTransform:
        """Fit on training sections.

        Parameters
        ----------
        config
            Settings.
        features
            Encoded tiles of each section ``(n, S, d)``.
        centers_px
            Spot centers of each section ``(n, 2)``.
        used
            Spots of each section that are trained on ``(n,)``; context and slide statistics use all spots.
        """
        untouched = cls(config, {})
        rows = torch.cat([
            untouched._expand(f, c)[torch.from_numpy(u)] for f, c, u in zip(features, centers_px, used, strict=True)
        ])  # fmt: skip
        if config.standardize == "none" and config.components is None:
            return untouched
        mean = rows.mean(dim=0)
        scale = rows.std(dim=0, correction=0).clamp(min=_EPSILON)
        if config.standardize == "none":
            scale = torch.ones_like(scale)
        arrays = {"mean": mean, "scale": scale}
        if config.components is not None:
            rows = (rows - mean) / scale
            kept = min(config.components, min(rows.shape) - 1) or 1
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # the decomposition is randomized; the same rows always give the same axes
                _, values, axes = torch.svd_lowrank(rows, q=min(kept + 16, *rows.shape), niter=4)
            # One common factor brings the inputs to unit mean square and leaves the axes their relative weight.
            axes = axes[:, :kept] / (values[:kept].square().mean() / len(rows)).sqrt().clamp(min=_EPSILON)
            arrays["components"] = axes.contiguous()
        return cls(config, arrays)

    def __call__(self, features: NDArray[np.float32], centers_px: NDArray[np.float64]) -> torch.Tensor:
        """Input rows of one section: ``(n, S, d)`` features -> ``(n, D)``."""
        rows = self._expand(features, centers_px)
        if "mean" in self.arrays:
            rows = (rows - self.arrays["mean"]) / self.arrays["scale"]
        return rows @ self.arrays["components"] if "components" in self.arrays else rows

    def _expand(self, features: NDArray[np.float32], centers_px: NDArray[np.float64]) -> torch.Tensor:
        """Slide-wise standardization and context: ``(n, S, d)`` -> ``(n, S * d * (1 + len(context)))``."""
        rows = torch.from_numpy(np.ascontiguousarray(features)).flatten(1)
        if self.config.standardize == "slide":
            rows = (rows - rows.mean(dim=0)) / (rows.std(dim=0, correction=0) + _EPSILON)
        blocks = [rows]
        if self.config.context:
            widest = min(max(self.config.context), len(rows) - 1)
            nearest = torch.from_numpy(nearest_spots(centers_px, widest))
            for k in self.config.context:
                blocks.append(_mean_of(rows, nearest[:, : min(k, widest)]))
        return torch.cat(blocks, dim=1)


def _mean_of(rows: torch.Tensor, nearest: torch.Tensor) -> torch.Tensor:
    """Mean over each spot's neighbors; the spot itself where there are none. Sums in place of an (n, k, d) copy."""
    if nearest.shape[1] == 0:
        return rows
    total = torch.zeros_like(rows)
    for column in nearest.T:
        total += rows[column]
    return total / nearest.shape[1]
