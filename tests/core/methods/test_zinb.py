"""The likelihood of counts against scipy, and where naive formulas break."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import nbinom

from st_predict.core.methods.interface import Batch
from st_predict.core.methods.zinb import CountHeads, zinb_loss


def scipy_loss(counts: np.ndarray, mean: np.ndarray, dispersion: np.ndarray, dropout: np.ndarray) -> float:
    """Mean negative log-likelihood; ``dropout`` are log odds."""
    chance = 1 / (1 + np.exp(-dropout))
    likelihood = (1 - chance) * nbinom.pmf(counts, dispersion, dispersion / (dispersion + mean))
    return float(-np.log(likelihood + chance * (counts == 0)).mean())


@pytest.mark.parametrize("log_odds", [-30.0, -2.0, 0.0, 3.0])
def test_equals_scipy(log_odds: float) -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(3, (20, 7)).astype(float)
    counts[::3] = 0
    mean, dispersion = rng.gamma(2, 3, (20, 7)), rng.gamma(2, 1, (20, 7))
    dropout = log_odds + rng.normal(0, 0.5, (20, 7))
    values = [torch.from_numpy(v) for v in (counts, mean, dispersion, dropout)]
    assert float(zinb_loss(*values)) == pytest.approx(scipy_loss(counts, mean, dispersion, dropout), rel=1e-9)


@pytest.mark.parametrize("count", [0.0, 1.0, 5000.0])
@pytest.mark.parametrize("mean", [1e-5, 1e6])
@pytest.mark.parametrize("dispersion", [1e-4, 1e4])
@pytest.mark.parametrize("log_odds", [-200.0, 0.0, 200.0])
def test_stays_finite_at_the_ends_of_all_ranges(count: float, mean: float, dispersion: float, log_odds: float) -> None:
    values = [torch.tensor(v, requires_grad=True) for v in (mean, dispersion, log_odds)]
    loss = zinb_loss(torch.tensor(count), *values)
    loss.backward()
    assert torch.isfinite(loss) and all(torch.isfinite(v.grad) for v in values)


def test_a_sure_dropout_explains_zeros_for_nothing() -> None:
    mean, dispersion = torch.full((3,), 50.0), torch.ones(3)
    assert float(zinb_loss(torch.zeros(3), mean, dispersion, torch.full((3,), 40.0))) == pytest.approx(0, abs=1e-6)
    assert float(zinb_loss(torch.zeros(3), mean, dispersion, torch.full((3,), -40.0))) == pytest.approx(np.log(51))


def test_true_parameters_are_the_most_likely() -> None:
    generator = np.random.default_rng(0)
    counts = torch.from_numpy(generator.negative_binomial(3, 3 / (3 + 8), 20000) * (generator.random(20000) > 0.2))

    def loss(mean: float, dispersion: float, chance: float) -> float:
        values = (mean, dispersion, np.log(chance / (1 - chance)))
        return float(zinb_loss(counts.double(), *(torch.full(counts.shape, v, dtype=torch.double) for v in values)))

    best = loss(8, 3, 0.2)
    assert best < min(loss(7, 3, 0.2), loss(9, 3, 0.2), loss(8, 2, 0.2), loss(8, 4.5, 0.2), loss(8, 3, 0.15))


def test_heads_multiply_the_mean_by_the_relative_depth_of_the_targets() -> None:
    torch.manual_seed(0)
    heads, spots = CountHeads(4, 3), torch.randn(3, 4)
    targets = torch.tensor([4, 0, 2])
    counts, totals = torch.poisson(torch.full((5, 3), 4.0)), torch.tensor([100.0, 9999.0, 200.0, 9999.0, 800.0])
    batch = Batch(torch.zeros(5, 2), targets, targets[:, None], torch.zeros(5, 2), counts=counts, totals=totals)
    mean, dispersion, dropout = heads.heads(spots).detach().numpy().reshape(3, 3, 3).transpose(1, 0, 2)
    expected = scipy_loss(
        counts[targets].numpy(), np.exp(mean) * np.array([[4.0], [0.5], [1.0]]), np.log1p(np.exp(dispersion)), dropout
    )
    assert heads.loss(spots, batch).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("missing", ["counts", "totals"])
def test_a_batch_without_counts(missing: str) -> None:
    rows = torch.arange(2)
    batch = Batch(torch.zeros(2, 2), rows, rows[:, None], torch.zeros(2, 2), counts=torch.ones(2, 3), totals=rows + 1.0)
    with pytest.raises(ValueError, match="carries counts and totals"):
        CountHeads(4, 3).loss(torch.zeros(2, 4), batch._replace(**{missing: None}))
