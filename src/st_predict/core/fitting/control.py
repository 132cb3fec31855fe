"""What chance reaches: ridge fitted on shuffled images and scored on the sections that an inner fold holds out.

This is the control of every table (:mod:`~st_predict.core.methods.shuffled`), repeated many times. The scatter matrix of the
inputs does not depend on the shuffle, so each further shuffle costs a matrix product, not a fit. The epochs of a network are
chosen on the held-out sections. This choice alone gives a score a little above 0, even if there is nothing to learn. So the
penalty is chosen on the held-out sections as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from st_predict.core.metrics import pearson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from st_predict.core.inputs.spots import SpotSet

N_SHUFFLES = 100
_PENALTIES = (0.1, 1.0, 10.0)  # relative to the mean eigenvalue of the inputs' scatter matrix
_MOST_SPOTS = 4096  # of those trained on


def shuffled_pcc(train: SpotSet, held_out: Mapping[int, SpotSet], *, seed: int) -> dict[int, Tensor]:
    """PCC of every penalty, shuffle and gene on every held-out section ``(P, N_SHUFFLES, G)``.

    Every training spot gets a tile of its own section. Predictions are made from true images. Both these and the truth
    vary smoothly over the tissue, so chance alone gives larger correlations than it would with independent spots. A
    section is shuffled in the same way in all folds, as it would be for a model trained on shuffled images.

    Parameters
    ----------
    train
        What the fold trains on, features as the method gets them. Of more than 4,096 spots, some that are evenly
        spread are used.
    held_out
        By section number.
    seed
        Of the shuffles.
    """
    rows = torch.arange(0, len(train.sections), -(-len(train.sections) // _MOST_SPOTS))
    sections, tiles = train.sections[rows], train.tiles[rows]
    mean = tiles.mean(dim=0)
    values, vectors = torch.linalg.eigh((tiles - mean).T @ (tiles - mean) / len(rows))
    values = values.clamp(min=0)
    scales = [(values + penalty * values.mean().clamp(min=1e-12))[:, None] * len(rows) for penalty in _PENALTIES]
    inputs, outputs = (tiles - mean) @ vectors, train.expression[rows] - train.expression[rows].mean(dim=0)
    shown = {number: (spots.tiles - mean) @ vectors for number, spots in held_out.items()}
    found: dict[int, list[Tensor]] = {number: [] for number in held_out}
    for shuffle in range(N_SHUFFLES):
        between = inputs[_shuffled(sections, seed, shuffle)].T @ outputs
        for number, features in shown.items():
            truth = held_out[number].expression
            found[number].append(torch.stack([pearson(features @ (between / scale), truth) for scale in scales]))
    return {number: torch.stack(pcc, dim=1) for number, pcc in found.items()}


def chosen_pcc(sections: Sequence[Tensor]) -> Tensor:
    """Mean over held-out sections ``(P, S, G)`` each, of every shuffle at the penalty that is best on them ``(S, G)``."""
    pcc = torch.stack(list(sections)).mean(dim=0)
    return pcc[pcc.mean(dim=2).argmax(dim=0), torch.arange(pcc.shape[1])]


def _shuffled(sections: Tensor, seed: int, shuffle: int) -> Tensor:
    """Rows, those of each section in another order."""
    rows = torch.arange(len(sections))
    for section in sections.unique():
        own = (sections == section).nonzero()[:, 0]
        order = np.random.default_rng((seed, shuffle, int(section))).permutation(len(own))
        rows[own] = own[torch.from_numpy(order)]
    return rows
