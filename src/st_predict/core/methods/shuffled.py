"""The control: ridge fitted on shuffled images. Any method can reach its score without reading an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from st_predict.core.methods.interface import Method, MethodConfig, Needs
from st_predict.core.methods.recipe import Recipe, require
from st_predict.core.methods.ridge import Ridge, RidgeConfig

if TYPE_CHECKING:
    from torch import Tensor

    from st_predict.core.methods.interface import Batch, Reference


@dataclass(frozen=True)
class ShuffledConfig(MethodConfig):
    """Settings of :class:`Shuffled`.

    Parameters
    ----------
    shuffle
        Number of the permutation; each number is another draw of what chance scores.
    """

    shuffle: int = 0

    def __post_init__(self) -> None:
        require(self, "shuffled", {"shuffle must not be negative": self.shuffle >= 0})

    @property
    def needs(self) -> Needs:
        """See :class:`~st_predict.core.methods.interface.Needs`."""
        return Needs(gradient=False)


class Shuffled(Method):
    """Ridge whose training spots have each other's tiles, within each section (within parts of it, where there is only one).

    Every spot has a tile of its own section, so differences between sections can still be learned, and differences
    between the spots of a section cannot. Predictions are made from true images. The PCC of one section scatters around
    0. It scatters widely where expression has few programs, since genes then rise and fall together.

    Parameters
    ----------
    n_inputs, n_genes
        D and G.
    config
        Settings.
    """

    def __init__(self, n_inputs: int, n_genes: int, config: ShuffledConfig) -> None:
        super().__init__()
        self.config = config
        self.ridge = Ridge(n_inputs, n_genes, RidgeConfig())

    def after_fit(self, reference: Reference) -> None:
        """Fit ridge on permuted tiles."""
        generator = torch.Generator().manual_seed(self.config.shuffle)
        rows = torch.arange(len(reference.folds))
        for fold in reference.folds.unique():
            own = (reference.folds == fold).nonzero()[:, 0]
            rows[own] = own[torch.randperm(len(own), generator=generator)]
        self.ridge.after_fit(reference._replace(tiles=reference.tiles[rows]))

    def predict(self, batch: Batch) -> Tensor:
        """``(B, G)``."""
        return self.ridge.predict(batch)


PRESETS = {"default": Recipe("shuffled", ShuffledConfig())}
