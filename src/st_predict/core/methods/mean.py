"""The floor: the training mean of every gene, whatever the image shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from st_predict.core.methods.interface import Batch, Needs, Reference

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True)
class MeanConfig:
    """The mean has no settings."""


class Mean(nn.Module):
    """Training mean.

    Parameters
    ----------
    n_genes
        Number of genes G.
    """

    needs = Needs(gradient=False)
    mean: Tensor

    def __init__(self, n_genes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_genes))

    @classmethod
    def build(cls, config: MeanConfig, n_inputs: int, n_genes: int) -> Self:
        """For the registry."""
        return cls(n_genes)

    def before_fit(self, reference: Reference) -> None:
        """Nothing."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """No loss: fitted in closed form."""
        return {}

    def after_fit(self, reference: Reference) -> None:
        """Take the mean of the training spots."""
        self.mean.copy_(reference.expression.mean(dim=0))

    def predict(self, batch: Batch) -> Tensor:
        """``(B, G)``, every row the same."""
        return self.mean.expand(len(batch.targets), -1)
