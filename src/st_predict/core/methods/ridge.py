"""Ridge regression on frozen features, its penalty tuned on inner folds by section: the control of every table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from st_predict.core.methods.interface import Method, Needs
from st_predict.core.methods.recipe import Recipe, require
from st_predict.core.metrics import mean_pearson

if TYPE_CHECKING:
    from st_predict.core.methods.interface import Batch, Reference


@dataclass(frozen=True)
class RidgeConfig:
    """Settings of :class:`Ridge`.

    Parameters
    ----------
    penalties
        Penalties tried, relative to the mean eigenvalue of the inputs' scatter matrix.
    ranks
        Numbers of leading principal components of training expression that predictions are projected on; ``None``
        is no projection.
    """

    penalties: tuple[float, ...] = (1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)
    ranks: tuple[int | None, ...] = (None, 2, 4, 8, 16)

    def __post_init__(self) -> None:
        require(self, "ridge", {
            "penalties must be positive": bool(self.penalties) and min(self.penalties) > 0,
            "ranks must be at least 1, or None": bool(self.ranks)
            and all(rank is None or rank >= 1 for rank in self.ranks),
        })  # fmt: skip


class Ridge(Method):
    """Linear map with an L2 penalty, solved through the eigenvectors of the inputs' scatter matrix.

    Penalty and rank are those with the best mean per-gene PCC over sections left out in turn (over parts of the
    section where there is one). HEST-Benchmark's linear baseline, tuned.

    Parameters
    ----------
    n_inputs, n_genes
        D and G.
    config
        What is tried.
    """

    needs = Needs(gradient=False)
    weight: Tensor
    input_mean: Tensor
    intercept: Tensor

    def __init__(self, n_inputs: int, n_genes: int, config: RidgeConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("weight", torch.zeros(n_inputs, n_genes))
        self.register_buffer("input_mean", torch.zeros(n_inputs))
        self.register_buffer("intercept", torch.zeros(n_genes))

    def after_fit(self, reference: Reference) -> None:
        """Tune penalty and rank by section, then solve on all training spots."""
        tiles, expression = reference.tiles.double(), reference.expression.double()
        choices = [(penalty, rank) for penalty in self.config.penalties for rank in self.config.ranks]
        scores = torch.zeros(len(choices))
        for fold in reference.folds.unique():
            held = reference.folds == fold
            path = _RidgePath(tiles[~held], expression[~held])
            for i, (penalty, rank) in enumerate(choices):
                scores[i] += mean_pearson(path.predict(tiles[held], penalty, rank), expression[held])
        path = _RidgePath(tiles, expression)
        self.weight.copy_(path.weight(*choices[int(scores.argmax())]))
        self.input_mean.copy_(path.input_mean)
        self.intercept.copy_(path.output_mean)

    def predict(self, batch: Batch) -> Tensor:
        """``(B, G)``."""
        return (batch.tiles[batch.targets] - self.input_mean) @ self.weight + self.intercept


class _RidgePath:
    """Ridge solutions for any penalty and rank from one eigendecomposition of ``(D, D)`` and one of ``(G, G)``."""

    def __init__(self, inputs: Tensor, outputs: Tensor) -> None:
        self.input_mean, self.output_mean = inputs.mean(dim=0), outputs.mean(dim=0)
        inputs, outputs = inputs - self.input_mean, outputs - self.output_mean
        self._values, self._vectors = torch.linalg.eigh(inputs.T @ inputs)
        self._values = self._values.clamp(min=0)
        self._scale = self._values.mean().clamp(min=1e-12)
        self._projected = self._vectors.T @ (inputs.T @ outputs)
        self._components = torch.linalg.eigh(outputs.T @ outputs).eigenvectors.flip(1)

    def weight(self, penalty: float, rank: int | None) -> Tensor:
        """``(D, G)``."""
        weight = self._vectors @ (self._projected / (self._values + penalty * self._scale)[:, None])
        if rank is None:
            return weight
        leading = self._components[:, :rank]
        return weight @ leading @ leading.T

    def predict(self, inputs: Tensor, penalty: float, rank: int | None) -> Tensor:
        return (inputs - self.input_mean) @ self.weight(penalty, rank) + self.output_mean


PRESETS = {"default": Recipe(RidgeConfig())}
