"""The floor: the training mean of every gene, whatever the image shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from st_predict.core.methods.interface import Method, MethodConfig, Needs
from st_predict.core.methods.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from st_predict.core.methods.interface import Batch, Reference


@dataclass(frozen=True)
class MeanConfig(MethodConfig):
    """The mean has no settings."""

    @property
    def needs(self) -> Needs:
        """See :class:`~st_predict.core.methods.interface.Needs`."""
        return Needs(gradient=False)


class Mean(Method):
    """Training mean.

    Parameters
    ----------
    n_inputs, n_genes
        D (not used) and G.
    config
        Empty.
    """

    mean: Tensor

    def __init__(self, n_inputs: int, n_genes: int, config: MeanConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(n_genes))

    def after_fit(self, reference: Reference) -> None:
        """Take the mean of the training spots."""
        self.mean.copy_(reference.expression.mean(dim=0))

    def predict(self, batch: Batch) -> Tensor:
        """``(B, G)``, every row the same."""
        return self.mean.expand(len(batch.targets), -1)


PRESETS = {"default": Recipe("mean", MeanConfig())}
