"""The protocol's arithmetic: per-gene scores over the spots of one section. Arrays only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CONSTANT = 1e-6  # standard deviation under which a gene counts as constant, on the log1p scale


def pearson(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Pearson correlation of every gene over spots, ``(n, G)`` twice -> ``(G,)``; 0 where either side is constant."""
    predicted, truth = predicted.double(), truth.double()
    predicted, truth = predicted - predicted.mean(dim=0), truth - truth.mean(dim=0)
    spread = predicted.square().mean(dim=0).sqrt(), truth.square().mean(dim=0).sqrt()
    return correlation((predicted * truth).mean(dim=0), *spread)


def correlation(covariance: torch.Tensor, *std: torch.Tensor) -> torch.Tensor:
    """Covariance over both standard deviations, ``(G,)`` each; 0 where either side is constant."""
    varies = (std[0] > _CONSTANT) & (std[1] > _CONSTANT)
    return torch.where(varies, covariance / torch.where(varies, std[0] * std[1], 1.0), 0.0)


def mean_pearson(predicted: torch.Tensor, truth: torch.Tensor) -> float:
    """Mean over genes of :func:`pearson`."""
    return float(pearson(predicted, truth).mean())


def gene_scores(predicted: NDArray[np.float32], truth: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Scores of every gene over the spots of one section.

    Parameters
    ----------
    predicted, truth
        ``(n_spots, G)``, log1p of counts per 10,000.

    Returns
    -------
    Arrays ``(G,)``: ``pcc`` and ``spearman`` (0 where prediction or truth is constant), ``mse``, ``mae``,
    ``r2`` (NaN where the truth is constant), ``relative_variance`` (``var(predicted) / var(truth)``, well under 1
    means over-smoothed) and ``constant`` (whether PCC could not be computed).
    """
    from scipy.stats import rankdata

    p, t = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    constant = (p.std(axis=0) <= _CONSTANT) | (t.std(axis=0) <= _CONSTANT)
    error = p - t
    variance = t.var(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(variance > _CONSTANT**2, 1 - (error**2).mean(axis=0) / variance, np.nan)
        relative = np.where(variance > _CONSTANT**2, p.var(axis=0) / variance, np.nan)
    ranked = [torch.from_numpy(rankdata(values, axis=0)) for values in (p, t)]
    return {
        "pcc": pearson(torch.from_numpy(p), torch.from_numpy(t)).numpy(),
        "spearman": np.where(constant, 0.0, pearson(*ranked).numpy()),
        "mse": (error**2).mean(axis=0),
        "mae": np.abs(error).mean(axis=0),
        "r2": r2,
        "relative_variance": relative,
        "constant": constant,
    }


def correlation_matrix(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Gene-gene Pearson correlation over spots, ``(n_spots, G)`` -> ``(G, G)``; 0 with a constant gene."""
    centered = np.asarray(values, np.float64) - np.mean(values, axis=0, dtype=np.float64)
    spread = centered.std(axis=0)
    unit = np.divide(centered, spread, out=np.zeros_like(centered), where=spread > _CONSTANT)
    matrix: NDArray[np.float64] = unit.T @ unit / len(unit)
    return matrix


def structure_agreement(predicted: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """How well gene-gene structure is kept: Pearson correlation, over all pairs of genes, of their correlations.

    Parameters
    ----------
    predicted, truth
        ``(n_spots, G)``.

    Returns
    -------
    In [-1, 1]; 0 where either side has no structure at all (a constant prediction), NaN with fewer than three genes.
    """
    pairs = np.triu_indices(np.shape(truth)[1], k=1)
    return agreement(correlation_matrix(predicted)[pairs], correlation_matrix(truth)[pairs])


def agreement(predicted: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Pearson correlation of two vectors; 0 where either is constant, NaN with fewer than three values."""
    if len(truth) < 3:
        return float("nan")
    return float(pearson(torch.from_numpy(predicted)[:, None], torch.from_numpy(truth)[:, None]))


def morans_i(
    values: NDArray[np.float32], neighbors: NDArray[np.int64], weights: NDArray[np.float32] | None = None
) -> NDArray[np.float64]:
    """Moran's I of every gene: whether neighboring spots are alike.

    Parameters
    ----------
    values
        ``(n_spots, G)``.
    neighbors
        Rows of each spot's K neighbors ``(n_spots, K)``.
    weights
        How much each counts ``(n_spots, K)``; their sum is the same for every spot. ``None``: all count the same.

    Returns
    -------
    ``(G,)``; 0 for a constant gene.
    """
    z = np.asarray(values, np.float64) - np.mean(values, axis=0, dtype=np.float64)
    variance = (z**2).mean(axis=0)
    lagged = np.zeros_like(z)
    for i, column in enumerate(neighbors.T):
        lagged += z[column] if weights is None else z[column] * weights[:, i, None]
    k = neighbors.shape[1] if weights is None else weights[0].sum()
    covariance = (z * lagged).mean(axis=0) / max(k, 1)
    return np.divide(covariance, variance, out=np.zeros_like(variance), where=variance > _CONSTANT**2)
