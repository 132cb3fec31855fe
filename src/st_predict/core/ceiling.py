"""The noise ceiling: what PCC a predictor of the true rates would reach on counts this noisy. Arrays only.

The counts of a gene are modeled as Poisson. Their rate, per count of a spot, varies between spots by a gamma distribution.
The spread of the rates is estimated from the likelihood of the counts, adjusted for the fitted mean (Cox and Reid 1987; so do
McCarthy et al. 2012). A few spots say little about one gene, so the spreads of the other genes are used as well (empirical
Bayes, Robbins 1956; Laird 1978). Rates are then drawn from their posterior, and counts from the rates, and the two are
correlated.

To split the counts into halves and correlate these (Spearman and Brown) has three faults: the square root of a value that
scatters around 0 is far above 0; log1p is less linear on half the counts; and the halves of a spot share its total, which
correlates them even if no rate varies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from st_predict.core.metrics import pearson

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

_MOST_SPOTS, _DRAWS, _ROUNDS = 1024, 20, 500
_STILL = 0.25  # of a gene that does not vary, beside those there are
# Squared coefficients of variation of the rates, 0 and then 3 % to 300 %.
_SPREADS = np.concatenate([[0.0], np.geomspace(0.03, 3, 32) ** 2])


class Ceiling(NamedTuple):
    """Estimates for ``G`` genes."""

    value: NDArray[np.float64]
    """PCC that a predictor of the true rates would reach ``(G,)``, in [0, 1]; 0 without counts."""
    sd: NDArray[np.float64]
    """Standard deviation of that, given the counts ``(G,)``: both of the rates' spread and of the few spots."""


class _Posterior(NamedTuple):
    """What is known of the rates, given counts ``(n, G)``."""

    counts: NDArray[np.int64]
    mean: NDArray[np.float64]
    """What is expected of them where the rates of a gene do not vary ``(n, G)``."""
    totals: NDArray[np.float64]
    """``(n, 1)``."""
    weights: NDArray[np.float64]
    """Of every spread ``(G, K)``."""

    @classmethod
    def of(cls, counts: NDArray[np.int64], totals: NDArray[np.float64]) -> _Posterior:
        mean = totals * (counts.sum(axis=0) / totals.sum())
        return cls(counts, mean, totals, _shared_weights(_log_likelihoods(counts, mean)))

    def draw(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """PCC of one draw of rates with one draw of counts from them ``(G,)``."""
        chosen = (rng.random(len(self.weights))[:, None] > self.weights.cumsum(axis=1)[:, :-1]).sum(axis=1)
        shape = 1 / np.maximum(_SPREADS[chosen], 1e-9)
        rates = np.where(chosen > 0, self.mean * rng.gamma(self.counts + shape) / (self.mean + shape), self.mean)
        logs = [torch.from_numpy(self.logs(values)) for values in (rates, rng.poisson(rates))]
        return pearson(*logs).numpy()

    def logs(self, counts: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64]:
        """log1p of counts per 10,000."""
        found: NDArray[np.float64] = np.log1p(counts * (1e4 / self.totals))
        return found


def noise_ceiling(
    counts: NDArray[np.float32], totals: NDArray[np.float64], *, seed: int, together: bool = False
) -> Ceiling:
    """Estimate the PCC that a predictor of the true rates would reach, given that counts are noisy.

    It predicts log1p of the true rate per 10,000, and is compared with log1p of the counts per 10,000. On few spots a
    good prediction can exceed the estimate. For genes that vary in a way far from gamma, such as on and off, it is up
    to .06 too high. Variation beyond Poisson that no tissue explains is taken for signal.

    Parameters
    ----------
    counts
        Raw counts ``(n_spots, G)``; of more than 1,024 spots, about as many are used, evenly spread.
    totals
        Total count of each spot over all genes ``(n_spots,)``.
    seed
        Seed of the draws.
    together
        Whether the mean over all genes is predicted, and not each gene.

    Returns
    -------
    Of every gene, or of one mean ``(1,)`` where they are taken together.
    """
    rows = np.flatnonzero(totals > 0)
    rows = rows[:: max(1, -(-len(rows) // _MOST_SPOTS))]
    whole = np.asarray(counts)[rows].round().astype(np.int64)
    known = whole.sum(axis=0) > 0
    value, sd = np.zeros(whole.shape[1]), np.zeros(whole.shape[1])
    if not known.any():
        return Ceiling(value[:1], sd[:1]) if together else Ceiling(value, sd)
    rng = np.random.default_rng(seed)
    posterior = _Posterior.of(whole[:, known], totals[rows, None])
    draws = np.stack([posterior.draw(rng) for _ in range(_DRAWS)])
    value[known], sd[known] = draws.mean(axis=0).clip(0, 1), draws.std(axis=0)
    return _of_mean(posterior, Ceiling(value[known], sd[known]), rng) if together else Ceiling(value, sd)


def target_ceilings(
    genes: NDArray[np.float32], sets: Iterable[NDArray[np.float32]], totals: NDArray[np.float64], *, seed: int
) -> Ceiling:
    """:func:`noise_ceiling` of genes and, after them, of the means over gene sets; sets do not change those of genes.

    Parameters
    ----------
    genes
        Raw counts ``(n_spots, G)``.
    sets
        Raw counts of the genes of each of S sets ``(n_spots, n_members)``.
    totals, seed
        As there.

    Returns
    -------
    Of ``G + S``.
    """
    of_sets = (noise_ceiling(counts, totals, seed=seed, together=True) for counts in sets)
    return Ceiling(*map(np.concatenate, zip(noise_ceiling(genes, totals, seed=seed), *of_sets, strict=True)))


def _log_likelihoods(counts: NDArray[np.int64], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-likelihood of every spread, adjusted for the fitted mean ``(G, K)``; terms that all spreads share are left out."""
    c, m = torch.from_numpy(counts).double(), torch.from_numpy(mean)
    found = [(c * m.log() - m).sum(dim=0) - m.sum(dim=0).log() / 2]
    for spread in _SPREADS[1:].tolist():
        shape = torch.tensor(1 / spread).double()
        terms = (
            torch.lgamma(c + shape) - torch.lgamma(shape) + c * (m / (m + shape)).log() - shape * (m / shape).log1p()
        )
        found.append(terms.sum(dim=0) - (m / (1 + spread * m)).sum(dim=0).log() / 2)
    stacked: NDArray[np.float64] = torch.stack(found, dim=1).numpy()
    return stacked


def _shared_weights(log_likelihoods: NDArray[np.float64]) -> NDArray[np.float64]:
    """Posterior of the spread of every gene ``(G, K)``, given the distribution over genes that fits all of them best.

    Where no gene varies, that distribution alone would give some genes a spread above 0 by chance. Counting a part of a
    gene that does not vary among them prevents most of this, and hardly changes genes that do.
    """
    likelihood = np.exp(log_likelihoods - log_likelihoods.max(axis=1, keepdims=True))
    prior = np.full(len(_SPREADS), 1 / len(_SPREADS))
    for _ in range(_ROUNDS):
        weights = likelihood * prior
        weights /= weights.sum(axis=1, keepdims=True)
        prior = weights.sum(axis=0)
        prior[0] += _STILL
        prior /= prior.sum()
    return weights


def _of_mean(posterior: _Posterior, genes: Ceiling, rng: np.random.Generator) -> Ceiling:
    """Ceiling of the mean over genes: the signal of each is known, and how they vary together is free of noise.

    The total of a spot alone changes log1p of small counts, in all genes alike; this is removed first. The standard
    deviation is that of a variance over spots, by the delta method.
    """
    n_spots, n_genes = posterior.counts.shape
    logs = posterior.logs(posterior.counts)
    by_totals = np.mean([posterior.logs(rng.poisson(posterior.mean)) for _ in range(_DRAWS)], axis=0)
    apart = logs - by_totals
    own = (genes.value**2 * logs.var(axis=0)).sum()
    shared = n_genes**2 * apart.mean(axis=1).var() - apart.var(axis=0).sum()
    whole = n_genes**2 * logs.mean(axis=1).var()
    reliability = float(np.clip((own + shared) / whole, 0, 1)) if whole > 0 else 0.0
    sd = (1 - reliability) * np.sqrt(2 / n_spots)
    value = np.sqrt(reliability)
    return Ceiling(np.array([value]), np.array([sd / (2 * max(value, np.sqrt(sd), 1e-9))]))
