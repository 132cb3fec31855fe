"""Scores as papers print them, for comparison with papers only. Each flatters, and its name says how.

None of these may choose anything or stand in a table without its name: the first two look at the held-out truth to
decide what is scored, the third mixes differences between slides into a score of patterns within them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from st_predict.core.metrics import pearson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def pcc_h_testselected(pcc: NDArray[np.float64], n: int = 50) -> float:
    """Mean PCC of the ``n`` genes that were predicted best **on the test section**.

    Papers call it PCC(H). It flatters because the test truth picks the genes: the mean of the best 50 of 250 values
    that scatter around 0 is well above 0, so even a prediction of noise scores above 0, and more noise scores more.
    """
    return float(np.sort(pcc)[-n:].mean())


def pcc_hvg_from_test_truth(predicted: NDArray[np.float32], truth: NDArray[np.float32], n: int = 50) -> float:
    """Mean PCC over the ``n`` genes most variable **in the test section's own truth**.

    It flatters because genes with strong patterns in this very section are chosen after the fact; on a slide without
    expression nobody could choose them.
    """
    chosen = np.argsort(-np.var(truth, axis=0, dtype=np.float64))[:n]
    return float(pearson(torch.from_numpy(predicted[:, chosen]), torch.from_numpy(truth[:, chosen])).mean())


def pcc_pooled_slides(predicted: Sequence[NDArray[np.float32]], truth: Sequence[NDArray[np.float32]]) -> float:
    """Mean per-gene PCC over the spots of **all held-out slides pooled**.

    It flatters (or punishes) because a gene's level differs from slide to slide: telling slides apart then counts as
    predicting a pattern, though no pattern within a slide was predicted.
    """
    pooled = [torch.from_numpy(np.concatenate(list(parts))) for parts in (predicted, truth)]
    return float(pearson(*pooled).mean())
