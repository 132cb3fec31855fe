"""Scores as papers print them: what they compute, and that they flatter."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr

from st_predict.core.metrics import gene_scores
from st_predict.core.paper_style import pcc_h_testselected, pcc_hvg_from_test_truth, pcc_pooled_slides


def test_values() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.normal(size=(2, 40, 12)) * np.arange(1, 13)
    pcc = np.array([pearsonr(predicted[:, g], truth[:, g])[0] for g in range(12)])
    assert pcc_h_testselected(pcc, 3) == pytest.approx(sum(sorted(pcc)[-3:]) / 3)
    variable = sorted(range(12), key=lambda g: -truth[:, g].var())[:4]
    assert pcc_hvg_from_test_truth(predicted, truth, 4) == pytest.approx(pcc[variable].mean())


def test_genes_selected_on_the_test_truth_score_where_nothing_was_predicted() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.normal(size=(2, 180, 250))
    pcc = gene_scores(predicted, truth)["pcc"]
    assert abs(pcc.mean()) < 0.01 < 0.08 < pcc_h_testselected(pcc)


def test_pooled_slides_reward_telling_slides_apart() -> None:
    rng = np.random.default_rng(0)
    levels = rng.normal(size=(2, 1, 30)) * 3
    truth = [rng.normal(size=(50, 30)) + levels[i] for i in range(2)]
    predicted = [rng.normal(size=(50, 30)) * 0.1 + levels[i] for i in range(2)]
    within = np.mean([gene_scores(p, t)["pcc"].mean() for p, t in zip(predicted, truth, strict=True)])
    assert abs(within) < 0.1 < 0.6 < pcc_pooled_slides(predicted, truth)
