"""Ridge regression on frozen features, the control of every table; its penalty is tuned on inner folds by subject or section."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from st_predict.core.methods.interface import Method, MethodConfig, Needs
from st_predict.core.methods.published import CENTERED, PANEL, PREPARED, WIDTHS, Published
from st_predict.core.methods.recipe import Recipe, require
from st_predict.core.metrics import correlation

if TYPE_CHECKING:
    from st_predict.core.methods.interface import Batch, Reference


_PART_SPOTS = 4096


@dataclass(frozen=True)
class RidgeConfig(MethodConfig):
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

    @property
    def needs(self) -> Needs:
        """See :class:`~st_predict.core.methods.interface.Needs`."""
        return Needs(gradient=False)


class Ridge(Method):
    """Linear map with an L2 penalty: the baseline of HEST-Benchmark (Jaume et al., NeurIPS 2024, arXiv 2406.16192), tuned.

    It is solved through the eigenvectors of the inputs' scatter matrix. Penalty and rank are those with the best mean
    per-gene PCC over groups of training sections that are left out in turn. The groups are those that stop networks:
    subjects where there are several, else sections; where there is one section only, parts of it.

    Parameters
    ----------
    n_inputs, n_genes
        D and G.
    config
        Penalties and ranks to try.
    """

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
        """Tune penalty and rank by group, then solve on all training spots."""
        both = reference.tiles, reference.expression
        origin = torch.cat([values.mean(dim=0, dtype=torch.double) for values in both])
        total = _Scatter.of(reference, torch.arange(len(reference.folds)), origin)
        choices = [(penalty, rank) for penalty in self.config.penalties for rank in self.config.ranks]
        scores = torch.zeros(len(choices))
        for fold in reference.folds.unique():
            held = _Scatter.of(reference, (reference.folds == fold).nonzero()[:, 0], origin)
            path, measured = _RidgePath(total.without(held).covariance()), held.covariance()
            scores += torch.tensor([measured.pearson(path.weight(*choice)) for choice in choices])
        self.weight.copy_(_RidgePath(total.covariance()).weight(*choices[int(scores.argmax())]))
        self.input_mean.copy_(origin[: len(self.input_mean)])
        self.intercept.copy_(origin[len(self.input_mean) :])

    def predict(self, batch: Batch) -> Tensor:
        """``(B, G)``."""
        return (batch.tiles[batch.targets] - self.input_mean) @ self.weight + self.intercept


class _Covariance(NamedTuple):
    """Covariance of inputs and outputs over some spots: all that ridge needs of them, however many they are."""

    inputs: Tensor
    """``(D, D)``."""
    between: Tensor
    """``(D, G)``."""
    outputs: Tensor
    """``(G, G)``."""

    def pearson(self, weight: Tensor) -> float:
        """Mean over genes of the PCC between the outputs and what a weight ``(D, G)`` makes of the inputs."""
        spread = (weight * (self.inputs @ weight)).sum(dim=0).clamp(min=0).sqrt()
        truth = self.outputs.diagonal().clamp(min=0).sqrt()
        return float(correlation((weight * self.between).sum(dim=0), spread, truth).mean())


class _Scatter(NamedTuple):
    """Inputs and outputs of some spots side by side, summed and multiplied in double."""

    n: int
    sums: Tensor
    """``(D + G,)``, of the differences to an origin."""
    products: Tensor
    """``(D + G, D + G)``, of every two of them."""
    n_inputs: int

    @classmethod
    def of(cls, reference: Reference, rows: Tensor, origin: Tensor) -> _Scatter:
        """Sum over some training spots, a part at a time. The nearer the origin is to their mean, the less is lost to rounding."""
        sums, products = torch.zeros_like(origin), origin.new_zeros(len(origin), len(origin))
        for part in rows.split(_PART_SPOTS):
            values = torch.cat([reference.tiles[part], reference.expression[part]], dim=1).double().sub_(origin)
            sums += values.sum(dim=0)
            products.addmm_(values.T, values)
        return cls(len(rows), sums, products, reference.tiles.shape[1])

    def without(self, others: _Scatter) -> _Scatter:
        """The sums over these spots without the others."""
        return _Scatter(self.n - others.n, self.sums - others.sums, self.products - others.products, self.n_inputs)

    def covariance(self) -> _Covariance:
        """Covariance about the spots' own means."""
        found = self.products / self.n - torch.outer(self.sums / self.n, self.sums / self.n)
        d = self.n_inputs
        return _Covariance(found[:d, :d], found[:d, d:], found[d:, d:])


class _RidgePath:
    """Ridge solutions for any penalty and rank from one eigendecomposition of ``(D, D)`` and one of ``(G, G)``."""

    def __init__(self, spots: _Covariance) -> None:
        values, self._vectors = torch.linalg.eigh(spots.inputs)
        self._values = values.clamp(min=0)
        self._scale = self._values.mean().clamp(min=1e-12)
        self._projected = self._vectors.T @ spots.between
        self._components = torch.linalg.eigh(spots.outputs).eigenvectors.flip(1)

    def weight(self, penalty: float, rank: int | None) -> Tensor:
        """``(D, G)``."""
        weight = self._vectors @ (self._projected / (self._values + penalty * self._scale)[:, None])
        if rank is None:
            return weight
        leading = self._components[:, :rank]
        return weight @ leading @ leading.T


PRESETS = {"default": Recipe("ridge", RidgeConfig())}

PUBLISHED = (
    Published("encoder", "the encoder that is judged, frozen", "HEST-Benchmark", "one that needs no license"),
    Published("tiles", "112 um", "HEST-Benchmark", WIDTHS),
    Published("inputs", "features, z-scored by the training spots, 256 principal components", "HEST-Benchmark", PREPARED),
    Published("targets", "log1p of raw counts", "HEST-Benchmark", "depth is no biology; " + CENTERED),
    Published("genes", "50 most variable of all sections", "HEST-Benchmark", PANEL),
    Published(
        "penalties", "100 / (256 x 50), of standardized components", "HEST-Benchmark",
        "the best penalty differs by data set, so inner folds choose it",
    ),
    Published("ranks", None, "HEST-Benchmark", "few components of expression can predict better, so inner folds choose"),
    Published("intercept", "none", "HEST-Benchmark", "components have no mean of 0 on a new slide", built="the training mean"),
)  # fmt: skip
