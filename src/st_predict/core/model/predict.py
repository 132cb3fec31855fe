"""Whole sections through a method: what it predicts of them, and what it may keep of those it is trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from st_predict.core.encoders.frozen import torch_device
from st_predict.core.inputs.encode import encode_rows
from st_predict.core.inputs.pixels import TileRows
from st_predict.core.methods.interface import SECTION_SPOTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from st_predict.core.encoders.encoder import Encoder
    from st_predict.core.inputs.kinds import Inputs
    from st_predict.core.inputs.pixels import SectionTiles
    from st_predict.core.inputs.spots import SpotSet
    from st_predict.core.methods.interface import Method, Reference

_TILES = 32  # encoded at a time


def features_of(tiles: SectionTiles, encoder: Encoder | None, device: str = "cpu") -> NDArray[np.float32]:
    """Features ``(n, S, d)`` of a section's tiles by a model's own encoder; where it has none, the tiles are features.

    Parameters
    ----------
    tiles
        ``(n, S, px, px, 3)`` uint8, or features.
    encoder
        The encoder.
    device
        Torch device, or ``"auto"``.
    """
    if not encoder:
        return tiles  # type: ignore[return-value]
    device = torch_device(device)
    encoder.to(device).eval()
    with torch.inference_mode():
        rows = encode_rows(encoder, TileRows.of_sections([tiles])[0].to(device), batch_size=_TILES).cpu()
    encoder.cpu()
    return rows.view(*tiles.shape[:2], -1).numpy()


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
