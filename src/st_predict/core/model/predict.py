"""Whole sections through a method: what it predicts of them, and what it may keep of those it is trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from st_predict.core.methods.interface import SECTION_SPOTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from st_predict.core.inputs.kinds import Inputs
    from st_predict.core.inputs.spots import SpotSet
    from st_predict.core.methods.interface import Method, Reference


def fit_reference(method: Method, inputs: Inputs, spots: SpotSet) -> Reference:
    """What a method may see of the training set before and after a fit; encoded only where it looks at tiles."""
    reference = spots.reference()
    if not method.needs.bank:
        return reference
    with torch.no_grad():
        return reference._replace(tiles=inputs.rows(spots.tiles))


def predict_spots(method: Method, spots: SpotSet, *, batch_size: int = 4096) -> Tensor:
    """Predict every spot from images alone, ``(n, G)``; see :func:`predicted_parts`."""
    predicted = spots.tiles.new_empty(0)
    for rows, values in predicted_parts(method, spots, batch_size=batch_size):
        if not len(predicted):
            predicted = values.new_empty(len(spots.tiles), values.shape[1])
        predicted[rows] = values
    return predicted


def predicted_parts(method: Method, spots: SpotSet, *, batch_size: int = 4096) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows ``(b,)`` and their predictions ``(b, G)``, part by part: a section at a time where the method asks for that."""
    for block in spots.blocks(SECTION_SPOTS if method.needs.section else batch_size):
        rows = torch.from_numpy(block).to(spots.tiles.device)
        with torch.inference_mode():
            predicted = method.predict(spots.images(rows))
        yield rows, predicted
