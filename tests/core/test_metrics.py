"""Scores against scipy and the closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr

from st_predict.core.metrics import gene_scores, mean_pearson, morans_i, pearson, structure_agreement
from st_predict.core.neighbors import nearest_spots


@pytest.fixture(scope="module")
def scored() -> tuple[np.ndarray, np.ndarray]:
    """Predictions of eight genes of falling quality; truth has ties; gene 6 is predicted, gene 7 measured constant."""
    rng = np.random.default_rng(0)
    truth = np.log1p(rng.poisson(3.0, (60, 8))).astype(np.float32)
    predicted = (truth + rng.normal(0, np.arange(1, 9) / 4, (60, 8))).astype(np.float32)
    predicted[:, 6] = 0.3
    truth[:, 7] = 1.7
    return predicted, truth


def test_pearson_equals_scipy(scored: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, truth = scored
    found = gene_scores(predicted, truth)["pcc"]
    assert np.allclose(found[:6], [pearsonr(predicted[:, i], truth[:, i])[0] for i in range(6)], atol=1e-7)


def test_spearman_equals_scipy_with_ties(scored: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, truth = scored
    found = gene_scores(predicted, truth)["spearman"]
    assert np.allclose(found[:6], [spearmanr(predicted[:, i], truth[:, i])[0] for i in range(6)], atol=1e-7)


def test_constant_genes_count_zero_and_are_told(scored: tuple[np.ndarray, np.ndarray]) -> None:
    found = gene_scores(*scored)
    assert found["constant"].tolist() == [False] * 6 + [True, True]
    assert found["pcc"][6:].tolist() == found["spearman"][6:].tolist() == [0, 0]
    assert mean_pearson(*map(torch.from_numpy, scored)) == pytest.approx(found["pcc"][:6].sum() / 8)


def test_errors_and_variances(scored: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, truth = (values.astype(np.float64) for values in scored)
    found = gene_scores(*scored)
    assert np.allclose(found["mse"], ((predicted - truth) ** 2).mean(axis=0))
    assert np.allclose(found["mae"], np.abs(predicted - truth).mean(axis=0))
    predicted, truth = predicted[:, :7], truth[:, :7]
    r2 = 1 - ((predicted - truth) ** 2).sum(axis=0) / ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    assert np.allclose(found["r2"][:7], r2) and np.isnan(found["r2"][7])
    assert np.allclose(found["relative_variance"][:7], predicted.var(axis=0) / truth.var(axis=0))
    assert found["relative_variance"][6] == pytest.approx(0, abs=1e-12)


def test_perfect_and_reversed_predictions() -> None:
    truth = np.random.default_rng(1).normal(size=(30, 3)).astype(np.float32)
    assert np.allclose(gene_scores(2 * truth + 5, truth)["pcc"], 1)
    assert np.allclose(gene_scores(-truth, truth)["spearman"], -1)
    assert np.allclose(gene_scores(truth, truth)["r2"], 1)


def test_pearson_of_a_large_offset_keeps_its_digits() -> None:
    truth = torch.linspace(0, 1, 50, dtype=torch.float64)[:, None]
    assert float(pearson(truth + 1e6, truth)) == pytest.approx(1, abs=1e-6)


def test_structure_agreement_equals_the_correlation_of_correlations() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(60, 7)) @ rng.normal(size=(7, 7))
    predicted = truth + rng.normal(size=truth.shape)
    pairs = [
        (np.corrcoef(predicted[:, i], predicted[:, j])[0, 1], np.corrcoef(truth[:, i], truth[:, j])[0, 1])
        for i in range(7)
        for j in range(i)
    ]
    assert structure_agreement(predicted, truth) == pytest.approx(np.corrcoef(np.array(pairs).T)[0, 1])


def test_structure_of_a_constant_prediction_agrees_with_nothing() -> None:
    truth = np.random.default_rng(0).normal(size=(30, 6))
    assert structure_agreement(np.ones_like(truth), truth) == 0.0
    assert structure_agreement(truth, truth) == pytest.approx(1.0)
    assert np.isnan(structure_agreement(truth[:, :1], truth[:, :1]))


def test_morans_i_equals_its_double_sum() -> None:
    rng = np.random.default_rng(0)
    values, neighbors = rng.normal(size=(20, 3)), rng.integers(0, 20, (20, 4))
    weights = np.zeros((20, 20))
    for i, row in enumerate(neighbors):
        for j in row:
            weights[i, j] += 1 / 4
    for gene, found in enumerate(morans_i(values, neighbors)):
        z = values[:, gene] - values[:, gene].mean()
        expected = 20 / weights.sum() * sum(weights[i, j] * z[i] * z[j] for i in range(20) for j in range(20)) / (z @ z)
        assert found == pytest.approx(expected)


def test_morans_i_with_weights_equals_its_double_sum() -> None:
    rng = np.random.default_rng(0)
    values, neighbors = rng.normal(size=(20, 3)), rng.integers(0, 20, (20, 4))
    weights = rng.uniform(size=(20, 4))
    weights *= 3 / weights.sum(axis=1, keepdims=True)
    whole = np.zeros((20, 20))
    np.add.at(whole, (np.arange(20)[:, None], neighbors), weights / 3)
    z = values - values.mean(axis=0)
    expected = ((whole @ z) * z).sum(axis=0) / (z * z).sum(axis=0)
    np.testing.assert_allclose(morans_i(values, neighbors, weights), expected)
    np.testing.assert_allclose(morans_i(values, neighbors, np.ones((20, 4))), morans_i(values, neighbors))


def test_morans_i_of_a_gradient_a_checkerboard_and_a_constant() -> None:
    y, x = (v.ravel() for v in np.mgrid[:10, :10])
    nearest = nearest_spots(np.column_stack([x, y]).astype(float), 4)
    gradient, board, constant = morans_i(np.column_stack([x + y, (x + y) % 2, 0 * x]).astype(np.float32), *nearest)
    assert gradient > 0.8 and board < -0.7 and constant == 0
