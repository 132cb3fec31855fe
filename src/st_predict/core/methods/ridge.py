"""Ridge regression on frozen features, its penalty tuned on inner folds by section: the control of every table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from st_predict.core.errors import InputError
from st_predict.core.metrics import mean_pearson
from st_predict.core.methods.interface import Batch, Needs, Reference

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True)
class RidgeConfig:
    """Settings of :class:`Ridge`.

    Parameters
    ----------
    penalties
        Penalties tried, relative to the mean eigenvalue of the inputs' scatter matrix.
    """

    penalties: tuple[float, ...] = (1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)

    def __post_init__(self) -> None:
        if not self.penalties or min(self.penalties) <= 0:
            raise InputError(
                f"penalties are {self.penalties}", where="params", expected="positive numbers", remedy="correct them"
            )


class Ridge(nn.Module):
    """Linear map with an L2 penalty, solved through the eigenvectors of the inputs' scatter matrix.

    The penalty is the one with the best mean per-gene PCC over sections left out in turn (over five blocks of
    spots where there is one section). HEST-Benchmark's linear baseline, with its penalty tuned.

    Parameters
    ----------
    n_inputs, n_genes
        D and G.
    penalties
        Penalties tried, see :class:`RidgeConfig`.
    """

    needs = Needs(gradient=False)
    weight: Tensor
    input_mean: Tensor
    intercept: Tensor

    def __init__(self, n_inputs: int, n_genes: int, *, penalties: tuple[float, ...]) -> None:
        super().__init__()
        self.penalties = penalties
        self.register_buffer("weight", torch.zeros(n_inputs, n_genes))
        self.register_buffer("input_mean", torch.zeros(n_inputs))
        self.register_buffer("intercept", torch.zeros(n_genes))
        self.register_buffer("penalty", torch.tensor(float("nan")))

    @classmethod
    def build(cls, config: RidgeConfig, n_inputs: int, n_genes: int) -> Self:
        """For the registry."""
        return cls(n_inputs, n_genes, penalties=config.penalties)

    def before_fit(self, reference: Reference) -> None:
        """Nothing."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """No loss: fitted in closed form."""
        return {}

    def after_fit(self, reference: Reference) -> None:
        """Tune the penalty by section, then solve on all training spots."""
        tiles, expression = reference.tiles.double(), reference.expression.double()
        folds = reference.sections
        if len(folds.unique()) == 1:
            folds = torch.arange(len(tiles), device=tiles.device) * 5 // len(tiles)
        scores = torch.zeros(len(self.penalties))
        for fold in folds.unique():
            held = folds == fold
            path = _RidgePath(tiles[~held], expression[~held])
            for i, penalty in enumerate(self.penalties):
                scores[i] += mean_pearson(path.predict(tiles[held], penalty), expression[held])
        best = self.penalties[int(scores.argmax())]
        path = _RidgePath(tiles, expression)
        self.weight.copy_(path.weight(best))
        self.input_mean.copy_(path.input_mean)
        self.intercept.copy_(path.output_mean)
        self.penalty.fill_(best)

    def predict(self, batch: Batch) -> Tensor:
        """``(B, G)``."""
        return (batch.tiles[batch.targets] - self.input_mean) @ self.weight + self.intercept


class _RidgePath:
    """Ridge solutions for any penalty from one eigendecomposition of ``(D, D)``."""

    def __init__(self, inputs: Tensor, outputs: Tensor) -> None:
        self.input_mean, self.output_mean = inputs.mean(dim=0), outputs.mean(dim=0)
        inputs = inputs - self.input_mean
        self._values, self._vectors = torch.linalg.eigh(inputs.T @ inputs)
        self._projected = self._vectors.T @ (inputs.T @ (outputs - self.output_mean))
        self._scale = self._values.clamp(min=0).mean().clamp(min=1e-12)

    def weight(self, penalty: float) -> Tensor:
        """``(D, G)``."""
        return self._vectors @ (self._projected / (self._values.clamp(min=0) + penalty * self._scale)[:, None])

    def predict(self, inputs: Tensor, penalty: float) -> Tensor:
        return (inputs - self.input_mean) @ self.weight(penalty) + self.output_mean
