"""Encoded tiles of a section to a method's input rows: standardized, with spatial context, reduced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from st_predict.core.inputs.rows import SectionRows, mean_and_std, times_transposed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from st_predict.core.methods.recipe import InputConfig

    Product = Callable[[Tensor], Tensor]

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

    def __init__(self, config: InputConfig, arrays: dict[str, Tensor]) -> None:
        self.config = config
        self.arrays = arrays

    @classmethod
    def fit(cls, config: InputConfig, sections: Sequence[SectionRows]) -> InputTransform:
        """Fit on training sections; their expanded rows ``(N, D')`` are never held."""
        if config.standardize == "none" and config.components is None:
            return cls(config, {})
        mean, scale = mean_and_std(sections)
        if config.standardize == "none":
            scale = torch.ones_like(scale)
        scale = torch.where(scale > _EPSILON, scale, 1.0)  # a constant feature stays near 0
        arrays = {"mean": mean, "scale": scale}
        if config.components is None:
            return cls(config, arrays)
        n, width = sum(map(len, sections)), len(mean)

        def times(weights: Tensor) -> Tensor:
            return cls(config, {**arrays, "components": weights}).of_sections(sections)

        def back(weights: Tensor) -> Tensor:
            return (times_transposed(sections, weights) - mean[:, None] * weights.sum(dim=0)) / scale[:, None]

        kept = max(1, min(config.components, width, n - 1))
        values, axes = principal_axes(times, back, (n, width), kept)
        # One common factor brings the inputs to unit mean square and leaves the axes their relative weight.
        axes = axes / (values.square().mean() / n).sqrt().clamp(min=_EPSILON)
        return cls(config, {**arrays, "components": axes.contiguous()})

    def __call__(
        self,
        features: NDArray[np.float32],
        centers_px: NDArray[np.float64],
        arrays: NDArray[np.int64] | None = None,
        typical: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Input rows of one section: ``(n, S, d)`` features -> ``(n, D)``; the rest as in :class:`SectionRows`."""
        return self.of_sections([SectionRows(self.config, features, centers_px, arrays=arrays, typical=typical)])

    def of_sections(self, sections: Sequence[SectionRows]) -> Tensor:
        """Input rows of the spots in use of several sections, one after another ``(N, D)``.

        Means over neighbors are taken after the reduction, where they cost less: they commute with all that is done to a
        row.
        """
        reduced, begin = torch.empty(0), 0
        change = self._change(len(sections[0].blocks))
        for section in sections:
            for piece in section:
                blocks = [piece.means(change(piece.features, i), k) for i, k in enumerate(section.blocks)]
                found = self._combined(blocks)
                if not len(reduced):  # at once: kept of each piece it would lie between their large temporaries
                    reduced = found.new_empty(sum(map(len, sections)), found.shape[1])
                reduced[begin + piece.places] = found
            begin += len(section)
        return reduced

    def of_lone_tiles(self, rows: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
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
        n_blocks = 1 + len(self.config.context)
        change = self._change(n_blocks)
        return self._combined([change(rows, i) for i in range(n_blocks)])

    def _change(self, n_blocks: int) -> Callable[[Tensor, int], Tensor]:
        """What is done to the rows ``(u, S * d)`` of a block, by its number: scaled, and reduced where that is asked for."""
        if "mean" not in self.arrays:
            return lambda rows, i: rows
        mean, scale = (self.arrays[name].chunk(n_blocks) for name in ("mean", "scale"))
        if "components" not in self.arrays:
            return lambda rows, i: (rows - mean[i]).div_(scale[i])
        weights = [part / s[:, None] for part, s in zip(self.arrays["components"].chunk(n_blocks), scale, strict=True)]
        shift = [-m @ weight for m, weight in zip(mean, weights, strict=True)]
        return lambda rows, i: torch.addmm(shift[i], rows, weights[i])

    def _combined(self, blocks: list[Tensor]) -> Tensor:
        """Blocks of rows as input rows: side by side, or added up where each brought its share of the components."""
        return torch.stack(blocks).sum(dim=0) if "components" in self.arrays else torch.cat(blocks, dim=1)


def principal_axes(
    times: Product, times_transposed: Product, shape: tuple[int, int], kept: int
) -> tuple[Tensor, Tensor]:
    """The largest singular values ``(kept,)`` of centered rows ``(n, D)`` and their axes ``(D, kept)``.

    By random projection and subspace iteration (Halko et al. 2011, algorithms 4.4 and 5.1), as ``torch.svd_lowrank``.

    Parameters
    ----------
    times, times_transposed
        Products of the rows and of their transpose with a few columns: ``(D, q)`` -> ``(n, q)`` and back.
    shape
        n and D.
    kept
        How many.
    """
    wide = shape[0] < shape[1]
    forth, back = (times_transposed, times) if wide else (times, times_transposed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the same rows always give the same axes
        start = torch.randn(min(shape), min(kept + 16, *shape))
    basis = torch.linalg.qr(forth(start)).Q
    for _ in range(4):
        basis = torch.linalg.qr(back(basis)).Q
        basis = torch.linalg.qr(forth(basis)).Q
    left, values, right = torch.linalg.svd(back(basis).T, full_matrices=False)
    axes = (basis @ left if wide else right.T)[:, :kept]
    # Signs follow from rounding, and networks trained on other signs are other networks: the largest entry is positive.
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    return values[:kept], axes * largest.sign()
